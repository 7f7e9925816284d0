//! Kinds of rows: what the words of a row settle is worked out once for all rows that have them.

use std::sync::Arc;

use hashbrown::HashMap;
use weir_policy::{Context, Decision, ENGINE, Micros, Policy, Verdict, foregone};

use crate::Class;
use crate::codes::TELLING;
use crate::kept::Kept;
use crate::plan::{Plan, Read};
use crate::ruled::{Outcome, Ruled};
use crate::scopes::Partitions;
use crate::selection::Selection;
use crate::symbols::{Symbol, Symbols};
use crate::twin::Ruling;

/// All rows with the same words.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Counts up from 0.
    pub(crate) number: usize,
    /// Which partition judges its calls.
    pub(crate) partition: usize,
    /// Whether `--server` and `--grant` take these calls in.
    pub(crate) taken: bool,
    pub(crate) server: Arc<str>,
    pub(crate) grant: Arc<str>,
    pub(crate) wire_tool: Arc<str>,
    pub(crate) tool: Arc<str>,
    /// The word on record; anything but `allow` is a denial.
    pub(crate) verdict: Arc<str>,
    pub(crate) reason: Arc<str>,
    pub(crate) rule: Arc<str>,
    /// The digest of the policy that was in force; empty without one.
    pub(crate) policy: Arc<str>,
    pub(crate) via: Vec<Arc<str>>,
    /// The engine that decided it is this one.
    pub(crate) this_engine: bool,
    pub(crate) way: Way,
}

/// What has to be done about each row of a kind.
#[derive(Debug)]
pub(crate) enum Way {
    /// Nothing: policy never sees such a row, and it is no call of the report.
    Unseen,
    /// To count it: it is `same` under every policy, or by its names under these.
    Same,
    /// To note it: its names settle that it is not `same`.
    Noted(Box<Ruled>),
    /// To look at it, whatever came before it: no limit counts such calls.
    Alone(Box<Plan>),
    /// To judge it in its order: limits count it.
    Ordered(Box<Plan>),
}

impl Kind {
    /// The verdict on record.
    pub(crate) fn was(&self) -> Verdict {
        if &*self.verdict == "allow" {
            Verdict::Allow
        } else {
            Verdict::Deny
        }
    }

    /// The class of a call that is not judged now as it is on record.
    fn drift(&self) -> Class {
        if self.this_engine {
            Class::EngineDrift
        } else {
            Class::EngineChanged
        }
    }

    /// Whether arguments are asked for to judge it.
    pub(crate) fn reads_arguments(&self) -> bool {
        match &self.way {
            Way::Alone(plan) | Way::Ordered(plan) => matches!(plan.reading, Read::Arguments(_)),
            Way::Unseen | Way::Same | Way::Noted(_) => false,
        }
    }

    /// Whether the report speaks of its calls, selected or not.
    pub(crate) fn is_call(&self) -> bool {
        !matches!(self.way, Way::Unseen)
    }

    /// The outcome of a row that stays what it was.
    pub(crate) fn unchanged(&self) -> Outcome<'_> {
        Outcome {
            class: Class::Same,
            reason: &self.reason,
            would_verdict: &self.verdict,
            would_rule: &self.rule,
            would_message: "",
        }
    }
}

type Key = ([Symbol; TELLING.len()], Symbol, Vec<Symbol>);

/// The kinds met so far, and what it takes to make out another. One for all threads.
pub(crate) struct Kinds {
    symbols: Symbols,
    by_words: HashMap<Key, Arc<Kind>>,
    all: Vec<Arc<Kind>>,
    kept: Kept,
    selection: Selection,
    partitions: Partitions,
}

impl Kinds {
    pub(crate) fn of(kept: Kept, selection: Selection, partitions: Partitions) -> Self {
        Self {
            symbols: Symbols::default(),
            by_words: HashMap::new(),
            all: Vec::new(),
            kept,
            selection,
            partitions,
        }
    }

    /// The kind of a row with these words.
    pub(crate) fn of_row(
        &mut self,
        words: [&str; TELLING.len()],
        engine: &str,
        via: &[&str],
    ) -> Arc<Kind> {
        let key = (
            words.map(|word| self.symbols.of(word)),
            self.symbols.of(engine),
            via.iter().map(|step| self.symbols.of(step)).collect(),
        );
        if let Some(kind) = self.by_words.get(&key) {
            return Arc::clone(kind);
        }
        let kind = Arc::new(self.make(&key));
        self.all.push(Arc::clone(&kind));
        self.by_words.insert(key, Arc::clone(&kind));
        kind
    }

    fn make(&mut self, (words, engine, via): &Key) -> Kind {
        let word = |symbol: &Symbol| Arc::clone(self.symbols.word(*symbol));
        let words = words.each_ref().map(word);
        let [
            direction,
            server,
            grant,
            wire_tool,
            tool,
            verdict,
            reason,
            rule,
            policy,
            resolver,
        ] = words;
        let mut kind = Kind {
            number: self.all.len(),
            partition: self.partitions.of_grant(&grant),
            taken: self.selection.takes(&server, &grant),
            this_engine: &*word(engine) == ENGINE,
            via: via.iter().map(word).collect(),
            server,
            grant,
            wire_tool,
            tool,
            verdict,
            reason,
            rule,
            policy,
            way: Way::Unseen,
        };
        kind.way = match standing(&kind, &direction) {
            Standing::Judged => self.way_of(&kind, &resolver),
            Standing::Settled => Way::Same,
            Standing::Unseen => Way::Unseen,
        };
        kind
    }

    fn way_of(&mut self, kind: &Kind, resolver: &str) -> Way {
        let plan = Plan::make(kind, resolver, &mut self.kept, &self.selection);
        match &plan {
            Ok(plan) => {
                if let Some(ruled) = plan.names().and_then(|names| by_names(kind, plan, names)) {
                    return ruled.map_or(Way::Same, |ruled| Way::Noted(Box::new(ruled)));
                }
            }
            Err(why) => return Way::Noted(Box::new(Ruled::Unjudged(why))),
        }
        match plan {
            Ok(plan) if plan.counts => Way::Ordered(Box::new(plan)),
            Ok(plan) => Way::Alone(Box::new(plan)),
            Err(why) => Way::Noted(Box::new(Ruled::Unjudged(why))),
        }
    }

    /// Every kind, by number.
    pub(crate) fn all(&self) -> &[Arc<Kind>] {
        &self.all
    }

    /// The policy that was in force for a kind of calls, and the candidate that took its place.
    pub(crate) fn replaced(&self, kind: &Kind) -> Option<(&Policy, &Policy)> {
        let by = self.selection.candidate(&kind.server, &kind.grant)?;
        Some((self.kept.known(&kind.policy)?, by))
    }

    pub(crate) fn selection(&self) -> &Selection {
        &self.selection
    }
}

/// What the names of a call settle for both judges, where neither has to look at each: nothing but `same`, or a ruling.
#[expect(
    clippy::option_option,
    reason = "not settled, settled as it was, settled otherwise"
)]
fn by_names(
    kind: &Kind,
    plan: &Plan,
    names: &weir_policy::Resolution<'_>,
) -> Option<Option<Ruled>> {
    let (Ok(baseline), Ok(candidate)) = (&plan.baseline, &plan.candidate) else {
        return None;
    };
    let context = Context {
        node: "",
        server: &kind.server,
        grant: &kind.grant,
        session: "",
        client_name: "",
        client_version: "",
        received_at: Micros(0),
    };
    let now: Decision = foregone(baseline.as_deref(), names, &context)?;
    let would: Decision = foregone(candidate.as_deref(), names, &context)?;
    let was = kind.was();
    let class = if now.verdict != was || *now.rule != *kind.rule {
        kind.drift()
    } else {
        Class::between(was, would.verdict, *would.rule == *kind.rule)
    };
    Some((class != Class::Same).then_some(Ruled::Judged(Ruling {
        class,
        now,
        would,
        doubt: None,
    })))
}

/// What a row is to a replay (DESIGN 7.1).
enum Standing {
    /// Policy judged it.
    Judged,
    /// It was refused before policy was asked, or its decision is void: the same under every policy.
    Settled,
    /// Policy never sees such a row: it is not a call of the report.
    Unseen,
}

fn standing(kind: &Kind, direction: &str) -> Standing {
    let rule = &*kind.rule;
    if matches!(rule, "(malformed)" | "(arguments)" | "(unrecorded)") {
        Standing::Settled
    } else if !kind.policy.is_empty() || rule == "(no policy)" {
        // A server's request that policy was asked about counts like any other.
        Standing::Judged
    } else if kind.was() == Verdict::Allow || direction != "client" {
        Standing::Unseen
    } else {
        Standing::Settled
    }
}

//! Results counted up: from one ruling after another to the report.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::digest::{Line, result_digest};
use crate::report::{Candidate, Changes, Drift, Extent, Flip, Report, uuid_text};
use crate::rows::Row;
use crate::symbols::{Symbol, Symbols};
use crate::{Class, Classes, Flips};

/// Drifts that a report shows; all are counted.
const DRIFTS_LISTED: usize = 10;

/// What became of one call, its words as symbols.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) class: Class,
    /// Why it could not be replayed; else the candidate's reason.
    pub(crate) reason: Symbol,
    pub(crate) would_verdict: Symbol,
    pub(crate) would_rule: Symbol,
    pub(crate) would_message: Symbol,
    pub(crate) after_divergence: bool,
}

/// A row that is not `same`: what the digest is made of.
struct Notable {
    node: Symbol,
    seq: i64,
    call_id: [u8; 16],
    outcome: Outcome,
}

/// The counts so far.
pub(crate) struct Tally {
    listed: Flips,
    extent: Extent,
    classes: Classes,
    by_tool: BySymbol,
    by_rule: BySymbol,
    by_grant: BySymbol,
    by_policy: BySymbol,
    not_replayable: HashMap<Symbol, u64>,
    flips_outside: u64,
    notables: Vec<Notable>,
    flips: Vec<Flip>,
    drifts: Vec<Drift>,
}

impl Tally {
    pub(crate) fn new(listed: Flips) -> Self {
        Self {
            listed,
            extent: Extent::default(),
            classes: Classes::default(),
            by_tool: BySymbol::default(),
            by_rule: BySymbol::default(),
            by_grant: BySymbol::default(),
            by_policy: BySymbol::default(),
            not_replayable: HashMap::new(),
            flips_outside: 0,
            notables: Vec::new(),
            flips: Vec::new(),
            drifts: Vec::new(),
        }
    }

    /// Counts a flip that the selection leaves out.
    pub(crate) fn count_outside(&mut self, class: Class) {
        self.flips_outside += u64::from(class.is_flip());
    }

    /// Counts one reported call; `arguments` is asked only for a flip that is listed.
    pub(crate) fn count<'a>(
        &mut self,
        row: &Row,
        call_id: impl FnOnce() -> [u8; 16],
        arguments: impl FnOnce() -> Option<&'a str>,
        outcome: Outcome,
        now: Option<(Symbol, Symbol)>,
        symbols: &Symbols,
    ) {
        let class = outcome.class;
        self.extent.calls += 1;
        self.extent.from = Some(
            self.extent
                .from
                .map_or(row.decided_at, |from| from.min(row.decided_at)),
        );
        self.extent.to = Some(
            self.extent
                .to
                .map_or(row.decided_at, |to| to.max(row.decided_at)),
        );
        self.classes.count(class);
        self.by_tool.count(row.tool, class);
        self.by_grant.count(row.grant, class);
        if row.policy != Symbol::EMPTY {
            self.by_policy.count(row.policy, class);
        }
        if class == Class::Same {
            return;
        }
        let call_id = call_id();
        self.notables.push(Notable {
            node: row.node,
            seq: row.seq,
            call_id,
            outcome,
        });
        match class {
            Class::NotReplayable => *self.not_replayable.entry(outcome.reason).or_default() += 1,
            Class::EngineDrift | Class::EngineChanged => self.list_drift(row, now, symbols),
            class if class.is_flip() => {
                let rule = if outcome.would_rule == Symbol::EMPTY {
                    row.rule
                } else {
                    outcome.would_rule
                };
                self.by_rule.count(rule, class);
                if self.listed.takes_another_after(self.flips.len()) {
                    let flip = flip(row, call_id, arguments(), outcome, symbols);
                    self.flips.push(flip);
                }
            }
            Class::Same
            | Class::SameReasonChanged
            | Class::NewlyDenied
            | Class::NewlyAllowed
            | Class::NewlyHeld
            | Class::MaybeDenied
            | Class::MaybeAllowed => {}
        }
    }

    fn list_drift(&mut self, row: &Row, now: Option<(Symbol, Symbol)>, symbols: &Symbols) {
        let Some((verdict, rule)) = now else { return };
        if self.drifts.len() < DRIFTS_LISTED {
            let word = |symbol| symbols.word(symbol).to_owned();
            self.drifts.push(Drift {
                node: word(row.node),
                seq: row.seq,
                tool: word(row.tool),
                was_verdict: word(row.verdict),
                was_rule: word(row.rule),
                now_verdict: word(verdict),
                now_rule: word(rule),
            });
        }
    }

    /// The listed flips, whose arguments may still be missing.
    pub(crate) fn flips_mut(&mut self) -> &mut [Flip] {
        &mut self.flips
    }

    /// The report.
    pub(crate) fn report(
        self,
        candidate: Option<Candidate>,
        assigned: BTreeMap<String, Candidate>,
        symbols: &Symbols,
    ) -> Report {
        let lines = self.notables.iter().map(|notable| {
            let outcome = &notable.outcome;
            Line {
                node: symbols.word(notable.node),
                seq: notable.seq,
                call_id: uuid_text(&notable.call_id),
                class: outcome.class.as_str(),
                reason: symbols.word(outcome.reason),
                would_verdict: symbols.word(outcome.would_verdict),
                would_rule: symbols.word(outcome.would_rule),
                would_message: symbols.word(outcome.would_message),
                after_divergence: outcome.after_divergence,
            }
        });
        let result_digest = result_digest(candidate.as_ref(), &assigned, &self.classes, lines);
        Report {
            candidate,
            assigned,
            record: self.extent,
            policies_in_force: self.by_policy.by_name(symbols).len(),
            classes: self.classes,
            by_tool: self.by_tool.by_name(symbols),
            by_rule: self.by_rule.by_name(symbols),
            by_grant: self.by_grant.by_name(symbols),
            not_replayable: self
                .not_replayable
                .into_iter()
                .map(|(why, count)| (symbols.word(why).to_owned(), count))
                .collect(),
            flips_outside: self.flips_outside,
            flips: self.flips,
            drifts: self.drifts,
            result_digest,
        }
    }
}

fn flip(
    row: &Row,
    call_id: [u8; 16],
    arguments: Option<&str>,
    outcome: Outcome,
    symbols: &Symbols,
) -> Flip {
    let word = |symbol| symbols.word(symbol).to_owned();
    Flip {
        node: word(row.node),
        seq: row.seq,
        call_id,
        decided_at: row.decided_at,
        grant: word(row.grant),
        session: word(row.session),
        tool: word(row.tool),
        arguments: arguments.map(str::to_owned),
        class: outcome.class,
        was_verdict: word(row.verdict),
        was_rule: word(row.rule),
        would_verdict: word(outcome.would_verdict),
        would_rule: word(outcome.would_rule),
        would_message: word(outcome.would_message),
        after_divergence: outcome.after_divergence,
    }
}

/// Changes by name. Symbols are small numbers, so a list does.
#[derive(Default)]
struct BySymbol(Vec<Changes>);

impl BySymbol {
    #[inline]
    fn count(&mut self, name: Symbol, class: Class) {
        if name.place() >= self.0.len() {
            self.0.resize(name.place() + 1, Changes::default());
        }
        if let Some(changes) = self.0.get_mut(name.place()) {
            changes.count(class);
        }
    }

    fn by_name(self, symbols: &Symbols) -> BTreeMap<String, Changes> {
        let met = self
            .0
            .into_iter()
            .enumerate()
            .filter(|(_, changes)| changes.calls > 0);
        met.map(|(place, changes)| (symbols.word(Symbol::at(place)).to_owned(), changes))
            .collect()
    }
}

//! Judging a call on record some of whose values were replaced: what is certain is decided, what is not is named.
//!
//! A condition that reads at, below or around a replaced value may be true, false or a mismatch (DESIGN 7.1). What follows is
//! worked out over the truths that are possible, so a rule that refuses or passes either way leaves no doubt. A rule that the
//! recorded decision tells of leaves none either: had it refused, the call would not have passed.

mod truths;

use crate::evaluate::{Admission, Evaluation, Judged};
use crate::explain::Unwatched;
use crate::operator::Truth;
use crate::predicate::{Predicate, Quantifier};
use crate::rules::ToolRules;
use crate::{Context, Decision, Policy, Reason, Resolution, Text, Verdict, evaluate};

use truths::Truths;

/// What can be said of a call.
#[derive(Debug, Clone)]
pub struct Weighed<'a> {
    /// The rules that may refuse it, in order.
    pub doubts: Vec<Doubt>,
    /// What becomes of it if none of them does.
    pub evaluation: Evaluation<'a>,
}

/// A rule of which nothing can be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    /// Its id.
    pub rule: Text,
    /// What it reads, as its author wrote it: `args.password`.
    pub path: Box<str>,
}

/// What the record keeps of a call's arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRecord {
    /// All but some values, which show that they were replaced.
    Values,
    /// Nothing.
    Nothing,
}

/// What a decision on record says of the rules that were asked for it.
#[derive(Debug, Default)]
pub struct Testimony<'a>(Vec<Known<'a>>);

#[derive(Debug)]
struct Known<'a> {
    reading: usize,
    quantifier: Quantifier,
    predicate: &'a Predicate,
    /// Never [`Weight::Unknown`].
    weight: Weight,
}

/// One list of the rules of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Require,
    DenyIf,
    ApproveIf,
}

impl List {
    fn quantifier(self) -> Quantifier {
        match self {
            Self::Require => Quantifier::Every,
            Self::DenyIf | Self::ApproveIf => Quantifier::Any,
        }
    }

    fn of(self, rules: &ToolRules) -> &Vec<Predicate> {
        match self {
            Self::Require => &rules.require,
            Self::DenyIf => &rules.deny_if,
            Self::ApproveIf => &rules.approve_if,
        }
    }

    /// What a rule of this list says of a call.
    fn reason(self, truths: Truths) -> Weight {
        match self.quantifier() {
            Quantifier::Every if truths == Truths::of(Truth::True) => Weight::Passes,
            Quantifier::Every if !truths.holds(Truth::True) => {
                Weight::Refuses(Reason::RequireFailed)
            }
            Quantifier::Every => Weight::Unknown,
            Quantifier::Any if truths == Truths::of(Truth::False) => Weight::Passes,
            Quantifier::Any if truths.holds(Truth::False) => Weight::Unknown,
            Quantifier::Any if truths.holds(Truth::True) => Weight::Refuses(Reason::DenyIf),
            Quantifier::Any => Weight::Refuses(Reason::TypeMismatch),
        }
    }

    /// The decision of a rule that refuses.
    fn decision(self, predicate: &Predicate, reason: Reason) -> Decision {
        if self == Self::ApproveIf && reason != Reason::TypeMismatch {
            predicate.pending()
        } else {
            predicate.deny(reason)
        }
    }
}

/// What a rule says of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    Passes,
    Refuses(Reason),
    Unknown,
}

impl<'a> Testimony<'a> {
    /// What follows from the decision on record, under the policy that gave it.
    pub fn of(
        policy: &'a Policy,
        resolution: &'a Resolution<'_>,
        verdict: Verdict,
        rule: &str,
        reason: &str,
    ) -> Self {
        let rules = policy.rules();
        let judged: Vec<_> = resolution
            .readings
            .iter()
            .map(|reading| Judged::new(rules, reading))
            .collect();
        let limited = rules.limits().any(|limit| *limit.id == *rule);
        let lists = [List::Require, List::DenyIf, List::ApproveIf];
        let mut asked: Vec<(List, Known<'a>)> = Vec::new();
        for list in lists
            .into_iter()
            .filter(|list| !limited || *list != List::ApproveIf)
        {
            for (reading, judged) in judged.iter().enumerate() {
                let predicates = judged
                    .standing_rules()
                    .map_or(&[][..], |rules| list.of(rules));
                asked.extend(predicates.iter().map(|predicate| {
                    let known = Known {
                        reading,
                        quantifier: list.quantifier(),
                        predicate,
                        weight: Weight::Passes,
                    };
                    (list, known)
                }));
            }
        }
        let known = |asked: Vec<(List, Known<'a>)>| {
            Self(asked.into_iter().map(|(_, known)| known).collect())
        };
        // An approved call names the rule that asked a person: that one held.
        if (verdict == Verdict::Allow && rule.is_empty()) || limited {
            return known(asked);
        }
        let named = |(_, known): &(List, Known<'_>)| *known.predicate.id == *rule;
        let Some(place) = asked.iter().position(named) else {
            return Self::default();
        };
        // Two readings under one glob have rules of one name: then it is not known which of them refused.
        let is_one = asked.iter().filter(|asked| named(asked)).count() == 1;
        asked.truncate(place + usize::from(is_one));
        if let Some((list, refuser)) = asked.last_mut().filter(|_| is_one) {
            refuser.weight = Weight::Refuses(match list {
                List::Require => Reason::RequireFailed,
                List::DenyIf | List::ApproveIf if reason == Reason::TypeMismatch.as_str() => {
                    Reason::TypeMismatch
                }
                List::DenyIf | List::ApproveIf => Reason::DenyIf,
            });
        }
        known(asked)
    }

    /// What is known of a rule that asks the same of the same reading.
    fn tells(&self, reading: usize, quantifier: Quantifier, predicate: &Predicate) -> Weight {
        let same = |known: &&Known<'_>| {
            known.reading == reading
                && known.quantifier == quantifier
                && asks_the_same(known.predicate, predicate)
        };
        let known = self.0.iter().find(same);
        known.map_or(Weight::Unknown, |known| known.weight)
    }
}

fn asks_the_same(one: &Predicate, other: &Predicate) -> bool {
    let (ones, others) = (one.conditions.iter(), other.conditions.iter());
    one.conditions.len() == other.conditions.len()
        && ones.zip(others).all(|(one, other)| {
            (one.path.root, &one.path.steps, one.name)
                == (other.path.root, &other.path.steps, other.name)
                // Operators hold compiled forms, whose debug form is their source.
                && format!("{:?}", one.operator) == format!("{:?}", other.operator)
        })
}

/// Judges a call from what is on record of it, as far as it can be judged without counters.
pub fn weigh<'a>(
    policy: Option<&'a Policy>,
    resolution: &'a Resolution<'_>,
    context: &'a Context<'_>,
    kept: OnRecord,
    testimony: &Testimony<'_>,
) -> Weighed<'a> {
    let admission = policy.and_then(|policy| Admission::new(policy, resolution, context));
    let Some(mut admission) = admission else {
        return Weighed {
            doubts: Vec::new(),
            evaluation: evaluate(policy, resolution, context),
        };
    };
    let mut scale = Scale {
        kept,
        testimony,
        doubts: Vec::new(),
    };
    let evaluation = if let Err(decision) = scale.before_limits(&admission) {
        Evaluation::Deny(decision)
    } else {
        let approval = scale.ask(&admission, List::ApproveIf);
        admission.set_apart(resolution, approval);
        Evaluation::Admit(admission)
    };
    Weighed {
        doubts: scale.doubts,
        evaluation,
    }
}

struct Scale<'s> {
    kept: OnRecord,
    testimony: &'s Testimony<'s>,
    doubts: Vec<Doubt>,
}

impl Scale<'_> {
    fn before_limits(&mut self, admission: &Admission<'_>) -> Result<(), Decision> {
        // Names are never replaced, so what they settle is certain.
        admission.hearing().admit_names(&mut Unwatched)?;
        self.ask(admission, List::Require)?;
        self.ask(admission, List::DenyIf)
    }

    /// Asks one list of rules; an error is certain, unless a doubt before it has refused.
    fn ask(&mut self, admission: &Admission<'_>, list: List) -> Result<(), Decision> {
        for (reading, judged) in admission.judged().iter().enumerate() {
            let predicates = judged
                .standing_rules()
                .map_or(&[][..], |rules| list.of(rules));
            for predicate in predicates {
                let possible = self.possible(admission, judged, list, predicate);
                let weight = match list.reason(possible) {
                    Weight::Unknown => self.testimony.tells(reading, list.quantifier(), predicate),
                    certain @ (Weight::Passes | Weight::Refuses(_)) => certain,
                };
                match weight {
                    Weight::Passes => {}
                    Weight::Refuses(reason) => return Err(list.decision(predicate, reason)),
                    Weight::Unknown => self.doubt(admission, judged, list, predicate),
                }
            }
        }
        Ok(())
    }

    fn possible(
        &self,
        admission: &Admission<'_>,
        judged: &Judged<'_>,
        list: List,
        predicate: &Predicate,
    ) -> Truths {
        let conditions = predicate.conditions.iter().map(|condition| {
            let arguments = &judged.reading.arguments;
            condition.possible(list.quantifier(), admission.facts(), arguments, self.kept)
        });
        conditions.fold(Truths::of(Truth::True), Truths::and)
    }

    fn doubt(
        &mut self,
        admission: &Admission<'_>,
        judged: &Judged<'_>,
        list: List,
        predicate: &Predicate,
    ) {
        let unknown = predicate.conditions.iter().find(|condition| {
            let arguments = &judged.reading.arguments;
            let (quantifier, facts) = (list.quantifier(), admission.facts());
            !condition
                .possible(quantifier, facts, arguments, self.kept)
                .is_certain()
        });
        self.doubts.push(Doubt {
            rule: predicate.id.clone(),
            path: unknown
                .map_or("args", |condition| condition.path.text())
                .into(),
        });
    }
}

#[cfg(test)]
mod tests;

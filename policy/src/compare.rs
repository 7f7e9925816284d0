//! Whether one policy lets through what another does not: answered from the documents, without any record.
//!
//! *B is nowhere wider than A* means: whatever calls pass under B one after the other, pass under A one after the other
//! too. So a single call that A denies must be denied by B, and a limit of A must be held by a limit of B. Calls that B
//! denies leave no trace in its counters and do not count. Of a person who is asked it is taken that the answer is open:
//! asking is more than denying and less than allowing. How many counters a grant may hold is left out.
//!
//! The proof: every name stands somewhere in both policies, and finitely many places are possible ([`names`]). For each,
//! every value at every path that a rule reads belongs to one of finitely many cells, which rules cannot tell apart
//! ([`cells`]). For each rule of A, a search ([`solve`]) finds that no choice of cells passes B and breaks the rule, or it
//! finds choices; from these, calls are made and judged by the engine itself ([`call`]). Only a call that is judged so is
//! shown, and only a search that came to its end is a proof; what is neither is said to be unknown.

mod breach;
mod call;
mod cells;
mod cover;
mod lists;
mod machine;
mod matter;
mod names;
mod numbers;
mod product;
mod question;
mod sequence;
mod solve;
mod texts;
mod tree;

use std::ops::ControlFlow;

use crate::calendar::Calendar;
use crate::explain::Stage;
use crate::limit::Limit;
use crate::operator::Truth;
use crate::predicate::Predicate;
use crate::{Decision, Policy};

use self::breach::{breaches, breaks};
use self::call::{counters, examples};
use self::cells::Answer;
use self::matter::{Matter, Rule};
use self::names::Kin;
use self::sequence::Race;
use self::solve::{Demands, Search, Stand};

pub use self::call::{Reach, SampleCall};
pub(crate) use self::cover::covers as compare_limits;

/// So many calls are made and judged for one rule.
const TRIES_MAX: usize = 400;

/// Whether a policy is nowhere wider than another.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Comparison {
    /// Proved: whatever passes under it passes under the other.
    NowhereWider,
    /// It lets something through that the other does not, and here it is.
    Wider(Box<Witness>),
    /// Neither a proof nor an example was found.
    Unknown(Vec<Obstacle>),
}

/// Calls that one policy lets through, and the other does not: judged by the engine.
#[derive(Debug, Clone, PartialEq)]
pub struct Witness {
    /// One call after the other. Both let all but the last go as far.
    pub calls: Vec<SampleCall>,
    /// What the narrower policy says of the last one.
    pub old: Decision,
    /// What the wider one says of it.
    pub new: Decision,
}

/// A rule of the narrower policy that could not be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The rule.
    pub rule: String,
    /// The tool, or an example of the tools, of whose calls it is unknown.
    pub tool: String,
    /// Why.
    pub why: String,
}

impl Witness {
    /// Judges the calls anew, and says whether they show what they should.
    pub fn holds(&self, old: &Policy, new: &Policy) -> bool {
        Self::judge(self.calls.clone(), old, new).as_ref() == Some(self)
    }

    /// The witness that these calls are, if they are one.
    fn judge(calls: Vec<SampleCall>, old: &Policy, new: &Policy) -> Option<Self> {
        let (mut of_old, mut of_new) = (counters(), counters());
        let last = calls.len().checked_sub(1)?;
        for (place, call) in calls.iter().enumerate() {
            let (new, old) = (call.judge(new, &mut of_new), call.judge(old, &mut of_old));
            if place == last {
                return (Reach::of(&new) > Reach::of(&old)).then_some(Self { calls, old, new });
            }
            if !(new.is_allow() && old.is_allow()) {
                return None;
            }
        }
        None
    }
}

/// Whether `new` is nowhere wider than `old`.
pub fn compare(old: &Policy, new: &Policy) -> Comparison {
    if old.digest() == new.digest() {
        return Comparison::NowhereWider;
    }
    let Some(names) = names::names(old, new) else {
        return Comparison::Unknown(vec![Obstacle {
            rule: "/tools".to_owned(),
            tool: "*".to_owned(),
            why: "there are too many names and globs to tell all names apart".to_owned(),
        }]);
    };
    let work = Work {
        old,
        new,
        obstacles: Vec::new(),
    };
    work.compare(&names)
}

impl Work<'_> {
    fn compare(mut self, names: &[Kin]) -> Comparison {
        let mut matters = Vec::new();
        for kin in names {
            let alike = treat_alike(self.old, self.new, &kin.name);
            match Matter::of(self.old, self.new, &kin.name, kin.one) {
                Ok(matter) if matter.new.refused.is_some() => {}
                Ok(matter) => matters.push((matter, alike)),
                Err(_) if alike => {}
                Err(unclear) => self.obstacle(
                    "/tools",
                    &kin.name,
                    format!("the values of `{}` cannot be told apart", unclear.path),
                ),
            }
        }
        for (matter, _) in matters.iter().filter(|(_, alike)| !alike) {
            if let Some(witness) = self.single(matter) {
                return Comparison::Wider(Box::new(witness));
            }
        }
        let matters: Vec<_> = matters.into_iter().map(|(matter, _)| matter).collect();
        if let Some(witness) = self.sequences(&matters) {
            return Comparison::Wider(Box::new(witness));
        }
        if self.obstacles.is_empty() {
            Comparison::NowhereWider
        } else {
            Comparison::Unknown(self.obstacles)
        }
    }
}

/// As [`compare`], of calls to the tools that the entry `key` speaks of in either policy.
pub(crate) fn compare_entry(old: &Policy, new: &Policy, key: &str) -> Comparison {
    let Some(names) = names::names(old, new) else {
        return Comparison::Unknown(Vec::new());
    };
    let speaks = |policy: &Policy, name: &str| {
        let rules = policy.rules().stand(name).rules;
        rules.is_some_and(|rules| &*rules.key == key)
    };
    let of_entry = |kin: &Kin| speaks(old, &kin.name) || speaks(new, &kin.name);
    let names: Vec<_> = names.into_iter().filter(of_entry).collect();
    let work = Work {
        old,
        new,
        obstacles: Vec::new(),
    };
    work.compare(&names)
}

/// How `new` stands to `old`, two predicates of one list: whether it refuses all that the other refuses, and the other way round.
pub(crate) fn compare_rules(
    stage: Stage,
    old: (&Predicate, &Calendar),
    new: (&Predicate, &Calendar),
) -> Option<(bool, bool)> {
    let matter = Matter::of_rules(old, new).ok()?;
    let (one, other) = (matter.old.deny_if.first()?, matter.new.deny_if.first()?);
    let implies = |kept: &Rule, broken: &Rule| {
        let search = |demands: &Demands| demands.search(&matter, |_| ControlFlow::Break(()));
        let mut demands = Demands::default();
        if stage == Stage::Require {
            for ask in &kept.asks {
                demands.all(&matter, *ask, Answer::holds_every);
            }
            return broken.asks.iter().all(|ask| {
                let mut demands = demands.clone();
                demands.some(&matter, *ask, |answer| !answer.holds_every());
                search(&demands) == Search::Nothing
            });
        }
        demands.holds_not(&matter, kept);
        breaks(&matter, &mut demands, broken, |truth| truth != Truth::False);
        search(&demands) == Search::Nothing
    };
    Some((implies(other, one), implies(one, other)))
}

/// Whether both policies say the same of calls by this name.
fn treat_alike(old: &Policy, new: &Policy, name: &str) -> bool {
    let (old, new) = (old.rules(), new.rules());
    let (one, other) = (old.stand(name), new.stand(name));
    let same = match (one.rules, other.rules) {
        (None, None) => old.default == new.default,
        (Some(one), Some(other)) => one.says_the_same(other),
        (Some(_), None) | (None, Some(_)) => false,
    };
    same && one.hidden == other.hidden
        && old.calendar == new.calendar
        && old.all_tools.len() == new.all_tools.len()
        && old
            .all_tools
            .iter()
            .zip(&new.all_tools)
            .all(|(one, other)| one.says_the_same(other))
}

struct Work<'p> {
    old: &'p Policy,
    new: &'p Policy,
    obstacles: Vec<Obstacle>,
}

impl Work<'_> {
    fn obstacle(&mut self, rule: &str, tool: &str, why: String) {
        let obstacle = Obstacle {
            rule: rule.to_owned(),
            tool: tool.to_owned(),
            why,
        };
        if !self.obstacles.contains(&obstacle) {
            self.obstacles.push(obstacle);
        }
    }

    /// A single call that shows that `new` is wider. Rules of which it stays open are noted.
    fn single(&mut self, matter: &Matter<'_>) -> Option<Witness> {
        let mut open = Vec::new();
        for breach in breaches(matter) {
            let possible = breach.demands.search(matter, |_| ControlFlow::Break(()));
            if possible == Search::Nothing {
                continue;
            }
            // a call that only this rule stands against explains itself; else any
            for demands in [&breach.only, &breach.demands] {
                if let Some(witness) = self.call(matter, demands) {
                    return Some(witness);
                }
            }
            open.push(breach.rule);
        }
        for rule in open {
            let why = "no call was found that shows it wider, and no proof that there is none";
            self.obstacle(&rule, matter.tool, why.to_owned());
        }
        None
    }

    fn call(&self, matter: &Matter<'_>, demands: &Demands) -> Option<Witness> {
        let mut found = None;
        let mut tries = 0;
        demands.search(matter, |stand| {
            for call in examples(matter, stand) {
                tries += 1;
                found = Witness::judge(vec![call], self.old, self.new);
                if found.is_some() || tries > TRIES_MAX {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        found
    }

    /// Calls one after the other that show that `new` is wider, by a limit of the old policy that no limit of the new holds.
    fn sequences(&mut self, matters: &[Matter<'_>]) -> Option<Witness> {
        let mut passing: Option<Vec<SampleCall>> = None;
        for matter in matters {
            let mut calls = None;
            for limit in matter.old.limits.iter().map(|quota| quota.limit) {
                if is_held(limit, matter) {
                    continue;
                }
                let calls = calls.get_or_insert_with(|| self.passing(matter));
                let Some(call) = calls.clone() else {
                    // nothing passes both: there is nothing to count
                    if !may_pass(matter) {
                        continue;
                    }
                    let why = "no call was found that both let through, to count it";
                    self.obstacle(&limit.id, matter.tool, why.to_owned());
                    continue;
                };
                let mut calls = vec![call];
                if limit.all_tools {
                    let others = passing.get_or_insert_with(|| {
                        matters
                            .iter()
                            .filter_map(|matter| self.passing(matter))
                            .collect()
                    });
                    calls.extend(others.iter().cloned());
                }
                let race = Race {
                    old: self.old,
                    new: self.new,
                    limit,
                };
                let found = race.run(&calls);
                let found = found.and_then(|calls| Witness::judge(calls, self.old, self.new));
                if found.is_some() {
                    return found;
                }
                let why = "no limit was found that holds it, and no calls that exceed it";
                self.obstacle(&limit.id, matter.tool, why.to_owned());
            }
        }
        None
    }

    /// A call that both policies let through.
    fn passing(&self, matter: &Matter<'_>) -> Option<SampleCall> {
        let mut demands = Demands::default();
        demands.passes(matter, &matter.new);
        demands.passes(matter, &matter.old);
        let mut found = None;
        let mut tries = 0;
        let passes = |call: &SampleCall| {
            let both = [self.old, self.new];
            both.iter()
                .all(|policy| call.judge(policy, &mut counters()).is_allow())
        };
        demands.search(matter, |stand: &Stand| {
            for call in examples(matter, stand) {
                tries += 1;
                if passes(&call) {
                    found = Some(call);
                }
                if found.is_some() || tries > TRIES_MAX {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        found
    }
}

/// Whether the rules of both may admit a call.
fn may_pass(matter: &Matter<'_>) -> bool {
    let mut demands = Demands::default();
    demands.admits(matter, &matter.new);
    demands.admits(matter, &matter.old);
    demands.search(matter, |_| ControlFlow::Break(())) != Search::Nothing
}

/// Whether limits of the new policy hold this one of the old.
fn is_held(limit: &Limit, matter: &Matter<'_>) -> bool {
    let news: Vec<&Limit> = matter.new.limits.iter().map(|quota| quota.limit).collect();
    let olds = matter.old.limits.iter().map(|quota| quota.limit);
    let group: Vec<&Limit> = olds.filter(|old| old.counts_with(limit)).collect();
    if group.iter().all(|other| cover::same_values(other, limit)) {
        return news.iter().any(|new| cover::covers(new, limit));
    }
    cover::covers_group(&news, limit, &group)
}

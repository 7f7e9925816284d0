//! The ways in which one policy may refuse what another lets through.

use crate::Text;
use crate::operator::Truth;

use super::cells::Answer;
use super::matter::{Matter, Rule};
use super::solve::Demands;

/// A way in which the old policy may refuse a call.
pub(super) struct Breach {
    pub(super) rule: Text,
    /// What the new policy must let through, and the old one refuses.
    pub(super) demands: Demands,
    /// The old policy refuses it for no other reason.
    pub(super) only: Demands,
}

/// Every way in which the old policy may refuse what the new one lets through, or asks a person about.
pub(super) fn breaches(matter: &Matter<'_>) -> Vec<Breach> {
    let (old, new) = (&matter.old, &matter.new);
    let mut base = Demands::default();
    base.passes(matter, new);
    let mut list = denials(matter, &base);
    for rule in &old.approve_if {
        let mut demands = base.clone();
        breaks(matter, &mut demands, rule, |truth| truth != Truth::False);
        let mut only = demands.clone();
        only.admits(matter, old);
        list.push(breach(rule.id.clone(), demands, only));
    }
    for place in 0..new.approve_if.len() {
        let mut base = Demands::default();
        base.admits(matter, new);
        base.holds_first(matter, &new.approve_if, place);
        list.extend(denials(matter, &base));
        for (at, rule) in old.approve_if.iter().enumerate() {
            for mistyped in &rule.asks {
                let mut demands = base.clone();
                for earlier in old.approve_if.iter().take(at) {
                    demands.holds_not(matter, earlier);
                }
                breaks(matter, &mut demands, rule, |truth| truth != Truth::False);
                demands.some(matter, *mistyped, |answer| answer.any == Truth::Mismatch);
                let mut only = demands.clone();
                only.admits(matter, old);
                list.push(breach(rule.id.clone(), demands, only));
            }
        }
    }
    list
}

/// Every way in which the old policy may deny what meets `base`.
fn denials(matter: &Matter<'_>, base: &Demands) -> Vec<Breach> {
    let old = &matter.old;
    if let Some(rule) = old.refused {
        return vec![breach(Text::fixed(rule), base.clone(), base.clone())];
    }
    let mut list = Vec::new();
    let others = |demands: &mut Demands, but: &Text| {
        let apart = |rules: &[Rule], demands: &mut Demands, is_require: bool| {
            for rule in rules.iter().filter(|rule| rule.id != *but) {
                if is_require {
                    for ask in &rule.asks {
                        demands.all(matter, *ask, Answer::holds_every);
                    }
                } else {
                    demands.holds_not(matter, rule);
                }
            }
        };
        apart(&old.require, demands, true);
        apart(&old.deny_if, demands, false);
        apart(&old.approve_if, demands, false);
        for quota in old.limits.iter().filter(|quota| quota.limit.id != *but) {
            for ask in &quota.asks {
                demands.all(matter, *ask, Answer::holds_every);
            }
        }
    };
    let mut push = |id: &Text, demands: Demands| {
        let mut only = demands.clone();
        others(&mut only, id);
        list.push(breach(id.clone(), demands, only));
    };
    for rule in &old.require {
        for ask in &rule.asks {
            let mut demands = base.clone();
            demands.some(matter, *ask, |answer| !answer.holds_every());
            push(&rule.id, demands);
        }
    }
    for rule in &old.deny_if {
        let mut demands = base.clone();
        breaks(matter, &mut demands, rule, |truth| truth != Truth::False);
        push(&rule.id, demands);
    }
    for quota in &old.limits {
        if quota.closed {
            push(&quota.limit.id, base.clone());
        }
        for ask in &quota.asks {
            let mut demands = base.clone();
            demands.some(matter, *ask, |answer| !answer.holds_every());
            push(&quota.limit.id, demands);
        }
    }
    list
}

/// All conditions of a predicate answer so that it does not clearly not hold.
pub(super) fn breaks(
    matter: &Matter<'_>,
    demands: &mut Demands,
    rule: &Rule,
    wanted: fn(Truth) -> bool,
) {
    for ask in &rule.asks {
        demands.some(matter, *ask, |answer| wanted(answer.any));
    }
}

fn breach(rule: Text, demands: Demands, only: Demands) -> Breach {
    Breach {
        rule,
        demands,
        only,
    }
}

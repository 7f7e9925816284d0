//! What every kind of report says in the same words.

use std::collections::BTreeMap;

use super::{Candidate, Changes, Flip, Report};
use crate::measure::grouped;
use crate::options::moment;
use crate::{Class, shown};

impl Report {
    /// What was replayed, under what: `1,234 calls under candidate.json`.
    pub(super) fn subject(&self) -> String {
        let of_grants = self.assigned.iter();
        let of_grants = of_grants.map(|(grant, c)| format!("{}={}", shown(grant), name_of(c)));
        let candidates = self.candidate.iter().map(name_of).chain(of_grants);
        let candidates: Vec<String> = candidates.collect();
        let under = if candidates.is_empty() {
            "its own policies".to_owned()
        } else {
            candidates.join(", ")
        };
        format!("{} under {under}", calls(self.record.calls))
    }

    /// When the calls were decided, and under how many policies; nothing if there are none.
    pub(super) fn extent(&self) -> Option<String> {
        let (from, to) = self.record.from.zip(self.record.to)?;
        let policies = match self.policies_in_force {
            1 => "1 policy in force".to_owned(),
            count => format!("{count} policies in force"),
        };
        Some(format!(
            "{} to {} UTC, {policies}",
            second(from),
            second(to)
        ))
    }

    /// What was checked of the evidence.
    pub(super) fn verified(&self) -> &'static str {
        self.record.verified.told()
    }

    /// From when on the record is complete, if anything was removed from it.
    pub(super) fn completeness(&self) -> Option<String> {
        let from = self.record.complete_from?;
        Some(format!(
            "complete from {} UTC: what was before was removed by retention",
            second(from)
        ))
    }

    /// The answer: how many calls would have gone another way, and how.
    pub(super) fn answer(&self) -> (String, Vec<String>) {
        if self.record.calls == 0 {
            return (
                "No call in this range: nothing to judge.".into(),
                Vec::new(),
            );
        }
        let kinds = [
            (Class::NewlyDenied, "denied"),
            (Class::NewlyHeld, "held for a person"),
            (Class::NewlyAllowed, "allowed"),
        ];
        let flips: Vec<String> = kinds
            .into_iter()
            .filter(|(class, _)| self.classes.of(*class) > 0)
            .map(|(class, word)| format!("{} newly {word}", grouped(self.classes.of(class))))
            .collect();
        if flips.is_empty() {
            return ("No call would have gone another way.".into(), flips);
        }
        let calls = calls(self.classes.flips());
        (format!("{calls} would have gone another way"), flips)
    }

    /// The answer in one sentence.
    pub(super) fn sentence(&self) -> String {
        let (answer, flips) = self.answer();
        if flips.is_empty() {
            answer
        } else {
            format!("{answer}: {}.", flips.join(", "))
        }
    }

    /// Calls without a certain answer: a title, and how many for which reason.
    pub(super) fn uncertain(&self) -> [(&'static str, &BTreeMap<String, u64>); 2] {
        [
            ("Maybe", &self.in_doubt),
            ("Not replayable", &self.not_replayable),
        ]
    }
}

impl Flip {
    /// The rule that would deny or hold, or that no longer denies.
    pub(super) fn by(&self) -> String {
        if self.would_rule.is_empty() {
            format!("{} no longer denies", self.was_rule)
        } else {
            self.would_rule.clone()
        }
    }
}

/// A class as people read it.
pub(super) fn class(class: Class) -> String {
    class.as_str().replace('_', " ")
}

/// Names with flips, the most flips first; then how many had none.
pub(super) fn changed(rows: &BTreeMap<String, Changes>) -> (Vec<(&String, &Changes)>, usize) {
    let mut changed: Vec<_> = rows.iter().filter(|(_, c)| c.flips() > 0).collect();
    changed.sort_by_key(|(_, changes)| std::cmp::Reverse(changes.flips()));
    let unchanged = rows.len() - changed.len();
    (changed, unchanged)
}

/// The last part of a path: what a person calls the file.
pub(super) fn name_of(candidate: &Candidate) -> String {
    let path = &candidate.path;
    shown(path.rsplit('/').next().unwrap_or(path)).into_owned()
}

/// `1 call`, `1,234 calls`
pub(super) fn calls(count: u64) -> String {
    let word = if count == 1 { "call" } else { "calls" };
    format!("{} {word}", grouped(count))
}

/// `2026-11-22 06:00:00`
pub(super) fn second(micros: i64) -> String {
    short(micros).chars().take(19).collect()
}

/// `2026-11-22 06:00:00.123`
pub(super) fn short(micros: i64) -> String {
    moment(micros).replace('T', " ").chars().take(23).collect()
}

/// `06:00:00.123`
pub(super) fn clock(micros: i64) -> String {
    moment(micros).chars().skip(11).take(12).collect()
}

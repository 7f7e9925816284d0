//! What rules say, in words: the same words for rules that say the same.

use std::fmt;

use crate::limit::Limit;
use crate::predicate::{Condition, Predicate};
use crate::rules::ToolRules;

/// `args.id type "integer"`
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.path, self.name, self.operator)
    }
}

/// Its conditions; `always` if there is none.
impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, condition) in self.conditions.iter().enumerate() {
            let and = if place > 0 { " and " } else { "" };
            write!(f, "{and}{condition}")?;
        }
        if self.conditions.is_empty() {
            f.write_str("always")?;
        }
        Ok(())
    }
}

/// `at most 10 in 60 s per grant`
impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.window.micros / 1_000_000;
        let any = if self.window.sliding { "any " } else { "" };
        write!(f, "at most {}", self.max)?;
        if let Some(path) = &self.increment_from {
            write!(f, " of {path}")?;
        }
        write!(f, " in {any}{seconds} s per {}", self.scope.as_str())?;
        for path in &self.per {
            write!(f, " and {path}")?;
        }
        Ok(())
    }
}

impl Limit {
    /// Whether it counts by the same in the same counters, and has as much room.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        self.counts_with(other) && self.to_string() == other.to_string()
    }
}

impl ToolRules {
    /// Whether all rules say the same, in the same order, whatever callers are told.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let same = |one: &[Predicate], other: &[Predicate]| {
            one.len() == other.len()
                && one
                    .iter()
                    .zip(other)
                    .all(|(one, other)| one.to_string() == other.to_string())
        };
        same(&self.require, &other.require)
            && same(&self.deny_if, &other.deny_if)
            && same(&self.approve_if, &other.approve_if)
            && self.limits.len() == other.limits.len()
            && self
                .limits
                .iter()
                .zip(&other.limits)
                .all(|(one, other)| one.says_the_same(other))
    }
}

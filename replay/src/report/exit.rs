//! What a report means to the shell.

use super::Report;
use crate::Class;

/// How much a candidate may change before a replay fails.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Budget {
    /// The most calls that may be newly denied (or newly held: the agent waits either way).
    pub max_newly_denied: Option<u64>,
    /// The most calls that may be newly allowed.
    pub max_newly_allowed: Option<u64>,
    /// The least share of calls with a certain answer, from 0 to 1.
    pub min_coverage: Option<f64>,
}

/// The exit codes of `weir replay`, each with one meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Within budget.
    Within = 0,
    /// More flips than the budget allows.
    OverBudget = 1,
    /// Bad usage, or a policy that does not load.
    Usage = 2,
    /// Too few calls could be judged.
    LowCoverage = 3,
    /// The record fails verification.
    Unverified = 4,
    /// A policy no longer gives the decisions on record.
    Drift = 5,
}

impl Exit {
    /// The number for the shell.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl Report {
    /// What to tell the shell. An answer that cannot be trusted goes before one that says too
    /// little, and that before one that says too much: drift, coverage, budget.
    pub fn exit(&self, budget: &Budget) -> Exit {
        let over = |count: u64, most: Option<u64>| most.is_some_and(|most| count > most);
        let denied = self.classes.of(Class::NewlyDenied) + self.classes.of(Class::NewlyHeld);
        if self.classes.of(Class::EngineDrift) > 0 {
            Exit::Drift
        } else if budget
            .min_coverage
            .is_some_and(|least| self.classes.coverage() < least)
        {
            Exit::LowCoverage
        } else if over(denied, budget.max_newly_denied)
            || over(
                self.classes.of(Class::NewlyAllowed),
                budget.max_newly_allowed,
            )
        {
            Exit::OverBudget
        } else {
            Exit::Within
        }
    }

    /// [`Report::exit`] as the number for the shell.
    pub fn exit_code(&self, budget: &Budget) -> u8 {
        self.exit(budget).code()
    }
}

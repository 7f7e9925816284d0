//! What a report means to the shell.

use super::Report;
use crate::Class;
use crate::measure::grouped;

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
        match self.failures(budget) {
            [Some(_), ..] => Exit::Drift,
            [None, Some(_), ..] => Exit::LowCoverage,
            [None, None, None, None] => Exit::Within,
            [None, None, ..] => Exit::OverBudget,
        }
    }

    /// [`Report::exit`] as the number for the shell.
    pub fn exit_code(&self, budget: &Budget) -> u8 {
        self.exit(budget).code()
    }

    /// Why it is not [`Exit::Within`], a sentence each: for drift, coverage, calls newly denied or held, and calls newly allowed.
    pub fn failures(&self, budget: &Budget) -> [Option<String>; 4] {
        let drift = self.classes.of(Class::EngineDrift);
        let coverage = self.classes.coverage();
        let denied = self.classes.of(Class::NewlyDenied) + self.classes.of(Class::NewlyHeld);
        let allowed = self.classes.of(Class::NewlyAllowed);
        let over = |what: &str, count: u64, most: Option<u64>| {
            let most = most.filter(|most| count > *most)?;
            let (count, most) = (grouped(count), grouped(most));
            Some(format!(
                "{count} calls are newly {what}, and at most {most} may be"
            ))
        };
        [
            (drift > 0).then(|| {
                let drift = grouped(drift);
                format!("{drift} calls are decided otherwise now: a bug in Weir")
            }),
            budget
                .min_coverage
                .filter(|least| coverage < *least)
                .map(|least| {
                    format!("{coverage:.4} of the calls got a certain answer, less than {least}")
                }),
            over("denied or held", denied, budget.max_newly_denied),
            over("allowed", allowed, budget.max_newly_allowed),
        ]
    }
}

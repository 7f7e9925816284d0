//! The one door from a parsed call to a decision, for the live proxy and for replay alike.

use crate::evaluate::decide;
use crate::explain::Unwatched;
use crate::{Context, Counters, Decision, Micros, Policy, Reservation, Resolution};

/// The version of the evaluation semantics, the record's column `engine`.
pub const ENGINE: &str = "1";

/// A decision, and what it took from the counters.
#[derive(Debug, Clone)]
#[must_use]
pub struct Judgement {
    /// The decision.
    pub decision: Decision,
    /// What the call took, if it took anything: one that a person is to be asked about takes it while it waits, and it is given
    /// back unless the person approves.
    pub reservation: Option<Reservation>,
}

impl Judgement {
    #[expect(
        clippy::inline_always,
        reason = "the hot path: it is large, and must not be moved"
    )]
    #[inline(always)]
    pub(crate) fn allowed(reservation: Option<Reservation>) -> Self {
        Self {
            decision: Decision::allow(),
            reservation,
        }
    }

    /// A person is to be asked.
    #[cold]
    pub(crate) fn held(decision: Decision, reservation: Option<Reservation>) -> Self {
        Self {
            decision,
            reservation,
        }
    }

    pub(crate) fn denied(decision: Decision) -> Self {
        Self {
            decision,
            reservation: None,
        }
    }
}

/// Judges a call: its rules, then its limits at `decided_at`.
pub fn judge(
    policy: Option<&Policy>,
    resolution: &Resolution<'_>,
    context: &Context<'_>,
    counters: &mut Counters,
    decided_at: Micros,
) -> Judgement {
    decide(
        policy,
        resolution,
        context,
        counters,
        decided_at,
        &mut Unwatched,
    )
}

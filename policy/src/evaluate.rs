//! The part of judging that depends on nothing but its arguments.

use crate::{Context, Decision, Policy, Reading, Reason, Resolution};

/// What the rules say of a call before any counter is asked.
#[derive(Debug, Clone)]
pub enum Evaluation<'a> {
    /// Refused, whatever the counters say.
    Deny(Decision),
    /// Admitted, if its limits have room.
    Admit(Admission<'a>),
}

/// A call that its predicates admit, with what its limits need to know.
#[derive(Debug, Clone)]
pub struct Admission<'a> {
    pub(crate) readings: &'a [Reading<'a>],
    pub(crate) context: &'a Context<'a>,
}

/// Judges a call as far as it can be judged without counters. Pure.
pub fn evaluate<'a>(
    policy: Option<&'a Policy>,
    resolution: &'a Resolution<'_>,
    context: &'a Context<'_>,
) -> Evaluation<'a> {
    match policy {
        Some(_) => Evaluation::Admit(Admission {
            readings: &resolution.readings,
            context,
        }),
        None => Evaluation::Deny(Decision::deny(
            Reason::NoPolicy,
            "(no policy)",
            "No policy applies to this grant.",
        )),
    }
}

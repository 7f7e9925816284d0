//! What the names of a call settle for both judges: worked out once for all calls of a kind.

use weir_policy::{Context, Decision, Policy, Resolution};

use crate::Class;
use crate::kind::Marks;
use crate::rows::Row;
use crate::ruled::Ruled;
use crate::symbols::{Symbol, Symbols};
use crate::twin::Ruling;

/// Both decisions on every call of one kind, their rules also as symbols.
pub(crate) struct Foregone {
    now: Decision,
    would: Decision,
    now_rule: Symbol,
    would_rule: Symbol,
}

/// Both decisions, where neither policy has to look at each call by itself.
pub(crate) fn foregone(
    baseline: Option<&Policy>,
    candidate: Option<&Policy>,
    names: &Resolution<'_>,
    context: &Context<'_>,
) -> Option<(Decision, Decision)> {
    Some((
        weir_policy::foregone(baseline, names, context)?,
        weir_policy::foregone(candidate, names, context)?,
    ))
}

impl Foregone {
    pub(crate) fn new((now, would): (Decision, Decision), symbols: &mut Symbols) -> Self {
        Self {
            now_rule: symbols.of(&now.rule),
            would_rule: symbols.of(&would.rule),
            now,
            would,
        }
    }

    /// What both say of the call in `row`. They consume nothing, so nothing but its class depends on the row.
    #[inline]
    pub(crate) fn rule(&self, row: &Row, marks: &Marks) -> Ruled {
        let was = marks.verdict(row);
        let class = if self.now.verdict != was || self.now_rule != row.rule {
            marks.drift(row)
        } else {
            Class::between(was, self.would.verdict, self.would_rule == row.rule)
        };
        if class == Class::Same {
            return Ruled::Settled;
        }
        Ruled::Judged(Ruling {
            class,
            now: self.now.clone(),
            would: self.would.clone(),
        })
    }
}

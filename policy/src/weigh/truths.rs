//! What a condition may say of a value that is not known.

use super::OnRecord;
use crate::Value;
use crate::operator::Truth;
use crate::path::{Facts, Root, Step, child};
use crate::predicate::{Condition, Quantifier};
use crate::redaction::{holds_replaced, is_replaced};

/// The truths that are possible; never none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Truths(u8);

const EACH: [Truth; 3] = [Truth::True, Truth::False, Truth::Mismatch];

impl Truths {
    pub(super) const ALL: Self = Self(0b111);

    pub(super) fn of(truth: Truth) -> Self {
        Self(match truth {
            Truth::True => 1,
            Truth::False => 2,
            Truth::Mismatch => 4,
        })
    }

    pub(super) fn holds(self, truth: Truth) -> bool {
        self.0 & Self::of(truth).0 != 0
    }

    pub(super) fn is_certain(self) -> bool {
        self.0.is_power_of_two()
    }

    /// Both together: `False` beats `Mismatch` beats `True`.
    pub(super) fn and(self, other: Self) -> Self {
        self.each_with(other, |one, other| match (one, other) {
            (Truth::False, _) | (_, Truth::False) => Truth::False,
            (Truth::Mismatch, _) | (_, Truth::Mismatch) => Truth::Mismatch,
            (Truth::True, Truth::True) => Truth::True,
        })
    }

    /// Either: `True` beats `Mismatch` beats `False`.
    fn or(self, other: Self) -> Self {
        self.each_with(other, |one, other| match (one, other) {
            (Truth::True, _) | (_, Truth::True) => Truth::True,
            (Truth::Mismatch, _) | (_, Truth::Mismatch) => Truth::Mismatch,
            (Truth::False, Truth::False) => Truth::False,
        })
    }

    fn each_with(self, other: Self, join: impl Fn(Truth, Truth) -> Truth) -> Self {
        let mut joined = 0;
        for one in EACH.into_iter().filter(|truth| self.holds(*truth)) {
            for other in EACH.into_iter().filter(|truth| other.holds(*truth)) {
                joined |= Self::of(join(one, other)).0;
            }
        }
        Self(joined)
    }
}

impl Condition {
    /// What [`Condition::ask`] may say, given what is on record of the arguments.
    pub(super) fn possible(
        &self,
        quantifier: Quantifier,
        facts: &Facts<'_>,
        arguments: &Value<'_>,
        kept: OnRecord,
    ) -> Truths {
        match (self.path.root, kept) {
            (Root::Arguments, OnRecord::Nothing) => Truths::ALL,
            (Root::Arguments, OnRecord::Values) => {
                self.stroll(quantifier, arguments, &self.path.steps)
            }
            _ => Truths::of(self.ask_fact(facts)),
        }
    }

    fn stroll(&self, quantifier: Quantifier, mut value: &Value<'_>, mut steps: &[Step]) -> Truths {
        while let Some((step, rest)) = steps.split_first() {
            if is_unknown(value) {
                return Truths::ALL;
            }
            let Step::Key(key, index) = step else {
                return self.stroll_each(quantifier, value, steps);
            };
            match child(value, key, *index) {
                Some(next) => value = next,
                None => return Truths::of(self.missing(quantifier, rest)),
            }
            steps = rest;
        }
        if holds_replaced(value) {
            return Truths::ALL;
        }
        Truths::of(self.operator.ask(value))
    }

    fn stroll_each(&self, quantifier: Quantifier, value: &Value<'_>, steps: &[Step]) -> Truths {
        let (Value::Array(items), Some((_, rest))) = (value, steps.split_first()) else {
            return Truths::of(self.missing(quantifier, steps));
        };
        let possible = items.iter().map(|item| self.stroll(quantifier, item, rest));
        let joined = match quantifier {
            Quantifier::Every => possible.reduce(Truths::and),
            Quantifier::Any => possible.reduce(Truths::or),
        };
        joined.unwrap_or(Truths::of(Truth::False))
    }
}

/// Whether something else stood here.
fn is_unknown(value: &Value<'_>) -> bool {
    matches!(value, Value::String(text) if is_replaced(text))
}

//! Conditions joined by AND, and how they read values at a path.

use std::time::Duration;

use crate::operator::{Operator, Truth, any, every};
use crate::path::{Facts, Path, Root, Step, child};
use crate::problem::Span;
use crate::{Text, Value};

/// One entry of `require`, `deny_if` or `approve_if`.
#[derive(Debug, Clone)]
pub(crate) struct Predicate {
    /// The rule id, made at load.
    pub(crate) id: Text,
    /// What the caller is told.
    pub(crate) message: Text,
    pub(crate) conditions: Vec<Condition>,
    /// In `approve_if`: how long a person has to answer, if it says so.
    pub(crate) timeout: Option<Duration>,
    pub(crate) span: Span,
}

/// `{path, op, value}`.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) path: Path,
    /// The operator's name as written.
    pub(crate) name: &'static str,
    pub(crate) operator: Operator,
    pub(crate) span: Span,
}

/// What a `*` of a path asks of the elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quantifier {
    /// In `require`: every element, and at least one.
    Every,
    /// In `deny_if` and `approve_if`: any element.
    Any,
}

impl Predicate {
    /// All conditions together: `False` beats `Mismatch` beats `True`, so their order never matters.
    #[inline]
    pub(crate) fn ask(
        &self,
        quantifier: Quantifier,
        facts: &Facts<'_>,
        arguments: &Value<'_>,
    ) -> Truth {
        let mut all = Truth::True;
        for condition in &self.conditions {
            match condition.ask(quantifier, facts, arguments) {
                Truth::False => return Truth::False,
                Truth::Mismatch => all = Truth::Mismatch,
                Truth::True => {}
            }
        }
        all
    }
}

impl Condition {
    #[inline]
    pub(crate) fn ask(
        &self,
        quantifier: Quantifier,
        facts: &Facts<'_>,
        arguments: &Value<'_>,
    ) -> Truth {
        if self.path.root == Root::Arguments {
            return self.walk(quantifier, arguments, &self.path.steps);
        }
        self.ask_fact(facts)
    }

    /// Apart from the walk into the arguments, which most conditions are, so that it needs few registers.
    #[inline(never)]
    pub(crate) fn ask_fact(&self, facts: &Facts<'_>) -> Truth {
        match self.path.root.fact(facts) {
            Some(fact) => self.operator.ask(&fact),
            None => self.operator.ask_missing(),
        }
    }

    #[inline]
    fn walk(&self, quantifier: Quantifier, mut value: &Value<'_>, mut steps: &[Step]) -> Truth {
        while let Some((step, rest)) = steps.split_first() {
            let Step::Key(key, index) = step else {
                return self.each(quantifier, value, steps);
            };
            match child(value, key, *index) {
                Some(next) => value = next,
                None => return self.missing(quantifier, rest),
            }
            steps = rest;
        }
        self.operator.ask(value)
    }

    /// At a `*`: what is said of the elements, all of them together. Apart from [`Condition::walk`], since few
    /// paths have one.
    #[inline(never)]
    fn each(&self, quantifier: Quantifier, value: &Value<'_>, steps: &[Step]) -> Truth {
        let (Value::Array(items), Some((_, rest))) = (value, steps.split_first()) else {
            return self.missing(quantifier, steps);
        };
        let truths = items.iter().map(|item| self.walk(quantifier, item, rest));
        match quantifier {
            Quantifier::Every => every(truths),
            Quantifier::Any => any(truths),
        }
    }

    /// The path ends before its last step. Where elements were to come, `require` misses its "at least one".
    pub(crate) fn missing(&self, quantifier: Quantifier, rest: &[Step]) -> Truth {
        if quantifier == Quantifier::Every && rest.contains(&Step::Each) {
            return Truth::False;
        }
        self.operator.ask_missing()
    }
}

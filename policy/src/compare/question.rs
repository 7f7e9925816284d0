//! What rules and limits ask about the value at a path.

use crate::Value;
use crate::limit::Limit;
use crate::number::Decimal;
use crate::operator::{Operator, Truth};
use crate::predicate::Condition;

/// One question about a value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Question<'p> {
    /// What a condition asks.
    Asks(&'p Condition),
    /// Whether a limit can count by it.
    Counted,
    /// Whether a limit on an amount has room for it when nothing was counted yet.
    Amount(&'p Limit),
}

impl Question<'_> {
    /// The answer for a value that is there.
    pub(super) fn ask(self, value: &Value<'_>) -> Truth {
        match self {
            Self::Asks(condition) => condition.operator.ask(value),
            Self::Counted => Truth::from(!matches!(value, Value::Null)),
            Self::Amount(limit) => Truth::from(amount(value).is_some_and(|amount| {
                // nothing always fits, also under a limit of 0
                amount == 0 || amount <= limit.ceiling()
            })),
        }
    }

    /// The answer for a value that is missing.
    pub(super) fn ask_missing(self) -> Truth {
        match self {
            Self::Asks(condition) => condition.operator.ask_missing(),
            Self::Counted | Self::Amount(_) => Truth::False,
        }
    }

    /// The same for questions that always have the same answers.
    pub(super) fn text(self) -> String {
        match self {
            Self::Asks(condition) => format!("{} {}", condition.name, condition.operator),
            Self::Counted => "counted".to_owned(),
            Self::Amount(limit) => format!("amount {}", limit.max),
        }
    }

    /// The operator, if a condition asks.
    pub(super) fn operator(&self) -> Option<&Operator> {
        match self {
            Self::Asks(condition) => Some(&condition.operator),
            Self::Counted | Self::Amount(_) => None,
        }
    }

    /// The bound of an amount.
    pub(super) fn bound(&self) -> Option<Decimal> {
        match self {
            Self::Amount(limit) => Decimal::parse(&limit.max.to_string()),
            Self::Asks(_) | Self::Counted => None,
        }
    }
}

/// A value as an amount in millionths.
fn amount(value: &Value<'_>) -> Option<u128> {
    match value {
        Value::Number(number) => Decimal::of(number)?.millionths(),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

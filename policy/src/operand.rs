//! The value on a rule's side of a comparison, made ready at load.

use std::cmp::Ordering;
use std::fmt;

use crate::number::Decimal;
use crate::short::same;
use crate::value::json::write_string;
use crate::{Number, Value};

/// A JSON value of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operand {
    Null,
    Bool(bool),
    Number(Exact),
    String(Box<str>),
    Array(Vec<Operand>),
    Object(Vec<(Box<str>, Operand)>),
}

/// A number of a policy: always its decimal, and the machine integer where it is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exact {
    decimal: Decimal,
    integer: Option<i64>,
}

/// The six types of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    pub(crate) fn of(value: &Value<'_>) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::String,
            Value::Array(_) => Self::Array,
            Value::Object(_) => Self::Object,
        }
    }
}

impl Operand {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Bool(_) => Kind::Bool,
            Self::Number(_) => Kind::Number,
            Self::String(_) => Kind::String,
            Self::Array(_) => Kind::Array,
            Self::Object(_) => Kind::Object,
        }
    }

    /// Equality of JSON values: numbers by value, objects whatever the order of their members.
    pub(crate) fn equals(&self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(a), Value::Bool(b)) => a == b,
            (Self::Number(a), Value::Number(b)) => a.compare(b) == Some(Ordering::Equal),
            (Self::String(a), Value::String(b)) => same(a.as_bytes(), b.as_bytes()),
            (Self::Array(a), Value::Array(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b))
            }
            (Self::Object(a), Value::Object(b)) => {
                a.len() == b.iter().count()
                    && a.iter()
                        .all(|(key, a)| b.get(key).is_some_and(|b| a.equals(b)))
            }
            _ => false,
        }
    }

    /// How `value` stands to this operand: `None` unless both are numbers or both are strings.
    pub(crate) fn compare(&self, value: &Value<'_>) -> Option<Ordering> {
        match (self, value) {
            (Self::Number(operand), Value::Number(number)) => operand.compare(number),
            // UTF-8 orders as code points do
            (Self::String(operand), Value::String(string)) => Some((**string).cmp(&**operand)),
            _ => None,
        }
    }
}

/// The JSON text, numbers as people write them.
impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(truth) => write!(f, "{truth}"),
            Self::Number(number) => f.write_str(&number.decimal.plain()),
            Self::String(text) => f.write_str(&quoted(text)),
            Self::Array(items) => write_list(f, items),
            Self::Object(members) => {
                f.write_str("{")?;
                for (place, (key, value)) in members.iter().enumerate() {
                    let comma = if place > 0 { "," } else { "" };
                    write!(f, "{comma}{}:{value}", quoted(key))?;
                }
                f.write_str("}")
            }
        }
    }
}

/// Writes `[a,b]`.
pub(crate) fn write_list<T: fmt::Display>(f: &mut impl fmt::Write, items: &[T]) -> fmt::Result {
    f.write_char('[')?;
    for (place, item) in items.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        write!(f, "{comma}{item}")?;
    }
    f.write_char(']')
}

/// A string as JSON.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::new();
    write_string(text, &mut out);
    out
}

impl Exact {
    pub(crate) fn decimal(&self) -> &Decimal {
        &self.decimal
    }

    pub(crate) fn new(decimal: Decimal) -> Self {
        let integer = decimal.to_i64();
        Self { decimal, integer }
    }

    /// How `number` stands to this one.
    #[inline]
    pub(crate) fn compare(&self, number: &Number<'_>) -> Option<Ordering> {
        match (number, self.integer) {
            (Number::Integer(a), Some(b)) => Some(a.cmp(&b)),
            _ => Some(Decimal::of(number)?.cmp(&self.decimal)),
        }
    }
}

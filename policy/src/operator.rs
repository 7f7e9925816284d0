//! The operators of a condition, and what they say of one value (DESIGN 5.2, 5.8).

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use regex::Regex;

use crate::glob::Glob;
use crate::number::Decimal;
use crate::operand::{Kind, Operand, quoted, write_list};
use crate::short::same;
use crate::{Number, Value};

/// What a condition says of a value. Within a predicate `False` beats `Mismatch` beats `True`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Truth {
    True,
    False,
    /// The value has a type that the operator cannot compare.
    Mismatch,
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// An operator with its operand, ready to be asked.
#[derive(Debug, Clone)]
pub(crate) enum Operator {
    Equal(Operand),
    NotEqual(Operand),
    Order(Bound, Operand),
    In(Vec<Operand>),
    NotIn(Vec<Operand>),
    Exists(bool),
    Regex(Regex),
    Contains(Operand),
    Type(Type),
    Glob(Glob),
    Cidr(Vec<IpNet>),
}

/// `lt`, `lte`, `gt`, `gte`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What `type` can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Integer,
    Of(Kind),
}

impl Operator {
    /// What the operator says of a missing value.
    #[inline]
    pub(crate) fn ask_missing(&self) -> Truth {
        Truth::from(matches!(self, Self::Exists(false)))
    }

    /// What the operator says of a value. The commonest questions are answered where they are asked.
    #[expect(
        clippy::inline_always,
        reason = "the hot path: a call costs more than the comparison"
    )]
    #[inline(always)]
    pub(crate) fn ask(&self, value: &Value<'_>) -> Truth {
        match (self, value) {
            (Self::Equal(Operand::Bool(operand)), Value::Bool(value)) => (operand == value).into(),
            (Self::Equal(Operand::String(operand)), Value::String(value)) => {
                same(operand.as_bytes(), value.as_bytes()).into()
            }
            (Self::Type(Type::Of(kind)), _) => (Kind::of(value) == *kind).into(),
            (Self::Type(Type::Integer), Value::Number(Number::Integer(_))) => Truth::True,
            _ => self.ask_any(value),
        }
    }

    fn ask_any(&self, value: &Value<'_>) -> Truth {
        match self {
            Self::Equal(operand) => equals(operand, value),
            Self::NotEqual(operand) => negate(equals(operand, value)),
            Self::Order(bound, operand) => operand
                .compare(value)
                .map_or(Truth::Mismatch, |order| bound.admits(order).into()),
            Self::In(list) => is_among(list, value),
            Self::NotIn(list) => negate(is_among(list, value)),
            Self::Exists(wanted) => Truth::from(!matches!(value, Value::Null) == *wanted),
            Self::Contains(operand) => contains(operand, value),
            Self::Type(wanted) => wanted.is_of(value).into(),
            Self::Regex(regex) => of_string(value, |text| regex.is_match(text).into()),
            Self::Glob(glob) => of_string(value, |text| glob.matches(text).into()),
            Self::Cidr(networks) => of_string(value, |text| is_inside(networks, text)),
        }
    }
}

/// The operand as JSON text, as a policy would write it.
impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equal(operand)
            | Self::NotEqual(operand)
            | Self::Order(_, operand)
            | Self::Contains(operand) => operand.fmt(f),
            Self::In(list) | Self::NotIn(list) => write_list(f, list),
            Self::Exists(wanted) => write!(f, "{wanted}"),
            Self::Regex(regex) => f.write_str(&quoted(regex.as_str())),
            Self::Type(kind) => write!(f, "\"{}\"", kind.name()),
            Self::Glob(glob) => f.write_str(&quoted(glob.source())),
            Self::Cidr(networks) => {
                let networks: Vec<_> = networks.iter().map(|n| quoted(&n.to_string())).collect();
                write_list(f, &networks)
            }
        }
    }
}

impl Bound {
    fn admits(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Type {
    /// The type of a name as policies write it.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "integer" => Self::Integer,
            "number" => Self::Of(Kind::Number),
            "string" => Self::Of(Kind::String),
            "boolean" => Self::Of(Kind::Bool),
            "array" => Self::Of(Kind::Array),
            "object" => Self::Of(Kind::Object),
            "null" => Self::Of(Kind::Null),
            _ => return None,
        })
    }

    /// The name that policies write.
    fn name(self) -> &'static str {
        match self {
            Self::Integer => "integer",
            Self::Of(Kind::Number) => "number",
            Self::Of(Kind::String) => "string",
            Self::Of(Kind::Bool) => "boolean",
            Self::Of(Kind::Array) => "array",
            Self::Of(Kind::Object) => "object",
            Self::Of(Kind::Null) => "null",
        }
    }

    fn is_of(self, value: &Value<'_>) -> bool {
        match (self, value) {
            (Self::Integer, Value::Number(number)) => {
                matches!(number, Number::Integer(_))
                    || Decimal::of(number).is_some_and(|number| number.is_integer())
            }
            (Self::Integer, _) => false,
            (Self::Of(kind), value) => Kind::of(value) == kind,
        }
    }
}

fn negate(truth: Truth) -> Truth {
    match truth {
        Truth::True => Truth::False,
        Truth::False => Truth::True,
        Truth::Mismatch => Truth::Mismatch,
    }
}

fn equals(operand: &Operand, value: &Value<'_>) -> Truth {
    if operand.kind() == Kind::of(value) {
        operand.equals(value).into()
    } else {
        Truth::Mismatch
    }
}

/// A value that has the type of no element cannot be compared with any.
fn is_among(list: &[Operand], value: &Value<'_>) -> Truth {
    let kind = Kind::of(value);
    if list.iter().any(|operand| operand.kind() == kind) {
        list.iter().any(|operand| operand.equals(value)).into()
    } else {
        Truth::Mismatch
    }
}

/// Substring of a string; element of an array, where elements compare as if the path ended in `*`.
fn contains(operand: &Operand, value: &Value<'_>) -> Truth {
    match (operand, value) {
        (Operand::String(part), Value::String(whole)) => whole.contains(&**part).into(),
        (operand, Value::Array(items)) => any(items.iter().map(|item| equals(operand, item))),
        _ => Truth::Mismatch,
    }
}

fn of_string(value: &Value<'_>, ask: impl FnOnce(&str) -> Truth) -> Truth {
    match value {
        Value::String(text) => ask(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Truth::Mismatch
        }
    }
}

fn is_inside(networks: &[IpNet], text: &str) -> Truth {
    match text.parse::<IpAddr>() {
        Ok(address) => networks
            .iter()
            .any(|network| network.contains(&address.to_canonical()))
            .into(),
        Err(_) => Truth::Mismatch,
    }
}

/// Every one, and at least one: `False` beats `Mismatch` beats `True`.
pub(crate) fn every(truths: impl Iterator<Item = Truth>) -> Truth {
    let mut all = None;
    for truth in truths {
        match (truth, all) {
            (Truth::False, _) => return Truth::False,
            (Truth::True, Some(Truth::Mismatch)) => {}
            (truth, _) => all = Some(truth),
        }
    }
    all.unwrap_or(Truth::False)
}

/// Any one: `True` beats `Mismatch` beats `False`.
pub(crate) fn any(truths: impl Iterator<Item = Truth>) -> Truth {
    let mut all = Truth::False;
    for truth in truths {
        match truth {
            Truth::True => return Truth::True,
            Truth::Mismatch => all = Truth::Mismatch,
            Truth::False => {}
        }
    }
    all
}

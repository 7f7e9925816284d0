//! One JSON value as a policy sees it: borrowed from the message, numbers kept exactly as written.

pub(crate) mod json;

use std::borrow::Cow;

use crate::short::same;

/// A JSON value. Strings borrow from the message unless they held an escape.
// The tag is a whole word: with a byte for it, values are moved in pieces that do not line up with how they
// were written, and reading a message took a third longer.
#[derive(Debug, Clone, PartialEq)]
#[repr(usize)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// Any number, exact.
    Number(Number<'a>),
    /// A string, unescaped.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object without duplicate keys.
    Object(Object<'a>),
}

/// A number without rounding: the common case is a machine integer, everything else keeps its text.
#[derive(Debug, Clone, PartialEq)]
pub enum Number<'a> {
    /// A number whose canonical text is exactly this integer.
    Integer(i64),
    /// Any other spelling: `7.0`, `7e0`, `-0`, `18446744073709551616`, kept as it stood.
    Decimal(Cow<'a, str>),
}

/// The members of an object in the order they stood; keys are unique.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object<'a>(pub(crate) Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Object<'a> {
    /// The value of `key`, if present.
    #[expect(
        clippy::inline_always,
        reason = "the hot path: most objects hold two members, and a call costs as much as both"
    )]
    #[inline(always)]
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        let mut members = self.0.iter();
        let member = members.find(|(k, _)| same(k.as_bytes(), key.as_bytes()));
        member.map(|(_, value)| value)
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.0.iter().map(|(k, v)| (k.as_ref(), v))
    }
}

impl Value<'_> {
    /// The same value, borrowing from nothing.
    pub fn to_owned_value(&self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Number(Number::Integer(integer)) => Value::Number(Number::Integer(*integer)),
            Self::Number(Number::Decimal(text)) => {
                Value::Number(Number::Decimal(Cow::Owned(text.as_ref().to_owned())))
            }
            Self::String(text) => Value::String(Cow::Owned(text.as_ref().to_owned())),
            Self::Array(elements) => {
                Value::Array(elements.iter().map(Value::to_owned_value).collect())
            }
            Self::Object(object) => Value::Object(Object(
                object
                    .iter()
                    .map(|(key, value)| (Cow::Owned(key.to_owned()), value.to_owned_value()))
                    .collect(),
            )),
        }
    }
}

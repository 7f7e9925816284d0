//! The schema of one parameter, and whether a value is let through.

use std::collections::BTreeMap;
use std::fmt;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use crate::{Number, Value};

/// What a parameter may hold.
#[derive(Debug, Clone)]
pub struct Schema {
    kind: Kind,
    /// The strings it may be; empty for any.
    choices: Vec<String>,
    items: Option<Box<Schema>>,
    /// None where any member is allowed.
    properties: Option<HashMap<String, Schema, FixedState>>,
    placement: Option<Placement>,
}

/// The JSON type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Whatever it is.
    Any,
    /// `true` or `false`.
    Boolean,
    /// Any number.
    Number,
    /// A number without a fractional part that every reader takes for the same.
    Integer,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// How a server puts a parameter into a URL path, hence what it may hold. None of the three lets a
/// value leave its place in the path: no dot segments, no escapes, nothing that ends the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// Unescaped, as one segment: an integer or `[A-Za-z0-9._-]+`.
    Segment,
    /// A dataset or snapshot: segments joined by `/`, with `@`, `:` and inner spaces as names may hold them.
    Zfs,
    /// A disk's identifier: as a segment, with braces, as in `{serial}ABC`.
    Disk,
}

/// Why a value is not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// Not of this type.
    Mistyped(Kind),
    /// None of the strings that are allowed.
    NoChoice,
    /// A member that the schema does not have.
    UnknownMember,
    /// A value that would change the request's path.
    Unsafe,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Mistyped(kind) => return write!(out, "must be {}", kind.with_article()),
            Self::NoChoice => "is none of the values it may have",
            Self::UnknownMember => "has an unknown member",
            Self::Unsafe => "is not safe inside a URL path",
        })
    }
}

impl Kind {
    fn with_article(self) -> &'static str {
        match self {
            Self::Any => "any value",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::Integer => "an integer",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

impl Schema {
    /// The JSON type.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The strings it may be; empty for any.
    pub fn choices(&self) -> &[String] {
        &self.choices
    }

    /// How the server puts it into a URL path, if it does.
    pub fn placement(&self) -> Option<Placement> {
        self.placement
    }

    pub(super) fn check(&self, value: &Value<'_>) -> Result<(), Fault> {
        match (self.kind, value) {
            (Kind::Any, _) | (Kind::Boolean, Value::Bool(_)) | (Kind::Number, Value::Number(_)) => {
                Ok(())
            }
            (Kind::Integer, Value::Number(number)) if is_same_everywhere(number) => Ok(()),
            (Kind::String, Value::String(text)) => self.check_string(text),
            (Kind::Array, Value::Array(elements)) => match &self.items {
                Some(items) => elements.iter().try_for_each(|element| items.check(element)),
                None => Ok(()),
            },
            (Kind::Object, Value::Object(object)) => match &self.properties {
                Some(properties) => object.iter().try_for_each(|(key, value)| {
                    properties
                        .get(key)
                        .ok_or(Fault::UnknownMember)?
                        .check(value)
                }),
                None => Ok(()),
            },
            (kind, _) => Err(Fault::Mistyped(kind)),
        }
    }

    fn check_string(&self, text: &str) -> Result<(), Fault> {
        if !self.choices.is_empty() && !self.choices.iter().any(|choice| choice == text) {
            return Err(Fault::NoChoice);
        }
        match self.placement {
            Some(placement) if !placement.admits(text) => Err(Fault::Unsafe),
            _ => Ok(()),
        }
    }
}

impl Placement {
    fn admits(self, text: &str) -> bool {
        match self {
            Self::Segment => is_segment(text, b"._-"),
            Self::Disk => is_segment(text, b"._-{}"),
            Self::Zfs => text.split('/').all(|part| {
                is_segment(part, b"._-:@ ") && !part.starts_with(' ') && !part.ends_with(' ')
            }),
        }
    }
}

/// One path segment of ASCII letters, digits and `others`, that URL parsing leaves where it is.
fn is_segment(text: &str, others: &[u8]) -> bool {
    !matches!(text, "" | "." | "..")
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || others.contains(&b))
}

/// Whole numbers up to 2^53 − 1: beyond, a server on doubles would act on another number than the one judged.
fn is_same_everywhere(number: &Number<'_>) -> bool {
    const LARGEST: i64 = (1 << 53) - 1;
    match number {
        Number::Integer(integer) => (-LARGEST..=LARGEST).contains(integer),
        // `7.0` and `7e0` are 7 to every reader; other spellings of whole numbers are not needed, and `-0.0` is printed with its
        // sign by some.
        Number::Decimal(text) => {
            let (whole, rest) = text.split_at(text.find(['.', 'e', 'E']).unwrap_or(text.len()));
            let zeros = rest
                .strip_prefix('.')
                .is_some_and(|digits| digits.bytes().all(|b| b == b'0'));
            (zeros || matches!(rest, "e0" | "E0"))
                && whole != "-0"
                && whole
                    .parse()
                    .is_ok_and(|integer: i64| (-LARGEST..=LARGEST).contains(&integer))
        }
    }
}

/// A schema as it is written: a type's name alone, or with what else must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum SchemaSource {
    Name(Kind),
    Full(FullSchema),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FullSchema {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(default, rename = "enum", skip_serializing_if = "Vec::is_empty")]
    choices: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    items: Option<Box<SchemaSource>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    properties: Option<BTreeMap<String, SchemaSource>>,
    #[serde(default, rename = "url", skip_serializing_if = "Option::is_none")]
    placement: Option<Placement>,
}

impl From<&SchemaSource> for Schema {
    fn from(source: &SchemaSource) -> Self {
        match source {
            SchemaSource::Name(kind) => Self {
                kind: *kind,
                choices: Vec::new(),
                items: None,
                properties: None,
                placement: None,
            },
            SchemaSource::Full(full) => Self {
                kind: full.kind,
                choices: full.choices.clone(),
                items: full
                    .items
                    .as_deref()
                    .map(|items| Box::new(Self::from(items))),
                properties: full.properties.as_ref().map(compile),
                placement: full.placement,
            },
        }
    }
}

pub(super) fn compile(
    source: &BTreeMap<String, SchemaSource>,
) -> HashMap<String, Schema, FixedState> {
    source
        .iter()
        .map(|(name, schema)| (name.clone(), Schema::from(schema)))
        .collect()
}

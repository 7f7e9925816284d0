//! JSON as a reader takes it that nobody here wrote, with nothing forgotten: members stay in their order, also those that stand twice.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};

/// A value of `serde_json`'s reader; numbers as doubles, since that is what most servers make of them.
#[derive(Debug, Clone, PartialEq)]
pub enum Foreign {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    Array(Vec<Foreign>),
    Object(Vec<(String, Foreign)>),
}

impl Foreign {
    /// What a lenient reader takes `bytes` for, if it takes them.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// A member; the last one of that name, as most servers take it.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(members) = self else {
            return None;
        };
        members
            .iter()
            .rev()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// A key that another reader may read otherwise: one that stands twice in its object, or that is no plain member everywhere.
    pub fn doubtful(&self) -> Option<&str> {
        match self {
            Self::Array(elements) => elements.iter().find_map(Self::doubtful),
            Self::Object(members) => {
                members
                    .iter()
                    .enumerate()
                    .find_map(|(place, (key, value))| {
                        let twice = members[..place].iter().any(|(before, _)| before == key);
                        if twice || key == "__proto__" {
                            Some(key.as_str())
                        } else {
                            value.doubtful()
                        }
                    })
            }
            _ => None,
        }
    }

    /// How deep it is nested.
    pub fn depth(&self) -> usize {
        match self {
            Self::Array(elements) => 1 + elements.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(members) => {
                1 + members
                    .iter()
                    .map(|(_, value)| value.depth())
                    .max()
                    .unwrap_or(0)
            }
            _ => 0,
        }
    }
}

impl<'de> Deserialize<'de> for Foreign {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Foreign;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Foreign, E> {
                Ok(Foreign::Null)
            }
            fn visit_bool<E>(self, truth: bool) -> Result<Foreign, E> {
                Ok(Foreign::Bool(truth))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Foreign, E> {
                Ok(Foreign::Number(number as f64))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Foreign, E> {
                Ok(Foreign::Number(number as f64))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Foreign, E> {
                Ok(Foreign::Number(number))
            }
            fn visit_str<E>(self, text: &str) -> Result<Foreign, E> {
                Ok(Foreign::String(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Foreign, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    elements.push(element);
                }
                Ok(Foreign::Array(elements))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Foreign, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Foreign::Object(members))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

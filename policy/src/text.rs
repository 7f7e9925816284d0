//! A short text of a decision: shared, or part of the program.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A rule id or a message. Cloning allocates nothing, and the texts of the engine itself touch no
/// reference count, so that cores judging in parallel share no cache line.
#[derive(Clone)]
pub struct Text(Kind);

#[derive(Clone)]
enum Kind {
    Fixed(&'static str),
    Shared(Arc<str>),
}

impl Text {
    /// The empty text.
    pub const EMPTY: Self = Self::fixed("");

    /// A text that is part of the program.
    pub const fn fixed(text: &'static str) -> Self {
        Self(Kind::Fixed(text))
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kind::Fixed(text) => text,
            Kind::Shared(text) => text,
        }
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self::fixed(text)
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Self(Kind::Shared(text))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Kind::Shared(text.into()))
    }
}

impl From<Text> for Arc<str> {
    fn from(text: Text) -> Self {
        match text.0 {
            Kind::Fixed(text) => text.into(),
            Kind::Shared(text) => text,
        }
    }
}

impl From<Text> for String {
    fn from(text: Text) -> Self {
        text.as_str().to_owned()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

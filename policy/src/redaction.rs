//! Values that must not be written down: named by JSON pointer or by key name, and replaced before a row exists.
//!
//! What is replaced becomes a string, [`MARK`] and a keyed digest: equal values stay equal, and neither the value nor its
//! length shows. Everything else stays byte for byte as it came. A string that holds JSON itself, as the body of an escape
//! hatch or the text of a tool's result does, is read too, and written anew where something in it was replaced.
//!
//! The replacement says by its form what it is, so whatever carries it on (a dispatcher, an alias) carries that along; a
//! value that looks like one although nobody replaced it is replaced as well, so that none is taken for what it is not.

use std::borrow::Cow;

use crate::Value;
use crate::key::push_value;
use crate::path::{Path, Step};
use crate::value::json::write_string;

use key_name::KeyName;
use place::Place;
use walk::Walk;

mod key_name;
mod place;
mod uri;
mod walk;

/// What every replacement begins with; 32 hexadecimal digits follow.
pub const MARK: &str = "weir:redacted:";

/// What the digest of a replaced value begins with, so that it equals no digest of anything else.
const TAG: &[u8] = b"weir redacted value\0";

/// Names of keys whose values are secrets wherever they stand. Case, `_`, `-`, `.` and blanks do not count, so `*apikey`
/// is also `X-API-Key` and `nas_api_key`.
const SECRET_KEYS: [&str; 18] = [
    "*password",
    "passwd",
    "pass",
    "*pwd",
    "bindpw",
    "*passphrase",
    "*secret",
    "*token",
    "*api_key",
    "*access_key",
    "*access_key_id",
    "*secret_key",
    "*private_key",
    "*encryption_key",
    "*session_key",
    "authorization",
    "cookie",
    "set_cookie",
];

/// Makes the keyed digest of some bytes; the key is the record's.
pub type KeyedDigest<'d> = dyn Fn(&[u8]) -> [u8; 16] + 'd;

/// Which values are replaced before they are written down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redaction {
    places: Vec<Place>,
    keys: Vec<KeyName>,
}

/// What may be written down of a JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redacted {
    /// All of it, as it stands.
    Nothing,
    /// This text instead.
    Values {
        /// The text with its replacements.
        text: String,
        /// Where they stand, as JSON pointers.
        pointers: Vec<String>,
    },
    /// Nothing of it: too much would have to be replaced, or it cannot be read.
    Whole,
}

/// A pointer or a key name that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedactionProblem {
    /// Not a JSON pointer to something inside the arguments.
    #[error(
        "`{0}` is no JSON pointer to a value, such as \"/params/password\" or \"/users/*/password\""
    )]
    Pointer(String),
    /// A name without a letter, or with a `*` in its middle.
    #[error("`{0}` is no key name, such as \"password\" or \"*_token\"")]
    Key(String),
}

impl Redaction {
    /// The key names that are secret unless the operator says otherwise.
    pub fn secret_keys() -> &'static [&'static str] {
        &SECRET_KEYS
    }

    /// Compiles JSON pointers (a segment `*` stands for every element or member) and key names (at any depth; `*` at either
    /// end stands for anything).
    ///
    /// ```
    /// use weir_policy::{Redacted, Redaction};
    ///
    /// let redaction = Redaction::compile(["/params/pin"], ["*password"])?;
    /// let arguments = r#"{"params": {"pin": 1234, "Old_Password": "x", "id": 7.0}}"#;
    /// let Redacted::Values { text, pointers } = redaction.redact(arguments, &|_| [0xab; 16]) else { panic!() };
    /// assert_eq!(pointers, ["/params/pin", "/params/Old_Password"]);
    /// let mark = "\"weir:redacted:abababababababababababababababab\"";
    /// assert_eq!(text, format!(r#"{{"params": {{"pin": {mark}, "Old_Password": {mark}, "id": 7.0}}}}"#));
    /// # Ok::<(), weir_policy::RedactionProblem>(())
    /// ```
    pub fn compile(
        pointers: impl IntoIterator<Item = impl AsRef<str>>,
        keys: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Result<Self, RedactionProblem> {
        let mut redaction = Self::default();
        for text in pointers {
            let text = text.as_ref();
            let place = Place::parse(text);
            let problem = || RedactionProblem::Pointer(text.to_owned());
            redaction.places.push(place.ok_or_else(problem)?);
        }
        for text in keys {
            let text = text.as_ref();
            let key = KeyName::parse(text);
            let problem = || RedactionProblem::Key(text.to_owned());
            redaction.keys.push(key.ok_or_else(problem)?);
        }
        Ok(redaction)
    }

    /// Whether nothing is ever replaced.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty() && self.keys.is_empty()
    }

    /// What may be written down of `json`.
    pub fn redact(&self, json: &str, digest: &KeyedDigest<'_>) -> Redacted {
        if self.is_empty() {
            return Redacted::Nothing;
        }
        let mut walk = Walk::new(&self.places, &self.keys, digest);
        match walk.text(json) {
            Ok(None) => Redacted::Nothing,
            Ok(Some(text)) => Redacted::Values {
                text,
                pointers: walk.into_pointers(),
            },
            Err(_) => Redacted::Whole,
        }
    }

    /// Whether what stands at a path may be replaced: a key on the way is a secret's, or a pointer ends in its last key.
    pub(crate) fn may_replace(&self, path: &Path) -> bool {
        let key = |step: &Step| match step {
            Step::Key(key, _) => Some(key.to_string()),
            Step::Each => None,
        };
        let is_named = |last: &str| self.places.iter().any(|place| place.ends_in(last));
        path.steps
            .iter()
            .filter_map(key)
            .any(|key| is_secret(&self.keys, &key))
            || path
                .steps
                .last()
                .and_then(key)
                .is_some_and(|last| is_named(&last))
    }

    /// The name that may be written down instead of `name`: that of a resource is a URI, and the password of its user and the
    /// values of its secret keys are replaced. None where it may stand as it is.
    pub fn redact_name(&self, name: &str, digest: &KeyedDigest<'_>) -> Option<String> {
        let uri = name.strip_prefix("resource:")?;
        if self.keys.is_empty() {
            return None;
        }
        let redacted = uri::redact(uri, |key| is_secret(&self.keys, key), digest)?;
        Some(format!("resource:{redacted}"))
    }
}

/// Whether this text is a replacement, or holds one.
pub fn is_replaced(text: &str) -> bool {
    text.contains(MARK)
}

/// Whether something in this value was replaced.
pub(crate) fn holds_replaced(value: &Value<'_>) -> bool {
    match value {
        Value::String(text) => is_replaced(text),
        Value::Array(items) => items.iter().any(holds_replaced),
        Value::Object(object) => object.iter().any(|(_, member)| holds_replaced(member)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What stands for a value: equal for equal values (numbers by value, members in any order) under one key.
fn replacement(value: &Value<'_>, digest: &KeyedDigest<'_>) -> String {
    let mut bytes = TAG.to_vec();
    push_value(&mut bytes, value);
    format!("{MARK}{}", hex::encode(digest(&bytes)))
}

/// The same for a text.
fn replaced_text(text: &str, digest: &KeyedDigest<'_>) -> String {
    replacement(&Value::String(Cow::Borrowed(text)), digest)
}

/// The replacement as a JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    write_string(text, &mut quoted);
    quoted
}

fn is_secret(keys: &[KeyName], key: &str) -> bool {
    if keys.is_empty() {
        return false;
    }
    let plain = key_name::plain(key);
    keys.iter().any(|name| name.matches(&plain))
}

#[cfg(test)]
mod tests;

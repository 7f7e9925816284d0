//! The key of a counter: exact bytes, so that no two counters ever share one, and the same as text.

#![expect(
    clippy::inline_always,
    reason = "the hot path: its results are large, and must not be moved"
)]

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::limit::Scope;
use crate::number::Decimal;
use crate::window::Window;
use crate::{Number, Object, Value};

/// A part that is longer than this is kept as its SHA-256, so that keys stay small.
const PART_BYTES_MAX: usize = 256;

/// The length that marks a hashed part; no part is that long.
const HASHED: u16 = u16::MAX;

const INTEGER: u8 = b'i';
const STRING: u8 = b's';
const OTHER: u8 = b'v';

/// The part of a key that is the same for every call a limit counts.
pub(crate) struct Head<'a> {
    pub(crate) scope: Scope,
    pub(crate) window: Window,
    pub(crate) all_tools: bool,
    pub(crate) counter: &'a str,
    pub(crate) increment_from: Option<&'a str>,
}

impl Head<'_> {
    /// Made once, when the policy is loaded.
    pub(crate) fn encode(&self) -> Box<[u8]> {
        let flags = [
            self.window.sliding,
            self.all_tools,
            self.increment_from.is_some(),
        ];
        let mut head = vec![self.scope as u8];
        head.extend(flags.map(u8::from));
        head.extend_from_slice(&self.window.micros.to_le_bytes());
        push_part(&mut head, self.counter.as_bytes());
        if let Some(path) = self.increment_from {
            push_part(&mut head, path.as_bytes());
        }
        head.into()
    }
}

/// Appends a part with its length before it.
#[inline]
pub(crate) fn push_part(key: &mut Vec<u8>, part: &[u8]) {
    if part.len() > PART_BYTES_MAX {
        key.extend_from_slice(&HASHED.to_le_bytes());
        key.extend_from_slice(&Sha256::digest(part));
    } else {
        key.extend_from_slice(&(part.len() as u16).to_le_bytes());
        key.extend_from_slice(part);
    }
}

/// Appends three names: where it counts (server or node), whose it is (grant, session or nobody), and
/// the tool (or none).
#[inline(always)]
pub(crate) fn push_names(key: &mut Vec<u8>, names: [&str; 3]) {
    let [a, b, c] = names.map(str::len);
    if a > PART_BYTES_MAX || b > PART_BYTES_MAX || c > PART_BYTES_MAX {
        return push_long_names(key, names);
    }
    let lengths = [a, b, c].map(|length| (length as u16).to_le_bytes());
    key.extend_from_slice(lengths.as_flattened());
    for name in names {
        key.extend_from_slice(name.as_bytes());
    }
}

/// The same with every long name as its hash.
#[cold]
fn push_long_names(key: &mut Vec<u8>, names: [&str; 3]) {
    let is_long = |name: &str| name.len() > PART_BYTES_MAX;
    for name in names {
        let length = if is_long(name) {
            HASHED
        } else {
            name.len() as u16
        };
        key.extend_from_slice(&length.to_le_bytes());
    }
    for name in names {
        if is_long(name) {
            key.extend_from_slice(&Sha256::digest(name));
        } else {
            key.extend_from_slice(name.as_bytes());
        }
    }
}

/// Appends a value, tagged with its type; numbers by value: `7` and `7.0` are one key.
#[inline]
pub(crate) fn push_value(key: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::String(text) => {
            key.push(STRING);
            push_part(key, text.as_bytes());
        }
        Value::Number(Number::Integer(integer)) => push_integer(key, *integer),
        Value::Number(number @ Number::Decimal(_)) => {
            match Decimal::of(number).and_then(|number| number.to_i64()) {
                Some(integer) => push_integer(key, integer),
                None => push_other(key, value),
            }
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => push_other(key, value),
    }
}

fn push_integer(key: &mut Vec<u8>, integer: i64) {
    key.push(INTEGER);
    key.extend_from_slice(&integer.to_le_bytes());
}

fn push_other(key: &mut Vec<u8>, value: &Value<'_>) {
    let mut text = String::new();
    write_canonical(&mut text, value);
    key.push(OTHER);
    push_part(key, text.as_bytes());
}

/// One text for all spellings of a value: members sorted, numbers in normal form.
fn write_canonical(out: &mut String, value: &Value<'_>) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(bool) => out.push_str(if *bool { "true" } else { "false" }),
        Value::String(text) => write_string(out, text),
        Value::Number(number) => match Decimal::of(number) {
            Some(decimal) => write_decimal(out, &decimal),
            None => out.push('?'),
        },
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(out, item);
                out.push(',');
            }
            out.push(']');
        }
        Value::Object(object) => {
            out.push('{');
            for (key, member) in sorted(object) {
                write_string(out, key);
                out.push(':');
                write_canonical(out, member);
                out.push(',');
            }
            out.push('}');
        }
    }
}

fn sorted<'o, 'a>(object: &'o Object<'a>) -> Vec<(&'o str, &'o Value<'a>)> {
    let mut members: Vec<_> = object.iter().collect();
    members.sort_by_key(|(key, _)| *key);
    members
}

fn write_string(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

fn write_decimal(out: &mut String, decimal: &Decimal) {
    match decimal.to_i64() {
        Some(integer) => out.push_str(&integer.to_string()),
        None => out.push_str(&decimal.to_string()),
    }
}

/// The key as text: `server=truenas/grant=ops-agent/tool=vm_stop/counter=vm_stop_rate/window=60s/per=7`.
/// Parts are escaped as in RFC 6901.
pub(crate) fn describe(key: &[u8]) -> String {
    Parts(key).describe().unwrap_or_default()
}

/// What is left to read of a key.
struct Parts<'k>(&'k [u8]);

impl<'k> Parts<'k> {
    fn describe(mut self) -> Option<String> {
        let [scope, sliding, all_tools, amount] = *self.take(4)? else {
            return None;
        };
        let micros = i64::from_le_bytes(self.take(8)?.try_into().ok()?);
        let counter = self.part()?;
        let increment_from = if amount == 1 {
            Some(self.part()?)
        } else {
            None
        };
        let lengths = [self.length()?, self.length()?, self.length()?];
        let [place, holder, tool] = lengths.map(|length| self.text(length));
        let (place, holder, tool) = (place?, holder?, tool?);
        let mut text = String::new();
        text.push_str(if scope == Scope::Node as u8 {
            "node="
        } else {
            "server="
        });
        text.push_str(&place);
        if scope == Scope::Grant as u8 {
            write!(text, "/grant={holder}").ok()?;
        } else if scope == Scope::Session as u8 {
            write!(text, "/session={holder}").ok()?;
        }
        if all_tools == 1 {
            text.push_str("/all_tools");
        } else {
            write!(text, "/tool={tool}").ok()?;
        }
        let window = if sliding == 1 { "sliding" } else { "window" };
        write!(text, "/counter={counter}/{window}={}s", micros / 1_000_000).ok()?;
        if let Some(path) = increment_from {
            write!(text, "/increment_from={path}").ok()?;
        }
        while !self.0.is_empty() {
            write!(text, "/per={}", self.value()?).ok()?;
        }
        Some(text)
    }

    fn take(&mut self, len: usize) -> Option<&'k [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn part(&mut self) -> Option<String> {
        let length = self.length()?;
        self.text(length)
    }

    fn length(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    fn text(&mut self, length: u16) -> Option<String> {
        if length == HASHED {
            return Some(format!("sha256:{}", hex::encode(self.take(32)?)));
        }
        Some(escape(&String::from_utf8_lossy(
            self.take(usize::from(length))?,
        )))
    }

    fn value(&mut self) -> Option<String> {
        match *self.take(1)? {
            [INTEGER] => Some(i64::from_le_bytes(self.take(8)?.try_into().ok()?).to_string()),
            [STRING] => Some(format!("\"{}\"", self.part()?)),
            [_] => self.part(),
            _ => None,
        }
    }
}

/// Escapes a segment of a rule id or a key as RFC 6901 does.
pub(crate) fn escape(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn head(scope: Scope, all_tools: bool, increment_from: Option<&str>) -> Vec<u8> {
        let window = Window {
            micros: 60_000_000,
            sliding: increment_from.is_some(),
        };
        Head {
            scope,
            window,
            all_tools,
            counter: "a/b",
            increment_from,
        }
        .encode()
        .into_vec()
    }

    #[test]
    fn a_key_is_shown_as_text() {
        let mut key = head(Scope::Grant, false, None);
        push_names(&mut key, ["truenas", "ops", "vm_stop"]);
        push_value(&mut key, &Value::parse("7.0").unwrap());
        push_value(&mut key, &Value::parse("\"7/8\"").unwrap());
        push_value(
            &mut key,
            &Value::parse("{\"b\": 1.50, \"a\": [null]}").unwrap(),
        );
        let shown = "server=truenas/grant=ops/tool=vm_stop/counter=a~1b/window=60s/per=7/per=\"7~18\"/per={\"a\":[null,],\"b\":15e-1,}";
        assert_eq!(describe(&key), shown);
        let mut key = head(Scope::Node, true, Some("args.n"));
        push_names(&mut key, ["n1", "", ""]);
        assert_eq!(
            describe(&key),
            "node=n1/all_tools/counter=a~1b/sliding=60s/increment_from=args.n"
        );
    }

    #[test]
    fn long_names_and_values_are_hashed_and_stay_apart() {
        let long = |c: &str| c.repeat(300);
        let key = |names: [&str; 3]| {
            let mut key = head(Scope::Session, false, None);
            push_names(&mut key, names);
            key
        };
        let (a, b) = (key(["s", &long("a"), "t"]), key(["s", &long("b"), "t"]));
        assert_ne!(a, b);
        assert!(
            a.len() < 100 && describe(&a).starts_with("server=s/session=sha256:"),
            "{}",
            describe(&a)
        );
        assert_ne!(key(["a", "bc", "d"]), key(["ab", "c", "d"]));
    }
}

//! The key of a counter: exact bytes, so that no two counters ever share one, and the same as text.

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
        let mut text = String::new();
        if scope == Scope::Node as u8 {
            write!(text, "node={}", self.part()?).ok()?;
        } else {
            write!(text, "server={}", self.part()?).ok()?;
        }
        if scope == Scope::Grant as u8 {
            write!(text, "/grant={}", self.part()?).ok()?;
        } else if scope == Scope::Session as u8 {
            write!(text, "/session={}", self.part()?).ok()?;
        }
        if all_tools == 1 {
            text.push_str("/all_tools");
        } else {
            write!(text, "/tool={}", self.part()?).ok()?;
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
        match u16::from_le_bytes(self.take(2)?.try_into().ok()?) {
            HASHED => Some(format!("sha256:{}", hex::encode(self.take(32)?))),
            len => Some(escape(&String::from_utf8_lossy(
                self.take(usize::from(len))?,
            ))),
        }
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

//! The key of a counter: exact bytes, so that no two counters ever share one, and the same as text.

#![expect(
    clippy::inline_always,
    reason = "the hot path: its results are large, and must not be moved"
)]

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher as _};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::limit::Scope;
use crate::number::Decimal;
use crate::short::same;
use crate::window::Window;
use crate::{Number, Object, Value};

/// A part that is longer than this is kept as its SHA-256, so that keys stay small.
const PART_BYTES_MAX: usize = 256;

/// The length that marks a hashed part; no part is that long.
const HASHED: u16 = u16::MAX;

const INTEGER: u8 = b'i';
const STRING: u8 = b's';
const OTHER: u8 = b'v';
const LONG: u8 = b'l';

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
    pub(crate) fn seal(&self) -> Arc<Sealed> {
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
        let digest: [u8; 32] = Sha256::digest(&head).into();
        let mark = digest
            .first_chunk()
            .map_or(0, |chunk| u64::from_le_bytes(*chunk));
        Arc::new(Sealed {
            bytes: head.into(),
            mark,
        })
    }
}

/// A head as bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    bytes: Box<[u8]>,
    /// The bytes hashed once, for finding; what decides are the bytes.
    mark: u64,
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

/// The key of one counter, in parts that need not be copied to be looked up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key<'k> {
    /// What is the same for every call of a limit.
    pub(crate) head: &'k Arc<Sealed>,
    /// Place, holder and tool; empty where they do not count, or are too long and stand in `values`.
    pub(crate) names: [&'k str; 3],
    /// The `per` values.
    pub(crate) values: &'k [u8],
}

impl Key<'_> {
    /// For finding. Every part is hashed by itself, so that the processor need not do one after the other.
    #[inline(always)]
    pub(crate) fn hash(&self, state: &impl BuildHasher) -> u64 {
        let [place, holder, tool] = self.names;
        let names = hash_part(state, place.as_bytes())
            ^ hash_part(state, holder.as_bytes()).rotate_left(21)
            ^ hash_part(state, tool.as_bytes()).rotate_left(42);
        let values = if self.values.is_empty() {
            0
        } else {
            hash_part(state, self.values).rotate_left(11)
        };
        self.head.mark ^ names ^ values
    }

    /// Appends the rest of the key, after its head, as it is kept.
    pub(crate) fn write_rest(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.lengths());
        for name in self.names {
            bytes.extend_from_slice(name.as_bytes());
        }
        bytes.extend_from_slice(self.values);
    }

    /// Whether this is the key that is kept as `head` and `rest`. Exact; heads are mostly the very same.
    #[inline(always)]
    pub(crate) fn is(&self, head: &Arc<Sealed>, rest: &[u8]) -> bool {
        (Arc::ptr_eq(self.head, head) || self.head.bytes == head.bytes) && self.is_rest(rest)
    }

    #[inline(always)]
    fn is_rest(&self, rest: &[u8]) -> bool {
        let [a, b, c] = self.names.map(str::as_bytes);
        let Some((lengths, rest)) = rest.split_first_chunk() else {
            return false;
        };
        let Some((one, rest)) = rest.split_at_checked(a.len()) else {
            return false;
        };
        let Some((two, rest)) = rest.split_at_checked(b.len()) else {
            return false;
        };
        let Some((three, values)) = rest.split_at_checked(c.len()) else {
            return false;
        };
        *lengths == self.lengths()
            && same(one, a)
            && same(two, b)
            && same(three, c)
            && same(values, self.values)
    }

    #[inline(always)]
    fn lengths(&self) -> [u8; 6] {
        let mut lengths = [0; 6];
        for (length, name) in lengths.as_chunks_mut().0.iter_mut().zip(self.names) {
            *length = (name.len() as u16).to_le_bytes();
        }
        lengths
    }
}

#[inline(always)]
fn hash_part(state: &impl BuildHasher, part: &[u8]) -> u64 {
    let mut hasher = state.build_hasher();
    hasher.write(part);
    hasher.finish()
}

/// Whether a name of this length is kept as its hash.
#[inline(always)]
pub(crate) fn is_long(length: usize) -> bool {
    length > PART_BYTES_MAX
}

/// Long names stand among the values instead, as their hash.
#[cold]
pub(crate) fn shorten(names: &mut [&str; 3], values: &mut Vec<u8>) {
    for name in names.iter_mut().filter(|name| is_long(name.len())) {
        values.push(LONG);
        values.extend_from_slice(&Sha256::digest(*name));
        *name = "";
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
pub(crate) fn describe(head: &Sealed, rest: &[u8]) -> String {
    Parts(&head.bytes).describe(Parts(rest)).unwrap_or_default()
}

/// What is left to read of a key.
struct Parts<'k>(&'k [u8]);

impl<'k> Parts<'k> {
    fn describe(mut self, mut rest: Parts<'_>) -> Option<String> {
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
        let lengths = [rest.length()?, rest.length()?, rest.length()?];
        let [place, holder, tool] = lengths.map(|length| rest.text(length));
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
        while let Some(tag) = rest.0.first() {
            text.push_str(if *tag == LONG { "/name=" } else { "/per=" });
            text.push_str(&rest.value()?);
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
            [LONG] => self.text(HASHED),
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

    fn head(scope: Scope, all_tools: bool, increment_from: Option<&str>) -> Arc<Sealed> {
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
        .seal()
    }

    fn rest(key: &Key<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        key.write_rest(&mut bytes);
        bytes
    }

    fn shown_as(key: &Key<'_>) -> String {
        describe(key.head, &rest(key))
    }

    #[test]
    fn a_key_is_shown_as_text() {
        let mut values = Vec::new();
        for text in ["7.0", "\"7/8\"", "{\"b\": 1.50, \"a\": [null]}"] {
            push_value(&mut values, &Value::parse(text).unwrap());
        }
        let head_bytes = head(Scope::Grant, false, None);
        let key = Key {
            head: &head_bytes,
            names: ["truenas", "ops", "vm_stop"],
            values: &values,
        };
        let shown = "server=truenas/grant=ops/tool=vm_stop/counter=a~1b/window=60s\
                     /per=7/per=\"7~18\"/per={\"a\":[null,],\"b\":15e-1,}";
        assert_eq!(shown_as(&key), shown);
        let head_bytes = head(Scope::Node, true, Some("args.n"));
        let key = Key {
            head: &head_bytes,
            names: ["n1", "", ""],
            values: &[],
        };
        let shown = "node=n1/all_tools/counter=a~1b/sliding=60s/increment_from=args.n";
        assert_eq!(shown_as(&key), shown);
    }

    #[test]
    fn a_key_is_only_itself() {
        let head_bytes = head(Scope::Session, false, None);
        let key = |names, values| Key {
            head: &head_bytes,
            names,
            values,
        };
        let keys = [
            key(["a", "bc", "d"], &[]),
            key(["ab", "c", "d"], &[]),
            key(["a", "bc", ""], b"d"),
            key(["a", "bc", "d"], b"sxx"),
            key(["", "", ""], &[]),
        ];
        for (i, one) in keys.iter().enumerate() {
            for (j, other) in keys.iter().enumerate() {
                assert_eq!(one.is_rest(&rest(other)), i == j, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_long_name_stands_among_the_values() {
        let long = "a".repeat(300);
        let mut values = Vec::new();
        let mut names = ["s", long.as_str(), "t"];
        shorten(&mut names, &mut values);
        let head_bytes = head(Scope::Session, false, None);
        let key = Key {
            head: &head_bytes,
            names,
            values: &values,
        };
        let shown = shown_as(&key);
        assert!(
            shown.starts_with("server=s/session=/tool=t/") && shown.contains("/name=sha256:"),
            "{shown}"
        );
    }
}

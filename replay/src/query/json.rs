//! JSON text asked for one of its values, without the rest being parsed.
//!
//! Recorded arguments were parsed strictly before they were written, so what stands before the value
//! asked for is only passed over: a query looks at millions of them.

use std::borrow::Cow;
use std::str::FromStr;

use weir_policy::Value;

/// Where a value stands in JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place(Vec<String>);

/// Why a text is no place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPlace {
    #[error("`{0}` is not a JSON pointer: it starts with `/`, as in '/id'")]
    Pointer(String),
    #[error("`{0}` is not a JSON path: write '$.id', '$.disks[0].name' or '$.\"a key\"'")]
    Path(String),
}

/// An RFC 6901 pointer.
impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(pointer: &str) -> Result<Self, NoPlace> {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(NoPlace::Pointer(pointer.to_owned()));
        }
        let steps = pointer.split('/').skip(1);
        Ok(Self(
            steps
                .map(|step| step.replace("~1", "/").replace("~0", "~"))
                .collect(),
        ))
    }
}

impl Place {
    /// What stands on the right of `->`: a path (`$.disks[0].name`), a pointer (`/disks/0/name`), or a key.
    pub(super) fn of_operand(text: &str) -> Result<Self, NoPlace> {
        match text.strip_prefix('$') {
            Some(path) => path_steps(path)
                .map(Self)
                .ok_or_else(|| NoPlace::Path(text.to_owned())),
            None if text.starts_with('/') => text.parse(),
            None => Ok(Self(vec![text.to_owned()])),
        }
    }

    /// The value here as it stands in `text`; none where there is none.
    pub(super) fn find<'a>(&self, text: &'a str) -> Option<&'a str> {
        let mut at = text.trim_ascii_start();
        for step in &self.0 {
            at = match at.as_bytes().first()? {
                b'{' => member(at, step)?,
                b'[' => element(at, index(step)?)?,
                _ => return None,
            };
        }
        let end = past_value(at)?;
        at.get(..end)
    }
}

/// The steps of `.id`, `["a key"]`, `."a key"` and `[0]`.
fn path_steps(mut path: &str) -> Option<Vec<String>> {
    let mut steps = Vec::new();
    while !path.is_empty() {
        if let Some(rest) = path.strip_prefix('[') {
            let (step, rest) = if rest.starts_with('"') {
                let end = past_string(rest)?;
                (unquoted(rest.get(..end)?)?.into_owned(), rest.get(end..)?)
            } else {
                let (digits, _) = rest.split_once(']')?;
                let _: usize = digits.parse().ok()?;
                (digits.to_owned(), rest.get(digits.len()..)?)
            };
            steps.push(step);
            path = rest.strip_prefix(']')?;
        } else {
            let rest = path.strip_prefix('.')?;
            if rest.starts_with('"') {
                let end = past_string(rest)?;
                steps.push(unquoted(rest.get(..end)?)?.into_owned());
                path = rest.get(end..)?;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                let (step, rest) = rest.split_at(end);
                if step.is_empty() {
                    return None;
                }
                steps.push(step.to_owned());
                path = rest;
            }
        }
    }
    Some(steps)
}

/// A value as text: a string as it reads, anything else as JSON without blanks; nothing for null.
pub(super) fn as_text(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' => unquoted(raw),
        b'n' => None,
        b'{' | b'[' => as_json(raw),
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// A value as JSON, without blanks.
pub(super) fn as_json(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains([' ', '\n', '\r', '\t']) {
        return Some(Cow::Borrowed(raw));
    }
    let value = Value::parse(raw).ok()?;
    Some(Cow::Owned(value.to_json()))
}

/// The keys of an object, sorted, each once; none of anything else.
pub(super) fn keys(text: &str) -> Option<Vec<Cow<'_, str>>> {
    let mut rest = text
        .trim_ascii_start()
        .strip_prefix('{')?
        .trim_ascii_start();
    let mut keys = Vec::new();
    while !rest.starts_with('}') {
        let (key, value) = next_member(rest)?;
        keys.push(unquoted(key)?);
        rest = after_value(value)?;
    }
    keys.sort_unstable();
    keys.dedup();
    Some(keys)
}

/// An object's keys, sorted, each with the name of its value's type, as JSON; none of anything else.
pub(super) fn shape(text: &str) -> Option<String> {
    let mut rest = text
        .trim_ascii_start()
        .strip_prefix('{')?
        .trim_ascii_start();
    let mut members = Vec::new();
    while !rest.starts_with('}') {
        let (key, value) = next_member(rest)?;
        members.push((unquoted(key)?, type_name(value)?));
        rest = after_value(value)?;
    }
    members.sort_unstable();
    members.dedup_by(|a, b| a.0 == b.0);
    let mut shape = String::from("{");
    for (key, kind) in members {
        if shape.len() > 1 {
            shape.push(',');
        }
        super::cell::push_string(&key, &mut shape);
        shape.extend([":\"", kind, "\""]);
    }
    shape.push('}');
    Some(shape)
}

/// The type of the value that `text` begins with, as JSON Schema calls it.
fn type_name(text: &str) -> Option<&'static str> {
    Some(match text.as_bytes().first()? {
        b'"' => "string",
        b'{' => "object",
        b'[' => "array",
        b't' | b'f' => "boolean",
        b'n' => "null",
        _ if text.get(..past_value(text)?)?.contains(['.', 'e', 'E']) => "number",
        _ => "integer",
    })
}

/// The value of `key` and what follows it, of an object's text.
fn member<'a>(object: &'a str, key: &str) -> Option<&'a str> {
    let mut rest = object.get(1..)?.trim_ascii_start();
    while !rest.starts_with('}') {
        let (name, value) = next_member(rest)?;
        let inner = name.get(1..name.len() - 1)?;
        let found = if inner.contains('\\') {
            unquoted(name)? == key
        } else {
            inner == key
        };
        if found {
            return Some(value);
        }
        rest = after_value(value)?;
    }
    None
}

/// A place in an array, as RFC 6901 writes it: no sign, no zero in front.
fn index(step: &str) -> Option<usize> {
    let is_plain = !step.starts_with(['+', '0']) || step == "0";
    step.parse().ok().filter(|_| is_plain)
}

/// A member's key, quoted, and the text from its value on.
fn next_member(text: &str) -> Option<(&str, &str)> {
    let end = past_string(text)?;
    let value = text.get(end..)?.trim_ascii_start().strip_prefix(':')?;
    Some((text.get(..end)?, value.trim_ascii_start()))
}

/// The element at `place` and what follows it, of an array's text.
fn element(array: &str, place: usize) -> Option<&str> {
    let mut rest = array.get(1..)?.trim_ascii_start();
    for _ in 0..place {
        if rest.starts_with(']') {
            return None;
        }
        rest = after_value(rest)?;
    }
    (!rest.starts_with(']')).then_some(rest)
}

/// Behind a value and the comma after it, or at the bracket that closes.
fn after_value(text: &str) -> Option<&str> {
    let rest = text.get(past_value(text)?..)?.trim_ascii_start();
    match rest.as_bytes().first()? {
        b',' => Some(rest.get(1..)?.trim_ascii_start()),
        b'}' | b']' => Some(rest),
        _ => None,
    }
}

/// Where the value that `text` begins with ends.
fn past_value(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    match bytes.first()? {
        b'"' => past_string(text),
        b'{' | b'[' => {
            let (mut depth, mut at) = (0_usize, 0);
            loop {
                match bytes.get(at)? {
                    b'"' => {
                        at += past_string(text.get(at..)?)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        b't' | b'f' | b'n' | b'-' | b'0'..=b'9' => {
            let is_end =
                |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
            Some(bytes.iter().position(is_end).unwrap_or(bytes.len()))
        }
        _ => None,
    }
}

/// Where the string that `text` begins with ends.
fn past_string(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes.first()? != &b'"' {
        return None;
    }
    let mut at = 1;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// What a quoted string reads.
fn unquoted(quoted: &str) -> Option<Cow<'_, str>> {
    let inner = quoted.get(1..quoted.len().checked_sub(1)?)?;
    if inner.contains('\\') {
        return serde_json::from_str(quoted).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use weir_policy::Value;

    use super::{Place, as_json, as_text, keys, shape};

    fn at(text: &str, pointer: &str) -> Option<String> {
        let place: Place = pointer.parse().unwrap();
        place
            .find(text)
            .and_then(as_text)
            .map(std::borrow::Cow::into_owned)
    }

    fn along(text: &str, path: &str) -> Option<String> {
        let place = Place::of_operand(path).unwrap();
        place
            .find(text)
            .and_then(as_json)
            .map(std::borrow::Cow::into_owned)
    }

    #[test]
    fn pointers_walk_objects_and_arrays() {
        let text =
            r#" {"a/b" : {"c":[1, "two" ,null]},"n":9007199254740993, "\u0071":true, "s":"x}\"]"}"#;
        assert_eq!(at(text, "/a~1b/c/1").as_deref(), Some("two"));
        assert_eq!(at(text, "/n").as_deref(), Some("9007199254740993"));
        assert_eq!(at(text, "/a~1b/c").as_deref(), Some(r#"[1,"two",null]"#));
        assert_eq!(at(text, "/q").as_deref(), Some("true"));
        assert_eq!(at(text, "/s").as_deref(), Some("x}\"]"));
        for nothing in ["/a~1b/c/2", "/a~1b/c/3", "/a~1b/c/x", "/missing/0", "/n/0"] {
            assert_eq!(at(text, nothing), None, "{nothing}");
        }
        assert_eq!(at("not json", "/a"), None);
        assert_eq!(at("", ""), None);
        assert!("id".parse::<Place>().is_err());
    }

    #[test]
    fn paths_are_written_as_in_other_databases() {
        let text = r#"{"disks":[{"a name":"x"},7],"id":"7"}"#;
        assert_eq!(
            along(text, "$.disks[0].\"a name\"").as_deref(),
            Some("\"x\"")
        );
        assert_eq!(along(text, "$[\"disks\"][1]").as_deref(), Some("7"));
        assert_eq!(along(text, "/disks/1").as_deref(), Some("7"));
        assert_eq!(along(text, "id").as_deref(), Some("\"7\""));
        assert_eq!(along(text, "$").as_deref(), Some(text));
        for wrong in ["$id", "$.", "$..id", "$[x]", "$.disks[0"] {
            assert!(Place::of_operand(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_sorted_and_unescaped() {
        assert_eq!(
            keys(r#"{"b":{"x":1},"a":[],"\u0061":2}"#).unwrap(),
            ["a", "b"]
        );
        assert_eq!(keys("{}").unwrap(), Vec::<String>::new());
        assert_eq!(keys("[1]"), None);
        assert_eq!(keys(r#"{"a":1"#), None);
    }

    #[test]
    fn a_shape_names_keys_and_types() {
        assert_eq!(
            shape(r#" {"b":{"x":1},"a\"":[],"c":-1,"d":1e3,"e":null,"f":true,"g":"x"}"#).unwrap(),
            r#"{"a\"":"array","b":"object","c":"integer","d":"number","e":"null","f":"boolean","g":"string"}"#
        );
        assert_eq!(shape("{}").unwrap(), "{}");
        assert_eq!(shape("[1]"), None);
        assert_eq!(shape(r#"{"a":1"#), None);
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i32>().prop_map(Into::into),
            "[a-c\\\\\"/~{}\\[\\], é]{0,5}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::btree_map("[a-c\\\\\"/~ é]{0,2}", inner, 0..4)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_a_parser_finds(
            json in json(),
            steps in proptest::collection::vec("[a-c0-2\\\\\"/~ é]{0,2}", 0..4),
            pretty in any::<bool>(),
        ) {
            let text = if pretty {
                serde_json::to_string_pretty(&json).unwrap()
            } else {
                json.to_string()
            };
            let steps: Vec<String> = steps.iter().map(|step| step.replace('~', "~0").replace('/', "~1")).collect();
            let pointer = if steps.is_empty() { String::new() } else { format!("/{}", steps.join("/")) };
            let expected = json.pointer(&pointer).and_then(|value| match value {
                serde_json::Value::Null => None,
                serde_json::Value::String(text) => Some(text.clone()),
                serde_json::Value::Bool(_)
                | serde_json::Value::Number(_)
                | serde_json::Value::Array(_)
                | serde_json::Value::Object(_) => {
                    Some(Value::parse(&value.to_string()).unwrap().to_json())
                }
            });
            prop_assert_eq!(at(&text, &pointer), expected);
        }

        #[test]
        fn no_text_is_too_strange(text in "[\\[\\]{}\",:a0 \\\\é-]{0,24}", step in "[a0]{0,1}") {
            let place = Place(vec![step]);
            drop(place.find(&text).map(as_text));
            drop(keys(&text));
        }
    }
}

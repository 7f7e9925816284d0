//! One text on its way through: what has to be replaced in it, and where that stood.

use std::borrow::Cow;

use crate::strict::{Fault, Reader};
use crate::{Flaw, Value};

use super::key_name::{self, KeyName};
use super::place::{At, Place, pointer};
use super::{KeyedDigest, is_replaced, is_secret, quoted, replacement};

/// JSON inside strings is read so many levels down; what is deeper is replaced whole.
const NESTED_MAX: usize = 4;

/// So many values of one text are named one by one; with more of them nothing of it is kept.
const REPLACED_MAX: usize = 256;
/// The bytes that their pointers may have together.
const POINTER_BYTES_MAX: usize = 16 * 1024;

pub(super) struct Walk<'w, 't> {
    places: &'w [Place],
    keys: &'w [KeyName],
    digest: &'w KeyedDigest<'w>,
    /// How many strings this text stands in.
    nested: usize,
    path: Vec<At<'t>>,
    /// Where a value stood, and the JSON that stands there instead.
    replaced: Vec<(usize, usize, String)>,
    pointers: Vec<String>,
    pointer_bytes: usize,
}

impl<'w, 't> Walk<'w, 't> {
    pub(super) fn new(
        places: &'w [Place],
        keys: &'w [KeyName],
        digest: &'w KeyedDigest<'w>,
    ) -> Self {
        Self {
            places,
            keys,
            digest,
            nested: 0,
            path: Vec::new(),
            replaced: Vec::new(),
            pointers: Vec::new(),
            pointer_bytes: 0,
        }
    }

    pub(super) fn into_pointers(self) -> Vec<String> {
        self.pointers
    }

    /// The text with its replacements; none if there are none.
    pub(super) fn text(&mut self, json: &'t str) -> Result<Option<String>, Fault> {
        let mut reader = Reader::new(json);
        reader.space();
        self.value(&mut reader, 0, false)?;
        reader.end()?;
        if self.replaced.is_empty() {
            return Ok(None);
        }
        let mut out = String::with_capacity(json.len());
        let mut from = 0;
        for (start, end, instead) in &self.replaced {
            out.push_str(json.get(from..*start).unwrap_or_default());
            out.push_str(instead);
            from = *end;
        }
        out.push_str(json.get(from..).unwrap_or_default());
        Ok(Some(out))
    }

    fn value(
        &mut self,
        reader: &mut Reader<'t>,
        depth: usize,
        is_secret: bool,
    ) -> Result<(), Fault> {
        let start = reader.position();
        let is_named = self.places.iter().any(|place| place.is_at(&self.path));
        if is_named || is_secret {
            let value = reader.value(depth)?;
            // Whether something is on is no secret, unless the operator named this very place.
            let shows = match value {
                Value::Null => true,
                Value::Bool(_) => !is_named,
                Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => false,
            };
            return if shows {
                Ok(())
            } else {
                self.replace(reader, start, &value)
            };
        }
        match reader.peek() {
            Some(b'{') => self.object(reader, depth),
            Some(b'[') => self.array(reader, depth),
            _ => match reader.value(depth)? {
                Value::String(text) => self.string(reader, start, text),
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Array(_)
                | Value::Object(_) => Ok(()),
            },
        }
    }

    fn object(&mut self, reader: &mut Reader<'t>, depth: usize) -> Result<(), Fault> {
        reader.open(depth)?;
        if reader.take(b'}') {
            return Ok(());
        }
        loop {
            let key = reader.key()?;
            let is_secret = is_secret(self.keys, &key);
            self.path.push(At::Key(key));
            self.value(reader, depth + 1, is_secret)?;
            self.path.pop();
            if reader.close_member()? {
                return Ok(());
            }
        }
    }

    fn array(&mut self, reader: &mut Reader<'t>, depth: usize) -> Result<(), Fault> {
        reader.open(depth)?;
        if reader.take(b']') {
            return Ok(());
        }
        let mut index = 0;
        loop {
            self.path.push(At::Index(index));
            self.value(reader, depth + 1, false)?;
            self.path.pop();
            if reader.close_element()? {
                return Ok(());
            }
            index += 1;
        }
    }

    /// A string that nobody named: it may hold JSON, or look like a replacement.
    fn string(
        &mut self,
        reader: &Reader<'t>,
        start: usize,
        text: Cow<'t, str>,
    ) -> Result<(), Fault> {
        if is_replaced(&text) {
            return self.replace(reader, start, &Value::String(text));
        }
        if self.keys.is_empty() || !text.trim_start().starts_with(['{', '[']) {
            return Ok(());
        }
        if self.nested == NESTED_MAX {
            return self.replace(reader, start, &Value::String(text));
        }
        let mut inside = Walk {
            nested: self.nested + 1,
            ..Walk::new(&[], self.keys, self.digest)
        };
        match inside.text(&text) {
            Ok(Some(redacted)) => self.put(reader, start, &redacted),
            Err(_) if may_hold_a_secret(self.keys, &text) => {
                self.replace(reader, start, &Value::String(text))
            }
            Ok(None) | Err(_) => Ok(()),
        }
    }

    fn replace(
        &mut self,
        reader: &Reader<'t>,
        start: usize,
        value: &Value<'_>,
    ) -> Result<(), Fault> {
        self.put(reader, start, &replacement(value, self.digest))
    }

    /// Puts a string where the value from `start` to here stood.
    fn put(&mut self, reader: &Reader<'t>, start: usize, text: &str) -> Result<(), Fault> {
        let pointer = pointer(&self.path);
        self.pointer_bytes += pointer.len();
        if self.replaced.len() == REPLACED_MAX || self.pointer_bytes > POINTER_BYTES_MAX {
            return Err(Fault {
                flaw: Flaw::TooManyValues,
                at: start,
            });
        }
        self.replaced.push((start, reader.position(), quoted(text)));
        self.pointers.push(pointer);
        Ok(())
    }
}

/// Of a text that is almost JSON: whether a secret's name stands in it, or could, written with escapes.
fn may_hold_a_secret(keys: &[KeyName], text: &str) -> bool {
    let plain = key_name::plain(text);
    text.contains("\\u") || keys.iter().any(|name| name.is_in(&plain))
}

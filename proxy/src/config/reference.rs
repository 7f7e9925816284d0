//! Every key of weir.toml: what it holds, within which bounds, and what holds if it is left out.
//!
//! The reader (`read.rs` and its neighbours) reports each fault with its place, so it is written by hand and not derived. These tables are
//! what people and editors read of it: the reference page and the JSON Schema are made of them, and the tests hold them to what the reader
//! asks for, takes and refuses.

use serde_json::{Map, Value, json};

use keys::SECTIONS;

mod keys;
mod page;
#[cfg(test)]
mod tests;

pub use page::page;

/// One table of the file.
#[derive(Debug)]
struct Table {
    /// As it is written: `[listen]`, `[[server]]`; empty for the top level.
    heading: &'static str,
    text: &'static str,
    keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
struct Key {
    name: &'static str,
    form: Form,
    left_out: LeftOut,
    text: &'static str,
}

/// A key of a table.
const fn key(name: &'static str, form: Form, left_out: LeftOut, text: &'static str) -> Key {
    Key {
        name,
        form,
        left_out,
        text,
    }
}

/// What a key holds.
#[derive(Debug)]
enum Form {
    /// `true` or `false`.
    Flag,
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Address and port.
    Address,
    /// An http or https address.
    Url,
    /// A path to a file that is there.
    File,
    /// A path.
    Path,
    /// A span of time: `"60s"`.
    Span,
    /// A size with its unit, `"50GB"`, of at least so many megabytes.
    Size(u64),
    /// Whole days: `"90d"`.
    Days,
    /// A whole number within these bounds.
    Count(u64, u64),
    /// A whole number of bytes within these bounds.
    Bytes(u64, u64),
    Texts,
    /// Paths to files that are there.
    Files,
    Table(&'static [Key]),
    /// An array of tables.
    Tables(&'static [Key]),
    /// A table of strings, each written out or `{ env = "NAME" }`.
    Values,
    /// A word or a table, as the text says.
    Other(&'static str),
}

/// What holds where a key is left out.
#[derive(Debug)]
enum LeftOut {
    /// It is needed.
    Never,
    /// Nothing, or what the text says.
    Told,
    /// This value, as TOML has it.
    Value(&'static str),
}

/// The JSON Schema of weir.toml, for editors that know TOML.
pub fn schema() -> Value {
    let mut properties = Map::new();
    for table in SECTIONS {
        let name = table.heading.trim_matches(['[', ']']);
        if name.is_empty() {
            properties.extend(members(table.keys));
            continue;
        }
        let object = object(table.keys);
        let value = if table.heading.starts_with("[[") {
            json!({ "description": table.text, "type": "array", "items": object })
        } else {
            described(object, table.text)
        };
        properties.insert(name.to_owned(), value);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "weir.toml",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

/// The schemas of a table's keys.
fn members(keys: &[Key]) -> Map<String, Value> {
    let member = |key: &Key| {
        let mut schema = described(key.form.schema(), key.text);
        if let (LeftOut::Value(value), Some(schema)) = (&key.left_out, schema.as_object_mut()) {
            // A TOML value of these forms is a JSON value too.
            let value = serde_json::from_str(value).unwrap_or(Value::Null);
            schema.insert("default".to_owned(), value);
        }
        (key.name.to_owned(), schema)
    };
    keys.iter().map(member).collect()
}

/// The schema of a table that has nothing but these.
fn object(keys: &[Key]) -> Value {
    let needed = keys
        .iter()
        .filter(|key| matches!(key.left_out, LeftOut::Never));
    let needed: Vec<&str> = needed.map(|key| key.name).collect();
    json!({
        "type": "object",
        "properties": members(keys),
        "required": needed,
        "additionalProperties": false,
    })
}

fn described(mut schema: Value, text: &str) -> Value {
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), text.into());
    }
    schema
}

impl Form {
    fn schema(&self) -> Value {
        match self {
            Self::Flag => json!({ "type": "boolean" }),
            Self::Word(words) => json!({ "enum": words }),
            Self::Text
            | Self::Address
            | Self::Url
            | Self::File
            | Self::Path
            | Self::Span
            | Self::Size(_)
            | Self::Days => json!({ "type": "string" }),
            Self::Count(from, to) | Self::Bytes(from, to) => {
                json!({ "type": "integer", "minimum": from, "maximum": to })
            }
            Self::Texts | Self::Files => json!({ "type": "array", "items": { "type": "string" } }),
            Self::Table(keys) => object(keys),
            Self::Tables(keys) => json!({ "type": "array", "items": object(keys) }),
            Self::Values => json!({
                "type": "object",
                "additionalProperties": { "anyOf": [
                    { "type": "string" },
                    { "type": "object", "properties": { "env": { "type": "string" } }, "required": ["env"], "additionalProperties": false },
                ] },
            }),
            Self::Other(_) => json!({}),
        }
    }
}

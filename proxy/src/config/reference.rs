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
    let mut root = members(top_level());
    for table in SECTIONS {
        let name = table.heading.trim_matches(['[', ']']);
        if name.is_empty() {
            continue;
        }
        let mut object = members(table.keys);
        object["description"] = table.text.into();
        let value = if table.heading.starts_with("[[") {
            json!({ "type": "array", "items": object })
        } else {
            object
        };
        root["properties"][name] = value;
    }
    root["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    root["title"] = "weir.toml".into();
    root
}

fn top_level() -> &'static [Key] {
    let mut tables = SECTIONS.iter();
    tables
        .find(|table| table.heading.is_empty())
        .map_or(&[], |table| table.keys)
}

fn members(keys: &[Key]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        let mut property = key.form.schema();
        property["description"] = key.text.into();
        if let LeftOut::Value(value) = key.left_out {
            // A TOML value of these forms is a JSON value too.
            property["default"] = serde_json::from_str(value).unwrap_or(Value::Null);
        }
        properties.insert(key.name.to_owned(), property);
    }
    let needed = keys
        .iter()
        .filter(|key| matches!(key.left_out, LeftOut::Never));
    let needed: Vec<&str> = needed.map(|key| key.name).collect();
    json!({
        "type": "object",
        "properties": properties,
        "required": needed,
        "additionalProperties": false,
    })
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
            Self::Table(keys) => members(keys),
            Self::Tables(keys) => json!({ "type": "array", "items": members(keys) }),
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

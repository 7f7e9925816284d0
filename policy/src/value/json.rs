//! A value from its JSON text, and back.

use super::{Number, Object, Value};
use crate::malformed::Malformed;
use crate::strict;

impl<'a> Value<'a> {
    /// Reads one JSON text by the same strict rules as a message: what one reader would take
    /// otherwise than another is refused.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        strict::value(text).map_err(|fault| Malformed {
            at: Some(fault.at),
            ..Malformed::new(fault.flaw)
        })
    }

    /// The JSON text: compact, members in their order, numbers as they were written.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    /// Appends the JSON text to `out`.
    pub fn write_json(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Number(Number::Integer(integer)) => out.push_str(&integer.to_string()),
            Self::Number(Number::Decimal(text)) => out.push_str(text),
            Self::String(text) => write_string(text, out),
            Self::Array(elements) => {
                out.push('[');
                for (place, element) in elements.iter().enumerate() {
                    if place > 0 {
                        out.push(',');
                    }
                    element.write_json(out);
                }
                out.push(']');
            }
            Self::Object(object) => object.write_json(out),
        }
    }
}

impl Object<'_> {
    fn write_json(&self, out: &mut String) {
        out.push('{');
        for (place, (key, value)) in self.iter().enumerate() {
            if place > 0 {
                out.push(',');
            }
            write_string(key, out);
            out.push(':');
            value.write_json(out);
        }
        out.push('}');
    }
}

/// Appends a string in quotes.
pub(crate) fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{0}'..='\u{1f}' => {
                out.push_str("\\u00");
                out.push(char::from_digit(u32::from(c) >> 4, 16).unwrap_or('0'));
                out.push(char::from_digit(u32::from(c) & 15, 16).unwrap_or('0'));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

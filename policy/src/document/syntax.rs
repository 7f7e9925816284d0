//! Bytes to a tree with places: JSON and nothing but JSON.

use jsonc_parser::ast::Value as Node;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use crate::Problems;
use crate::problem::Span;

/// A document that is larger than this is not a policy.
const BYTES_MAX: usize = 4 << 20;

const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// The tree of a document, or one problem: after a syntax error nothing that follows can be trusted.
pub(super) fn parse<'t>(text: &'t str, problems: &mut Problems) -> Option<Node<'t>> {
    if text.len() > BYTES_MAX {
        problems.error(Span::default(), "the document is larger than 4 MiB", None);
        return None;
    }
    if let Some((at, what)) = stray(text) {
        problems.error(at, what, None);
        return None;
    }
    match parse_to_ast(text, &CollectOptions::default(), &STRICT) {
        Ok(result) => {
            if result.value.is_none() {
                problems.error(Span::default(), "the document is empty", None);
            }
            result.value
        }
        Err(error) => {
            let range = error.range();
            let span = Span {
                start: range.start,
                end: range.end.max(range.start),
            };
            problems.error(span, lower(&error.kind().to_string()), None);
            None
        }
    }
}

/// What the parser would let pass although it is not JSON: other white space, and control characters in strings.
fn stray(text: &str) -> Option<(Span, &'static str)> {
    let mut in_string = false;
    let mut escaped = false;
    for (start, c) in text.char_indices() {
        let span = Span {
            start,
            end: start + c.len_utf8(),
        };
        match c {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            ' ' | '\t' | '\n' | '\r' if !in_string => {}
            '\u{feff}' if start == 0 => return Some((span, "a byte order mark is not JSON")),
            c if in_string && c < ' ' => {
                return Some((span, "a control character in a string must be escaped"));
            }
            c if !in_string && (c.is_whitespace() || c.is_control()) => {
                return Some((span, "this white space is not JSON"));
            }
            _ => {}
        }
    }
    None
}

fn lower(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}

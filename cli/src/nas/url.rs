//! URLs built as the real server builds them: by pasting, and then read as `fetch` reads a URL.
//!
//! This is the whole danger that a profile guards against: a parameter that is pasted into a path
//! unescaped can end the path (`7/stop#`), climb out of it (`../../service/id/1`) or start a query.

use serde_json::{Map, Value};

/// What the API's paths start with.
pub const API: &str = "/api/v2.0";

/// The path and query that arrive at the NAS for `template` filled with `params`.
pub fn careless(template: &str, params: &Map<String, Value>) -> String {
    let mut url = String::from(API);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').unwrap_or((after, ""));
        url.push_str(before);
        match name.strip_suffix('%') {
            Some(name) => percent_encode(&pasted(params.get(name)), &mut url),
            None => url.push_str(&pasted(params.get(name))),
        }
        rest = after;
    }
    url.push_str(rest);
    fetched(&url)
}

/// The path of the escape hatch: the caller's own, with or without the API's prefix.
pub fn hatch(path: &str) -> String {
    let path = path.strip_prefix(API).unwrap_or(path);
    let slash = if path.starts_with('/') { "" } else { "/" };
    fetched(&format!("{API}{slash}{path}"))
}

/// Path segments as a router sees them: prefix, query and empty segments dropped, escapes decoded.
pub fn segments(target: &str) -> Vec<String> {
    let path = target.split('?').next().unwrap_or_default();
    let path = path.strip_prefix(API).unwrap_or(path);
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(percent_decode)
        .collect()
}

/// A value as a JavaScript template string prints it.
fn pasted(value: Option<&Value>) -> String {
    match value {
        None => "undefined".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(_)) => "[object Object]".to_owned(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| pasted(Some(item)))
            .collect::<Vec<_>>()
            .join(","),
        Some(other) => other.to_string(),
    }
}

/// What a WHATWG URL parser leaves of a path: no fragment, no tabs or line ends, no dot segments.
fn fetched(url: &str) -> String {
    let url: String = url
        .chars()
        .filter(|c| !matches!(c, '\t' | '\n' | '\r'))
        .collect();
    let url = url.split('#').next().unwrap_or_default();
    let (path, query) = url
        .split_once('?')
        .map_or((url, None), |(path, query)| (path, Some(query)));
    let mut kept: Vec<&str> = Vec::new();
    let path = path.replace('\\', "/");
    let mut parts = path.split('/').skip(1).peekable();
    while let Some(part) = parts.next() {
        let dots = part.to_ascii_lowercase().replace("%2e", ".");
        match dots.as_str() {
            "." | ".." => {
                if dots == ".." {
                    kept.pop();
                }
                if parts.peek().is_none() {
                    kept.push("");
                }
            }
            _ => kept.push(part),
        }
    }
    let mut target = String::new();
    for part in kept {
        target.push('/');
        for c in part.chars() {
            if c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '`' | '{' | '}' | '^') {
                target.push(c);
            } else {
                percent_encode(c.encode_utf8(&mut [0; 4]), &mut target);
            }
        }
    }
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    target
}

fn percent_encode(text: &str, into: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.extend([byte >> 4, byte & 15].map(|half| {
                char::from_digit(half.into(), 16)
                    .unwrap_or('0')
                    .to_ascii_uppercase()
            }));
        }
    }
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%').then(|| after.get(..2)).flatten();
        let decoded =
            escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(decoded.unwrap_or(first));
        rest = if decoded.is_some() {
            after.get(2..).unwrap_or_default()
        } else {
            after
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]

    use serde_json::json;

    use super::*;

    fn target(template: &str, params: &Value) -> String {
        careless(template, params.as_object().unwrap())
    }

    #[test]
    fn a_fragment_cuts_the_rest_of_the_path_away() {
        assert_eq!(
            target("/vm/id/{id}/start", &json!({"id": "7/stop#"})),
            "/api/v2.0/vm/id/7/stop"
        );
    }

    #[test]
    fn dots_climb_out_of_the_collection() {
        assert_eq!(
            target("/vm/id/{id}/restart", &json!({"id": "../../service/id/1"})),
            "/api/v2.0/service/id/1/restart"
        );
    }

    #[test]
    fn a_question_mark_starts_a_query() {
        assert_eq!(
            target("/vm/id/{id}/status", &json!({"id": "2/stop?x="})),
            "/api/v2.0/vm/id/2/stop?x=/status"
        );
    }

    #[test]
    fn an_encoded_id_stays_one_segment() {
        let target = target("/pool/dataset/id/{id%}", &json!({"id": "tank/home"}));
        assert_eq!(target, "/api/v2.0/pool/dataset/id/tank%2Fhome");
        assert_eq!(segments(&target), ["pool", "dataset", "id", "tank/home"]);
    }

    #[test]
    fn a_missing_parameter_is_pasted_as_undefined() {
        assert_eq!(
            target("/vm/id/{id}", &json!({})),
            "/api/v2.0/vm/id/undefined"
        );
    }

    #[test]
    fn the_hatch_takes_a_path_with_or_without_the_prefix() {
        assert_eq!(hatch("/vm/id/2/stop"), hatch("/api/v2.0/vm/id/2/stop"));
        assert_eq!(hatch("vm/./id//2"), "/api/v2.0/vm/id//2");
    }
}

//! What a line says, as far as its way depends on it; it is judged elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use serde::Deserialize;
use serde_json::value::RawValue;
use weir_policy::{Message, Object, Value};

/// What is known of a message before it is judged.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) kind: Kind,
    pub(super) method: String,
    /// What `Mcp-Name` would say.
    pub(super) name: Option<String>,
    /// The revision that the message itself names, in the modern era.
    pub(super) protocol: Option<String>,
    /// The request that a cancel names.
    pub(super) cancels: Option<String>,
    /// It was cancelled: its answer is owed no more.
    pub(super) hushed: Arc<AtomicBool>,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// It wants an answer under this id, as it stood.
    Request { id: String },
    /// Nothing is ever said back.
    Silent,
    /// It cannot be read.
    #[default]
    Unreadable,
}

impl Asked {
    pub(super) fn of(line: &[u8]) -> Self {
        let Ok(message) = Message::parse(line) else {
            return Self::default();
        };
        let (kind, method, params) = match &message {
            Message::Request(request) => (
                Kind::Request {
                    id: request.id.raw.to_owned(),
                },
                request.method.as_ref(),
                request.params.as_ref(),
            ),
            Message::Notification(note) => {
                (Kind::Silent, note.method.as_ref(), note.params.as_ref())
            }
            Message::Response(_) => (Kind::Silent, "", None),
        };
        let member = |key| text(params?.get(key));
        let name = match method {
            "tools/call" | "prompts/get" => member("name"),
            "resources/read" => member("uri"),
            _ => None,
        };
        let cancels = match (method, params.and_then(|params| params.get("requestId"))) {
            ("notifications/cancelled", Some(_)) => named_request(line),
            _ => None,
        };
        Self {
            kind,
            method: method.to_owned(),
            name,
            protocol: params.and_then(protocol),
            cancels,
            hushed: Arc::default(),
        }
    }

    /// Whether nobody waits for its answer any more.
    pub(super) fn is_hushed(&self) -> bool {
        self.hushed.load(Ordering::Relaxed)
    }

    pub(super) fn id(&self) -> Option<&str> {
        match &self.kind {
            Kind::Request { id } => Some(id),
            Kind::Silent | Kind::Unreadable => None,
        }
    }

    /// A legacy client's first request: what follows it depends on its answer.
    pub(super) fn founds(&self) -> bool {
        self.method == "initialize" && self.id().is_some()
    }
}

fn protocol(params: &Object<'_>) -> Option<String> {
    match params.get("_meta")? {
        Value::Object(meta) => text(meta.get("io.modelcontextprotocol/protocolVersion")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            None
        }
    }
}

fn text(value: Option<&Value<'_>>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    }
}

fn named_request(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Cancel<'l> {
        #[serde(borrow)]
        params: Params<'l>,
    }
    #[derive(Deserialize)]
    struct Params<'l> {
        #[serde(borrow, rename = "requestId")]
        request_id: &'l RawValue,
    }
    let cancel: Cancel<'_> = serde_json::from_slice(line).ok()?;
    Some(canonical(cancel.params.request_id.get()))
}

/// An id in one spelling: `"a"` may be written `"\u0061"`.
pub(super) fn canonical(id: &str) -> String {
    serde_json::from_str::<serde_json::Value>(id)
        .map_or_else(|_| id.to_owned(), |id| id.to_string())
}

/// Whether a server's message is the answer to the request with this id.
pub(super) fn answers(message: &[u8], id: &str) -> bool {
    #[derive(Deserialize)]
    struct Heard<'m> {
        #[serde(borrow)]
        id: Option<&'m RawValue>,
        method: Option<serde::de::IgnoredAny>,
    }
    serde_json::from_slice::<Heard<'_>>(message).is_ok_and(|heard| {
        heard.method.is_none()
            && heard
                .id
                .is_some_and(|heard| canonical(heard.get()) == canonical(id))
    })
}

/// A name as the value of a header, wrapped if it cannot stand there as it is.
pub(super) fn header_value(name: &str) -> Option<HeaderValue> {
    let plain = !name.starts_with("=?")
        && name.trim() == name
        && name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if plain {
        HeaderValue::from_str(name).ok()
    } else {
        HeaderValue::from_str(&format!("=?base64?{}?=", STANDARD.encode(name))).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_line_is_told_by_what_it_wants() {
        let call = Asked::of(
            br#"{"jsonrpc":"2.0","id":"\u0061","method":"tools/call","params":{"name":"x","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#,
        );
        assert_eq!(call.id(), Some("\"\\u0061\""));
        assert_eq!(call.name.as_deref(), Some("x"));
        assert_eq!(call.protocol.as_deref(), Some("2026-07-28"));
        let cancel = Asked::of(
            br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"\u0061"}}"#,
        );
        assert_eq!(cancel.kind, Kind::Silent);
        assert_eq!(cancel.cancels.as_deref(), Some("\"a\""));
        assert_eq!(Asked::of(b"[]").kind, Kind::Unreadable);
    }

    #[test]
    fn only_the_answer_to_the_request_answers_it() {
        assert!(answers(br#"{"id":"a","result":{}}"#, "\"\\u0061\""));
        assert!(!answers(br#"{"id":1,"method":"ping"}"#, "1"));
        assert!(!answers(br#"{"id":null,"error":{}}"#, "1"));
    }

    #[test]
    fn what_cannot_stand_in_a_header_is_wrapped() {
        assert_eq!(header_value("vm_stop").unwrap(), "vm_stop");
        assert_eq!(header_value("ä").unwrap(), "=?base64?w6Q=?=");
        assert_eq!(header_value("a\r\nb").unwrap(), "=?base64?YQ0KYg==?=");
        assert_eq!(header_value("=?x").unwrap(), "=?base64?PT94?=");
    }
}

//! What a server's message means for the record: the answer to the call, a request of its own, or something else.
//!
//! This only looks; what the client gets are the server's bytes.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use weir_recorder::{DigestKey, Outcome};

/// What one message of a server is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// The answer to the request with the id that was asked for.
    Answer(Ending),
    /// A request of the server to the client.
    Asked { method: String, id: String },
    /// A notification, another answer, or nothing that can be read.
    Other,
}

/// How a call ended, as far as its answer tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    pub(super) result_bytes: Option<i64>,
    pub(super) result_digest: Option<[u8; 16]>,
    /// The result itself, or the error: a part of the server's message.
    pub(super) result: Option<Bytes>,
}

#[derive(Deserialize)]
struct Heard<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ToolResult {
    #[serde(rename = "isError")]
    is_error: Option<bool>,
}

/// Looks at one message; `id` is that of the call under way.
pub(super) fn look(message: &Bytes, id: Option<&str>, key: &DigestKey) -> Said {
    let Ok(heard) = serde_json::from_slice::<Heard<'_>>(message) else {
        return Said::Other;
    };
    if let (Some(method), Some(id)) = (&heard.method, heard.id) {
        return Said::Asked {
            method: method.to_string(),
            id: id.get().to_owned(),
        };
    }
    let (Some(id), Some(answered)) = (id, heard.id) else {
        return Said::Other;
    };
    if heard.method.is_some() || !same_id(id, answered.get()) {
        return Said::Other;
    }
    let (outcome, content) = match (heard.result, heard.error) {
        (_, Some(error)) => (Outcome::RpcError, error),
        (Some(result), None) if is_error(result) => (Outcome::ToolError, result),
        (Some(result), None) => (Outcome::Ok, result),
        (None, None) => return Said::Answer(Ending::default()),
    };
    let content = content.get().as_bytes();
    Said::Answer(Ending {
        outcome,
        result_bytes: i64::try_from(content.len()).ok(),
        result_digest: Some(key.digest(content)),
        result: Some(message.slice_ref(content)),
    })
}

fn is_error(result: &RawValue) -> bool {
    serde_json::from_str::<ToolResult>(result.get())
        .is_ok_and(|result| result.is_error == Some(true))
}

/// Ids are compared as JSON values, since a server may write a string with other escapes.
pub(super) fn same_id(asked: &str, answered: &str) -> bool {
    let value = |text| serde_json::from_str::<serde_json::Value>(text).ok();
    asked == answered || (value(asked).is_some() && value(asked) == value(answered))
}

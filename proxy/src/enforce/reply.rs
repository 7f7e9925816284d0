//! Answers of our own: denials, errors, and the few plain texts of HTTP.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::json;
use serde_json::value::RawValue;
use weir_policy::{AskKind, Decision};

use super::envelope::{Accept, Envelope};
use crate::sse::Event;
use crate::upstream::Era;

/// What an answer is made of.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The JSON-RPC code of a denial of anything but a tool call.
const DENIED: i32 = -31_001;

/// A denial as the agent sees it (DESIGN 5.7): a tool result it can reason about, or an error for other methods.
pub(super) fn denied(
    envelope: &Envelope<'_>,
    kind: AskKind,
    decision: &Decision,
    call_id: Option<[u8; 16]>,
) -> Response<Body> {
    let asker = Asker {
        id: envelope.id().map(|id| id.raw),
        era: envelope.era(),
        accept: envelope.accept(),
    };
    denied_to(asker, kind, decision, call_id)
}

/// Who is told: as much of a request as an answer of ours needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) id: Option<&'a str>,
    pub(super) era: Era,
    pub(super) accept: Accept,
}

/// As [`denied`], where the request itself is gone.
pub(super) fn denied_to(
    asker: Asker<'_>,
    kind: AskKind,
    decision: &Decision,
    call_id: Option<[u8; 16]>,
) -> Response<Body> {
    let Some(id) = asker.id else {
        return empty(StatusCode::ACCEPTED); // nobody waits for an answer to a notification
    };
    let message = if decision.message.is_empty() {
        "The policy does not allow this."
    } else {
        &decision.message
    };
    let text = format!("[POLICY DENIED] {message}");
    let mut meta = serde_json::Map::new();
    if let Some(call_id) = call_id {
        meta.insert(
            "weir/call".to_owned(),
            uuid::Uuid::from_bytes(call_id).to_string().into(),
        );
    }
    meta.insert("weir/rule".to_owned(), decision.rule.as_str().into());
    if let Some(wait) = decision.retry_after_ms {
        meta.insert("weir/retry_after_ms".to_owned(), wait.into());
    }
    let body = match kind {
        AskKind::ToolCall => {
            let mut result = json!({ "content": [{ "type": "text", "text": text }], "isError": true, "_meta": meta });
            if let (Era::Modern, Some(result)) = (asker.era, result.as_object_mut()) {
                result.insert("resultType".to_owned(), "complete".into());
            }
            message_text(Some(id), "result", &result)
        }
        AskKind::Resource | AskKind::Prompt | AskKind::Method => message_text(
            Some(id),
            "error",
            &json!({ "code": DENIED, "message": text, "data": meta }),
        ),
    };
    message_response(StatusCode::OK, body, asker.accept)
}

/// A failure of the server behind us: an error that the agent can reason about, since some clients end their session on
/// an HTTP error.
pub(super) fn failed(
    id: &str,
    accept: Accept,
    status: u16,
    text: &str,
    call_id: Option<[u8; 16]>,
) -> Response<Body> {
    message_response(StatusCode::OK, failure(id, status, text, call_id), accept)
}

/// The message of such an answer.
pub(crate) fn failure(id: &str, status: u16, text: &str, call_id: Option<[u8; 16]>) -> String {
    let mut data = json!({ "status": status });
    if let (Some(call_id), Some(data)) = (call_id, data.as_object_mut()) {
        data.insert(
            "weir/call".to_owned(),
            uuid::Uuid::from_bytes(call_id).to_string().into(),
        );
    }
    let error = json!({ "code": code_of(status), "message": text, "data": data });
    message_text(Some(id), "error", &error)
}

/// The JSON-RPC code that says what an HTTP status would.
pub(super) fn code_of(status: u16) -> i32 {
    -31_000 - i32::from(status)
}

/// A JSON-RPC error with an HTTP status.
pub(super) fn error(status: StatusCode, id: Option<&str>, code: i32, text: &str) -> Response<Body> {
    message_response(
        status,
        message_text(id, "error", &json!({ "code": code, "message": text })),
        Accept::Json,
    )
}

/// The grant sends more refused messages than are written down.
pub(super) fn slow_down() -> Response<Body> {
    with(
        plain(StatusCode::TOO_MANY_REQUESTS, "too many malformed messages"),
        RETRY_AFTER,
        "1",
    )
}

/// Nothing that opens a grant was shown; `is_over` if nothing on this connection can.
pub(super) fn who_are_you(
    status: StatusCode,
    text: &str,
    challenge: HeaderValue,
    is_over: bool,
) -> Response<Body> {
    let mut response = plain(status, text);
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    if is_over {
        response = with(response, CONNECTION, "close");
    }
    with(response, CACHE_CONTROL, "no-store")
}

/// Whether an access token is good cannot be told now: it is not its fault.
pub(super) fn issuer_away() -> Response<Body> {
    let text = "access tokens cannot be verified: their issuer's keys cannot be had";
    with(
        plain(StatusCode::SERVICE_UNAVAILABLE, text),
        RETRY_AFTER,
        "10",
    )
}

/// A request that no server is reached by.
pub(super) fn closed(status: StatusCode, text: &str) -> Response<Body> {
    let response = plain(status, text);
    match status {
        StatusCode::METHOD_NOT_ALLOWED => with(response, ALLOW, "POST, GET, DELETE"),
        _ => response,
    }
}

/// A short text for people.
pub(super) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let response = whole(status, Bytes::from(format!("{text}\n")));
    with(response, CONTENT_TYPE, "text/plain; charset=utf-8")
}

pub(super) fn empty(status: StatusCode) -> Response<Body> {
    whole(status, Bytes::new())
}

pub(super) fn whole(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    response
}

pub(super) fn with(
    mut response: Response<Body>,
    name: http::HeaderName,
    value: &'static str,
) -> Response<Body> {
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    response
}

fn message_response(status: StatusCode, message: String, accept: Accept) -> Response<Body> {
    let response = match accept {
        Accept::Json => with(
            whole(status, message.into()),
            CONTENT_TYPE,
            "application/json",
        ),
        Accept::Events => with(
            whole(status, Event::message(message.as_bytes()).raw),
            CONTENT_TYPE,
            "text/event-stream",
        ),
    };
    with(response, CACHE_CONTROL, "no-store")
}

/// A message with the id as it stood.
fn message_text(id: Option<&str>, member: &str, content: &serde_json::Value) -> String {
    // The id was read strictly, so it is JSON; what is not would be answered without one.
    let id = id
        .filter(|id| serde_json::from_str::<&RawValue>(id).is_ok())
        .unwrap_or("null");
    format!(r#"{{"jsonrpc":"2.0","id":{id},"{member}":{content}}}"#)
}

//! The questions that wait for a person, and the answers: `/approvals` on the admin address.
//!
//! Every request carries the bearer token of an approver; there is no cookie that a page of another site could send along, and a
//! body must be JSON. To approve names the digest of the arguments that were shown: what is approved is what was seen.

use std::sync::Arc;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use weir_policy::Micros;

use super::{Desk, Open};
use crate::approvals::{Approver, Ending, Past, Question, Unanswerable};
use crate::gate::Gate;

/// A reason in words is no longer than this.
const WHY_BYTES_MAX: usize = 1_000;

pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/approvals", get(list))
        .route("/approvals/{id}", get(show))
        .route("/approvals/{id}/approve", post(approve))
        .route("/approvals/{id}/deny", post(deny))
}

/// A question as it is shown.
#[derive(Debug, Serialize)]
struct Shown<'a> {
    id: &'a str,
    state: &'static str,
    call_id: String,
    seq: i64,
    asked_at: String,
    expires_at: String,
    server: &'a str,
    grant: &'a str,
    session: &'a str,
    client: &'a str,
    address: &'a str,
    tool: &'a str,
    wire_tool: &'a str,
    risk: &'static str,
    rule: &'a str,
    message: &'a str,
    /// The text as it came, whole, but for what is redacted.
    arguments: Option<&'a str>,
    effective_arguments: Option<&'a str>,
    redacted: &'a [String],
    digest: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_at: Option<String>,
}

impl<'a> Shown<'a> {
    fn of(question: &'a Question, past: Option<&'a Past>) -> Self {
        Self {
            id: &question.id,
            state: past.map_or("held", |past| past.reason.as_str()),
            call_id: uuid::Uuid::from_bytes(question.call_id).to_string(),
            seq: question.seq,
            asked_at: time(question.asked_at),
            expires_at: time(question.expires_at),
            server: &question.server,
            grant: &question.grant,
            session: &question.session,
            client: &question.client,
            address: &question.address,
            tool: &question.tool,
            wire_tool: &question.wire_tool,
            risk: question.risk,
            rule: &question.rule,
            message: &question.message,
            arguments: question.arguments.as_deref(),
            effective_arguments: question.effective_arguments.as_deref(),
            redacted: &question.redacted,
            digest: &question.digest,
            by: past.and_then(|past| past.by.as_deref()),
            answered_at: past.map(|past| time(past.answered_at)),
        }
    }
}

fn time(at: Micros) -> String {
    Timestamp::from_microsecond(at.0).map_or_else(|_| at.0.to_string(), |at| at.to_string())
}

/// What an answer says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    /// The digest of the arguments that were shown.
    digest: Option<String>,
    /// Why, in words; of a denial the agent is told.
    reason: Option<String>,
}

async fn list(Open(gate): Open, headers: HeaderMap) -> Response {
    if let Err(stranger) = approver(&gate, &headers) {
        return stranger;
    }
    let waiting = gate.approvals.waiting();
    let held: Vec<_> = waiting
        .iter()
        .map(|question| Shown::of(question, None))
        .collect();
    answer(StatusCode::OK, &json!({ "held": held }))
}

async fn show(Open(gate): Open, Path(id): Path<String>, headers: HeaderMap) -> Response {
    if let Err(stranger) = approver(&gate, &headers) {
        return stranger;
    }
    match gate.approvals.find(&id) {
        Some((question, past)) => answer(StatusCode::OK, &Shown::of(&question, past.as_deref())),
        None => unanswerable(&Unanswerable::Unknown),
    }
}

async fn approve(
    Open(gate): Open,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (by, said) = match read(&gate, &headers, &body) {
        Ok(read) => read,
        Err(refused) => return refused,
    };
    let Some(digest) = said.digest else {
        return refuse(
            StatusCode::BAD_REQUEST,
            "an approval names what was shown: give `digest`, as the question has it",
        );
    };
    let why = said.reason;
    settle(&gate, &id, Some(&digest), &Ending::Approved { by, why }).await
}

async fn deny(
    Open(gate): Open,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (by, said) = match read(&gate, &headers, &body) {
        Ok(read) => read,
        Err(refused) => return refused,
    };
    let why = said.reason;
    settle(
        &gate,
        &id,
        said.digest.as_deref(),
        &Ending::Denied { by, why },
    )
    .await
}

async fn settle(gate: &Arc<Gate>, id: &str, digest: Option<&str>, ending: &Ending) -> Response {
    match gate.answer_for(id, digest, ending).await {
        Ok((decision, Ok(()))) => answer(
            StatusCode::OK,
            &json!({ "id": id, "state": decision.reason.as_str() }),
        ),
        Ok((_, Err(why))) => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("the answer could not be recorded, so the call is refused: {why}"),
        ),
        Err(why) => unanswerable(&why),
    }
}

fn unanswerable(why: &Unanswerable) -> Response {
    match why {
        Unanswerable::Unknown => refuse(
            StatusCode::NOT_FOUND,
            "no such question: it was never asked here, or answered long ago",
        ),
        Unanswerable::Answered(past) => {
            let by = past
                .by
                .as_deref()
                .map_or_else(String::new, |by| format!(" by {by}"));
            let text = format!(
                "answered already: {}{by} at {}",
                past.reason.as_str(),
                time(past.answered_at)
            );
            refuse(StatusCode::CONFLICT, &text)
        }
        Unanswerable::OtherArguments => refuse(
            StatusCode::CONFLICT,
            "the arguments that wait have another digest: look at the question again",
        ),
    }
}

/// Whose token it is, and what is said.
#[expect(
    clippy::result_large_err,
    reason = "an answer is large wherever it is made"
)]
fn read(gate: &Gate, headers: &HeaderMap, body: &Bytes) -> Result<(String, Said), Response> {
    let by = approver(gate, headers)?.name.clone();
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        return Err(refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "an answer is JSON: send `Content-Type: application/json`",
        ));
    }
    let said: Said = serde_json::from_slice(body).map_err(|error| {
        refuse(
            StatusCode::BAD_REQUEST,
            &format!("an answer is an object with `digest` and `reason`: {error}"),
        )
    })?;
    let is_fit = |why: &String| why.len() <= WHY_BYTES_MAX && !why.chars().any(char::is_control);
    if said.reason.as_ref().is_some_and(|why| !is_fit(why)) {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "a reason is one line of at most 1000 bytes",
        ));
    }
    Ok((by, said))
}

#[expect(
    clippy::result_large_err,
    reason = "an answer is large wherever it is made"
)]
fn approver<'g>(gate: &'g Gate, headers: &HeaderMap) -> Result<&'g Approver, Response> {
    gate.approvals
        .approvers
        .authenticate(headers)
        .ok_or_else(|| {
            gate.telemetry.unauthenticated("approver");
            let text = if gate.approvals.approvers.is_empty() {
                "nobody may answer here: add `approvers` to [admin]"
            } else {
                "the token of an approver is needed"
            };
            let mut response = refuse(StatusCode::UNAUTHORIZED, text);
            let realm = HeaderValue::from_static("Bearer realm=\"weir approvals\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, realm);
            response
        })
}

fn refuse(status: StatusCode, text: &str) -> Response {
    answer(status, &json!({ "error": text }))
}

fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    let never = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, never);
    response
}

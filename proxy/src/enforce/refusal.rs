//! Messages that are refused before any policy is asked: each leaves a row with rule `(malformed)`, its length and a keyed
//! digest, and none of its bytes, since they may hold secrets (DESIGN 5.6).

use bytes::Bytes;
use http::header::{CONNECTION, RETRY_AFTER};
use http::{Response, StatusCode};
use weir_policy::{Decision, Malformed, Micros, Reason};
use weir_recorder::{Call, Direction, Event, EventKind};

use super::reply::{self, Body};
use super::{Caller, settle_denial};
use crate::bounds::{Full, Resource};
use crate::gate::Gate;
use crate::upstream::Era;

/// Why a message was refused unjudged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The body is over the limit.
    TooLarge { length: Option<u64> },
    /// The body is compressed.
    Compressed,
    /// The body is not said to be JSON.
    ContentType,
    /// The body did not come in time, or not whole.
    Incomplete,
    /// The message can be read in two ways, or not at all.
    Malformed(Malformed),
    /// A header says otherwise than the body.
    Disagree {
        header: &'static str,
        id: Option<String>,
        era: Era,
    },
    /// The session is not one of this grant's.
    Session { id: Option<String> },
    /// There are as many of something as may be; what was not read has no id.
    Full { full: Full, id: Option<String> },
    /// A good token where nothing opens by it: by another host's name, from a page, at another path, with another method.
    NoDoor {
        status: StatusCode,
        text: &'static str,
    },
    /// A body where none is read.
    StrayBody,
    /// The stream of an event that the caller was not told.
    NotItsEvent,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Compressed | Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Incomplete => StatusCode::REQUEST_TIMEOUT,
            // A client that named its request gets an answer to it: some end their session on an HTTP error.
            Self::Malformed(Malformed { id: Some(_), .. }) => StatusCode::OK,
            Self::Malformed(_) | Self::Disagree { .. } | Self::StrayBody | Self::NotItsEvent => {
                StatusCode::BAD_REQUEST
            }
            Self::Session { .. } => StatusCode::NOT_FOUND,
            // Its own fault, or that of all together.
            Self::Full { full, .. } if full.of_grant => StatusCode::TOO_MANY_REQUESTS,
            Self::Full { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoDoor { status, .. } => *status,
        }
    }

    fn code(&self) -> i32 {
        match self {
            Self::Malformed(malformed) => malformed.code,
            Self::Disagree {
                era: Era::Modern, ..
            } => -32020,
            Self::TooLarge { .. }
            | Self::Compressed
            | Self::ContentType
            | Self::Incomplete
            | Self::Disagree {
                era: Era::Legacy, ..
            }
            | Self::Session { .. }
            | Self::NoDoor { .. }
            | Self::StrayBody
            | Self::NotItsEvent => -32600,
            Self::Full { .. } => reply::code_of(self.status().as_u16()),
        }
    }

    /// The code in metrics and logs.
    fn flaw(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Compressed => "compressed",
            Self::ContentType => "content_type",
            Self::Incomplete => "incomplete",
            Self::Malformed(malformed) => malformed.flaw.as_str(),
            Self::Disagree { .. } => "header_mismatch",
            Self::Session { .. } => "session",
            Self::Full { full, .. } => match full.resource {
                Resource::Connections => "connections_max",
                Resource::InFlight => "in_flight_max",
                Resource::Streams => "streams_max",
                Resource::Sessions => "sessions_max",
            },
            Self::NoDoor { .. } => "no_door",
            Self::StrayBody => "stray_body",
            Self::NotItsEvent => "not_its_event",
        }
    }

    /// What the caller is told; never anything that stood in the message.
    fn text(&self) -> String {
        match self {
            Self::TooLarge { .. } => "the message is too large".to_owned(),
            Self::Compressed => "compressed messages are not accepted".to_owned(),
            Self::ContentType => "the content type must be application/json".to_owned(),
            Self::Incomplete => "the message did not come whole and in time".to_owned(),
            Self::Malformed(malformed) => malformed.to_string(),
            Self::Disagree { header, .. } => {
                format!("the header {header} does not say what the message says")
            }
            Self::Session { .. } => "no such session".to_owned(),
            Self::Full { full, .. } => full.to_string(),
            Self::NoDoor { text, .. } => (*text).to_owned(),
            Self::StrayBody => "GET and DELETE carry no message".to_owned(),
            Self::NotItsEvent => {
                "Last-Event-ID is no event that was sent to this client".to_owned()
            }
        }
    }

    fn id(&self) -> Option<&str> {
        match self {
            Self::Malformed(Malformed { id, .. })
            | Self::Disagree { id, .. }
            | Self::Session { id }
            | Self::Full { id, .. } => id.as_deref(),
            Self::TooLarge { .. }
            | Self::Compressed
            | Self::ContentType
            | Self::Incomplete
            | Self::NoDoor { .. }
            | Self::StrayBody
            | Self::NotItsEvent => None,
        }
    }

    /// The answer where there is no place: when to come again, and where nothing else would, the end of the connection.
    fn full(&self, full: &Full, text: &str) -> Response<Body> {
        let response = reply::error(self.status(), self.id(), self.code(), text);
        let response = reply::with(response, RETRY_AFTER, full.resource.retry_after());
        match full.resource {
            Resource::Connections => reply::with(response, CONNECTION, "close"),
            Resource::InFlight | Resource::Streams | Resource::Sessions => response,
        }
    }

    fn length(&self, body: &Bytes) -> Option<i64> {
        match self {
            Self::TooLarge { length } => length.and_then(|length| i64::try_from(length).ok()),
            Self::NoDoor { .. } | Self::StrayBody | Self::NotItsEvent => None,
            Self::Full { .. } => i64::try_from(body.len()).ok().filter(|length| *length > 0),
            Self::Compressed
            | Self::ContentType
            | Self::Incomplete
            | Self::Malformed(_)
            | Self::Disagree { .. }
            | Self::Session { .. } => i64::try_from(body.len()).ok(),
        }
    }
}

/// Writes a refusal down and answers it; above 20 a second the grant only gets 429, and the refusals are counted.
pub(crate) async fn refuse(
    gate: &Gate,
    caller: &Caller,
    received_at: Micros,
    body: &Bytes,
    refusal: Refusal,
) -> Response<Body> {
    let flaw = refusal.flaw();
    gate.telemetry.refused(&caller.grant.name, flaw);
    if let Refusal::Full { full, .. } = &refusal {
        gate.note_full(full, Some(&caller.grant.name));
    }
    tracing::debug!(grant = %caller.grant.name, server = %caller.server.name, flaw, "a message was refused");
    if !caller
        .grant
        .refusals
        .take(gate.ledger.clock().now().0.div_euclid(1_000_000))
    {
        gate.telemetry.suppressed(&caller.grant.name);
        if let Refusal::Full { full, .. } = &refusal {
            return refusal.full(full, &refusal.text());
        }
        return reply::slow_down();
    }
    let text = refusal.text();
    let call = Call {
        direction: Direction::Client,
        call_id: crate::call_id::fresh(received_at),
        received_at: received_at.0,
        server: Some(&*caller.server.name),
        grant: Some(&*caller.grant.name),
        principal: caller.identity.principal.as_deref(),
        client_address: Some(&*caller.peer.address_text),
        request_id: refusal.id(),
        request_bytes: refusal.length(body),
        arguments_digest: (!body.is_empty()).then(|| gate.digest_key.digest(body)),
        ..Call::default()
    };
    let decision = Decision::deny(Reason::Malformed, "(malformed)", text.clone());
    let recorded = gate.ledger.record(&decision, call);
    let decision = settle_denial(gate, caller, recorded, decision).await;
    let text = if decision.reason == Reason::Unrecorded {
        decision.message.to_string()
    } else {
        text
    };
    match &refusal {
        Refusal::Full { full, .. } => return refusal.full(full, &text),
        Refusal::NoDoor { status, text } => return reply::closed(*status, text),
        Refusal::TooLarge { .. }
        | Refusal::Compressed
        | Refusal::ContentType
        | Refusal::Incomplete
        | Refusal::Malformed(_)
        | Refusal::Disagree { .. }
        | Refusal::Session { .. }
        | Refusal::StrayBody
        | Refusal::NotItsEvent => {}
    }
    reply::error(refusal.status(), refusal.id(), refusal.code(), &text)
}

/// Writes down what was counted instead of recorded: refusals, one event for each grant, and definitions of tools, one for
/// each server.
pub(crate) fn tell_suppressed(gate: &Gate) {
    for server in &gate.servers {
        let Some(count) = server.definitions.suppressed() else {
            continue;
        };
        let event = Event {
            server: Some(&*server.name),
            count: Some(count),
            text: Some("definitions of tools were counted instead of recorded"),
            ..Event::of(EventKind::Suppressed)
        };
        drop(gate.ledger.event(&event));
    }
    for grant in &gate.grants().0 {
        let Some(count) = grant.refusals.suppressed() else {
            continue;
        };
        let event = Event {
            grant: Some(&*grant.name),
            server: Some(&*grant.server),
            count: Some(count),
            text: Some("refusals were counted instead of recorded"),
            ..Event::of(EventKind::Suppressed)
        };
        drop(gate.ledger.event(&event));
    }
}

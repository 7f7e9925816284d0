//! The phases `forward` and `finish`: a message goes to its server, the answer comes back, and the record hears how it ended.
//!
//! A legacy client that hangs up does not cut off its call: what carries it goes on as a task of its own, listens and writes down how
//! the call ended, or hands it to the connection that comes for the rest. In the modern era hanging up is a cancel, and is passed on
//! at once.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::mpsc;
use weir_recorder::Outcome;

use super::Caller;
use super::envelope::Accept;
use super::open_call::{OpenCall, end};
use super::reply::{self, Body};
use super::resume::{Rest, last_event};
use super::tap::Tap;
use super::turn::Turn;
use crate::bounds::Place;
use crate::gate::{Gate, Served};
use crate::leave::Leave;
use crate::outlive::Outliving;
use crate::sessions::Session;
use crate::traces::Span;
use crate::upstream::{Cause, Era, Exchange, ForwardError, Reached, Upstream};

/// The modern era's stream of notifications.
pub(super) const LISTEN: &str = "subscriptions/listen";

/// Instead of an answer whose outcome could not be recorded.
pub(super) const WITHHELD: &str = "the call was made and may have taken effect; how it ended could not be recorded, so its answer is withheld";

/// One message on its way.
pub(super) struct Carriage {
    pub(super) leave: Leave,
    /// The call's open row; none for GET and DELETE.
    pub(super) open: Option<OpenCall>,
    pub(super) passage: Passage,
}

/// What goes out, and everything its answer will need.
pub(super) struct Passage {
    pub(super) exchange: Exchange,
    pub(super) caller: Arc<Caller>,
    pub(super) session: Session,
    pub(super) accept: Accept,
    /// Its place among the requests under way, given up when it ends.
    pub(super) place: Place,
    pub(super) turn: Turn,
    pub(super) span: Span,
}

/// What is to be told to the client.
pub(super) enum Delivered {
    Whole(StatusCode, HeaderMap, Bytes),
    Events(StatusCode, HeaderMap, mpsc::Receiver<Bytes>),
    Failed(ForwardError),
    /// What the server answered must not go out: how the call ended could not be recorded.
    Withheld,
    /// The stop did not wait for the answer.
    GivenUp,
}

/// Forwards one message and answers with what the server says.
pub(super) async fn carry(gate: &Arc<Gate>, carriage: Carriage) -> Response<Body> {
    let passage = &carriage.passage;
    let id = passage
        .exchange
        .request_id
        .as_ref()
        .map(|id| Arc::clone(&id.raw));
    let call_id = carriage.open.as_ref().map(|open| open.call_id);
    let (accept, era) = (passage.accept, passage.exchange.era);
    let going = gate.carriers.track_future(carriage.go(Arc::clone(gate)));
    let delivered = Outliving::new(going, era == Era::Legacy).await;
    let failed = |status: StatusCode, text: &str| match &id {
        Some(id) => reply::failed(id, accept, status.as_u16(), text, call_id),
        None => reply::plain(status, text),
    };
    match delivered {
        Delivered::Whole(status, headers, body) => {
            with_headers(reply::whole(status, body), headers)
        }
        Delivered::Events(status, headers, events) => {
            let frames = futures_util::stream::unfold(events, |mut events| async {
                let bytes = events.recv().await?;
                Some((Ok(Frame::data(bytes)), events))
            });
            let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
            *response.status_mut() = status;
            with_headers(response, headers)
        }
        Delivered::Failed(error) => match error.cause {
            Cause::Timeout => failed(
                StatusCode::GATEWAY_TIMEOUT,
                "the server did not answer in time",
            ),
            Cause::Unreachable
            | Cause::Busy
            | Cause::Broken
            | Cause::BadAnswer
            | Cause::Cancelled => failed(StatusCode::BAD_GATEWAY, &error.cause.to_string()),
        },
        Delivered::Withheld => failed(StatusCode::INTERNAL_SERVER_ERROR, WITHHELD),
        Delivered::GivenUp => failed(
            StatusCode::BAD_GATEWAY,
            "the proxy is stopping; whether the call took effect is unknown",
        ),
    }
}

fn with_headers(mut response: Response<Body>, headers: HeaderMap) -> Response<Body> {
    *response.headers_mut() = headers;
    response
}

impl Carriage {
    async fn go(self, gate: Arc<Gate>) -> Delivered {
        let Self {
            leave,
            mut open,
            passage,
        } = self;
        let Passage {
            mut exchange,
            caller,
            session,
            place,
            turn,
            mut span,
            ..
        } = passage;
        // The body goes on as it was judged; a header may name our place in the trace.
        let here = span.forwards();
        if let Some(here) = here.and_then(|here| HeaderValue::try_from(here.to_string()).ok()) {
            Arc::make_mut(&mut exchange.headers).insert("traceparent", here);
        }
        if let Some(open) = &mut open {
            open.forwarded(span);
            let is_http = matches!(caller.server.upstream, Upstream::Http(_));
            if let (Some(id), true, Era::Legacy) = (&exchange.request_id, is_http, exchange.era) {
                open.cancelled_by(&exchange.caller, &id.raw);
            }
        }
        let rest = match exchange.method {
            Method::GET => Box::pin(rest_of(&gate, &exchange)).await,
            _ => None,
        };
        let tap = Tap::new(&gate, &caller, &session, &exchange, rest.as_ref());
        let upstream = caller.server.upstream.clone();
        let answer = tokio::select! {
            biased;
            () = gate.giving_up.cancelled() => None,
            answer = turn.ends_with_start_of(upstream.forward(leave, exchange)) => Some(answer),
        };
        match answer {
            None => {
                let open = open.or(rest.map(|rest| rest.open));
                end(open, Outcome::Unknown, None, false);
                Delivered::GivenUp
            }
            Some(Err(error)) => {
                if error.cause != Cause::Cancelled {
                    tracing::warn!(server = %caller.server.name, cause = %error.cause, detail = error.detail, "a server failed");
                }
                caller.server.standing.failed(&error);
                let given_back = error.reached == Reached::Never;
                end(open, outcome_of(error.cause), None, given_back);
                tap.not_resumed(rest);
                Delivered::Failed(error)
            }
            Some(Ok(answer)) => {
                note_standing(&caller.server, answer.status);
                tap.pass_on(answer, (open, rest), place).await
            }
        }
    }
}

/// The call whose stream a client comes back for.
async fn rest_of(gate: &Gate, exchange: &Exchange) -> Option<Rest> {
    if exchange.era == Era::Modern {
        return None;
    }
    let event = last_event(&exchange.headers).ok()??;
    let event = gate.digest_key.digest(event.as_bytes());
    gate.resumable.take(&exchange.caller, event).await
}

/// What a status says of a server: that it is there, or that something is wrong with it or with its credential.
fn note_standing(server: &Served, status: StatusCode) {
    let is_ours = matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
    );
    if is_ours || status.is_server_error() {
        server
            .standing
            .failed_with(format!("it answered with HTTP status {status}"));
    } else {
        server.standing.answered();
    }
}

pub(super) fn outcome_of(cause: Cause) -> Outcome {
    match cause {
        Cause::Unreachable | Cause::Busy => Outcome::Unreachable,
        Cause::Timeout => Outcome::Timeout,
        Cause::Broken | Cause::BadAnswer => Outcome::HttpError,
        Cause::Cancelled => Outcome::Cancelled,
    }
}

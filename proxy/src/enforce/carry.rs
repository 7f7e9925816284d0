//! The phases `forward` and `finish`: a message goes to its server, the answer comes back, and the record hears how it ended.
//!
//! Each message is carried by a task of its own, so that a legacy client that hangs up does not cut off its call: the task goes
//! on listening and writes down how the call ended. In the modern era hanging up is a cancel, and is passed on at once.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use weir_policy::Policy;
use weir_recorder::{Finish, Outcome};

use super::Caller;
use super::envelope::Accept;
use super::outcome::{Ending, Said, look};
use super::reply::{self, Body};
use crate::gate::Gate;
use crate::leave::Leave;
use crate::listing::{self, Listing};
use crate::sessions::Session;
use crate::sse::Event;
use crate::upstream::{
    Answer, AnswerBody, Cause, Era, Exchange, ForwardError, MessageKind, Reached, StreamFault,
};

/// Events that may wait for a slow client; the server is not read any further meanwhile.
const EVENTS_WAITING_MAX: usize = 16;
/// The modern era's stream of notifications.
pub(super) const LISTEN: &str = "subscriptions/listen";

/// One message on its way, with everything its answer will need.
pub(super) struct Carriage {
    pub(super) leave: Leave,
    pub(super) exchange: Exchange,
    /// The call's open row; none for GET and DELETE.
    pub(super) open: Option<OpenCall>,
    pub(super) caller: Caller,
    pub(super) session: Session,
    pub(super) accept: Accept,
    /// Its place among the requests under way, given up when it ends.
    pub(super) place: OwnedSemaphorePermit,
}

/// A call that was recorded and has not ended. Dropped, it ends as cancelled: no row is left open by accident.
pub(super) struct OpenCall {
    gate: Arc<Gate>,
    caller: Caller,
    method: Arc<str>,
    seq: i64,
    call_id: [u8; 16],
    began: Instant,
    /// When it went on its way to the server; before that it has provably not reached it.
    forwarded: Option<Instant>,
    commit_us: Option<i32>,
    ended: bool,
}

impl OpenCall {
    pub(super) fn new(
        gate: &Arc<Gate>,
        caller: &Caller,
        method: &str,
        seq: i64,
        call_id: [u8; 16],
        began: Instant,
    ) -> Self {
        Self {
            gate: Arc::clone(gate),
            caller: caller.clone(),
            method: Arc::from(method),
            seq,
            call_id,
            began,
            forwarded: None,
            commit_us: None,
            ended: false,
        }
    }

    /// The decision became durable, so long after `since`.
    pub(super) fn committed(&mut self, since: Instant) {
        self.commit_us = i32::try_from(since.elapsed().as_micros()).ok();
    }

    /// The decision did not become durable: the log voids the row, and there is nothing to end.
    pub(super) fn void(mut self) {
        self.ended = true;
    }

    fn end(mut self, ending: Ending, status: Option<StatusCode>, given_back: bool) {
        self.write(ending, status, given_back);
    }

    fn write(&mut self, ending: Ending, status: Option<StatusCode>, given_back: bool) {
        self.ended = true;
        let finish = Finish {
            outcome: ending.outcome,
            status: status.and_then(|status| i16::try_from(status.as_u16()).ok()),
            result_bytes: ending.result_bytes,
            result_digest: ending.result_digest,
            result: None,
            given_back,
            commit_us: self.commit_us,
            upstream_us: self
                .forwarded
                .and_then(|since| i64::try_from(since.elapsed().as_micros()).ok()),
        };
        // The reply does not wait for its outcome to be durable: a crash leaves `unknown` (DESIGN 6.4).
        drop(self.gate.ledger.finish(self.seq, &finish));
        self.gate
            .note_finished(&self.caller, &self.method, ending.outcome, self.began);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if !self.ended {
            let ending = Ending {
                outcome: Outcome::Cancelled,
                ..Ending::default()
            };
            // A client that left while its decision was on its way to the disk: nothing was forwarded.
            self.write(ending, None, self.forwarded.is_none());
        }
    }
}

/// What the task that carries a message hands to the one that answers the client.
enum Delivered {
    Whole(StatusCode, HeaderMap, Bytes),
    Events(StatusCode, HeaderMap, mpsc::Receiver<Bytes>),
    Failed(ForwardError),
    /// The stop did not wait for the answer.
    GivenUp,
}

/// Forwards one message and answers with what the server says.
pub(super) async fn carry(gate: &Arc<Gate>, carriage: Carriage) -> Response<Body> {
    let id = carriage
        .exchange
        .request_id
        .as_ref()
        .map(|id| Arc::clone(&id.raw));
    let call_id = carriage.open.as_ref().map(|open| open.call_id);
    let (accept, era) = (carriage.accept, carriage.exchange.era);
    let (deliver, delivery) = oneshot::channel();
    let carrier = gate.carriers.spawn(carriage.go(Arc::clone(gate), deliver));
    let hang_up = HangUp(Some(carrier.abort_handle()).filter(|_| era == Era::Modern));
    let delivered = delivery.await.unwrap_or(Delivered::GivenUp);
    hang_up.disarm();
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
            Cause::Unreachable | Cause::Busy | Cause::Broken | Cause::BadAnswer => {
                failed(StatusCode::BAD_GATEWAY, &error.cause.to_string())
            }
        },
        Delivered::GivenUp => failed(
            StatusCode::BAD_GATEWAY,
            "the proxy is stopping; whether the call took effect is unknown",
        ),
    }
}

/// Stops a carrier when the client of a modern call hangs up before it has an answer.
struct HangUp(Option<tokio::task::AbortHandle>);

impl HangUp {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if let Some(carrier) = &self.0 {
            carrier.abort();
        }
    }
}

fn with_headers(mut response: Response<Body>, headers: HeaderMap) -> Response<Body> {
    *response.headers_mut() = headers;
    response
}

impl Carriage {
    async fn go(self, gate: Arc<Gate>, deliver: oneshot::Sender<Delivered>) {
        let Self {
            leave,
            exchange,
            mut open,
            caller,
            session,
            place,
            ..
        } = self;
        if let Some(open) = &mut open {
            open.forwarded = Some(Instant::now());
        }
        let tap = Tap::new(&gate, &caller, &session, &exchange);
        let upstream = caller.server.upstream.clone();
        let answer = tokio::select! {
            biased;
            () = gate.giving_up.cancelled() => None,
            answer = upstream.forward(leave, exchange) => Some(answer),
        };
        let delivered = match answer {
            None => {
                end(open, Outcome::Unknown, None, false);
                Delivered::GivenUp
            }
            Some(Err(error)) => {
                tracing::warn!(server = %caller.server.name, cause = %error.cause, detail = error.detail, "a server failed");
                let given_back = error.reached == Reached::Never;
                end(open, outcome_of(error.cause), None, given_back);
                Delivered::Failed(error)
            }
            Some(Ok(answer)) => return tap.pass_on(answer, open, place, deliver).await,
        };
        // A client that has hung up misses its answer; the record has it.
        drop(deliver.send(delivered));
    }
}

fn end(open: Option<OpenCall>, outcome: Outcome, status: Option<StatusCode>, given_back: bool) {
    if let Some(open) = open {
        open.end(
            Ending {
                outcome,
                ..Ending::default()
            },
            status,
            given_back,
        );
    }
}

fn outcome_of(cause: Cause) -> Outcome {
    match cause {
        Cause::Unreachable | Cause::Busy => Outcome::Unreachable,
        Cause::Timeout => Outcome::Timeout,
        Cause::Broken | Cause::BadAnswer => Outcome::HttpError,
    }
}

/// What stands between a server's answer and the client: looks at each message, hides what is hidden.
pub(super) struct Tap {
    pub(super) gate: Arc<Gate>,
    pub(super) caller: Caller,
    pub(super) session: Session,
    /// What the client said of itself on the way, for messages in its stead.
    pub(super) headers: HeaderMap,
    pub(super) protocol_session: Option<Arc<str>>,
    pub(super) caller_key: Arc<str>,
    id: Option<Arc<str>>,
    rpc_method: Arc<str>,
    method: Method,
    kind: MessageKind,
    pub(super) era: Era,
    /// The lists that may come by this way, if the grant's policy can hide anything of them.
    hidden: Option<(Arc<Policy>, Vec<Listing>)>,
}

impl Tap {
    fn new(gate: &Arc<Gate>, caller: &Caller, session: &Session, exchange: &Exchange) -> Self {
        // A stream may resume where the answer to a list broke off, so there any list may come.
        let listings = match (exchange.kind, Listing::of_method(&exchange.rpc_method)) {
            (MessageKind::Bare, _) => Listing::ALL.to_vec(),
            (_, Some(listing)) => vec![listing],
            (_, None) => Vec::new(),
        };
        let policy = caller.grant.policy.clone().filter(|_| !listings.is_empty());
        Self {
            gate: Arc::clone(gate),
            caller: caller.clone(),
            session: session.clone(),
            headers: exchange.headers.clone(),
            protocol_session: exchange.session.clone(),
            caller_key: Arc::clone(&exchange.caller),
            id: exchange.request_id.as_ref().map(|id| Arc::clone(&id.raw)),
            rpc_method: Arc::clone(&exchange.rpc_method),
            method: exchange.method.clone(),
            kind: exchange.kind,
            era: exchange.era,
            hidden: policy.map(|policy| (policy, listings)),
        }
    }

    async fn pass_on(
        self,
        answer: Answer,
        open: Option<OpenCall>,
        place: OwnedSemaphorePermit,
        deliver: oneshot::Sender<Delivered>,
    ) {
        let Answer {
            status,
            headers,
            body,
        } = answer;
        // Our own credential was refused: the client can do nothing about that, and must not try.
        let refused = matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        );
        if refused || self.bind_session(status, &headers).is_err() {
            tracing::warn!(server = %self.caller.server.name, %status, "a server refused its credential, or gave a session that is another's");
            end(open, Outcome::HttpError, Some(status), false);
            let detail = "the server refused".to_owned();
            let error = ForwardError {
                reached: Reached::Maybe,
                cause: Cause::BadAnswer,
                detail,
            };
            drop(deliver.send(Delivered::Failed(error)));
            return;
        }
        match body {
            AnswerBody::Whole(body) => {
                let delivered = self.whole(status, headers, &body, open);
                drop(deliver.send(delivered));
            }
            AnswerBody::Events(events) => {
                let (send, receive) = mpsc::channel(EVENTS_WAITING_MAX);
                drop(deliver.send(Delivered::Events(status, streaming(headers), receive)));
                self.events(status, events, open, send).await;
            }
        }
        drop(place);
    }

    /// An answer in one piece.
    fn whole(
        &self,
        status: StatusCode,
        headers: HeaderMap,
        body: &Bytes,
        open: Option<OpenCall>,
    ) -> Delivered {
        let said = look(body, self.id.as_deref(), &self.gate.digest_key);
        let ending = match said {
            _ if !status.is_success() => Ending {
                outcome: Outcome::HttpError,
                ..Ending::default()
            },
            Said::Answer(ending) => ending,
            Said::Asked { .. } | Said::Other if self.kind == MessageKind::Request => {
                Ending::default()
            }
            Said::Asked { .. } | Said::Other => Ending {
                outcome: Outcome::Ok,
                ..Ending::default()
            },
        };
        match self.filtered(body) {
            Ok(body) => {
                if let Some(open) = open {
                    open.end(ending, Some(status), false);
                }
                Delivered::Whole(status, headers, body)
            }
            Err(error) => {
                end(open, Outcome::HttpError, Some(status), false);
                Delivered::Failed(error)
            }
        }
    }

    /// An answer event by event. Ends with the stream, with the stop, or when a modern client hangs up.
    async fn events(
        self,
        status: StatusCode,
        mut events: BoxStream<'static, Result<Event, StreamFault>>,
        mut open: Option<OpenCall>,
        client: mpsc::Sender<Bytes>,
    ) {
        let patience = self.gate.patience();
        let mut client = Some(client);
        loop {
            let next = tokio::select! {
                biased;
                () = self.gate.giving_up.cancelled() => return end(open, Outcome::Unknown, Some(status), false),
                () = self.gate.stopping.cancelled(), if open.is_none() || self.listens() => return,
                () = gone(client.as_ref()), if client.is_some() => {
                    if self.era == Era::Modern || open.is_none() {
                        return; // dropping the open call ends it as cancelled, dropping the stream tells the server
                    }
                    client = None;
                    continue;
                }
                next = next_within(&mut events, client.is_none().then_some(patience)) => next,
            };
            let event = match next {
                Some(Ok(event)) => event,
                Some(Err(fault)) => {
                    tracing::warn!(server = %self.caller.server.name, cause = %fault.cause, detail = fault.detail, "a stream broke off");
                    return end(open, outcome_of(fault.cause), Some(status), false);
                }
                // A stream that ends without the answer may be resumed; how the call ended is then not known here.
                None => return end(open, Outcome::Unknown, Some(status), false),
            };
            let Some(raw) = self.event(&event, status, &mut open).await else {
                return end(open, Outcome::HttpError, Some(status), false);
            };
            if raw.is_empty() {
                continue; // withheld
            }
            if let Some(sender) = &client
                && sender.send(raw).await.is_err()
            {
                client = None;
                if self.era == Era::Modern {
                    return;
                }
            }
            if client.is_none() && open.is_none() {
                return;
            }
        }
    }

    /// The bytes that a client gets of one event, once the record has heard of it; none for a list that cannot be read.
    async fn event(
        &self,
        event: &Event,
        status: StatusCode,
        open: &mut Option<OpenCall>,
    ) -> Option<Bytes> {
        let Some(data) = event.data() else {
            return Some(event.raw.clone());
        };
        match look(&data, self.id.as_deref(), &self.gate.digest_key) {
            Said::Answer(ending) => {
                if let Some(open) = open.take() {
                    open.end(ending, Some(status), false);
                }
            }
            Said::Asked { method, id } => {
                if !self.admits(&method, &id, &data).await {
                    return Some(Bytes::new());
                }
            }
            Said::Other => {}
        }
        match self.filtered(&data) {
            Ok(filtered) if filtered == data => Some(event.raw.clone()),
            Ok(filtered) => Some(event.with_data(&filtered).raw),
            Err(_) => None,
        }
    }

    /// A message without what the policy hides. What cannot be read is withheld, if anything could be hidden in it.
    fn filtered(&self, message: &Bytes) -> Result<Bytes, ForwardError> {
        let Some((policy, listings)) = &self.hidden else {
            return Ok(message.clone());
        };
        if message.is_empty() {
            return Ok(message.clone());
        }
        listing::filter(message, listings, &|name| policy.hides(name)).map_err(|error| {
            ForwardError {
                reached: Reached::Maybe,
                cause: Cause::BadAnswer,
                detail: error.to_string(),
            }
        })
    }

    /// Whether this is a request whose answer goes on for as long as the client listens.
    fn listens(&self) -> bool {
        &*self.rpc_method == LISTEN
    }

    /// Binds the session that a server opened to the grant that asked for it.
    fn bind_session(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
    ) -> Result<(), crate::sessions::NoSuchSession> {
        let Some(id) = headers.get("mcp-session-id") else {
            return Ok(());
        };
        if self.method != Method::POST || &*self.rpc_method != "initialize" || !status.is_success()
        {
            return Ok(());
        }
        let id = id.to_str().map_err(|_| crate::sessions::NoSuchSession)?;
        self.gate.sessions.bind(
            &self.caller.server.name,
            &self.caller.grant.name,
            id,
            self.session.client.clone(),
        )
    }
}

/// Headers of a stream of events: nobody on the way may hold them back.
fn streaming(mut headers: HeaderMap) -> HeaderMap {
    headers
        .entry(CONTENT_TYPE)
        .or_insert(HeaderValue::from_static("text/event-stream"));
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    headers
}

/// Done when the client has hung up.
async fn gone(client: Option<&mpsc::Sender<Bytes>>) {
    match client {
        Some(client) => client.closed().await,
        None => std::future::pending().await,
    }
}

/// The next event; where nobody listens any more, only within this time.
async fn next_within(
    events: &mut BoxStream<'static, Result<Event, StreamFault>>,
    patience: Option<std::time::Duration>,
) -> Option<Result<Event, StreamFault>> {
    match patience {
        None => events.next().await,
        Some(patience) => tokio::time::timeout(patience, events.next())
            .await
            .unwrap_or(None),
    }
}

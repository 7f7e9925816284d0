//! What stands between a server's answer and the client.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_recorder::Outcome;

use super::Caller;
use super::carry::{Delivered, LISTEN, WITHHELD, outcome_of};
use super::open_call::{OpenCall, end};
use super::outcome::{Ending, Said, look};
use super::reply;
use super::resume::{Comer, Held, Rest};
use crate::bounds::Place;
use crate::gate::Gate;
use crate::listing::{self, Listing};
use crate::sessions::{Session, Unbound};
use crate::sse::Event;
use crate::upstream::{
    Answer, AnswerBody, Cause, Era, Exchange, ForwardError, MessageKind, Reached, StreamFault,
    Upstream,
};

/// Events that may wait for a slow client; the server is not read any further meanwhile.
const EVENTS_WAITING_MAX: usize = 16;

/// Looks at each message, hides what is hidden.
pub(super) struct Tap {
    pub(super) gate: Arc<Gate>,
    pub(super) caller: Arc<Caller>,
    pub(super) session: Session,
    /// What the client said of itself on the way, for messages in its stead.
    pub(super) headers: Arc<HeaderMap>,
    pub(super) protocol_session: Option<Arc<str>>,
    pub(super) caller_key: Arc<str>,
    id: Option<Arc<str>>,
    rpc_method: Arc<str>,
    method: Method,
    kind: MessageKind,
    pub(super) era: Era,
    /// The lists that may come by this way.
    listings: Vec<Listing>,
}

impl Tap {
    pub(super) fn new(
        gate: &Arc<Gate>,
        caller: &Arc<Caller>,
        session: &Session,
        exchange: &Exchange,
        rest: Option<&Rest>,
    ) -> Self {
        // A stream may resume where the answer to a list broke off, so there any list may come.
        let listings = match (exchange.kind, Listing::of_method(&exchange.rpc_method)) {
            (MessageKind::Bare, _) => Listing::ALL.to_vec(),
            (_, Some(listing)) => vec![listing],
            (_, None) => Vec::new(),
        };
        Self {
            gate: Arc::clone(gate),
            caller: Arc::clone(caller),
            session: session.clone(),
            headers: Arc::clone(&exchange.headers),
            protocol_session: exchange.session.clone(),
            caller_key: Arc::clone(&exchange.caller),
            id: match rest {
                Some(rest) => Some(Arc::clone(&rest.id)),
                None => exchange.request_id.as_ref().map(|id| Arc::clone(&id.raw)),
            },
            rpc_method: Arc::clone(&exchange.rpc_method),
            method: exchange.method.clone(),
            kind: exchange.kind,
            era: exchange.era,
            listings,
        }
    }

    pub(super) async fn pass_on(
        self,
        answer: Answer,
        (open, rest): (Option<OpenCall>, Option<Rest>),
        place: Place,
    ) -> Delivered {
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
            tracing::warn!(server = %self.caller.server.name, %status, "a server refused its credential, or gave a session that is another's or one too many");
            end(open, Outcome::HttpError, Some(status), false);
            let detail = "the server refused".to_owned();
            let error = ForwardError {
                reached: Reached::Maybe,
                cause: Cause::BadAnswer,
                detail,
            };
            self.not_resumed(rest);
            return Delivered::Failed(error);
        }
        match body {
            AnswerBody::Whole(body) => {
                let delivered = self.whole(status, headers, &body, open).await;
                self.not_resumed(rest);
                delivered
            }
            AnswerBody::Events(events) => {
                let (send, receive) = mpsc::channel(EVENTS_WAITING_MAX);
                let (resumed, held) =
                    rest.map_or((None, None), |rest| (Some(rest.open), Some(rest.held)));
                let carriers = self.gate.carriers.clone();
                carriers.spawn(async move {
                    self.events(status, events, (open.or(resumed), held), send)
                        .await;
                    drop(place);
                });
                Delivered::Events(status, streaming(headers), receive)
            }
        }
    }

    /// The server did not give the rest: that says nothing of the call, and the client may try again.
    pub(super) fn not_resumed(self, rest: Option<Rest>) {
        if let Some(rest) = rest {
            let carriers = self.gate.carriers.clone();
            carriers.spawn(async move { self.away(rest, Outcome::Unknown).await });
        }
    }

    /// An answer in one piece.
    async fn whole(
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
                if let Some(open) = open
                    && !open.answered(&ending, status).await
                {
                    return Delivered::Withheld;
                }
                Delivered::Whole(status, headers, body)
            }
            Err(error) => {
                end(open, Outcome::HttpError, Some(status), false);
                Delivered::Failed(error)
            }
        }
    }

    /// An answer event by event. Ends with the stream, with the stop, when a modern client hangs up, or when the stream goes on on
    /// another connection.
    async fn events(
        self,
        status: StatusCode,
        mut events: BoxStream<'static, Result<Event, StreamFault>>,
        (mut open, mut held): (Option<OpenCall>, Option<Held>),
        client: mpsc::Sender<Bytes>,
    ) {
        let patience = self.gate.patience();
        let mut client = Some(client);
        // What the client has not taken yet, and until when it has time to.
        let mut waiting: Option<(Bytes, Instant)> = None;
        loop {
            let until = waiting.as_ref().map(|(_, until)| *until);
            let idles = open.is_none() || self.listens();
            let next = tokio::select! {
                biased;
                () = self.gate.giving_up.cancelled() => return end(open, Outcome::Unknown, Some(status), false),
                () = self.gate.stopping.cancelled(), if idles => return,
                () = self.caller.grant.revoked.cancelled(), if idles => return,
                () = self.caller.lapsed(), if idles => return,
                comer = comer(held.as_mut()) => {
                    drop(events);
                    let Some(rest) = self.rest(open, held) else { return };
                    return match comer.give(rest) {
                        Ok(()) => (),
                        Err(rest) => self.away(*rest, Outcome::Unknown).await,
                    };
                }
                () = gone(client.as_ref(), until) => {
                    if self.era == Era::Modern || open.as_ref().is_none_or(OpenCall::is_cancelled) {
                        return; // dropping the open call ends it as cancelled, dropping the stream tells the server
                    }
                    (client, waiting) = (None, None);
                    if held.is_none() {
                        continue;
                    }
                    drop(events);
                    let Some(rest) = self.rest(open, held) else { return };
                    return self.away(rest, Outcome::Unknown).await;
                }
                () = room(client.as_ref()), if waiting.is_some() => {
                    if let (Some(client), Some((raw, _))) = (&client, waiting.take()) {
                        drop(client.try_send(raw)); // nobody else sends, so there is room
                    }
                    continue;
                }
                next = next_within(&mut events, client.is_none().then_some(patience)), if waiting.is_none() => next,
                () = cancelled(open.as_ref(), client.as_ref().map(|_| &self.gate.stopping)) => return, // as where the client is gone
            };
            let event = match next {
                Some(Ok(event)) => event,
                Some(Err(fault)) => {
                    if fault.cause != Cause::Cancelled {
                        tracing::warn!(server = %self.caller.server.name, cause = %fault.cause, detail = fault.detail, "a stream broke off");
                    }
                    let held = held.filter(|_| fault.cause == Cause::Broken);
                    drop(client);
                    return self
                        .broke_off(open, held, outcome_of(fault.cause), status)
                        .await;
                }
                None => {
                    drop(client);
                    return self.broke_off(open, held, Outcome::Unknown, status).await;
                }
            };
            if let Some(id) = event.id().filter(|id| !id.is_empty()) {
                self.note_event(id);
                if open.is_some() && self.can_be_resumed() {
                    let held = held.get_or_insert_with(|| Held::new(&self.gate, &self.caller_key));
                    held.stream.saw(&self.gate, id);
                }
            }
            let Some(raw) = self.event(&event, status, &mut open).await else {
                return end(open, Outcome::HttpError, Some(status), false);
            };
            if open.is_none() {
                held = None;
            }
            if let Some(client) = &client
                && !raw.is_empty()
                && let Err(TrySendError::Full(raw)) = client.try_send(raw)
            {
                waiting = Some((raw, Instant::now() + patience));
            }
            if client.is_none() && open.is_none() {
                return;
            }
        }
    }

    /// The server's stream ended without the answer. Where it can be resumed the client will; else how the call ended is not known.
    async fn broke_off(
        &self,
        open: Option<OpenCall>,
        held: Option<Held>,
        outcome: Outcome,
        status: StatusCode,
    ) {
        if open.as_ref().is_some_and(OpenCall::is_cancelled) {
            return; // what was cancelled is not asked for again
        }
        if held.is_none() {
            return end(open, outcome, Some(status), false);
        }
        if let Some(rest) = self.rest(open, held) {
            self.away(rest, outcome).await;
        }
    }

    /// The call as whoever comes for its rest takes it over.
    fn rest(&self, open: Option<OpenCall>, held: Option<Held>) -> Option<Rest> {
        Some(Rest {
            open: open?,
            id: self.id.clone()?,
            held: held?,
        })
    }

    /// Whether the rest of a stream with ids can be had from the server by GET.
    fn can_be_resumed(&self) -> bool {
        let is_http = matches!(self.caller.server.upstream, Upstream::Http(_));
        self.era == Era::Legacy && is_http && self.id.is_some()
    }

    /// Outside the protocol's sessions, what a caller was told is all that says which streams are its own.
    fn note_event(&self, id: &[u8]) {
        if self.protocol_session.is_none() {
            let event = self.gate.digest_key.digest(id);
            let Caller {
                identity,
                peer,
                agent,
                ..
            } = &*self.caller;
            self.gate
                .sessions
                .told(&identity.owner, peer.address, agent, event);
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
                    let call_id = open.call_id;
                    if !open.answered(&ending, status).await {
                        return Some(self.withheld(call_id));
                    }
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

    /// What the client gets instead of an answer that must not go out.
    fn withheld(&self, call_id: [u8; 16]) -> Bytes {
        let id = self.id.as_deref().unwrap_or("null");
        let status = StatusCode::INTERNAL_SERVER_ERROR.as_u16();
        let message = reply::failure(id, status, WITHHELD, Some(call_id));
        Event::message(message.as_bytes()).raw
    }

    /// A message without what the policy hides. What cannot be read is withheld, if anything could be hidden in it.
    fn filtered(&self, message: &Bytes) -> Result<Bytes, ForwardError> {
        if message.is_empty() || self.listings.is_empty() {
            return Ok(message.clone());
        }
        if self.listings.contains(&Listing::Tools) {
            self.gate.note_definitions(&self.caller.server, message);
        }
        let Some(policy) = &self.caller.grant.policy else {
            return Ok(message.clone());
        };
        listing::filter(message, &self.listings, &|name| policy.hides(name)).map_err(|error| {
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

    /// Binds the session that a server opened to the caller that asked for it.
    fn bind_session(&self, status: StatusCode, headers: &HeaderMap) -> Result<(), Unbound> {
        let Some(id) = headers.get("mcp-session-id") else {
            return Ok(());
        };
        if self.method != Method::POST || &*self.rpc_method != "initialize" || !status.is_success()
        {
            return Ok(());
        }
        let id = id.to_str().map_err(|_| Unbound::Taken)?;
        let bound = self.gate.sessions.bind(
            &self.caller.server.name,
            self.caller.owner(&self.gate),
            id,
            self.session.client.clone(),
        );
        if let Err(Unbound::Full(full)) = &bound {
            self.gate.note_full(full, Some(&self.caller.grant.name));
        }
        bound
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

/// Done when the client has hung up, or has not taken anything until then.
async fn gone(client: Option<&mpsc::Sender<Bytes>>, until: Option<Instant>) {
    let Some(client) = client else {
        return std::future::pending().await;
    };
    match until {
        None => client.closed().await,
        Some(until) => drop(tokio::time::timeout_at(until, client.closed()).await),
    }
}

/// Done when the client has cancelled the call; where it still takes an answer, not before the stop.
async fn cancelled(open: Option<&OpenCall>, stopping: Option<&CancellationToken>) {
    let Some(open) = open else {
        return std::future::pending().await;
    };
    open.cancelled().await;
    if let Some(stopping) = stopping {
        stopping.cancelled().await;
    }
}

/// Done when there is room for one more event on the way to the client.
async fn room(client: Option<&mpsc::Sender<Bytes>>) {
    match client {
        Some(client) => drop(client.reserve().await),
        None => std::future::pending().await,
    }
}

/// Done when somebody comes for the rest of the stream.
async fn comer(held: Option<&mut Held>) -> Comer {
    match held {
        Some(held) => held.comer().await,
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

//! An MCP server at the other end of a two-way line: a child process, or a stream of the transport of 2024-11-05.
//!
//! A legacy session has a peer of its own, made by its `initialize` and ended by its DELETE. Callers without a session
//! (the modern era, or a bare `tools/call`) have one each, made when first needed. Where the operator says so, all of one grant
//! share one; and where there is one client only (`weir wrap`), it has one. A request goes out as the judged bytes with an id of
//! our own in place of the client's, since two clients, or one that is careless, may use the same; the answer comes back as the
//! server's bytes with the client's id restored.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;

use self::desk::{Asked, Lost, Token};
use self::exchange::Waiting;
use self::peer::Peer;
use self::way::Way;
use crate::headers;
use crate::leave::Leave;
use crate::sse::Event;
use crate::upstream::{
    Answer, AnswerBody, Cause, ConnectError, Era, Exchange, ForwardError, MessageKind, Reached,
    Sharing, StreamFault, UpstreamLimits, UpstreamSpec,
};

pub(crate) use self::message::line;

mod backoff;
mod desk;
mod exchange;
mod message;
mod peer;
mod process;
mod sse;
mod way;

/// A child this long without use makes way when there are too many.
const MAKES_WAY: Duration = Duration::from_secs(10);

/// The children of one server.
pub struct DuplexUpstream {
    server: Arc<str>,
    way: Way,
    sharing: Sharing,
    limits: UpstreamLimits,
    /// The child of the one client there is; it is not started again.
    sole: OnceLock<Arc<Peer>>,
    children: Mutex<HashMap<Owner, Arc<Peer>>>,
    /// Places for requests, and apart from them for subscriptions, which stay open for hours.
    in_flight: Arc<Semaphore>,
    subscriptions: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// Whom a child serves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Owner {
    /// One legacy session, by the id Weir gave it.
    Session(Arc<str>),
    /// A caller without sessions.
    Caller(Arc<str>),
    /// All sessions and callers of one grant.
    Grant(Arc<str>),
}

/// Its environment holds secrets.
impl std::fmt::Debug for DuplexUpstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DuplexUpstream({})", self.server)
    }
}

impl DuplexUpstream {
    pub(super) async fn connect(spec: &UpstreamSpec) -> Result<Self, ConnectError> {
        let way = Way::prepare(spec).await.map_err(|detail| ConnectError {
            server: Arc::clone(&spec.server),
            detail,
        })?;
        Ok(Self {
            server: Arc::clone(&spec.server),
            way,
            sharing: spec.sharing,
            limits: spec.limits,
            sole: OnceLock::new(),
            children: Mutex::default(),
            in_flight: Arc::new(Semaphore::new(spec.limits.in_flight_max)),
            subscriptions: Arc::new(Semaphore::new(spec.limits.streams_max)),
            tasks: TaskTracker::new(),
        })
    }

    pub(super) fn begin(&self) -> Result<(), ConnectError> {
        if self.sharing != Sharing::Sole {
            return Ok(());
        }
        let nobody = Arc::from("");
        let child = self.start(&nobody).map_err(|detail| ConnectError {
            server: Arc::clone(&self.server),
            detail,
        })?;
        self.sole.get_or_init(|| child);
        Ok(())
    }

    pub(super) async fn ended(&self) -> String {
        match self.sole.get() {
            Some(child) => child.ended().await,
            None => std::future::pending().await,
        }
    }

    pub(super) async fn forward(
        &self,
        leave: Leave,
        exchange: Exchange,
    ) -> Result<Answer, ForwardError> {
        match (&exchange.method, exchange.kind) {
            (&Method::POST, MessageKind::Request) => self.ask(leave, exchange).await,
            (&Method::POST, MessageKind::Notification | MessageKind::Response) => {
                self.tell(leave, &exchange)
            }
            (&Method::GET, _) => Ok(self.listen(&exchange)),
            (&Method::DELETE, _) => Ok(self.end_session(&exchange)),
            _ => Ok(not_allowed()),
        }
    }

    pub(super) async fn close(&self, deadline: Duration) {
        let sole = self.sole.get().cloned();
        for child in self.children().drain().map(|(_, child)| child).chain(sole) {
            child.end(Some(deadline / 3));
        }
        self.tasks.close();
        if tokio::time::timeout(deadline, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(server = %self.server, left = self.tasks.len(), "children did not end in time");
        }
    }

    /// A request: out as a line, back as JSON, or as events if something comes before the answer.
    async fn ask(&self, leave: Leave, exchange: Exchange) -> Result<Answer, ForwardError> {
        let places = match &*exchange.rpc_method {
            "subscriptions/listen" => &self.subscriptions,
            _ => &self.in_flight,
        };
        let place = Arc::clone(places).try_acquire_owned().map_err(|_| {
            never(
                Cause::Busy,
                format!("{} requests are under way", self.limits.in_flight_max),
            )
        })?;
        if self.sharing == Sharing::Sole {
            let waiting = self.send(leave, &exchange, &self.sole()?, place)?;
            return waiting.answer(&exchange).await;
        }
        let founds = &*exchange.rpc_method == "initialize" && exchange.era == Era::Legacy;
        let (owner, child) = match (founds, &exchange.session) {
            (true, _) => {
                let owner = self.founded_by(&exchange);
                (owner.clone(), self.child(owner, &exchange.grant)?)
            }
            (false, Some(session)) => match self.session(&exchange) {
                Some(child) => (Owner::Session(Arc::clone(session)), child),
                None => return Ok(no_session()),
            },
            (false, None) => {
                let owner = self.without_session(&exchange);
                (owner.clone(), self.child(owner, &exchange.grant)?)
            }
        };
        let mut founding = founds.then(|| Founding {
            upstream: self,
            owner: owner.clone(),
            stands: false,
        });
        let waiting = self.send(leave, &exchange, &child, place)?;
        let mut answer = waiting.answer(&exchange).await?;
        if let Some(founding) = &mut founding
            && !answer_is_error(&answer)
        {
            let session = match &owner {
                Owner::Session(session) => Arc::clone(session),
                Owner::Grant(_) | Owner::Caller(_) => child.new_session(),
            };
            if let Ok(session) = HeaderValue::from_str(&session) {
                answer.headers.insert(&headers::SESSION, session);
                founding.stands = true;
            }
        }
        Ok(answer)
    }

    /// The one place where a client's request is written, and where leave to write it is spent.
    fn send(
        &self,
        leave: Leave,
        exchange: &Exchange,
        child: &Arc<Peer>,
        place: OwnedSemaphorePermit,
    ) -> Result<Waiting, ForwardError> {
        leave.spend();
        let id = exchange
            .request_id
            .as_ref()
            .ok_or_else(|| never(Cause::Unreachable, "a request without an id".into()))?;
        if exchange.body.get(id.span.clone()) != Some(id.raw.as_bytes()) {
            return Err(never(
                Cause::Unreachable,
                "the request's id is not where it should be".into(),
            ));
        }
        let shares = self.sharing == Sharing::Grant;
        let mut places = vec![id.span.clone()];
        let progress = message::progress_token(&exchange.body).map(|(raw, place)| {
            places.extend(shares.then_some(place));
            Token {
                raw: raw.into(),
                is_replaced: shares,
            }
        });
        let asked = Asked {
            id: Arc::clone(&id.raw),
            session: self.listener(exchange),
            progress,
            streams: accepts_events(&exchange.headers),
            subscribes: &*exchange.rpc_method == "subscriptions/listen",
        };
        let (own, deliveries) = child
            .desk()
            .open(asked)
            .map_err(|lost| never(lost.cause, lost.detail))?;
        let waiting = Waiting::new(
            Arc::clone(child),
            own,
            deliveries,
            exchange,
            self.limits.answer_timeout,
            place,
        );
        let spliced = message::splice(&exchange.body, &places, &own.to_string());
        let line = spliced
            .ok_or_else(|| never(Cause::Unreachable, "the request cannot be spliced".into()))?;
        child
            .write(message::line(line), Some(own))
            .map_err(|lost| never(lost.cause, lost.detail))?;
        Ok(waiting)
    }

    /// A notification, or the client's answer to a request of the server: written, and nothing comes back.
    fn tell(&self, leave: Leave, exchange: &Exchange) -> Result<Answer, ForwardError> {
        leave.spend();
        let child = match (self.sharing, &exchange.session) {
            (Sharing::Sole, _) => self.sole()?,
            (Sharing::Session | Sharing::Grant, Some(_)) => match self.session(exchange) {
                Some(child) => child,
                None => return Ok(no_session()),
            },
            (Sharing::Session | Sharing::Grant, None) => {
                self.child(self.without_session(exchange), &exchange.grant)?
            }
        };
        let mut line = exchange.body.to_vec();
        if &*exchange.rpc_method == "notifications/cancelled" {
            let why = Lost::maybe(Cause::Cancelled, "cancelled by the client");
            let named = message::cancelled_id(&exchange.body);
            let session = self.listener(exchange);
            let own = named
                .and_then(|(id, place)| Some((child.desk().cancel(&session, &id, why)?, place)));
            // A request that is not open cannot be cancelled, and its id means nothing to the child.
            let Some((own, place)) = own else {
                return Ok(accepted());
            };
            line = message::splice(&line, &[place], &own.to_string()).unwrap_or(line);
        }
        child
            .write(message::line(line), None)
            .map_err(|lost| never(lost.cause, lost.detail))?;
        Ok(accepted())
    }

    /// The stream of a legacy session, or of the one client: what the server says outside any request.
    fn listen(&self, exchange: &Exchange) -> Answer {
        let child = match (self.sole.get(), &exchange.session) {
            (Some(sole), _) => Some(Arc::clone(sole)),
            (None, Some(_)) => self.session(exchange),
            (None, None) => return not_allowed(),
        };
        let Some(child) = child else {
            return no_session();
        };
        child.touch();
        let Some(messages) = child.desk().listen(&self.listener(exchange)) else {
            return refused(StatusCode::CONFLICT, "this session has a stream already");
        };
        let events = stream::unfold(messages, async |mut messages| {
            let message: Bytes = messages.recv().await?;
            Some((Ok::<_, StreamFault>(Event::message(&message)), messages))
        });
        events_answer(events.boxed())
    }

    fn end_session(&self, exchange: &Exchange) -> Answer {
        let Some(session) = &exchange.session else {
            return not_allowed();
        };
        let ended = match self.sharing {
            // Others of the grant go on with it.
            Sharing::Grant => self.session(exchange).is_some(),
            Sharing::Session | Sharing::Sole => {
                let child = self.children().remove(&Owner::Session(Arc::clone(session)));
                child.map(|child| child.end(None)).is_some()
            }
        };
        if !ended {
            return no_session();
        }
        Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: AnswerBody::Whole(Bytes::new()),
        }
    }

    /// The peer of a session that has one; a shared one knows the sessions that it had from the start.
    fn session(&self, exchange: &Exchange) -> Option<Arc<Peer>> {
        let session = exchange.session.as_ref()?;
        let owner = match self.sharing {
            Sharing::Grant => Owner::Grant(Arc::clone(&exchange.grant)),
            Sharing::Session | Sharing::Sole => Owner::Session(Arc::clone(session)),
        };
        let peer = self.children().get(&owner).cloned()?;
        let knows = self.sharing != Sharing::Grant || peer.knows(session);
        (knows && !peer.is_over()).then_some(peer)
    }

    /// Whose messages these are, among those who share a peer.
    fn listener(&self, exchange: &Exchange) -> Arc<str> {
        match self.sharing {
            Sharing::Grant => Arc::clone(exchange.session.as_ref().unwrap_or(&exchange.caller)),
            Sharing::Session | Sharing::Sole => Arc::clone(&self.server),
        }
    }

    /// Whom a new session's peer serves.
    fn founded_by(&self, exchange: &Exchange) -> Owner {
        match self.sharing {
            Sharing::Grant => Owner::Grant(Arc::clone(&exchange.grant)),
            Sharing::Session | Sharing::Sole => {
                Owner::Session(uuid::Uuid::new_v4().to_string().into())
            }
        }
    }

    /// Whom the peer of a caller without a session serves.
    fn without_session(&self, exchange: &Exchange) -> Owner {
        match self.sharing {
            Sharing::Grant => Owner::Grant(Arc::clone(&exchange.grant)),
            Sharing::Session | Sharing::Sole => Owner::Caller(Arc::clone(&exchange.caller)),
        }
    }

    /// The child of `owner`, who comes under `grant`; started if it has none that runs.
    fn child(&self, owner: Owner, grant: &Arc<str>) -> Result<Arc<Peer>, ForwardError> {
        let mut children = self.children();
        children.retain(|_, child| !child.is_over());
        if let Some(child) = children.get(&owner) {
            return Ok(Arc::clone(child));
        }
        if self.tasks.is_closed() {
            return Err(never(Cause::Unreachable, "the proxy is closing".into()));
        }
        if children.len() >= self.limits.children_max {
            let longest = children
                .iter()
                .filter_map(|(owner, child)| Some((child.idle()?, owner.clone())))
                .filter(|(idle, _)| *idle >= MAKES_WAY)
                .max_by_key(|(idle, _)| *idle);
            let Some((_, idle)) = longest else {
                return Err(never(
                    Cause::Busy,
                    format!("{} children run and none is idle", children.len()),
                ));
            };
            if let Some(child) = children.remove(&idle) {
                child.end(None);
            }
        }
        let child = self
            .start(grant)
            .map_err(|detail| never(Cause::Unreachable, detail))?;
        children.insert(owner, Arc::clone(&child));
        Ok(child)
    }

    fn sole(&self) -> Result<Arc<Peer>, ForwardError> {
        self.sole
            .get()
            .filter(|child| !child.is_over())
            .cloned()
            .ok_or_else(|| never(Cause::Unreachable, "the server has ended".into()))
    }

    fn start(&self, grant: &Arc<str>) -> Result<Arc<Peer>, String> {
        self.way.start(&self.server, grant, &self.tasks)
    }

    fn children(&self) -> MutexGuard<'_, HashMap<Owner, Arc<Peer>>> {
        // A panic while it was held left the map whole: every change of it is one call.
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session that is being made. If it does not come to stand, its child ends: the client never learned its id.
struct Founding<'u> {
    upstream: &'u DuplexUpstream,
    owner: Owner,
    stands: bool,
}

impl Drop for Founding<'_> {
    fn drop(&mut self) {
        if !self.stands
            && matches!(self.owner, Owner::Session(_))
            && let Some(child) = self.upstream.children().remove(&self.owner)
        {
            child.end(None);
        }
    }
}

fn answer_is_error(answer: &Answer) -> bool {
    #[derive(serde::Deserialize)]
    struct Outcome<'m> {
        #[serde(borrow, default)]
        error: Option<&'m serde_json::value::RawValue>,
    }
    match &answer.body {
        AnswerBody::Whole(message) => serde_json::from_slice::<Outcome<'_>>(message)
            .map_or(true, |outcome| outcome.error.is_some()),
        AnswerBody::Events(_) => false,
    }
}

fn accepts_events(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            range
                .split(';')
                .next()
                .is_some_and(|range| range.trim().eq_ignore_ascii_case("text/event-stream"))
        })
}

fn never(cause: Cause, detail: String) -> ForwardError {
    ForwardError {
        reached: Reached::Never,
        cause,
        detail,
    }
}

fn json_answer(status: StatusCode, message: Bytes) -> Answer {
    let headers =
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    Answer {
        status,
        headers,
        body: AnswerBody::Whole(message),
    }
}

fn events_answer(events: stream::BoxStream<'static, Result<Event, StreamFault>>) -> Answer {
    let headers =
        HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))]);
    Answer {
        status: StatusCode::OK,
        headers,
        body: AnswerBody::Events(events),
    }
}

fn accepted() -> Answer {
    Answer {
        status: StatusCode::ACCEPTED,
        headers: HeaderMap::new(),
        body: AnswerBody::Whole(Bytes::new()),
    }
}

fn refused(status: StatusCode, message: &'static str) -> Answer {
    let error =
        format!(r#"{{"jsonrpc":"2.0","id":null,"error":{{"code":-31002,"message":"{message}"}}}}"#);
    json_answer(status, error.into())
}

/// 404 tells a legacy client to initialize anew.
fn no_session() -> Answer {
    refused(StatusCode::NOT_FOUND, "session not found")
}

fn not_allowed() -> Answer {
    let mut answer = refused(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    answer
        .headers
        .insert(ALLOW, HeaderValue::from_static("POST"));
    answer
}

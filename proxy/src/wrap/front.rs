//! Between a pipe and the life of a call: each line becomes a message with the headers that HTTP would have given it, each
//! answer becomes lines.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::io::AsyncRead;
use tokio::task::AbortHandle;
use tokio_util::task::TaskTracker;

use super::asked::{Asked, Kind, answers, canonical, header_value};
use super::lines::{Line, Lines};
use super::output::Output;
use crate::bounds::Resource;
use crate::enforce::{Arrival, Body, Caller, Refusal, Turn, bare, failure, message, refuse};
use crate::gate::Gate;
use crate::sse::Splitter;
use crate::upstream::Upstream;

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL: HeaderName = HeaderName::from_static("mcp-protocol-version");
const LAST_EVENT: HeaderName = HeaderName::from_static("last-event-id");
/// How long the end of a session at a server elsewhere may take.
const LEAVE_MAX: Duration = Duration::from_millis(400);
/// How soon a stream that broke off is asked for again; twice as long each time, up to the second.
const STREAM_AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// The one client and what is known of it.
pub(super) struct Front {
    gate: Arc<Gate>,
    caller: Arc<Caller>,
    out: Output,
    said: Mutex<Said>,
    /// Requests and what else the client may hear of.
    tasks: TaskTracker,
    /// Requests that wait for their answers. One that is cancelled gets none.
    open: Mutex<HashMap<String, Open>>,
}

/// A request that waits for its answer.
struct Open {
    hushed: Arc<AtomicBool>,
    /// A modern request elsewhere is cancelled by hanging up.
    hangs_up: Option<AbortHandle>,
}

/// What a stream said before it ended.
struct Told {
    /// Any message at all.
    any: bool,
    /// Not the answer, which is still wanted.
    owes: bool,
}

/// What a server said of the session.
#[derive(Debug, Default, Clone)]
struct Said {
    session: Option<HeaderValue>,
    protocol: Option<HeaderValue>,
    listens: bool,
}

impl Front {
    pub(super) fn new(gate: &Arc<Gate>, caller: Arc<Caller>, out: Output) -> Arc<Self> {
        Arc::new(Self {
            gate: Arc::clone(gate),
            caller,
            out,
            said: Mutex::default(),
            tasks: TaskTracker::new(),
            open: Mutex::default(),
        })
    }

    /// A child's own messages are heard from the start.
    pub(super) fn begin(self: &Arc<Self>) {
        if !self.is_over_http() {
            self.listen();
        }
    }

    /// Takes the client's lines in their order until there are no more.
    pub(super) async fn hear(self: &Arc<Self>, mut lines: Lines<impl AsyncRead + Unpin>) {
        loop {
            match lines.next().await {
                Line::Whole(line) => self.take(line).await,
                Line::TooLong { length } => {
                    let length = Some(length);
                    self.refuse(Bytes::new(), Refusal::TooLarge { length })
                        .await;
                }
                Line::Cut(line) => return self.refuse(line, Refusal::Incomplete).await,
                Line::End => return,
            }
        }
    }

    /// Done when the client cannot be told anything any more.
    pub(super) async fn is_unheard(&self) {
        self.out.is_unheard().await;
    }

    /// Done when nothing is under way any more.
    pub(super) async fn answered(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Ends the session at a server elsewhere.
    pub(super) async fn take_leave(&self) {
        if self.said().session.is_some() {
            let head = self.head(Method::DELETE, &Asked::default());
            let ended = bare(&self.gate, &self.caller, &head);
            drop(tokio::time::timeout(LEAVE_MAX, ended).await);
        }
    }

    async fn refuse(&self, line: Bytes, refusal: Refusal) {
        let now = self.gate.ledger.clock().now();
        let response = refuse(&self.gate, &self.caller, now, &line, refusal).await;
        self.tell(response, &Asked::of(&line)).await;
    }

    /// Sees one message on its way; what comes of it is told by a task of its own.
    async fn take(self: &Arc<Self>, line: Bytes) {
        let asked = Asked::of(&line);
        let place = match self
            .gate
            .bounds
            .take(Resource::InFlight, &self.caller.grant)
        {
            Ok(place) => place,
            Err(full) => {
                let id = asked.id().map(str::to_owned);
                return self.refuse(line, Refusal::Full { full, id }).await;
            }
        };
        let (turn, is_on_its_way) = Turn::new();
        let arrival = Arrival {
            caller: Arc::clone(&self.caller),
            head: self.head(Method::POST, &asked),
            body: line,
            received_at: self.gate.ledger.clock().now(),
            place,
            turn,
        };
        let over_http = self.is_over_http();
        let modern = asked.protocol.is_some();
        let begins = over_http && asked.method == "notifications/initialized";
        let waits = asked.founds() || begins;
        let key = asked.id().filter(|_| !asked.founds()).map(canonical);
        let hushed = Arc::clone(&asked.hushed);
        // Its request is answered no more, whichever of the two is faster.
        let cancelled = asked.cancels.as_ref().and_then(|id| self.open().remove(id));
        if let Some(open) = &cancelled {
            open.hushed.store(true, Ordering::Relaxed);
        }
        let front = Arc::clone(self);
        let task = {
            // Held until it is listed, so that it cannot be over before.
            let mut open = self.open();
            let task = self.tasks.spawn(async move {
                let response = message(&front.gate, arrival).await;
                front.tell(response, &asked).await;
                if let Some(id) = asked.id() {
                    front.open().remove(&canonical(id));
                }
            });
            let hangs_up = (over_http && modern).then(|| task.abort_handle());
            open.extend(key.map(|key| (key, Open { hushed, hangs_up })));
            task
        };
        // A message that is refused or denied ends its turn too.
        drop(is_on_its_way.await);
        if waits {
            drop(task.await);
        }
        if begins {
            self.listen();
        }
        if let Some(task) = cancelled.and_then(|open| open.hangs_up) {
            task.abort();
        }
    }

    /// Tells the client what the server says outside any request, for as long as the server does.
    fn listen(self: &Arc<Self>) {
        if std::mem::replace(&mut self.said().listens, true) {
            return;
        }
        let front = Arc::clone(self);
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = front.gate.stopping.cancelled() => {}
                () = front.tell_stream() => {}
            }
        });
    }

    /// A server elsewhere may break its stream off; then it is asked to go on where it was.
    async fn tell_stream(&self) {
        let mut last_event = None;
        let mut pause = STREAM_AGAIN.0;
        loop {
            let mut head = self.head(Method::GET, &Asked::default());
            head.headers
                .extend(last_event.clone().map(|id| (LAST_EVENT, id)));
            let response = bare(&self.gate, &self.caller, &head).await;
            if !response.status().is_success() || !is_events(response.headers()) {
                return; // it has none
            }
            if self.tell_events(response, None, &mut last_event).await.any {
                pause = STREAM_AGAIN.0;
            }
            if !self.is_over_http() {
                return; // its child has ended
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(STREAM_AGAIN.1);
        }
    }

    /// What HTTP would have said of this message.
    fn head(&self, method: Method, asked: &Asked) -> Parts {
        let is_get = method == Method::GET;
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = method;
        let said = self.said().clone();
        let headers = &mut head.headers;
        let accept = if is_get {
            "text/event-stream"
        } else {
            "application/json, text/event-stream"
        };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers.extend(said.session.map(|id| (SESSION, id)));
        match &asked.protocol {
            // The modern era says in headers too what a message is.
            Some(protocol) => {
                let values = [
                    (PROTOCOL, Some(protocol.as_str())),
                    (
                        HeaderName::from_static("mcp-method"),
                        Some(asked.method.as_str()),
                    ),
                    (HeaderName::from_static("mcp-name"), asked.name.as_deref()),
                ];
                headers.extend(
                    values
                        .into_iter()
                        .filter_map(|(name, value)| Some((name, header_value(value?)?))),
                );
            }
            None => headers.extend(said.protocol.map(|protocol| (PROTOCOL, protocol))),
        }
        head
    }

    /// Tells the client what came of its message.
    async fn tell(&self, response: Response<Body>, asked: &Asked) {
        if asked.founds() {
            self.said().session = response.headers().get(SESSION).cloned();
        }
        if is_events(response.headers()) {
            let (status, mut last_event) = (response.status(), None);
            let told = self
                .tell_events(response, Some(asked), &mut last_event)
                .await;
            if let Some(id) = asked.id()
                && told.owes
                && !self.tell_rest(asked, last_event).await
            {
                let lost = unanswered(id, status, b"the server broke off");
                self.out.say(lost.as_bytes()).await;
            }
            return;
        }
        let status = response.status();
        let (_, body) = response.into_parts();
        let Ok(body) = body.collect().await;
        let body = body.to_bytes();
        match &asked.kind {
            Kind::Request { .. } if asked.is_hushed() => {}
            Kind::Request { id } if !answers(&body, id) => {
                self.out.say(unanswered(id, status, &body).as_bytes()).await;
            }
            Kind::Request { .. } => self.say(&body, asked).await,
            // A message that cannot be read is answered all the same: its sender may wait.
            Kind::Unreadable if is_message(&body) => self.out.say(&body).await,
            Kind::Unreadable => {
                self.out
                    .say(unanswered("null", status, &body).as_bytes())
                    .await;
            }
            Kind::Silent => {}
        }
    }

    /// Asks for the rest of an answer that broke off, where its events had ids; false if it is not to be had.
    async fn tell_rest(&self, asked: &Asked, mut last_event: Option<HeaderValue>) -> bool {
        let mut pause = STREAM_AGAIN.0;
        while let Some(last) = last_event.clone()
            && asked.protocol.is_none()
            && pause < STREAM_AGAIN.1
        {
            tokio::time::sleep(pause).await;
            pause *= 2;
            let mut head = self.head(Method::GET, &Asked::default());
            head.headers.insert(LAST_EVENT, last);
            let response = bare(&self.gate, &self.caller, &head).await;
            if !response.status().is_success() || !is_events(response.headers()) {
                continue;
            }
            let told = self
                .tell_events(response, Some(asked), &mut last_event)
                .await;
            if !told.owes {
                return true;
            }
            if told.any {
                pause = STREAM_AGAIN.0;
            }
        }
        false
    }

    /// Tells the client every message of a stream.
    async fn tell_events(
        &self,
        response: Response<Body>,
        asked: Option<&Asked>,
        last_event: &mut Option<HeaderValue>,
    ) -> Told {
        let (_, mut body) = response.into_parts();
        // What came through the gate is within its limit already.
        let mut splitter = Splitter::new(usize::MAX);
        let mut owed = asked.and_then(Asked::id);
        let mut any = false;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(chunk) = frame.data_ref() else {
                continue;
            };
            splitter.push(chunk);
            while let Ok(Some(event)) = splitter.next_event() {
                if let Some(id) = event.id() {
                    *last_event = HeaderValue::from_bytes(id).ok();
                }
                let Some(data) = event.data().filter(|data| is_message(data)) else {
                    continue;
                };
                any = true;
                if owed.is_some_and(|id| answers(&data, id)) {
                    owed = None;
                    if asked.is_some_and(Asked::is_hushed) {
                        continue;
                    }
                }
                match asked {
                    Some(asked) => self.say(&data, asked).await,
                    None => self.out.say(&data).await,
                }
            }
        }
        Told {
            any,
            owes: owed.is_some() && !asked.is_some_and(Asked::is_hushed),
        }
    }

    /// Tells the client one message of the server, and notes which revision they settled on.
    async fn say(&self, message: &[u8], asked: &Asked) {
        if asked.founds()
            && let Some(protocol) = settled(message)
        {
            self.said().protocol = HeaderValue::from_str(&protocol).ok();
        }
        self.out.say(message).await;
    }

    fn is_over_http(&self) -> bool {
        matches!(self.caller.server.upstream, Upstream::Http(_))
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_events(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes()
            .to_ascii_lowercase()
            .starts_with(b"text/event-stream")
    })
}

fn is_message(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

/// The revision in the answer to `initialize`.
fn settled(message: &[u8]) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_slice(message).ok()?;
    let protocol = answer.pointer("/result/protocolVersion")?.as_str()?;
    Some(protocol.to_owned())
}

/// An answer where there is none that names the request: what HTTP said instead, or that nothing was said.
fn unanswered(id: &str, status: StatusCode, body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Refused {
        error: Reason,
    }
    #[derive(serde::Deserialize)]
    struct Reason {
        message: String,
    }
    let said = serde_json::from_slice::<Refused>(body).map(|refused| refused.error.message);
    let text = said.unwrap_or_else(|_| {
        let text = std::str::from_utf8(body).unwrap_or_default().trim();
        if text.is_empty() || text.len() > 256 {
            format!("the server answered with status {status} and no message")
        } else {
            text.to_owned()
        }
    });
    failure(id, status.as_u16(), &text, None)
}

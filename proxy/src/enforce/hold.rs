//! The phase `approve`: a call that a rule puts before a person waits for the answer, and its client with it.
//!
//! A client that takes events is kept waiting by them: progress, where it asked for that, else comments, so that nothing on the
//! way takes the silence for a broken connection. Others simply wait. Whoever hangs up takes the request back, in both eras:
//! nothing has been forwarded that could go on without its client.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::json;
use tokio::sync::mpsc;
use weir_policy::{AskKind, Decision};

use super::carry::{self, Carriage, Passage};
use super::open_call::OpenCall;
use super::reply::{self, Asker, Body};
use super::turn::Turn;
use crate::approvals::{Answered, Ending, Place, Question, Waiter};
use crate::gate::Gate;
use crate::keeping::AuditLevel;
use crate::leave::Leave;
use crate::ledger::unrecorded;
use crate::sse::Event;
use crate::upstream::Era;

/// A call that waits for a person, with everything it will need to go on.
pub(super) struct Hold {
    /// What the policy said of it.
    pub(super) pending: Decision,
    pub(super) place: Place,
    /// Grant and session, and the id of the request.
    pub(super) request: (Arc<str>, String),
    pub(super) progress_token: Option<String>,
    pub(super) takes_events: bool,
    pub(super) onward: Onward,
}

/// A call on its way on, once it is answered.
pub(super) struct Onward {
    pub(super) question: Arc<Question>,
    pub(super) kind: AskKind,
    pub(super) passage: Passage,
    pub(super) began: Instant,
    pub(super) level: AuditLevel,
    /// The tool as telemetry may name it.
    pub(super) told_tool: String,
}

impl Hold {
    /// Puts the question, waits for the answer, and goes on with it.
    pub(super) async fn put(self, gate: &Arc<Gate>) -> Response<Body> {
        let Self {
            pending,
            place,
            request,
            progress_token,
            takes_events,
            mut onward,
        } = self;
        // A person takes time: what comes after it, a cancel among it, does not wait.
        onward.passage.turn = Turn::of_none();
        let question = Arc::clone(&onward.question);
        let wait = question.wait;
        let revoked = onward.passage.caller.grant.revoked.clone();
        let waiter = Waiter::new(gate, (question, pending), request, (place, wait), revoked);
        if !takes_events {
            return onward.go(gate, waiter.wait().await).await;
        }
        let (events, sent) = mpsc::channel(1);
        let stream = Stream {
            gate: Arc::clone(gate),
            token: progress_token,
            count: 0,
            events,
        };
        gate.carriers.spawn(stream.run(waiter, onward));
        let frames = futures_util::stream::unfold(sent, |mut sent| async {
            let bytes: Bytes = sent.recv().await?;
            Some((Ok(Frame::data(bytes)), sent))
        });
        let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENTS));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

const EVENTS: &str = "text/event-stream";

impl Onward {
    /// Forwards an approved call, and tells of any other why not.
    async fn go(self, gate: &Arc<Gate>, mut answered: Answered) -> Response<Body> {
        let Self {
            question,
            mut passage,
            ..
        } = self;
        let call_id = question.call_id;
        let mut span = std::mem::take(&mut passage.span);
        let mut settled = |decision: &Decision| {
            let policy = passage.caller.grant.policy_digest.as_deref();
            span.decided(self.kind, &self.told_tool, decision, policy);
        };
        let deny = |decision: &Decision| {
            let id = passage.exchange.request_id.as_ref();
            let asker = Asker {
                id: id.map(|id| &*id.raw),
                era: passage.exchange.era,
                accept: passage.accept,
            };
            reply::denied_to(asker, self.kind, decision, Some(call_id))
        };
        let permit = match std::mem::replace(&mut answered.durable, Ok(None)) {
            Ok(permit) => permit,
            Err(why) => {
                gate.note_unrecorded(&passage.caller, &why);
                gate.let_lie(&answered);
                let decision = unrecorded(Some(&why));
                settled(&decision);
                return deny(&decision);
            }
        };
        settled(&answered.decision);
        gate.note_decided(&passage.caller, &self.told_tool, &answered.decision);
        let Some(permit) = permit else {
            return deny(&answered.decision);
        };
        let (caller, method) = (&passage.caller, &passage.exchange.rpc_method);
        let open = OpenCall::new(gate, caller, method, answered.seq, call_id, self.began);
        let carriage = Carriage {
            leave: Leave::Permit(permit),
            open: Some(open.at_level(self.level)),
            passage: Passage { span, ..passage },
        };
        carry::carry(gate, carriage).await
    }
}

/// The events by which a client is kept waiting, and then answered.
struct Stream {
    gate: Arc<Gate>,
    token: Option<String>,
    count: u32,
    events: mpsc::Sender<Bytes>,
}

impl Stream {
    async fn run(mut self, waiter: Waiter, onward: Onward) {
        let mut tick = tokio::time::interval(self.gate.approvals.config.keep_alive);
        let waiting = waiter.wait();
        tokio::pin!(waiting);
        let answered = loop {
            tokio::select! {
                biased;
                answered = &mut waiting => break answered,
                // The client hung up: dropped here, the question is taken back.
                () = self.events.closed() => return,
                _ = tick.tick() => {
                    let event = self.still_waiting();
                    // One that does not even take the last is told nothing more for now.
                    drop(self.events.try_send(event));
                }
            }
        };
        let gate = Arc::clone(&self.gate);
        let exchange = &onward.passage.exchange;
        let is_modern = exchange.era == Era::Modern;
        let id = exchange.request_id.as_ref().map(|id| Arc::clone(&id.raw));
        let response = tokio::select! {
            biased;
            response = onward.go(&gate, answered) => response,
            () = self.events.closed(), if is_modern => return,
        };
        self.pass_on(response, id.as_deref()).await;
    }

    /// That the client still waits: progress that comes nearer to nothing and never reaches it, so that whatever the server tells
    /// of its own progress afterwards is more.
    fn still_waiting(&mut self) -> Bytes {
        self.count = self.count.saturating_add(1);
        let Some(token) = &self.token else {
            return Bytes::from_static(b": waiting for a person\n\n");
        };
        let progress = -1.0 / f64::from(self.count);
        let note = json!({ "progress": progress, "message": "waiting for a person's approval" });
        let note = note.to_string();
        let rest = note.strip_prefix('{').unwrap_or_default();
        let text = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},{rest}}}"#
        );
        Event::message(text.as_bytes()).raw
    }

    /// The answer, as the rest of the stream.
    async fn pass_on(self, response: Response<Body>, id: Option<&str>) {
        let (head, mut body) = response.into_parts();
        let kind = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let is = |wanted: &str| kind.is_some_and(|kind| kind.starts_with(wanted));
        if head.status == StatusCode::OK && is(EVENTS) {
            loop {
                let frame = tokio::select! {
                    biased;
                    // The rest is let go, as it would be without a person in between.
                    () = self.events.closed() => return,
                    frame = body.frame() => frame,
                };
                let Some(Ok(frame)) = frame else { return };
                let Ok(bytes) = frame.into_data() else {
                    continue;
                };
                if self.events.send(bytes).await.is_err() {
                    return;
                }
            }
        }
        let whole = match body.collect().await {
            Ok(whole) => whole.to_bytes(),
            Err(never) => match never {},
        };
        let event = if is("application/json") && !whole.is_empty() {
            Event::message(&whole)
        } else {
            // The status that would say so went out long ago.
            let status = head.status.as_u16();
            let text = format!("the server answered with HTTP status {status}");
            let Some(id) = id else { return };
            let call_id = None;
            Event::message(reply::failure(id, status, &text, call_id).as_bytes())
        };
        // A client that has hung up misses its answer; the record has it.
        drop(self.events.send(event.raw).await);
    }
}

/// A request that its client takes back does not wait for a person any more.
pub(super) async fn take_back(gate: &Arc<Gate>, session: &str, request: &str) {
    let Some(question) = gate.approvals.of_request(session, request) else {
        return;
    };
    let ending = Ending::Withdrawn("the client took it back");
    // Somebody may have answered meanwhile: then it is too late.
    drop(gate.answer_for(&question, None, &ending).await);
}

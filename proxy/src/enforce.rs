//! The life of a call, in one function that reads top to bottom like the table of DESIGN 4.
//!
//! | Phase | Where |
//! |---|---|
//! | accept | [`crate::listener`] ends TLS; what arrives here is one request of one connection |
//! | authenticate … finish | [`enforce`], each phase under its name |
//!
//! Whatever happens on the way, one of three things holds at the end: the call was refused and the record says so, it was
//! forwarded and the record said so before, or the record could not be written and nothing was forwarded.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, Response};
use hyper::body::Incoming;
use weir_policy::{AskKind, Context, Decision, ENGINE, Micros, evaluate};
use weir_recorder::{Call, Outcome};

use crate::enforce::call::Draft;
use crate::enforce::carry::Carriage;
use crate::enforce::envelope::Envelope;
use crate::enforce::open_call::OpenCall;
use crate::enforce::refusal::Refusal;
use crate::gate::{Gate, Served};
use crate::grants::Grant;
use crate::leave::Leave;
use crate::ledger::unrecorded;
use crate::sessions::Session;
use crate::telemetry::CallDecided;

pub(crate) use refusal::tell_suppressed;
pub(crate) use reply::Body;

mod asked;
mod bare;
mod call;
mod carry;
mod door;
mod envelope;
mod open_call;
mod outcome;
mod read;
mod refusal;
mod reply;
mod tap;

/// Who calls, and whom.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) grant: Arc<Grant>,
    pub(crate) server: Arc<Served>,
    pub(crate) address: IpAddr,
    /// The connection's address as text, for the record.
    pub(crate) address_text: Arc<str>,
    /// What the client's software calls itself on the HTTP level: tells clients of one address apart.
    pub(crate) agent: Arc<str>,
}

/// Takes one request from its headers to its answer.
pub(crate) async fn enforce(
    gate: &Arc<Gate>,
    address: IpAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    let (head, body) = request.into_parts();

    // accept: is this host meant, by a page that may, at a path and with a method that mean something?
    let path = match door::open(gate, &head) {
        Ok(path) => path,
        Err(closed) => return closed,
    };

    // authenticate
    let caller = match door::authenticate(gate, address, path, &head) {
        Ok(caller) => caller,
        Err(closed) => return closed,
    };
    if head.method != Method::POST {
        return bare::exchange(gate, &caller, &head).await;
    }

    // read
    let Ok(mut place) = Arc::clone(&gate.in_flight).try_acquire_owned() else {
        let received_at = gate.ledger.clock().now();
        return refusal::refuse(gate, &caller, received_at, &Bytes::new(), Refusal::Busy).await;
    };
    let read = read::whole(gate, &head, body).await;
    let received_at = gate.ledger.clock().now();
    let clock = Instant::now();
    let body = match read {
        Ok(body) => body,
        Err(refusal) => {
            return refusal::refuse(gate, &caller, received_at, &Bytes::new(), refusal).await;
        }
    };
    let refuse = |refusal| refusal::refuse(gate, &caller, received_at, &body, refusal);

    // parse
    let message = match weir_policy::Message::parse(&body) {
        Ok(message) => message,
        Err(malformed) => return refuse(Refusal::Malformed(malformed)).await,
    };
    let envelope = match Envelope::of(&message, &head.headers) {
        Ok(envelope) => envelope,
        Err(refusal) => return refuse(refusal).await,
    };
    let session = match find_session(gate, &caller, &envelope) {
        Ok(session) => session,
        Err(refusal) => return refuse(refusal).await,
    };
    let ask = match message.ask() {
        Ok(ask) => ask,
        Err(malformed) => return refuse(Refusal::Malformed(malformed)).await,
    };
    if envelope.method() == carry::LISTEN {
        // It waits for nothing in particular, maybe for hours: it has a place among the streams.
        match Arc::clone(&gate.streams).try_acquire_owned() {
            Ok(stream) => place = stream,
            Err(_) => return refuse(Refusal::Busy).await,
        }
    }
    let call_id = fresh_call_id(received_at);
    let definition = ask.as_ref().and_then(|ask| match ask.kind {
        AskKind::ToolCall => caller.server.definitions.digest(&ask.wire_tool),
        AskKind::Resource | AskKind::Prompt | AskKind::Method => None,
    });
    let draft = Draft {
        definition: definition.as_deref(),
        key: &gate.digest_key,
        call_id,
        received_at,
        caller: &caller,
        envelope: &envelope,
        session: &session,
        body: &body,
    };
    let carriage = |leave, open| Carriage {
        leave,
        exchange: envelope.exchange(&head, &body, &caller, &session),
        open: Some(open),
        caller: caller.clone(),
        session: session.clone(),
        accept: envelope.accept(),
        place,
    };
    let ask = match (ask, envelope.leave()) {
        (Some(ask), _) => ask,
        // No policy is asked about this message: it is written down, and passes without waiting for the disk.
        (None, Some(leave)) => match gate.ledger.record(&Decision::allow(), draft.passing()) {
            Ok(commit) => {
                let open = OpenCall::new(
                    gate,
                    &caller,
                    envelope.method(),
                    commit.seq(),
                    call_id,
                    clock,
                );
                drop(commit);
                return carry::carry(gate, carriage(Leave::Pass(leave), open)).await;
            }
            Err(why) => {
                gate.note_unrecorded(&caller, &why);
                return reply::denied(&envelope, AskKind::Method, &unrecorded(), None);
            }
        },
        // Policy was not asked and may not be passed over: closed.
        (None, None) => return reply::denied(&envelope, AskKind::Method, &unrecorded(), None),
    };

    // resolve
    let judging = Instant::now();
    let resolver = &caller.server.resolver;
    let resolution = match resolver.resolve(&ask) {
        Ok(resolution) => resolution,
        Err(decision) => {
            let call = Call {
                resolver_digest: Some(caller.server.resolver_digest.as_str()),
                ..draft.asked(&ask)
            };
            let recorded = gate.ledger.record(&decision, call);
            let decision = settle_denial(gate, &caller, recorded, decision).await;
            gate.note_decided(&caller, &ask.wire_tool, &decision);
            return reply::denied(&envelope, ask.kind, &decision, Some(call_id));
        }
    };

    // evaluate
    let policy = caller.grant.policy.as_deref();
    let context = Context {
        node: gate.ledger.node(),
        server: &caller.server.name,
        grant: &caller.grant.name,
        session: &session.id,
        client_name: session.client.name.as_deref().unwrap_or_default(),
        client_version: session.client.version.as_deref().unwrap_or_default(),
        received_at,
    };
    let evaluation = evaluate(policy, &resolution, &context);

    // reserve: time, limits and place in the log, in one step under the ledger's mutex
    let effective = call::effective_arguments(&resolution);
    let call = Call {
        effective_arguments: effective.as_deref(),
        policy_digest: caller.grant.policy_digest.as_deref(),
        resolver_digest: Some(caller.server.resolver_digest.as_str()),
        engine: Some(ENGINE),
        decide_ns: i32::try_from(judging.elapsed().as_nanos()).ok(),
        ..draft.resolved(&ask, &resolution)
    };
    let committing = Instant::now();
    let decided = match gate.ledger.decide(evaluation, call) {
        Ok(decided) => decided,
        Err(why) => {
            gate.note_unrecorded(&caller, &why);
            return reply::denied(&envelope, ask.kind, &unrecorded(), None);
        }
    };

    // approve: there is nobody to ask yet, and policy has denied what needs a person

    // commit
    let seq = decided.commit.seq();
    let open = decided
        .decision
        .is_allow()
        .then(|| OpenCall::new(gate, &caller, envelope.method(), seq, call_id, clock));
    let permit = match decided.commit.wait().await {
        Ok(permit) => permit,
        Err(why) => {
            if let Some(open) = open {
                open.void();
            }
            gate.note_unrecorded(&caller, &why);
            return reply::denied(&envelope, ask.kind, &unrecorded(), Some(call_id));
        }
    };
    let last = resolution.readings.last();
    let tool = last.map_or(ask.wire_tool.as_ref(), |reading| &reading.tool);
    gate.note_decided(&caller, tool, &decided.decision);
    let (Some(permit), Some(mut open)) = (permit, open) else {
        return reply::denied(&envelope, ask.kind, &decided.decision, Some(call_id));
    };
    open.committed(committing);

    // forward, finish: the outcome goes to the journal, the answer to the caller
    carry::carry(gate, carriage(Leave::Permit(permit), open)).await
}

/// Waits for a denial's place in the record; what cannot be recorded is denied all the same, and says why.
async fn settle_denial(
    gate: &Gate,
    caller: &Caller,
    recorded: Result<weir_recorder::Commit, weir_recorder::Unrecorded>,
    decision: Decision,
) -> Decision {
    let durable = match recorded {
        Ok(commit) => commit.wait().await.map(drop),
        Err(why) => Err(why),
    };
    match durable {
        Ok(()) => decision,
        Err(why) => {
            gate.note_unrecorded(caller, &why);
            unrecorded()
        }
    }
}

/// The session this message belongs to: the one it names, else the one of its grant, address and client.
fn find_session(gate: &Gate, caller: &Caller, envelope: &Envelope<'_>) -> Result<Session, Refusal> {
    let mut session = match envelope.session_id() {
        Some(id) => gate
            .sessions
            .given(&caller.server.name, &caller.grant.name, id)
            .map_err(|_| Refusal::Session {
                id: envelope.id().map(|id| id.raw.to_owned()),
            })?,
        None => gate
            .sessions
            .derived(&caller.grant.name, caller.address, &caller.agent),
    };
    if let Some(client) = envelope.introduction() {
        if envelope.session_id().is_none() {
            gate.sessions.introduce(
                &caller.grant.name,
                caller.address,
                &caller.agent,
                client.clone(),
            );
        }
        session.client = client;
    }
    if let Some(protocol) = envelope.protocol() {
        session.client.protocol = Some(Arc::from(protocol));
    }
    Ok(session)
}

impl Gate {
    fn note_decided(&self, caller: &Caller, tool: &str, decision: &Decision) {
        self.telemetry.decided(&CallDecided {
            server: &caller.server.name,
            grant: &caller.grant.name,
            tool,
            verdict: decision.verdict.as_str(),
            reason: decision.reason.as_str(),
        });
    }

    fn note_unrecorded(&self, caller: &Caller, why: &weir_recorder::Unrecorded) {
        self.telemetry.unrecorded(&caller.server.name);
        tracing::warn!(server = %caller.server.name, grant = %caller.grant.name, %why, "a call was refused: its decision could not be recorded");
    }

    fn note_finished(&self, caller: &Caller, method: &str, outcome: Outcome, began: Instant) {
        self.telemetry.finished(
            &caller.server.name,
            method,
            outcome.as_str(),
            began.elapsed(),
        );
    }
}

/// A name for a call, in the order of their times as far as milliseconds tell.
fn fresh_call_id(received_at: Micros) -> [u8; 16] {
    let (seconds, rest) = (
        received_at.0.div_euclid(1_000_000),
        received_at.0.rem_euclid(1_000_000),
    );
    let at =
        uuid::Timestamp::from_unix(uuid::NoContext, seconds.unsigned_abs(), rest as u32 * 1_000);
    *uuid::Uuid::new_v7(at).as_bytes()
}

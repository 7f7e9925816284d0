//! The life of a call, in one function that reads top to bottom like the table of DESIGN 4.
//!
//! | Phase | Where |
//! |---|---|
//! | accept | [`crate::listener`] ends TLS; what arrives here is one request of one connection |
//! | authenticate … finish | [`enforce`], each phase under its name |
//!
//! Whatever happens on the way, one of three things holds at the end: the call was refused and the record says so, it was
//! forwarded and the record said so before, or the record could not be written and nothing was forwarded.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use hyper::body::{Body as _, Incoming};
use weir_policy::{AskKind, Context, Decision, ENGINE, Micros};
use weir_recorder::Call;

use crate::bounds::{Full, Place, Resource};
use crate::call_id;
use crate::enforce::call::Draft;
use crate::enforce::carry::{Carriage, Passage};
use crate::enforce::envelope::Envelope;
use crate::enforce::hold::{Hold, Onward};
use crate::enforce::kept::Kept;
use crate::enforce::open_call::OpenCall;
use crate::enforce::question::Matter;
use crate::gate::Gate;
use crate::leave::Leave;
use crate::ledger::{Heard, unrecorded};
use crate::peer::Peer;
use crate::sessions::Session;
use crate::traces;

pub(crate) use bare::exchange as bare;
pub(crate) use caller::Caller;
pub(crate) use cancel::Cancellable;
pub(crate) use refusal::{Refusal, refuse, tell_suppressed};
pub(crate) use reply::{Body, failure};
pub(crate) use resume::Resumable;
pub(crate) use turn::Turn;

mod asked;
mod away;
mod bare;
mod call;
mod caller;
mod cancel;
mod carry;
mod door;
mod envelope;
mod hold;
mod kept;
mod metadata;
mod mirrored;
mod notes;
mod open_call;
mod outcome;
mod question;
mod read;
mod refusal;
mod reply;
mod result;
mod resume;
mod tap;
mod turn;

/// Takes one request from its headers to its answer.
pub(crate) async fn enforce(
    gate: &Arc<Gate>,
    peer: &Arc<Peer>,
    request: Request<Incoming>,
) -> Response<Body> {
    let (mut head, body) = request.into_parts();

    // accept: is this host meant, by a page that may, at a path and with a method that mean something?
    let path = match door::open(gate, &head) {
        Ok(path) => path,
        Err(shut) => {
            read::drain(body).await;
            return shut.answer(gate, peer, &head).await;
        }
    };

    // authenticate
    let caller = match door::authenticate(gate, peer, path, &head).await {
        Ok(caller) => caller,
        Err(shut) => {
            read::drain(body).await;
            return shut.answer(gate, peer, &head).await;
        }
    };
    door::forget_credentials(&mut head.headers);
    if let Err(full) = caller.peer.comes_as(&gate.bounds, &caller.grant) {
        read::drain(body).await;
        return full_up(gate, &caller, full).await;
    }
    if head.method != Method::POST {
        if !body.is_end_stream() {
            let received_at = gate.ledger.clock().now();
            let refusal = Refusal::StrayBody;
            return refusal::refuse(gate, &caller, received_at, &Bytes::new(), refusal).await;
        }
        return bare(gate, &caller, &head).await;
    }

    // read
    let place = match gate.bounds.take(Resource::InFlight, &caller.grant) {
        Ok(place) => place,
        Err(full) => {
            // What is on its way already is taken: else the connection ends, and with it the answer.
            read::drain(body).await;
            return full_up(gate, &caller, full).await;
        }
    };
    let read = read::whole(gate, &head, body).await;
    let received_at = gate.ledger.clock().now();
    let body = match read {
        Ok(body) => body,
        Err(refusal) => {
            return refusal::refuse(gate, &caller, received_at, &Bytes::new(), refusal).await;
        }
    };
    let turn = Turn::of_none();
    message(
        gate,
        Arrival {
            caller,
            head,
            body,
            received_at,
            place,
            turn,
        },
    )
    .await
}

/// What is refused unread, since there is no place for it.
async fn full_up(gate: &Gate, caller: &Caller, full: Full) -> Response<Body> {
    let received_at = gate.ledger.clock().now();
    let refusal = Refusal::Full { full, id: None };
    refusal::refuse(gate, caller, received_at, &Bytes::new(), refusal).await
}

/// One whole message, whichever way it came.
pub(crate) struct Arrival {
    pub(crate) caller: Arc<Caller>,
    /// What HTTP says of it; where it came another way, what HTTP would have said.
    pub(crate) head: Parts,
    pub(crate) body: Bytes,
    /// When it was complete.
    pub(crate) received_at: Micros,
    /// Its place among the requests under way.
    pub(crate) place: Place,
    pub(crate) turn: Turn,
}

/// The phases from `parse` on.
pub(crate) async fn message(gate: &Arc<Gate>, arrival: Arrival) -> Response<Body> {
    let Arrival {
        caller,
        head,
        body,
        received_at,
        mut place,
        turn,
    } = arrival;
    let clock = Instant::now();
    let headers = Arc::new(head.headers);
    let refuse = |refusal| refusal::refuse(gate, &caller, received_at, &body, refusal);

    // parse
    let message = match weir_policy::Message::parse(&body) {
        Ok(message) => message,
        Err(malformed) => return refuse(Refusal::Malformed(malformed)).await,
    };
    let envelope = match Envelope::of(&message, &headers) {
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
        match gate.bounds.take(Resource::Streams, &caller.grant) {
            Ok(stream) => place = stream,
            Err(full) => {
                let id = envelope.id().map(|id| id.raw.to_owned());
                return refuse(Refusal::Full { full, id }).await;
            }
        }
    }
    let call_id = call_id::fresh(received_at);
    let definition = ask.as_ref().and_then(|ask| match ask.kind {
        AskKind::ToolCall => caller.server.definitions.digest(&ask.wire_tool),
        AskKind::Resource | AskKind::Prompt | AskKind::Method => None,
    });
    let mut span = gate.traces.begin(&traces::Message {
        parent: envelope.parent(),
        method: envelope.method(),
        request_id: envelope.id().map(|id| id.raw),
        session_id: envelope.session_id(),
        protocol: session.client.protocol.as_deref(),
        address: &caller.peer.address_text,
        server: &caller.server.name,
        grant: &caller.grant.name,
        call_id,
    });
    let draft = Draft {
        trace_id: span
            .trace_id()
            .or_else(|| envelope.parent().map(|parent| parent.trace_id)),
        definition: definition.as_deref(),
        key: &gate.digest_key,
        call_id,
        received_at,
        caller: &caller,
        envelope: &envelope,
        session: &session,
        body: &body,
    };
    let passage = |span| Passage {
        span,
        exchange: envelope.exchange(&headers, &body, &caller, &session),
        caller: Arc::clone(&caller),
        session: session.clone(),
        accept: envelope.accept(),
        place,
        turn,
    };
    if let Some(request) = envelope.takes_back() {
        let caller_key = envelope::caller_key(&caller, &session);
        gate.cancellable.cancel(&caller_key, &request);
        hold::take_back(gate, &caller_key, &request).await;
    }
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
                let carriage = Carriage {
                    leave: Leave::Pass(leave),
                    open: Some(open),
                    passage: passage(span),
                };
                return carry::carry(gate, carriage).await;
            }
            Err(why) => {
                gate.note_unrecorded(&caller, &why);
                return reply::denied(&envelope, AskKind::Method, &unrecorded(Some(&why)), None);
            }
        },
        // Policy was not asked and may not be passed over: closed.
        (None, None) => return reply::denied(&envelope, AskKind::Method, &unrecorded(None), None),
    };

    // resolve
    let judging = Instant::now();
    let resolver = &caller.server.resolver;
    let (keeping, came) = (&caller.server.keeping, envelope.arguments());
    let keep = |level| Kept::of(keeping, level, &ask, came, &gate.digest_key);
    let resolution = match resolver.resolve(&ask) {
        Ok(resolution) => resolution,
        Err(decision) => {
            let kept = keep(keeping.audit.lowest());
            let call = Call {
                resolver_digest: Some(caller.server.resolver_digest.as_str()),
                ..draft.asked(&ask, &kept.unresolved(came))
            };
            let recorded = gate.ledger.record(&decision, call);
            let decision = settle_denial(gate, &caller, recorded, decision).await;
            gate.note_decided(&caller, kept.name(&ask), &decision);
            span.decided(ask.kind, kept.name(&ask), &decision, None);
            return reply::denied(&envelope, ask.kind, &decision, Some(call_id));
        }
    };

    // What the record keeps of it is settled before it is judged: limits count by nothing else.
    let level = keeping.audit.level(&resolution);
    let kept = keep(level);
    let left = kept.left(&ask, came);
    let written = kept.resolved(resolver, &resolution, came, left.as_ref());

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
    let candidates = Heard::of(&resolution, written.resolution.as_ref(), &context);
    let evaluation = candidates.evaluate(policy);

    // reserve: time, limits and place in the log, in one step under the ledger's mutex
    let effective = call::effective_arguments(&resolution, &written);
    let call = Call {
        effective_arguments: effective.as_deref(),
        policy_digest: caller.grant.policy_digest.as_deref(),
        resolver_digest: Some(caller.server.resolver_digest.as_str()),
        engine: Some(ENGINE),
        decide_ns: i32::try_from(judging.elapsed().as_nanos()).ok(),
        ..draft.resolved(&ask, &resolution, &written)
    };
    let candidates = candidates.by(&caller.grant.candidates);
    let committing = Instant::now();
    let mut asking = None;
    let decided = gate
        .ledger
        .decide_or_hold(evaluation, candidates, call, |_| {
            asking = Some(gate.approvals.place(&caller.grant.name)?);
            Ok(())
        });
    let decided = match decided {
        Ok(decided) => decided,
        Err(why) => {
            gate.note_unrecorded(&caller, &why);
            let decision = unrecorded(Some(&why));
            span.decided(ask.kind, kept.name(&ask), &decision, None);
            return reply::denied(&envelope, ask.kind, &decision, None);
        }
    };

    // commit
    let seq = decided.commit.seq();
    let asked_at = (seq, decided.commit.at());
    let open = decided
        .decision
        .is_allow()
        .then(|| OpenCall::new(gate, &caller, envelope.method(), seq, call_id, clock))
        .map(|open| open.at_level(level));
    let permit = match decided.commit.wait().await {
        Ok(permit) => permit,
        Err(why) => {
            if let Some(open) = open {
                open.void();
            }
            gate.note_unrecorded(&caller, &why);
            let decision = unrecorded(Some(&why));
            span.decided(ask.kind, kept.name(&ask), &decision, None);
            return reply::denied(&envelope, ask.kind, &decision, Some(call_id));
        }
    };
    let last = resolution.readings.last();
    let tool = last.map_or(ask.wire_tool.as_ref(), |reading| &reading.tool);
    let tool = written.name.unwrap_or(tool);
    gate.note_opinions(&caller, &decided.opinions);
    gate.telemetry.committed(committing.elapsed());

    // approve: a person is asked once it is in the record that one is; the answer is an entry of its own, whose commit gives the
    // permit
    if let Some(place) = asking {
        let matter = Matter {
            gate,
            caller: &caller,
            envelope: &envelope,
            session: &session,
            ask: &ask,
            risk: resolution.risk().as_str(),
            tool,
            effective_arguments: effective.as_deref(),
            call_id,
        };
        let hold = Hold {
            request: (
                envelope::caller_key(&caller, &session),
                envelope.request_key().unwrap_or_default(),
            ),
            progress_token: envelope.progress_token(),
            takes_events: envelope::takes_events(&headers),
            place,
            onward: Onward {
                question: Arc::new(matter.question(asked_at, &decided.decision)),
                kind: ask.kind,
                passage: passage(span),
                began: clock,
                level,
                told_tool: tool.to_owned(),
            },
            pending: decided.decision,
        };
        return hold.put(gate).await;
    }
    gate.note_decided(&caller, tool, &decided.decision);
    let digest = caller.grant.policy_digest.as_deref();
    span.decided(ask.kind, tool, &decided.decision, digest);
    let (Some(permit), Some(mut open)) = (permit, open) else {
        return reply::denied(&envelope, ask.kind, &decided.decision, Some(call_id));
    };
    open.committed(committing);

    // forward, finish: the outcome goes to the journal, the answer to the caller
    let carriage = Carriage {
        leave: Leave::Permit(permit),
        open: Some(open),
        passage: passage(span),
    };
    carry::carry(gate, carriage).await
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
            unrecorded(Some(&why))
        }
    }
}

/// The session this message belongs to: the one it names, else the one of its owner, address and client.
fn find_session(gate: &Gate, caller: &Caller, envelope: &Envelope<'_>) -> Result<Session, Refusal> {
    let id = || envelope.id().map(|id| id.raw.to_owned());
    let full = |full| Refusal::Full { full, id: id() };
    let owner = caller.owner(gate);
    let mut session = match envelope.session_id() {
        Some(id_of_session) => gate
            .sessions
            .given(&caller.server.name, &caller.identity.owner, id_of_session)
            .map_err(|_| Refusal::Session { id: id() })?,
        None => gate
            .sessions
            .derived(owner, caller.peer.address, &caller.agent)
            .map_err(full)?,
    };
    if envelope.session_id().is_none() && envelope.method() == "initialize" {
        // The server may open one, and it is no use to open what could not be bound.
        gate.sessions.has_room(owner).map_err(full)?;
    }
    if let Some(client) = envelope.introduction() {
        if envelope.session_id().is_none() {
            gate.sessions.introduce(
                &caller.identity.owner,
                caller.peer.address,
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

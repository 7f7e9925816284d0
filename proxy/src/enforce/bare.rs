//! GET and DELETE: a legacy client's stream, and the end of its session. They carry no message, so there is nothing to
//! judge; what the server says on the stream is looked at like any answer.

use std::sync::Arc;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};

use super::carry::{self, Carriage, Passage};
use super::envelope::{accept, caller_key, era_of};
use super::refusal::{Refusal, refuse};
use super::resume::last_event;
use super::{Body, Caller, Turn};
use crate::bounds::Resource;
use crate::gate::Gate;
use crate::leave::{Leave, Pass};
use crate::traces::Span;
use crate::upstream::{Exchange, MessageKind};

pub(crate) async fn exchange(gate: &Arc<Gate>, caller: &Arc<Caller>, head: &Parts) -> Response<Body> {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let era = era_of(header("mcp-protocol-version"));
    let named = head.headers.contains_key("mcp-session-id");
    let id = header("mcp-session-id")
        .filter(|_| head.headers.get_all("mcp-session-id").iter().count() == 1);
    let session = match id {
        Some(id) => gate
            .sessions
            .given(&caller.server.name, &caller.identity.owner, id)
            .map_err(|_| Refusal::Session { id: None }),
        None if named => Err(Refusal::Session { id: None }),
        None => gate
            .sessions
            .derived(caller.owner(gate), caller.peer.address, &caller.agent)
            .map_err(|full| Refusal::Full { full, id: None }),
    };
    // The end of a session is over soon; a stream may stay for hours.
    let resource = match head.method {
        Method::DELETE => Resource::InFlight,
        _ => Resource::Streams,
    };
    let admitted = session.and_then(|session| {
        if !may_resume(gate, caller, head, id) {
            return Err(Refusal::NotItsEvent);
        }
        let place = gate.bounds.take(resource, &caller.grant);
        let place = place.map_err(|full| Refusal::Full { full, id: None })?;
        Ok((session, place))
    });
    let (session, place) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            let received_at = gate.ledger.clock().now();
            return refuse(gate, caller, received_at, &Bytes::new(), refusal).await;
        }
    };
    let carriage = Carriage {
        leave: Leave::Pass(Pass::for_bare()),
        open: None,
        passage: Passage {
            exchange: Exchange {
                method: head.method.clone(),
                headers: Arc::new(head.headers.clone()),
                body: Bytes::new(),
                request_id: None,
                rpc_method: Arc::from(""),
                kind: MessageKind::Bare,
                era,
                session: id.map(Arc::from),
                grant: Arc::clone(&caller.grant.name),
                caller: caller_key(caller, &session),
            },
            caller: Arc::clone(caller),
            session: session.clone(),
            accept: accept(&head.headers),
            place,
            turn: Turn::of_none(),
            span: Span::default(),
        },
    };
    let response = carry::carry(gate, carriage).await;
    let ended = response.status().is_success() || response.status() == StatusCode::NOT_FOUND;
    if let (&Method::DELETE, Some(id), true) = (&head.method, id, ended) {
        gate.sessions.end(&caller.server.name, id);
    }
    response
}

/// Whether the stream that is asked for, if it is one that broke off, is the caller's own. A session of the protocol says so to the
/// server; without one only what Weir has told the caller does.
fn may_resume(gate: &Gate, caller: &Caller, head: &Parts, session: Option<&str>) -> bool {
    match last_event(&head.headers) {
        Ok(Some(event)) if session.is_none() => gate.sessions.was_told(
            &caller.identity.owner,
            caller.peer.address,
            &caller.agent,
            gate.digest_key.digest(event.as_bytes()),
        ),
        Ok(_) => true,
        Err(()) => false,
    }
}

//! The phases `accept`, as far as HTTP is concerned, and `authenticate`.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{HOST, ORIGIN, USER_AGENT};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use weir_recorder::{Event, EventKind};

use super::Caller;
use super::reply::{self, Body};
use crate::gate::Gate;
use crate::grants::Stranger;

/// The server's name in the path, if the request is one that means something here.
#[expect(
    clippy::result_large_err,
    reason = "an answer is large wherever it is made"
)]
pub(super) fn open<'r>(gate: &Gate, head: &'r Parts) -> Result<&'r str, Response<Body>> {
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        (None, _) => authority,
        (Some(_), Some(_)) => None,
    };
    if !host.is_some_and(|host| gate.hosts.names(host))
        || authority.is_some_and(|name| !gate.hosts.names(name))
    {
        return Err(reply::plain(
            StatusCode::FORBIDDEN,
            "this host is not called that; add the name to `hosts` in [listen]",
        ));
    }
    let mut origins = head.headers.get_all(ORIGIN).iter();
    if origins.any(|origin| {
        !origin
            .to_str()
            .is_ok_and(|origin| gate.hosts.admits(origin))
    }) {
        return Err(reply::plain(
            StatusCode::FORBIDDEN,
            "pages of this origin may not call",
        ));
    }
    let path = head.uri.path();
    let server = path
        .strip_prefix('/')
        .and_then(|path| path.strip_suffix("/mcp"));
    let Some(server) = server.filter(|server| !server.is_empty() && !server.contains('/')) else {
        return Err(reply::plain(
            StatusCode::NOT_FOUND,
            "servers are at /<name>/mcp",
        ));
    };
    if !matches!(head.method, Method::POST | Method::GET | Method::DELETE) {
        return Err(reply::method_not_allowed());
    }
    Ok(server)
}

/// The grant whose token the request carries.
#[expect(
    clippy::result_large_err,
    reason = "an answer is large wherever it is made"
)]
pub(super) fn authenticate(
    gate: &Gate,
    address: IpAddr,
    server: &str,
    head: &Parts,
) -> Result<Caller, Response<Body>> {
    let grant = match gate.grants.authenticate(server, &head.headers) {
        Ok(grant) => grant,
        Err(Stranger::Unknown) => {
            note_stranger(gate, address);
            return Err(reply::who_are_you());
        }
        Err(Stranger::OtherServer) => {
            return Err(reply::plain(
                StatusCode::NOT_FOUND,
                "this token opens no server of that name",
            ));
        }
    };
    let Some(found) = gate.server(server) else {
        return Err(reply::plain(
            StatusCode::NOT_FOUND,
            "no server of that name",
        ));
    };
    let agent = head
        .headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default();
    let agent = agent.get(..256).unwrap_or(agent);
    Ok(Caller {
        grant,
        server: Arc::clone(found),
        address,
        address_text: Arc::from(address.to_canonical().to_string()),
        agent: Arc::from(agent),
    })
}

/// Counts a stranger; one event per address and minute, so that strangers cannot fill the record.
fn note_stranger(gate: &Gate, address: IpAddr) {
    gate.telemetry.unauthenticated();
    let minute = gate.ledger.clock().now().0.div_euclid(60_000_000);
    let Some(count) = gate.strangers.note(address, minute) else {
        return;
    };
    let address = address.to_canonical().to_string();
    let event = Event {
        address: Some(address.as_str()),
        count: Some(count),
        text: Some("a request without a valid token was turned away"),
        ..Event::of(EventKind::Unauthenticated)
    };
    drop(gate.ledger.event(&event));
}

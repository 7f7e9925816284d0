//! The phases `accept`, as far as HTTP is concerned, and `authenticate`.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN, PROXY_AUTHORIZATION, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode};

use super::Caller;
use super::metadata::{self, challenge};
use super::refusal::{Refusal, refuse};
use super::reply::{self, Body};
use crate::certificate::ClientCertificate;
use crate::gate::{Gate, Served};
use crate::grants::{Bearer, Opened, Stranger};
use crate::oauth::Unaccepted;
use crate::peer::Peer;
use crate::strangers::TurnedAway;

/// A request that goes no further.
pub(super) enum Shut {
    /// It means nothing here: written down where its caller is known.
    Closed(Closed),
    /// Whoever it is was counted, or need not be known.
    Answered(Box<Response<Body>>),
}

/// Why a request means nothing here, as its caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Closed {
    status: StatusCode,
    text: &'static str,
}

/// The server's name in the path, if the request is one that means something here.
pub(super) fn open<'r>(gate: &Gate, head: &'r Parts) -> Result<&'r str, Shut> {
    let closed = |status, text| Err(Shut::Closed(Closed { status, text }));
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
        return closed(
            StatusCode::FORBIDDEN,
            "this host is not called that; add the name to `hosts` in [listen]",
        );
    }
    let mut origins = head.headers.get_all(ORIGIN).iter();
    if origins.any(|origin| {
        !origin
            .to_str()
            .is_ok_and(|origin| gate.hosts.admits(origin))
    }) {
        return closed(StatusCode::FORBIDDEN, "pages of this origin may not call");
    }
    let path = head.uri.path();
    if let Some(answer) = metadata::answer(gate, head) {
        return Err(Shut::Answered(Box::new(answer)));
    }
    let server = path
        .strip_prefix('/')
        .and_then(|path| path.strip_suffix("/mcp"));
    let Some(server) = server.filter(|server| !server.is_empty() && !server.contains('/')) else {
        return closed(StatusCode::NOT_FOUND, "servers are at /<name>/mcp");
    };
    if !matches!(head.method, Method::POST | Method::GET | Method::DELETE) {
        return closed(StatusCode::METHOD_NOT_ALLOWED, "use POST, GET or DELETE");
    }
    Ok(server)
}

const NOT_YOURS: &str = "what you show opens no server of that name";

impl Shut {
    /// What the caller is told. A row where what it shows is good, so that nothing a caller tries is dropped silently, else a
    /// stranger is counted.
    pub(super) async fn answer(
        self,
        gate: &Gate,
        peer: &Arc<Peer>,
        head: &Parts,
    ) -> Response<Body> {
        let Closed { status, text } = match self {
            Self::Answered(answer) => return *answer,
            Self::Closed(closed) => closed,
        };
        let mut why = TurnedAway::Nothing;
        for server in &gate.servers {
            match opened(gate, peer, &server.name, head).await {
                Ok(opened) => {
                    let caller = caller(opened, server, peer, head);
                    let received_at = gate.ledger.clock().now();
                    let refusal = Refusal::NoDoor { status, text };
                    return refuse(gate, &caller, received_at, &Bytes::new(), refusal).await;
                }
                Err(found) => why = found,
            }
        }
        gate.note_stranger(peer.address, why);
        reply::closed(status, text)
    }
}

/// The grant that is opened by what the request and its connection show; a stranger is answered here.
pub(super) async fn authenticate(
    gate: &Gate,
    peer: &Arc<Peer>,
    server: &str,
    head: &Parts,
) -> Result<Arc<Caller>, Shut> {
    let not_found = |text| {
        let status = StatusCode::NOT_FOUND;
        Err(Shut::Closed(Closed { status, text }))
    };
    let opened = match opened(gate, peer, server, head).await {
        Ok(opened) => opened,
        Err(TurnedAway::OtherServer) => {
            return not_found(NOT_YOURS);
        }
        Err(why) => {
            gate.note_stranger(peer.address, why);
            return Err(Shut::Answered(Box::new(turn_away(gate, server, why))));
        }
    };
    match gate.server(server) {
        Some(found) => Ok(caller(opened, found, peer, head)),
        None => not_found("no server of that name"),
    }
}

/// What opened the door goes no further than the door.
pub(super) fn forget_credentials(headers: &mut HeaderMap) {
    for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
        headers.remove(name);
    }
}

fn caller(
    (grant, identity): Opened,
    server: &Arc<Served>,
    peer: &Arc<Peer>,
    head: &Parts,
) -> Arc<Caller> {
    let agent = head
        .headers
        .get(USER_AGENT)
        .and_then(|agent| agent.to_str().ok())
        .unwrap_or_default();
    let agent = agent.get(..256).unwrap_or(agent);
    Arc::new(Caller {
        grant,
        identity,
        server: Arc::clone(server),
        peer: Arc::clone(peer),
        agent: Arc::from(agent),
    })
}

/// A token is looked at if there is one, and nothing but it opens a grant then; the certificate counts as far as that grant
/// asks for one.
async fn opened(
    gate: &Gate,
    peer: &Peer,
    server: &str,
    head: &Parts,
) -> Result<Opened, TurnedAway> {
    let shown = peer
        .certificate()
        .map_err(|_| TurnedAway::CertificateLapsed)?;
    let grants = gate.grants();
    match (Bearer::of(&head.headers), shown) {
        (Bearer::Unusable, _) => Err(TurnedAway::Token),
        (Bearer::None, None) => Err(TurnedAway::Nothing),
        (Bearer::None, Some(shown)) => {
            grants
                .by_certificate(server, shown)
                .map_err(|why| match why {
                    Stranger::OtherServer => TurnedAway::OtherServer,
                    Stranger::Unknown | Stranger::Alone => TurnedAway::CertificateUnnamed,
                })
        }
        (Bearer::Token(token), shown) => match grants.by_token(server, token, shown) {
            Ok(opened) => Ok(opened),
            Err(Stranger::OtherServer) => Err(TurnedAway::OtherServer),
            Err(Stranger::Alone) => Err(TurnedAway::TokenAlone),
            Err(Stranger::Unknown) => by_access(gate, server, token, shown).await,
        },
    }
}

/// The grant that an access token of the issuer opens.
async fn by_access(
    gate: &Gate,
    server: &str,
    token: &str,
    shown: Option<&ClientCertificate>,
) -> Result<Opened, TurnedAway> {
    let Some(issuer) = gate.issuer.load_full() else {
        return Err(TurnedAway::Token);
    };
    let access = issuer
        .accept(token, server)
        .await
        .map_err(TurnedAway::Access)?;
    if let Some(bound_to) = access.bound_to
        && shown.is_none_or(|shown| shown.sha256 != bound_to)
    {
        return Err(TurnedAway::Access(Unaccepted::Bound));
    }
    // Those in force now: they may have changed while the issuer was asked.
    gate.grants()
        .by_access(server, &access, shown)
        .map_err(|why| match why {
            Stranger::Unknown | Stranger::OtherServer => TurnedAway::Scope,
            Stranger::Alone => TurnedAway::TokenAlone,
        })
}

/// What a stranger is told: what it may try, and nothing of what others have.
fn turn_away(gate: &Gate, server: &str, why: TurnedAway) -> Response<Body> {
    let (status, text, error) = match why {
        TurnedAway::OtherServer | TurnedAway::NoRequest => {
            return reply::closed(StatusCode::NOT_FOUND, NOT_YOURS);
        }
        TurnedAway::Access(Unaccepted::NoKeys) => return reply::issuer_away(),
        TurnedAway::Scope => (
            StatusCode::FORBIDDEN,
            "the access token does not open this server",
            Some("insufficient_scope"),
        ),
        TurnedAway::Access(why) => (
            StatusCode::UNAUTHORIZED,
            why.description(),
            Some("invalid_token"),
        ),
        TurnedAway::CertificateLapsed => (
            StatusCode::UNAUTHORIZED,
            "the client certificate of this connection is not valid any more",
            None,
        ),
        TurnedAway::Token | TurnedAway::TokenAlone => (
            StatusCode::UNAUTHORIZED,
            "a valid bearer token is needed",
            Some("invalid_token"),
        ),
        TurnedAway::Nothing | TurnedAway::Certificate | TurnedAway::CertificateUnnamed => (
            StatusCode::UNAUTHORIZED,
            "a valid bearer token is needed",
            None,
        ),
    };
    let is_over = why == TurnedAway::CertificateLapsed;
    reply::who_are_you(status, text, challenge(gate, server, error, text), is_over)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_opens_something_is_forgotten_and_the_rest_is_not() {
        let said = [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, USER_AGENT];
        let mut headers: HeaderMap = said
            .into_iter()
            .map(|name| (name, HeaderValue::from_static("x")))
            .collect();
        headers.append(COOKIE, HeaderValue::from_static("y"));
        forget_credentials(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), [USER_AGENT]);
    }
}

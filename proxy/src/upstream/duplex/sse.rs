//! A peer over the transport of 2024-11-05: what it says comes as events of one stream, what it is told is posted to an address
//! that the stream names first.
//!
//! The client never hears of that address. It must be of the stream's own origin: what is posted there carries the server's
//! credential and what clients say.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::desk::Lost;
use super::peer::{Outgoing, Peer};
use crate::sse::Event;
use crate::upstream::http::{Pool, events, is_event_stream, usable, whole};
use crate::upstream::{Cause, ForwardError, StreamFault, UpstreamLimits};

/// How long a server may take to open its stream, once connected, and to name its address.
const ENDPOINT_MAX: Duration = Duration::from_secs(10);

/// Where the stream is, and what every request there carries.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) url: Uri,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) pool: Pool,
    pub(super) limits: UpstreamLimits,
}

type Events = BoxStream<'static, Result<Event, StreamFault>>;

/// Opens a stream; what is written to the peer waits for its address.
pub(super) fn start(server: &Arc<str>, place: &Place, tasks: &TaskTracker) -> Arc<Peer> {
    let (peer, queue) = Peer::new(server);
    tasks.spawn(run(place.clone(), Arc::clone(&peer), queue));
    peer
}

async fn run(place: Place, peer: Arc<Peer>, queue: mpsc::Receiver<Outgoing>) {
    let lost = tokio::select! {
        biased;
        () = peer.ending.cancelled() => Lost::maybe(Cause::Broken, "the session was ended"),
        () = peer.is_forgotten() => Lost::maybe(Cause::Broken, "nobody used the session"),
        lost = converse(&place, &peer, queue) => lost,
    };
    tracing::debug!(server = %peer.server, why = lost.detail, "a stream ended");
    peer.lose(lost);
    peer.has_ended();
}

async fn converse(place: &Place, peer: &Peer, queue: mpsc::Receiver<Outgoing>) -> Lost {
    let patience = place.limits.connect_timeout.saturating_add(ENDPOINT_MAX);
    let opening = async {
        let mut events = open(place).await?;
        let endpoint = endpoint(place, &mut events).await?;
        Ok((events, endpoint))
    };
    let opened = timeout(patience, opening).await.unwrap_or_else(|_| {
        Err(Lost::never(
            Cause::Timeout,
            "it named no address to post to in time",
        ))
    });
    match opened {
        Err(lost) => lost,
        Ok((events, endpoint)) => tokio::select! {
            lost = listen(peer, events) => lost,
            lost = post(place, &endpoint, peer, queue) => lost,
        },
    }
}

async fn open(place: &Place) -> Result<Events, Lost> {
    let request = request(place, Method::GET, &place.url, Bytes::new())?;
    let response = place.pool.send(request).await.map_err(|fault| {
        // The request for a stream carries no message.
        let fault = ForwardError::from(fault);
        Lost::never(fault.cause, fault.detail)
    })?;
    let unusable = |detail: String| Lost::never(Cause::BadAnswer, detail);
    let (parts, body) = usable(response)
        .map_err(|error| unusable(error.detail))?
        .into_parts();
    if !parts.status.is_success() || !is_event_stream(&parts.headers) {
        let detail = format!("no stream of events, but status {}", parts.status);
        return Err(unusable(detail));
    }
    Ok(events::of(body, place.limits.event_bytes_max, None, ()))
}

/// The address that the stream names before anything else.
async fn endpoint(place: &Place, events: &mut Events) -> Result<Uri, Lost> {
    while let Some(event) = events.next().await {
        let event = event.map_err(|fault| Lost::never(fault.cause, fault.detail))?;
        let Some(data) = event.data() else { continue };
        if event.name() != Some(b"endpoint") {
            return Err(Lost::never(
                Cause::BadAnswer,
                "it spoke before it named an address to post to",
            ));
        }
        return resolve(&place.url, &data).map_err(|what| Lost::never(Cause::BadAnswer, what));
    }
    Err(Lost::never(
        Cause::Broken,
        "its stream ended before it named an address to post to",
    ))
}

async fn listen(peer: &Peer, mut events: Events) -> Lost {
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(fault) => return Lost::maybe(fault.cause, fault.detail),
        };
        let is_message = event
            .name()
            .is_none_or(|name| name.is_empty() || name == b"message");
        let Some(data) = event.data().filter(|_| is_message) else {
            continue;
        };
        if !peer.desk().take(data) {
            tracing::debug!(server = %peer.server, "an event is no message");
        }
    }
    Lost::maybe(Cause::Broken, "its stream ended")
}

/// Posts one message after the other: on a pipe they would not overtake each other either.
async fn post(
    place: &Place,
    endpoint: &Uri,
    peer: &Peer,
    mut queue: mpsc::Receiver<Outgoing>,
) -> Lost {
    while let Some(Outgoing { line, own }) = queue.recv().await {
        let message = line.slice(..line.len().saturating_sub(1));
        let lost = match deliver(place, endpoint, message).await {
            Ok(StatusCode::NOT_FOUND | StatusCode::GONE) => {
                return Lost::maybe(Cause::Broken, "it does not know its own session any more");
            }
            Ok(status) if status.is_success() => continue,
            Ok(status) => Lost::maybe(Cause::BadAnswer, format!("status {status}")),
            Err(lost) => lost,
        };
        tracing::debug!(server = %peer.server, why = lost.detail, "a message was not taken");
        if let Some(own) = own {
            peer.desk().fail(own, lost);
        }
    }
    Lost::maybe(Cause::Broken, "the session was ended")
}

async fn deliver(place: &Place, endpoint: &Uri, message: Bytes) -> Result<StatusCode, Lost> {
    let request = request(place, Method::POST, endpoint, message)?;
    let lost = |error: ForwardError| Lost {
        reached: error.reached,
        cause: error.cause,
        detail: error.detail,
    };
    let sending = async {
        let response = place.pool.send(request).await;
        let response = usable(response.map_err(|fault| lost(fault.into()))?).map_err(lost)?;
        let status = response.status();
        // Read, so that the connection can be used again; it says nothing.
        whole(response.into_body(), &place.limits)
            .await
            .map_err(lost)?;
        Ok(status)
    };
    timeout(place.limits.answer_timeout, sending)
        .await
        .unwrap_or_else(|_| {
            Err(Lost::maybe(
                Cause::Timeout,
                "a message was not taken in time",
            ))
        })
}

fn request(
    place: &Place,
    method: Method,
    url: &Uri,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, Lost> {
    let (accept, is_post) = match method {
        Method::GET => ("text/event-stream", false),
        _ => ("*/*", true),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(url.clone())
        .body(Full::new(body))
        .map_err(|fault| Lost::never(Cause::Unreachable, fault.to_string()))?;
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static(accept));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if is_post {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    headers.extend(place.headers.iter().cloned());
    Ok(request)
}

/// The address as a reference from the stream's own, if it is of the same origin.
fn resolve(stream: &Uri, said: &[u8]) -> Result<Uri, String> {
    let unusable = || "the address it named cannot be read".to_owned();
    let said = std::str::from_utf8(said).map_err(|_| unusable())?.trim();
    let said = said.split('#').next().unwrap_or_default();
    if said.is_empty()
        || said
            .bytes()
            .any(|byte| !byte.is_ascii_graphic() || byte == b'\\')
    {
        return Err(unusable());
    }
    let scheme = stream.scheme_str().unwrap_or("http");
    let absolute = match said.strip_prefix("//") {
        Some(_) => format!("{scheme}:{said}"),
        None if names_scheme(said) => said.to_owned(),
        None => String::new(),
    };
    let target = if absolute.is_empty() {
        let base = stream.path();
        let folder = base.rsplit_once('/').map_or("", |(folder, _)| folder);
        match said.as_bytes().first() {
            Some(b'/') => said.to_owned(),
            Some(b'?') => format!("{base}{said}"),
            _ => format!("{folder}/{said}"),
        }
    } else {
        let named: Uri = absolute.parse().map_err(|_| unusable())?;
        if origin(&named).is_none() || origin(&named) != origin(stream) {
            return Err(
                "the address it named is of another origin, and is refused: what clients say \
                 would go there"
                    .to_owned(),
            );
        }
        named
            .path_and_query()
            .map_or("/", PathAndQuery::as_str)
            .to_owned()
    };
    let mut parts = stream.clone().into_parts();
    parts.path_and_query = Some(target.parse().map_err(|_| unusable())?);
    Uri::from_parts(parts).map_err(|_| unusable())
}

fn names_scheme(said: &str) -> bool {
    said.split_once("://").is_some_and(|(scheme, _)| {
        scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    })
}

/// Scheme, host and port; none where a user or password stands before the host.
fn origin(url: &Uri) -> Option<(String, String, u16)> {
    let scheme = url.scheme_str()?.to_ascii_lowercase();
    let authority = url.authority()?;
    if authority.as_str().contains('@') {
        return None;
    }
    let port = authority.port_u16().unwrap_or(match scheme.as_str() {
        "https" => 443,
        _ => 80,
    });
    Some((scheme, authority.host().to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn check(stream: &str, said: &str) -> Result<String, String> {
        resolve(&stream.parse().unwrap(), said.as_bytes()).map(|url| url.to_string())
    }

    #[test]
    fn the_address_is_resolved_from_the_streams_own() {
        let stream = "https://nas.local/api/sse?key=1";
        let fine = |said: &str| check(stream, said).unwrap();
        assert_eq!(
            fine("/messages/?session_id=a"),
            "https://nas.local/messages/?session_id=a"
        );
        assert_eq!(
            fine("messages?sessionId=a#x"),
            "https://nas.local/api/messages?sessionId=a"
        );
        assert_eq!(fine("/m?u=http://x"), "https://nas.local/m?u=http://x");
        assert_eq!(fine("?s=a"), "https://nas.local/api/sse?s=a");
        assert_eq!(fine("https://NAS.local:443/m"), "https://nas.local/m");
        assert_eq!(fine("//nas.local/m"), "https://nas.local/m");
    }

    #[test]
    fn an_address_elsewhere_is_refused() {
        for said in [
            "https://evil.example/m",
            "//evil.example/m",
            "http://nas.local/m",
            "https://nas.local:8443/m",
            "https://nas.local@evil.example/m",
            "https://user@nas.local/m",
            "ftp://nas.local/m",
            "https://nas.local.evil.example/m",
        ] {
            let refused = check("https://nas.local/sse", said).unwrap_err();
            assert!(refused.contains("another origin"), "{said}: {refused}");
        }
        for said in ["", "#x", "/a b", "/a\\b", "/ä", "/a\u{0}"] {
            assert!(check("https://nas.local/sse", said).is_err(), "{said:?}");
        }
    }
}

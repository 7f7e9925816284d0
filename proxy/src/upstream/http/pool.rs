//! Connections to one server, kept while they are idle.
//!
//! Over HTTP/1.1 a connection carries one exchange at a time and comes back once the answer was read to its end; over HTTP/2 all
//! exchanges share one. A request goes out once: only one that hyper hands back, and which therefore nobody has seen, is sent on
//! another connection (`docs/decisions/0197-a-pool-of-our-own.md`).

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::client::legacy::connect::Connection as _;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::runtime::Handle;
use tower_service::Service as _;

use super::connector::{BoxError, ConnectTimeout, Connector};
use crate::upstream::{Cause, ForwardError, Reached};

/// An idle connection is let go before the usual server does (Node and uvicorn: 5 s), since a request written onto a
/// connection that is just being closed fails and is not sent again.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// How often idle connections are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// What one HTTP/2 stream may have on its way that its client does not take: so little that those of slow clients do not take up the
/// connection, which all share.
const STREAM_WINDOW_BYTES: u32 = 64 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 64 * 1024 * 1024;
/// An HTTP/2 connection with requests under way is asked so often whether it still is one, and given up after so long.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));

type Outgoing = Request<Full<Bytes>>;
type Single = http1::SendRequest<Full<Bytes>>;
type Shared = http2::SendRequest<Full<Bytes>>;

/// The connections to one origin. Cheap to clone.
#[derive(Clone)]
pub(in crate::upstream) struct Pool(Arc<Connections>);

struct Connections {
    connector: Connector,
    /// What HTTP/1.1 calls the server.
    host: HeaderValue,
    kept: Mutex<Kept>,
}

/// What is not in use, or can be used by many.
#[derive(Default)]
struct Kept {
    /// The one that was used last at the end.
    idle: Vec<(Single, Instant)>,
    shared: Option<(Shared, Instant)>,
    /// Whether a task lets go of what is idle for too long.
    is_tended: bool,
}

/// A connection that can take a request.
enum Way {
    Single(Single),
    Shared(Shared),
}

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::upstream) enum Unanswered {
    /// No connection came about.
    #[error("no connection")]
    NoConnection(#[source] BoxError),
    /// hyper handed the request back: not a byte of it was written.
    #[error("not sent")]
    Unsent(#[source] hyper::Error),
    /// Anything else, after which the server may have seen it.
    #[error("the exchange broke off")]
    Broken(#[source] hyper::Error),
}

impl Pool {
    /// `url` names the origin.
    pub(super) fn new(url: &Uri, connector: Connector) -> Result<Self, String> {
        let unusable = || "`url` names no host".to_owned();
        let authority = url.authority().ok_or_else(unusable)?;
        let usual = match url.scheme() {
            Some(scheme) if scheme == &Scheme::HTTPS => 443,
            _ => 80,
        };
        let host = match authority.port_u16() {
            Some(port) if port != usual => format!("{}:{port}", authority.host()),
            _ => authority.host().to_owned(),
        };
        Ok(Self(Arc::new(Connections {
            connector,
            host: HeaderValue::try_from(host).map_err(|_| unusable())?,
            kept: Mutex::default(),
        })))
    }

    /// Sends a request with an absolute target of the pool's origin, and waits for the head of its answer.
    pub(in crate::upstream) async fn send(
        &self,
        mut request: Outgoing,
    ) -> Result<Response<AnswerStream>, Unanswered> {
        let target = request.uri().clone();
        loop {
            let (way, is_new) = match self.0.take() {
                Some(way) => (way, false),
                // Rare, and large: boxed, so that a call that needs none does not carry it.
                None => (
                    Box::pin(Connections::connect(&self.0, &target)).await?,
                    true,
                ),
            };
            let sent = match way {
                Way::Single(mut single) => {
                    let path = target.path_and_query().cloned();
                    *request.uri_mut() = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
                    request.headers_mut().insert(HOST, self.0.host.clone());
                    let sent = single.try_send_request(request).await;
                    sent.map(|answer| answer.map(|body| self.0.clone().lend(single, body)))
                }
                Way::Shared(mut shared) => {
                    let sent = shared.try_send_request(request).await;
                    sent.map(|answer| answer.map(AnswerStream::of_shared))
                }
            };
            let mut fault = match sent {
                Ok(answer) => return Ok(answer),
                Err(fault) => fault,
            };
            match fault.take_message() {
                None => return Err(Unanswered::Broken(fault.into_error())),
                Some(_) if is_new => return Err(Unanswered::Unsent(fault.into_error())),
                Some(unsent) => request = unsent,
            }
            // It is closed, and what is closed is not taken again: each turn has one connection less.
            *request.uri_mut() = target.clone();
            request.headers_mut().remove(HOST);
        }
    }

    /// Lets go of everything idle.
    pub(super) fn close(&self) {
        let mut kept = self.0.kept();
        kept.idle.clear();
        kept.shared = None;
    }
}

impl Connections {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that is there already.
    fn take(&self) -> Option<Way> {
        let mut kept = self.kept();
        if let Some((shared, used)) = &mut kept.shared {
            if !shared.is_closed() {
                *used = Instant::now();
                return Some(Way::Shared(shared.clone()));
            }
            kept.shared = None;
        }
        // One whose answer was read a moment ago may have its last step to take still.
        let at = kept
            .idle
            .iter()
            .rposition(|(single, _)| single.is_ready())?;
        let (single, since) = kept.idle.remove(at);
        (since.elapsed() < IDLE_MAX).then_some(Way::Single(single))
    }

    async fn connect(self: &Arc<Self>, target: &Uri) -> Result<Way, Unanswered> {
        let connecting = self.connector.clone().call(target.clone());
        let stream = connecting.await.map_err(Unanswered::NoConnection)?;
        let broken = |fault: hyper::Error| Unanswered::NoConnection(Box::new(fault));
        if stream.connected().is_negotiated_h2() {
            let (shared, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .keep_alive_interval(PING.0)
                .keep_alive_timeout(PING.1)
                .handshake(stream)
                .await
                .map_err(broken)?;
            tokio::spawn(connection);
            self.keep(|kept| kept.shared = Some((shared.clone(), Instant::now())));
            return Ok(Way::Shared(shared));
        }
        let (mut single, connection) = http1::handshake(stream).await.map_err(broken)?;
        tokio::spawn(connection);
        single.ready().await.map_err(broken)?;
        Ok(Way::Single(single))
    }

    /// Keeps a connection, and sees to it that somebody looks after those that are kept.
    fn keep(self: &Arc<Self>, add: impl FnOnce(&mut Kept)) {
        let mut kept = self.kept();
        add(&mut kept);
        if !kept.is_tended
            && let Ok(runtime) = Handle::try_current()
        {
            kept.is_tended = true;
            drop(runtime.spawn(tend(Arc::downgrade(self))));
        }
    }

    fn lend(self: Arc<Self>, single: Single, body: Incoming) -> AnswerStream {
        let mut answer = AnswerStream {
            body,
            lent: Some((single, self)),
        };
        if answer.body.is_end_stream() {
            answer.give_back();
        }
        answer
    }
}

/// Lets go of connections that nobody has used for a while, until there is none.
async fn tend(connections: Weak<Connections>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(connections) = connections.upgrade() else {
            return;
        };
        let mut kept = connections.kept();
        kept.idle
            .retain(|(single, since)| !single.is_closed() && since.elapsed() < IDLE_MAX);
        if kept
            .shared
            .as_ref()
            .is_some_and(|(shared, used)| shared.is_closed() || used.elapsed() >= IDLE_MAX)
        {
            kept.shared = None; // exchanges under way keep it open
        }
        if kept.idle.is_empty() && kept.shared.is_none() {
            kept.is_tended = false;
            return;
        }
    }
}

/// An answer's body; its connection serves again once it was read to its end, and is closed if it is dropped before.
pub(in crate::upstream) struct AnswerStream {
    body: Incoming,
    lent: Option<(Single, Arc<Connections>)>,
}

impl AnswerStream {
    fn of_shared(body: Incoming) -> Self {
        Self { body, lent: None }
    }

    /// Once the body has come to its end.
    fn give_back(&mut self) {
        if let Some((single, connections)) = self.lent.take()
            && !single.is_closed()
        {
            connections.keep(|kept| kept.idle.push((single, Instant::now())));
        }
    }
}

impl Body for AnswerStream {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(None) => self.give_back(),
            Poll::Ready(Some(Ok(_))) if self.body.is_end_stream() => self.give_back(),
            Poll::Ready(Some(Err(_))) => self.lent = None,
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl From<Unanswered> for ForwardError {
    /// Whether the request can have left this machine. Only two things prove that it did not: there was no connection, or hyper
    /// handed the unsent request back.
    fn from(fault: Unanswered) -> Self {
        let (reached, cause) = match &fault {
            Unanswered::NoConnection(_) if ConnectTimeout::caused(&fault) => {
                (Reached::Never, Cause::Timeout)
            }
            Unanswered::NoConnection(_) | Unanswered::Unsent(_) => {
                (Reached::Never, Cause::Unreachable)
            }
            Unanswered::Broken(fault) if fault.is_parse() || fault.is_parse_too_large() => {
                (Reached::Maybe, Cause::BadAnswer)
            }
            Unanswered::Broken(_) => (Reached::Maybe, Cause::Broken),
        };
        Self {
            reached,
            cause,
            detail: super::chain(&fault as &(dyn StdError + 'static)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::pin::pin;

    use futures_util::FutureExt;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::upstream::Versions;

    #[tokio::test]
    async fn what_a_closing_connection_hands_back_goes_over_another_one() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", server.local_addr().unwrap());
        let url: Uri = url.parse().unwrap();
        let second = Duration::from_secs(1);
        let connector = Connector::new(&url, None, Versions::One, second)
            .await
            .unwrap();
        let pool = Pool::new(&url, connector).unwrap();
        // An idle connection whose other end goes before its task hears of that, or of the request.
        let (near, far) = tokio::io::duplex(1024);
        let (single, connection) = http1::handshake(TokioIo::new(near)).await.unwrap();
        let mut connection = pin!(connection);
        assert!(connection.as_mut().now_or_never().is_none());
        pool.0.kept().idle.push((single, Instant::now()));
        drop(far);
        let request = Request::post(&url).body(Full::from("call")).unwrap();
        let mut sending = pin!(pool.send(request));
        assert!(sending.as_mut().now_or_never().is_none());
        drop(connection.await);
        let serve = async {
            let (mut socket, _) = server.accept().await.unwrap();
            let mut read = vec![0; 4096];
            let length = socket.read(&mut read).await.unwrap();
            socket
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                .await
                .unwrap();
            read.truncate(length);
            String::from_utf8(read).unwrap()
        };
        let (answer, read) = tokio::join!(sending, serve);
        assert_eq!(answer.unwrap().status(), 200);
        assert!(
            read.starts_with("POST /mcp HTTP/1.1\r\n") && read.ends_with("\r\n\r\ncall"),
            "{read}"
        );
    }
}

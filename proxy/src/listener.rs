//! The phase `accept`: TCP connections become TLS streams, within limits, and each request on them goes to the gate.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use crate::bounds::{Place, Resource};
use crate::enforce::enforce;
use crate::gate::Gate;
use crate::peer::Peer;
use crate::stall::Stall;
use crate::strangers::TurnedAway;
use crate::tls::Presented;

/// Requests that one HTTP/2 connection may have open.
const STREAMS_PER_CONNECTION: u32 = 128;
/// A connection on which nothing comes is asked after so long whether its other end still is, and then again.
const ALIVE: Duration = Duration::from_mins(1);
const ALIVE_AGAIN: Duration = Duration::from_secs(15);
/// Bytes of a request's line and headers.
const HEADER_BYTES_MAX: usize = 32 * 1024;

/// Accepts until the stop begins, then waits until every connection has ended in good order, or until `drain` is over.
pub(crate) async fn listen(
    gate: Arc<Gate>,
    listener: TcpListener,
    tls: Arc<Presented>,
    drain: Duration,
) {
    let graceful = GracefulShutdown::new();
    let server = Arc::new(Protocols::new(&gate));
    loop {
        let accepted = tokio::select! {
            biased;
            () = gate.stopping.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or a connection that was gone before we took it.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let place = match gate.bounds.take_of_nobody(Resource::Connections) {
            Ok(place) => place,
            Err(full) => {
                // Before TLS nothing can be said to whoever it is: the connection is closed.
                gate.telemetry.connection_refused("too_many");
                gate.note_full(&full, None);
                continue;
            }
        };
        let gate = Arc::clone(&gate);
        let (tls, server, watcher) = (Arc::clone(&tls), Arc::clone(&server), graceful.watcher());
        tokio::spawn(async move {
            connection(gate, stream, peer, &tls, &server, watcher, place).await;
        });
    }
    drop(listener);
    if tokio::time::timeout(drain, graceful.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("connections were still open when the stop could wait no longer");
    }
}

/// One connection from its handshake to its end.
async fn connection(
    gate: Arc<Gate>,
    stream: TcpStream,
    peer: SocketAddr,
    tls: &Arc<Presented>,
    server: &Protocols,
    watcher: Watcher,
    place: Place,
) {
    // Small answers go out at once, and a client that is gone without a word is noticed; a socket that cannot do this still works.
    drop(stream.set_nodelay(true));
    let alive = TcpKeepalive::new()
        .with_time(ALIVE)
        .with_interval(ALIVE_AGAIN);
    drop(SockRef::from(&stream).set_tcp_keepalive(&alive));
    // What lasts as long as the connection has no room in it for what is over sooner: a handshake, and requests.
    let handshake = Box::pin(tokio::time::timeout(
        gate.limits.handshake_timeout,
        tls.acceptor().accept(stream),
    ));
    let handshake = handshake.await;
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "a TLS handshake failed");
            if is_about_its_certificate(&error) {
                gate.note_stranger(peer.ip(), TurnedAway::Certificate);
                return gate.telemetry.connection_refused("client_certificate");
            }
            return gate.telemetry.connection_refused("tls");
        }
        Err(_) => return gate.telemetry.connection_refused("handshake_timeout"),
    };
    let chain = stream.get_ref().1.peer_certificates();
    let end = Arc::new(Peer::new(peer.ip(), chain, tls));
    let protocol = server.of(&stream);
    let stream = Stall::new(stream, gate.patience());
    let told = Arc::clone(&gate);
    let service = service_fn(move |request| {
        let (gate, end) = (Arc::clone(&gate), Arc::clone(&end));
        Box::pin(async move { Ok::<_, Infallible>(enforce(&gate, &end, request).await) })
    });
    let serving = Box::pin(
        watcher.watch(
            protocol
                .serve_connection(TokioIo::new(stream), service)
                .into_owned(),
        ),
    );
    let ended = serving.await;
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended early");
        if error
            .downcast_ref::<hyper::Error>()
            .is_some_and(hyper::Error::is_parse)
        {
            told.telemetry.connection_refused("http");
            told.note_stranger(peer.ip(), TurnedAway::NoRequest);
        }
    }
    drop(place);
}

/// Whether a handshake failed since the client's certificate is missing or not good.
fn is_about_its_certificate(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(
        inner,
        Some(
            rustls::Error::InvalidCertificate(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::InvalidCertRevocationList(_)
        )
    )
}

/// HTTP/1.1 and HTTP/2, each with its limits; TLS has settled which of them a connection speaks.
struct Protocols {
    http1: Builder<TokioExecutor>,
    http2: Builder<TokioExecutor>,
}

impl Protocols {
    fn new(gate: &Gate) -> Self {
        let mut http1 = Builder::new(TokioExecutor::new()).http1_only();
        http1
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(gate.limits.header_read_timeout)
            .max_buf_size(HEADER_BYTES_MAX)
            .keep_alive(true)
            .half_close(false);
        let mut http2 = Builder::new(TokioExecutor::new()).http2_only();
        http2
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .max_header_list_size(HEADER_BYTES_MAX as u32)
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        Self { http1, http2 }
    }

    fn of(&self, stream: &TlsStream<TcpStream>) -> &Builder<TokioExecutor> {
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() == Some(b"h2") {
            &self.http2
        } else {
            &self.http1
        }
    }
}

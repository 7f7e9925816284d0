//! Over HTTP/2: when it is spoken, that calls and streams do not stand in each other's way, and what a lost connection proves.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use weir_proxy::upstream::{
    Cause, Era, Reached, Sharing, Transport, Upstream, UpstreamLimits, UpstreamSpec, Versions,
};

use crate::common::{LIMITS, bare, events, failed, forward, request, whole};
use crate::tls::identity;

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
const SLOW: &str = r#"{"jsonrpc":"2.0","id":1,"method":"slow"}"#;
const FLOOD: &str = r#"{"jsonrpc":"2.0","id":1,"method":"flood"}"#;
/// Requests that one connection may have open at the server.
const STREAMS: u32 = 4;

/// A server that speaks HTTP/2, and HTTP/1.1 if `alpn` says so.
struct Server {
    port: u16,
    /// The version of each request, in the order of their coming.
    seen: Arc<Mutex<Vec<Version>>>,
    /// Streams of events that are open.
    open: Arc<AtomicUsize>,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    _folder: tempfile::TempDir,
    ca: std::path::PathBuf,
}

/// Counts a stream for as long as it is held.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Server {
    async fn start(alpn: &[&[u8]]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let (acceptor, pem) = identity("localhost", alpn);
        std::fs::write(&ca, pem).unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            seen: Arc::default(),
            open: Arc::default(),
            connections: Arc::default(),
            _folder: folder,
            ca,
        };
        let (seen, open) = (Arc::clone(&server.seen), Arc::clone(&server.open));
        let connections = Arc::clone(&server.connections);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(socket).await else {
                    continue;
                };
                let (seen, open) = (Arc::clone(&seen), Arc::clone(&open));
                let service = service_fn(move |request| {
                    let (seen, open) = (Arc::clone(&seen), Arc::clone(&open));
                    async move { Ok::<_, Infallible>(answer(request, &seen, open).await) }
                });
                let serving = tokio::spawn(async move {
                    let mut http =
                        hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    http.http2().max_concurrent_streams(STREAMS);
                    drop(http.serve_connection(TokioIo::new(stream), service).await);
                });
                connections.lock().unwrap().push(serving.abort_handle());
            }
        });
        server
    }

    async fn upstream(&self, versions: Versions) -> Upstream {
        let url = format!("https://localhost:{}/mcp", self.port);
        Upstream::connect(&UpstreamSpec {
            server: "nas".into(),
            transport: Transport::Http {
                url: url.parse().unwrap(),
                ca: Some(self.ca.clone()),
                versions,
            },
            headers: vec![],
            sharing: Sharing::Session,
            limits: UpstreamLimits {
                in_flight_max: 64,
                event_bytes_max: 1 << 20,
                ..LIMITS
            },
        })
        .await
        .unwrap()
    }

    fn seen(&self) -> Vec<Version> {
        self.seen.lock().unwrap().clone()
    }

    async fn streams_are(&self, count: usize) {
        for _ in 0..400 {
            if self.open.load(Ordering::SeqCst) == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{} streams are open", self.open.load(Ordering::SeqCst));
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: &Mutex<Vec<Version>>,
    open: Arc<AtomicUsize>,
) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    seen.lock().unwrap().push(request.version());
    let is_get = request.method() == Method::GET;
    let body = request.into_body().collect().await.unwrap().to_bytes();
    if body == SLOW {
        return std::future::pending().await;
    }
    if !is_get && body != FLOOD {
        return Response::new(Full::new(Bytes::from_static(b"{}")).boxed_unsync());
    }
    open.fetch_add(1, Ordering::SeqCst);
    let held = Open(open);
    let size = if is_get { 1 } else { 100_000 };
    let event = Bytes::from(format!("data: {}\n\n", "x".repeat(size)));
    let endless = futures_util::stream::iter(0..).then(move |number| {
        let _keeps = &held;
        let event = event.clone();
        async move {
            if is_get && number > 0 {
                std::future::pending::<()>().await;
            }
            Ok(Frame::data(event))
        }
    });
    let mut response = Response::new(StreamBody::new(endless).boxed_unsync());
    let kind = "text/event-stream".parse().unwrap();
    response.headers_mut().insert("content-type", kind);
    response
}

#[tokio::test]
async fn it_is_spoken_where_both_sides_want_it() {
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    for (alpn, versions, spoken) in [
        (both, Versions::Both, Version::HTTP_2),
        (both, Versions::One, Version::HTTP_11),
        (&[b"http/1.1".as_slice()], Versions::Both, Version::HTTP_11),
        (&[], Versions::Both, Version::HTTP_11),
    ] {
        let server = Server::start(alpn).await;
        let upstream = server.upstream(versions).await;
        for _ in 0..2 {
            let answer = forward(&upstream, request(Era::Modern, PING)).await;
            assert_eq!(whole(answer.unwrap()), "{}");
        }
        assert_eq!(server.seen(), [spoken; 2], "{alpn:?} {versions:?}");
        if spoken == Version::HTTP_2 {
            assert_eq!(server.connections.lock().unwrap().len(), 1);
        }
    }
}

#[tokio::test]
async fn streams_that_wait_for_nothing_take_no_places_of_calls_and_end_one_by_one() {
    let server = Server::start(&[b"h2"]).await;
    let upstream = server.upstream(Versions::Both).await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let answer = forward(&upstream, bare(Method::GET, Era::Legacy, "")).await;
        let mut stream = events(answer.unwrap());
        assert!(stream.next().await.unwrap().is_ok());
        streams.push(stream);
    }
    server.streams_are(STREAMS as usize).await;
    let answer = forward(&upstream, request(Era::Modern, PING))
        .await
        .unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    // One that is let go ends at the server, and no other with it.
    drop(streams.pop());
    server.streams_are(STREAMS as usize - 1).await;
    assert!(
        server
            .seen()
            .iter()
            .all(|version| *version == Version::HTTP_2)
    );
}

/// All streams share a connection, and what its window holds: a client that takes nothing must not stop the others.
#[tokio::test]
async fn streams_that_nobody_reads_do_not_hold_up_a_call() {
    let server = Server::start(&[b"h2"]).await;
    let upstream = server.upstream(Versions::Both).await;
    let mut unread = Vec::new();
    for _ in 0..STREAMS - 1 {
        let answer = forward(&upstream, request(Era::Modern, FLOOD)).await;
        unread.push(events(answer.unwrap()));
    }
    server.streams_are(unread.len()).await;
    for _ in 0..20 {
        let answer = forward(&upstream, request(Era::Modern, PING));
        let answer = tokio::time::timeout(Duration::from_secs(10), answer).await;
        assert_eq!(whole(answer.unwrap().unwrap()), "{}");
    }
    // A modern client that hangs up cancels.
    drop(unread);
    server.streams_are(0).await;
}

#[tokio::test]
async fn a_connection_that_is_lost_proves_nothing_and_nothing_is_sent_again() {
    let server = Server::start(&[b"h2"]).await;
    let upstream = server.upstream(Versions::Both).await;
    let calling = forward(&upstream, request(Era::Modern, SLOW));
    let losing = async {
        while server.seen().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for connection in server.connections.lock().unwrap().drain(..) {
            connection.abort();
        }
    };
    let (answer, ()) = tokio::join!(calling, losing);
    let error = failed(answer);
    assert_eq!(
        (error.reached, error.cause),
        (Reached::Maybe, Cause::Broken),
        "{}",
        error.detail
    );
    // The next call has a connection of its own.
    let answer = forward(&upstream, request(Era::Modern, PING)).await;
    assert_eq!(whole(answer.unwrap()), "{}");
    assert_eq!(server.seen().len(), 2);
}

//! Over HTTP, against a peer that is a bare socket, so that every byte is seen.

use std::sync::Arc;
use std::time::Duration;

use ::http::{Method, StatusCode};
use futures_util::{FutureExt, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use weir_proxy::upstream::{
    Cause, Era, Exchange, Reached, Sharing, Transport, Upstream, UpstreamLimits, UpstreamSpec,
    Versions,
};

use crate::common::{LIMITS, bare, events, failed, forward, next_data, request, whole};

const CALL: &str =
    r#"{"jsonrpc":"2.0", "id" : 7,"method":"tools/call","params":{"name":"vm_list","n":1.0e0}}"#;

/// A server that does what the test says.
pub(crate) struct Peer {
    pub(crate) listener: TcpListener,
}

/// One request as it came.
struct Seen {
    head: String,
    body: String,
    socket: BufReader<TcpStream>,
}

impl Peer {
    pub(crate) async fn new() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    async fn upstream(&self, limits: UpstreamLimits) -> Upstream {
        upstream(
            &format!("http://127.0.0.1:{}/mcp?key=a", self.port()),
            limits,
        )
        .await
    }

    async fn accept(&self) -> Seen {
        let (socket, _) = self.listener.accept().await.unwrap();
        read(BufReader::new(socket)).await
    }

    /// Whether anybody else has connected.
    fn is_left_alone(&self) -> bool {
        self.listener.accept().now_or_never().is_none()
    }
}

async fn upstream(url: &str, limits: UpstreamLimits) -> Upstream {
    let own = (
        "authorization".parse().unwrap(),
        "Bearer of-the-nas".parse().unwrap(),
    );
    Upstream::connect(&UpstreamSpec {
        server: "nas".into(),
        transport: Transport::Http {
            url: url.parse().unwrap(),
            ca: None,
            versions: Versions::One,
        },
        headers: vec![own],
        sharing: Sharing::Session,
        limits,
    })
    .await
    .unwrap()
}

async fn read(mut socket: BufReader<TcpStream>) -> Seen {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(
            socket.read_line(&mut head).await.unwrap(),
            0,
            "closed in the middle of {head:?}"
        );
    }
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.unwrap();
    Seen {
        head,
        body: String::from_utf8(body).unwrap(),
        socket,
    }
}

impl Seen {
    async fn write(&mut self, bytes: &str) {
        self.socket.write_all(bytes.as_bytes()).await.unwrap();
    }

    async fn answer(mut self, status: &str, headers: &str, body: &str) -> BufReader<TcpStream> {
        self.write(&format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}",
            body.len()
        ))
        .await;
        self.socket
    }

    /// The other side has closed the connection.
    async fn is_closed(&mut self) -> bool {
        self.socket
            .read(&mut [0; 1])
            .await
            .map_or(true, |read| read == 0)
    }
}

#[tokio::test]
async fn the_judged_bytes_go_out_with_the_servers_own_credential_and_host() {
    let peer = Peer::new().await;
    let upstream = peer.upstream(LIMITS).await;
    let mut exchange = request(Era::Modern, CALL);
    for (name, value) in [
        ("authorization", "Bearer of-the-caller"),
        ("cookie", "a=b"),
        ("x-api-key", "of-the-caller"),
        ("host", "weir.example"),
        ("accept-encoding", "gzip"),
        ("content-type", "application/json; charset=utf-16"),
        ("x-http-method-override", "DELETE"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-name", "vm_list"),
    ] {
        Arc::make_mut(&mut exchange.headers).insert(name, value.parse().unwrap());
    }
    let (answer, seen) = tokio::join!(forward(&upstream, exchange), async {
        let seen = peer.accept().await;
        let (head, body) = (seen.head.clone(), seen.body.clone());
        let text = r#"{"jsonrpc":"2.0","id":7,"result":{"n":12345678901234567890}}"#;
        seen.answer(
            "200 OK",
            "content-type: application/json\r\nmcp-session-id: s\r\nset-cookie: a=b\r\n",
            text,
        )
        .await;
        (head, body)
    });
    let (head, body) = seen;
    assert_eq!(body, CALL);
    assert!(head.starts_with("post /mcp?key=a http/1.1\r\n"), "{head}");
    for line in [
        format!("host: 127.0.0.1:{}", peer.port()).as_str(),
        "authorization: bearer of-the-nas",
        "accept-encoding: identity",
        "content-type: application/json",
        "mcp-protocol-version: 2026-07-28",
        "mcp-name: vm_list",
    ] {
        assert_eq!(
            head.lines().filter(|seen| *seen == line).count(),
            1,
            "{line} in {head}"
        );
    }
    for secret in [
        "of-the-caller",
        "cookie",
        "weir.example",
        "gzip",
        "utf-16",
        "override",
    ] {
        assert!(!head.contains(secret), "{secret} in {head}");
    }
    let answer = answer.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["mcp-session-id"], "s");
    assert!(!answer.headers.contains_key("set-cookie"));
    assert_eq!(
        whole(answer),
        r#"{"jsonrpc":"2.0","id":7,"result":{"n":12345678901234567890}}"#
    );
}

#[tokio::test]
async fn a_refusal_of_the_server_comes_back_byte_for_byte() {
    let peer = Peer::new().await;
    let upstream = peer.upstream(LIMITS).await;
    let text = "{ \"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":\"Bad Request: no session\"}}\n";
    for status in [
        "400 Bad Request",
        "404 Not Found",
        "405 Method Not Allowed",
        "500 Oops",
    ] {
        let (answer, ()) = tokio::join!(forward(&upstream, request(Era::Modern, CALL)), async {
            let seen = peer.accept().await;
            seen.answer(
                status,
                "content-type: application/json\r\nconnection: close\r\n",
                text,
            )
            .await;
        });
        let answer = answer.unwrap();
        assert!(status.starts_with(answer.status.as_str()));
        assert_eq!(answer.headers["content-type"], "application/json");
        assert_eq!(whole(answer), text);
    }
}

#[tokio::test]
async fn a_redirect_is_neither_followed_nor_passed_on() {
    let peer = Peer::new().await;
    let elsewhere = Peer::new().await;
    let upstream = peer.upstream(LIMITS).await;
    let location = format!("location: http://127.0.0.1:{}/mcp\r\n", elsewhere.port());
    let (answer, _socket) = tokio::join!(forward(&upstream, request(Era::Modern, CALL)), async {
        peer.accept()
            .await
            .answer("307 Temporary Redirect", &location, "")
            .await
    });
    let fault = failed(answer);
    assert_eq!(
        (fault.cause, fault.reached),
        (Cause::BadAnswer, Reached::Maybe)
    );
    assert!(elsewhere.is_left_alone());
}

#[tokio::test]
async fn a_compressed_answer_is_refused() {
    let peer = Peer::new().await;
    let upstream = peer.upstream(LIMITS).await;
    let (answer, _socket) = tokio::join!(forward(&upstream, request(Era::Modern, CALL)), async {
        peer.accept()
            .await
            .answer("200 OK", "content-encoding: gzip\r\n", "x")
            .await
    });
    assert_eq!(failed(answer).cause, Cause::BadAnswer);
}

#[tokio::test]
async fn a_server_that_closes_in_the_middle_sees_the_request_once() {
    let peer = Peer::new().await;
    let upstream = peer.upstream(LIMITS).await;
    let (answer, ()) = tokio::join!(forward(&upstream, request(Era::Legacy, CALL)), async {
        drop(peer.accept().await);
    });
    let fault = failed(answer);
    assert_eq!(
        (fault.cause, fault.reached),
        (Cause::Broken, Reached::Maybe)
    );
    assert!(peer.is_left_alone());
}

#[tokio::test]
async fn a_request_on_a_used_connection_that_closes_is_not_sent_again() {
    let peer = Peer::new().await;
    let upstream = peer.upstream(LIMITS).await;
    let (answer, socket) = tokio::join!(forward(&upstream, request(Era::Legacy, CALL)), async {
        peer.accept().await.answer("200 OK", "", "{}").await
    });
    assert_eq!(whole(answer.unwrap()), "{}");
    let (answer, ()) = tokio::join!(forward(&upstream, request(Era::Legacy, CALL)), async {
        tokio::select! {
            seen = read(socket) => assert_eq!(seen.body, CALL),
            _ = peer.listener.accept() => panic!("the connection was not used again"),
        }
    });
    let fault = failed(answer);
    assert_eq!(
        (fault.cause, fault.reached),
        (Cause::Broken, Reached::Maybe)
    );
    assert!(peer.is_left_alone());
}

#[tokio::test]
async fn a_refused_connection_proves_that_nothing_was_reached() {
    let port = Peer::new().await.port(); // closed again
    let upstream = upstream(&format!("http://127.0.0.1:{port}/mcp"), LIMITS).await;
    let fault = failed(forward(&upstream, request(Era::Legacy, CALL)).await);
    assert_eq!(
        (fault.cause, fault.reached),
        (Cause::Unreachable, Reached::Never)
    );
}

#[tokio::test]
async fn a_server_that_does_not_answer_in_time_may_have_been_reached() {
    let peer = Peer::new().await;
    let short = Duration::from_millis(30);
    let upstream = peer
        .upstream(UpstreamLimits {
            answer_timeout: short,
            connect_timeout: short,
            ..LIMITS
        })
        .await;
    let (answer, seen) = tokio::join!(
        forward(&upstream, request(Era::Modern, CALL)),
        peer.accept()
    );
    let fault = failed(answer);
    assert_eq!(
        (fault.cause, fault.reached),
        (Cause::Timeout, Reached::Maybe)
    );
    drop(seen);
}

#[tokio::test]
async fn an_answer_over_its_limit_is_cut_off() {
    let peer = Peer::new().await;
    let upstream = peer.upstream(LIMITS).await;
    let (answer, _socket) = tokio::join!(forward(&upstream, request(Era::Modern, CALL)), async {
        peer.accept()
            .await
            .answer("200 OK", "", &"x".repeat(5000))
            .await
    });
    assert_eq!(failed(answer).cause, Cause::BadAnswer);
}

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\r\n";

/// Sends a request whose answer is a stream that stays open.
async fn open(
    peer: &Peer,
    upstream: &Upstream,
    exchange: Exchange,
) -> (crate::common::Events, Seen) {
    let (answer, seen) = tokio::join!(forward(upstream, exchange), async {
        let mut seen = peer.accept().await;
        seen.write(STREAM).await;
        seen
    });
    let answer = answer.unwrap();
    assert_eq!(
        answer.headers["content-type"],
        "text/event-stream; charset=utf-8"
    );
    (events(answer), seen)
}

#[tokio::test]
async fn an_event_is_handed_on_before_the_next_one_is_sent() {
    let peer = Peer::new().await;
    let upstream = peer.upstream(LIMITS).await;
    let (mut events, mut seen) = open(&peer, &upstream, request(Era::Modern, CALL)).await;
    for data in ["{\"a\":1}", "{\"b\":2}", "{\"c\":3}"] {
        seen.write(&format!("id: 4\r\ndata: {data}\r\n\r\n")).await;
        let event = events.next().await.unwrap().unwrap();
        assert_eq!(event.raw, format!("id: 4\r\ndata: {data}\r\n\r\n"));
        assert_eq!(event.data().unwrap(), data);
    }
    seen.write(": keep-alive\n\n").await;
    assert_eq!(events.next().await.unwrap().unwrap().raw, ": keep-alive\n");
    drop(seen);
    assert_eq!(events.next().await.unwrap().unwrap().raw, "\n");
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn an_event_over_its_limit_ends_the_stream() {
    let peer = Peer::new().await;
    let upstream = peer.upstream(LIMITS).await;
    let (mut events, mut seen) = open(&peer, &upstream, request(Era::Modern, CALL)).await;
    seen.write("data: small\n\n").await;
    assert_eq!(next_data(&mut events).await, "small");
    seen.write(&format!("data: {}", "x".repeat(5000))).await;
    assert_eq!(
        events.next().await.unwrap().unwrap_err().cause,
        Cause::BadAnswer
    );
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn a_stream_that_breaks_off_says_so() {
    let peer = Peer::new().await;
    let upstream = peer.upstream(LIMITS).await;
    let (answer, ()) = tokio::join!(forward(&upstream, request(Era::Modern, CALL)), async {
        let mut seen = peer.accept().await;
        seen.write("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await;
        seen.write("9\r\ndata: x\n\n\r\n").await;
    });
    let mut events = events(answer.unwrap());
    assert_eq!(next_data(&mut events).await, "x");
    assert_eq!(
        events.next().await.unwrap().unwrap_err().cause,
        Cause::Broken
    );
}

#[tokio::test]
async fn an_exchange_is_given_up_by_whoever_waits_no_longer_before_and_within_the_answer() {
    for era in [Era::Modern, Era::Legacy] {
        let peer = Peer::new().await;
        let upstream = peer.upstream(LIMITS).await;
        let going = tokio::spawn({
            let upstream = upstream.clone();
            async move { forward(&upstream, request(era, CALL)).await.map(|_| ()) }
        });
        let mut seen = peer.accept().await;
        going.abort();
        assert!(seen.is_closed().await);

        let (events, mut seen) = open(&peer, &upstream, request(era, CALL)).await;
        drop(events);
        assert!(seen.is_closed().await);
    }
}

#[tokio::test]
async fn a_connection_serves_again_once_its_answer_was_read_and_not_when_it_has_closed() {
    let peer = Peer::new().await;
    let upstream = peer.upstream(LIMITS).await;
    let (answer, socket) = tokio::join!(forward(&upstream, request(Era::Modern, CALL)), async {
        peer.accept().await.answer("200 OK", "", "{}").await
    });
    assert_eq!(whole(answer.unwrap()), "{}");

    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    let (answer, socket) = tokio::join!(forward(&upstream, request(Era::Modern, CALL)), async {
        let mut seen = read(socket).await;
        seen.write(chunked).await;
        seen.socket
    });
    assert_eq!(whole(answer.unwrap()), "{}");
    assert!(peer.is_left_alone(), "the same connection");

    drop(socket);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (answer, _socket) = tokio::join!(forward(&upstream, request(Era::Modern, CALL)), async {
        peer.accept().await.answer("200 OK", "", "{}").await
    });
    assert_eq!(whole(answer.unwrap()), "{}", "over another one");
}

#[tokio::test]
async fn an_idle_connection_is_closed_before_the_server_would() {
    let peer = Peer::new().await;
    let upstream = peer.upstream(LIMITS).await;
    let (answer, socket) = tokio::join!(forward(&upstream, request(Era::Modern, CALL)), async {
        peer.accept().await.answer("200 OK", "", "{}").await
    });
    assert_eq!(whole(answer.unwrap()), "{}");
    let mut socket = socket;
    let closed = tokio::time::timeout(Duration::from_secs(6), socket.read(&mut [0; 1])).await;
    assert_eq!(closed.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_stream_opened_by_get_ends_with_its_client() {
    let peer = Peer::new().await;
    let upstream = peer.upstream(LIMITS).await;
    let mut exchange = bare(Method::GET, Era::Legacy, "");
    Arc::make_mut(&mut exchange.headers).insert("last-event-id", "41".parse().unwrap());
    let (events, mut seen) = open(&peer, &upstream, exchange).await;
    assert!(seen.head.starts_with("get /mcp?key=a "), "{}", seen.head);
    assert!(seen.head.contains("last-event-id: 41\r\n"));
    drop(events);
    assert!(seen.is_closed().await);
}

#[tokio::test]
async fn more_exchanges_than_allowed_are_refused_before_the_first_byte() {
    let peer = Peer::new().await;
    let upstream = peer
        .upstream(UpstreamLimits {
            in_flight_max: 1,
            ..LIMITS
        })
        .await;
    let (events, seen) = open(&peer, &upstream, request(Era::Modern, CALL)).await;
    let fault = failed(forward(&upstream, request(Era::Modern, CALL)).await);
    assert_eq!((fault.cause, fault.reached), (Cause::Busy, Reached::Never));
    assert!(peer.is_left_alone());
    drop((events, seen));
    let (answer, _socket) = tokio::join!(forward(&upstream, request(Era::Modern, CALL)), async {
        peer.accept().await.answer("200 OK", "", "{}").await
    });
    assert_eq!(whole(answer.unwrap()), "{}");
}

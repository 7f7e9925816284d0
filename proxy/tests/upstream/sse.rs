//! Servers of the transport of 2024-11-05, which name the address to post to on their stream.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use weir_proxy::upstream::{
    Cause, Era, Exchange, Reached, Sharing, Transport, Upstream, UpstreamSpec,
};

use crate::common::{LIMITS, bare, events, failed, forward, next_data, request, told, whole};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A server whose stream begins with what the test says.
#[derive(Clone)]
struct Old {
    port: u16,
    first: &'static str,
    /// What the stream says next, of the newest stream.
    say: Arc<Mutex<Option<mpsc::Sender<String>>>>,
    posted: Arc<Mutex<Vec<(String, HeaderMap, String)>>>,
    /// The status of a post whose body holds this.
    refuses: &'static str,
}

impl Old {
    async fn start(first: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            first,
            say: Arc::default(),
            posted: Arc::default(),
            refuses: "refuse me",
        };
        let serving = server.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let server = serving.clone();
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, Infallible>(server.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        server
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        if head.method == Method::GET {
            let (say, said) = mpsc::channel(16);
            *self.say.lock().unwrap() = Some(say);
            let first = Bytes::from_static(self.first.as_bytes());
            let rest = stream::unfold(said, async |mut said| {
                let text = said.recv().await?;
                Some((Ok(Frame::data(text.into())), said))
            });
            let frames = stream::iter([Ok(Frame::data(first))]);
            let frames = futures_util::StreamExt::chain(frames, rest);
            let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
            let kind = "text/event-stream; charset=utf-8".parse().unwrap();
            response.headers_mut().insert("content-type", kind);
            return response;
        }
        let is_refused = body.contains(self.refuses);
        let id = serde_json::from_str::<serde_json::Value>(&body).unwrap()["id"].to_string();
        let target = head.uri.to_string();
        self.posted
            .lock()
            .unwrap()
            .push((target, head.headers, body.clone()));
        if id != "null" && !is_refused {
            let answer = format!(
                "event: message\r\ndata: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"n\":1.50e2}}}}\r\n\r\n"
            );
            self.say(&answer).await;
        }
        let mut response = Response::new(Full::new(Bytes::from_static(b"Accepted")).boxed_unsync());
        *response.status_mut() = if is_refused {
            StatusCode::BAD_REQUEST
        } else {
            StatusCode::ACCEPTED
        };
        response
    }

    async fn say(&self, text: &str) {
        let say = self.say.lock().unwrap().clone().unwrap();
        say.send(text.to_owned()).await.unwrap();
    }

    fn posted(&self) -> Vec<(String, HeaderMap, String)> {
        self.posted.lock().unwrap().clone()
    }

    async fn upstream(&self) -> Upstream {
        let own = (
            "authorization".parse().unwrap(),
            "Bearer of-the-nas".parse().unwrap(),
        );
        Upstream::connect(&UpstreamSpec {
            server: "nas".into(),
            transport: Transport::Sse {
                url: format!("http://127.0.0.1:{}/api/sse?key=a", self.port)
                    .parse()
                    .unwrap(),
                ca: None,
            },
            headers: vec![own],
            sharing: Sharing::Session,
            limits: LIMITS,
        })
        .await
        .unwrap()
    }
}

const ENDPOINT: &str = ": hello\n\nevent: endpoint\ndata: /api/messages?session_id=secret\n\n";
const HELLO: &str = r#"{"jsonrpc":"2.0","id":"a","method":"initialize","params":{}}"#;

fn call(id: &str, text: &str) -> Exchange {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"x","arguments":{{"t":"{text}"}}}}}}"#
    );
    request(Era::Legacy, &body)
}

#[tokio::test]
async fn the_judged_bytes_are_posted_and_the_answer_comes_from_the_stream() {
    let server = Old::start(ENDPOINT).await;
    let upstream = server.upstream().await;
    let answer = forward(&upstream, request(Era::Legacy, HELLO))
        .await
        .unwrap();
    let session: Arc<str> = answer.headers["mcp-session-id"].to_str().unwrap().into();
    assert!(!session.contains("secret"));
    assert_eq!(
        whole(answer),
        r#"{"jsonrpc":"2.0","id":"a","result":{"n":1.50e2}}"#
    );
    let (target, headers, body) = server.posted().remove(0);
    assert_eq!(target, "/api/messages?session_id=secret");
    assert_eq!(headers["authorization"], "Bearer of-the-nas");
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(body, HELLO.replace("\"a\"", "1"));

    // What is not an answer goes to the session's stream, and no event but messages does.
    let listen = Exchange {
        session: Some(Arc::clone(&session)),
        ..bare(Method::GET, Era::Legacy, "")
    };
    let mut stream = events(forward(&upstream, listen).await.unwrap());
    server.say("event: endpoint\ndata: /elsewhere\n\n: ping\n\nevent: other\ndata: {\"method\":\"x\"}\n\n").await;
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    server.say(&format!("data: {changed}\n\n")).await;
    assert_eq!(next_data(&mut stream).await, changed);
    let note = Exchange {
        session: Some(session),
        ..told(
            Era::Legacy,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        )
    };
    assert_eq!(
        forward(&upstream, note).await.unwrap().status,
        StatusCode::ACCEPTED
    );
    while server.posted().len() < 2 {
        tokio::task::yield_now().await;
    }
    let targets: Vec<_> = server
        .posted()
        .into_iter()
        .map(|(target, ..)| target)
        .collect();
    assert_eq!(targets[0], targets[1], "a second endpoint is not followed");
}

#[tokio::test]
async fn an_address_of_another_origin_is_refused_and_nothing_is_posted() {
    for first in [
        "event: endpoint\ndata: http://evil.example/messages\n\n",
        "event: endpoint\ndata: //evil.example/messages\n\n",
        "event: endpoint\ndata: https://127.0.0.1/messages\n\n",
        "event: endpoint\ndata: /a b\n\n",
        "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n",
    ] {
        let server = Old::start(first).await;
        let upstream = server.upstream().await;
        let fault = failed(forward(&upstream, request(Era::Legacy, HELLO)).await);
        assert_eq!(
            (fault.cause, fault.reached),
            (Cause::BadAnswer, Reached::Never),
            "{first}: {fault}"
        );
        assert!(server.posted().is_empty(), "{first}");
    }
}

#[tokio::test]
async fn a_message_that_is_not_taken_fails_alone_and_the_session_goes_on() {
    let server = Old::start(ENDPOINT).await;
    let upstream = server.upstream().await;
    let fault = failed(forward(&upstream, call("7", "refuse me")).await);
    assert_eq!(
        (fault.cause, fault.reached),
        (Cause::BadAnswer, Reached::Maybe)
    );
    assert!(whole(forward(&upstream, call("7", "take me")).await.unwrap()).contains("\"id\":7"));
}

#[tokio::test]
async fn a_stream_that_ends_takes_its_session_with_it_and_the_next_one_opens_another() {
    let server = Old::start(ENDPOINT).await;
    let upstream = server.upstream().await;
    let answer = forward(&upstream, request(Era::Legacy, HELLO))
        .await
        .unwrap();
    let session: Arc<str> = answer.headers["mcp-session-id"].to_str().unwrap().into();
    let listen = Exchange {
        session: Some(Arc::clone(&session)),
        ..bare(Method::GET, Era::Legacy, "")
    };
    let mut stream = events(forward(&upstream, listen).await.unwrap());
    *server.say.lock().unwrap() = None;
    assert!(futures_util::StreamExt::next(&mut stream).await.is_none());
    let late = Exchange {
        session: Some(session),
        ..call("1", "late")
    };
    assert_eq!(
        forward(&upstream, late).await.unwrap().status,
        StatusCode::NOT_FOUND
    );
    assert!(
        forward(&upstream, request(Era::Legacy, HELLO))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_was_never_reached() {
    let server = Old::start(ENDPOINT).await;
    let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let upstream = Old { port, ..server }.upstream().await;
    let fault = failed(forward(&upstream, call("1", "x")).await);
    assert_eq!(
        (fault.cause, fault.reached),
        (Cause::Unreachable, Reached::Never)
    );
}

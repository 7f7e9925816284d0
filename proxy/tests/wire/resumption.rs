//! A legacy client that loses the stream of a call, and comes back for the rest: the server gives it to nobody else meanwhile, and
//! the call ends in the record once.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::rig::{OTHER_TOKEN, Proxy, folder, policy, soon};

mod cancelled;

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// A server that keeps the events of each stream, and lets one connection at a time have them.
#[derive(Clone, Default)]
struct Keeper {
    streams: Arc<Mutex<Vec<Kept>>>,
    /// How often a client asked for the rest of a stream.
    resumed: Arc<Mutex<usize>>,
}

struct Kept {
    session: String,
    request: Value,
    /// Its events have ids.
    numbered: bool,
    events: Vec<String>,
    connection: mpsc::UnboundedSender<Bytes>,
}

impl Keeper {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let keeper = Self::default();
        let serving = keeper.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let keeper = serving.clone();
                let service = service_fn(move |request| {
                    let keeper = keeper.clone();
                    async move { Ok::<_, Infallible>(keeper.answer(request).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        (keeper, url)
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let header = |name: &str| Some(head.headers.get(name)?.to_str().unwrap().to_owned());
        let session = header("mcp-session-id").unwrap_or_default();
        if head.method == Method::GET {
            let Some(event) = header("last-event-id") else {
                return whole(StatusCode::METHOD_NOT_ALLOWED, "");
            };
            return self.resume(&session, &event).await;
        }
        let body = body.collect().await.unwrap().to_bytes();
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        if message["method"] == "initialize" {
            let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "protocolVersion": "2025-06-18", "capabilities": {} } });
            let mut response = whole(StatusCode::OK, &answer.to_string());
            if let Some(id) = head.headers.get("x-request-id") {
                response.headers_mut().insert("mcp-session-id", id.clone());
            }
            return response;
        }
        if message["id"].is_null() {
            return whole(StatusCode::ACCEPTED, "");
        }
        let (connection, sent) = mpsc::unbounded_channel();
        let mut streams = self.streams.lock().unwrap();
        let number = streams.len();
        streams.push(Kept {
            session,
            request: message["id"].clone(),
            numbered: message["params"]["name"] != "streams",
            events: Vec::new(),
            connection,
        });
        drop(streams);
        self.say(number, &json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progress": 1 } }));
        stream(sent)
    }

    async fn resume(&self, session: &str, event: &str) -> Answer {
        *self.resumed.lock().unwrap() += 1;
        let (number, after) = event.split_once('-').unwrap();
        let (number, after): (usize, usize) = (number.parse().unwrap(), after.parse().unwrap());
        if self.streams.lock().unwrap()[number].session != session {
            return whole(StatusCode::NOT_FOUND, "");
        }
        // That the first connection is gone is noticed a moment later.
        for _ in 0..40 {
            if !self.is_heard(number) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        if self.is_heard(number) {
            return whole(StatusCode::CONFLICT, "the stream has a connection already");
        }
        let (connection, sent) = mpsc::unbounded_channel();
        let kept = &mut self.streams.lock().unwrap()[number];
        for event in &kept.events[after + 1..] {
            connection.send(event.clone().into()).unwrap();
        }
        kept.connection = connection;
        stream(sent)
    }

    /// Whether anybody holds the stream.
    fn is_heard(&self, number: usize) -> bool {
        !self.streams.lock().unwrap()[number].connection.is_closed()
    }

    /// Writes an event of a stream, to whoever holds it.
    fn say(&self, number: usize, message: &Value) {
        let kept = &mut self.streams.lock().unwrap()[number];
        let id = format!("id: {number}-{}\n", kept.events.len());
        let id = if kept.numbered { &*id } else { "" };
        let event = format!("{id}data: {message}\n\n");
        kept.events.push(event.clone());
        // Nobody may hold it: that is the point.
        drop(kept.connection.send(event.into()));
    }

    fn answer_call(&self, number: usize, result: &Value) {
        let id = self.streams.lock().unwrap()[number].request.clone();
        self.say(
            number,
            &json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        );
    }

    /// Ends the connection, not the stream.
    fn hang_up(&self, number: usize) {
        self.streams.lock().unwrap()[number].connection = mpsc::unbounded_channel().0;
    }

    fn calls(&self) -> usize {
        self.streams.lock().unwrap().len()
    }

    fn resumed(&self) -> usize {
        *self.resumed.lock().unwrap()
    }
}

fn whole(status: StatusCode, text: &str) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())).boxed_unsync());
    *response.status_mut() = status;
    let kind = "application/json".parse().unwrap();
    response.headers_mut().insert("content-type", kind);
    response
}

fn stream(sent: mpsc::UnboundedReceiver<Bytes>) -> Answer {
    let frames = futures_util::stream::unfold(sent, async |mut sent| {
        let bytes = sent.recv().await?;
        Some((Ok(Frame::data(bytes)), sent))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let kind = "text/event-stream".parse().unwrap();
    response.headers_mut().insert("content-type", kind);
    response
}

/// A client's end of a stream.
struct Listening {
    body: Incoming,
    heard: String,
}

impl Listening {
    async fn until(&mut self, text: &str) -> &str {
        while !self.heard.contains(text) {
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame()).await;
            let frame = frame.unwrap_or_else(|_| panic!("no `{text}` in {}", self.heard));
            let frame = frame.unwrap_or_else(|| panic!("ended before `{text}`: {}", self.heard));
            let bytes = frame.unwrap().into_data().unwrap();
            self.heard += std::str::from_utf8(&bytes).unwrap();
        }
        &self.heard
    }

    async fn ends(mut self) -> String {
        while let Some(frame) = self.body.frame().await {
            let Ok(frame) = frame else { break };
            self.heard += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
        }
        self.heard
    }
}

/// A client's side of the tests: its session, if it has one, and whose token it shows.
struct Client<'p> {
    proxy: &'p Proxy,
    headers: HashMap<&'static str, String>,
}

impl<'p> Client<'p> {
    fn without_session(proxy: &'p Proxy) -> Self {
        let headers = HashMap::new();
        Self { proxy, headers }
    }

    async fn in_session(proxy: &'p Proxy, id: &'static str) -> Self {
        Self::without_session(proxy).enter(id).await
    }

    fn with_token(mut self, token: &str) -> Self {
        self.headers
            .insert("authorization", format!("Bearer {token}"));
        self
    }

    async fn enter(mut self, id: &'static str) -> Self {
        self.headers.insert("x-request-id", id.to_owned());
        let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": { "protocolVersion": "2025-06-18",
            "capabilities": {}, "clientInfo": { "name": "lossy", "version": "1" } } });
        let reply = self.proxy.send(self.request("POST", &hello)).await;
        assert_eq!(reply.headers["mcp-session-id"], id);
        self.headers.insert("mcp-session-id", id.to_owned());
        self
    }

    fn request(&self, method: &str, message: &Value) -> Request<Full<Bytes>> {
        let body = if message.is_null() {
            String::new()
        } else {
            message.to_string()
        };
        let request = self.proxy.request().method(method);
        let mut request = request.body(Full::new(body.into())).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.insert(*name, value.parse().unwrap());
        }
        request.headers_mut().extend(headers);
        request
    }

    async fn ask(&self, method: &str, params: Value) -> Listening {
        let message = json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params });
        let response = self.proxy.open(self.request("POST", &message)).await;
        assert_eq!(response.status(), 200);
        Listening::of(response)
    }

    async fn call(&self, tool: &str) -> Listening {
        self.ask("tools/call", json!({ "name": tool, "arguments": {} }))
            .await
    }

    async fn come_back(&self, event: &str) -> Response<Incoming> {
        let mut request = self.request("GET", &Value::Null);
        let event = event.parse().unwrap();
        request.headers_mut().insert("last-event-id", event);
        self.proxy.open(request).await
    }

    async fn resume(&self, event: &str) -> Listening {
        let response = self.come_back(event).await;
        assert_eq!(response.status(), 200, "{event}");
        Listening::of(response)
    }
}

impl Listening {
    fn of(response: Response<Incoming>) -> Self {
        let body = response.into_body();
        let heard = String::new();
        Self { body, heard }
    }
}

/// How the calls of tools ended, as the record says.
fn outcomes(proxy: &Proxy) -> Vec<String> {
    let rows = proxy.rows().into_iter();
    rows.filter(|row| row.method == "tools/call")
        .map(|row| row.outcome)
        .collect()
}

fn patient(folder: &std::path::Path, upstream_timeout: &str) {
    let config = folder.join("weir.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let limit = format!("[limits]\nupstream_timeout = \"{upstream_timeout}\"");
    std::fs::write(config, text.replace("[limits]", &limit)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_hangs_up_and_comes_back_gets_the_rest_and_the_call_ends_once() {
    let (keeper, url) = Keeper::start().await;
    let folder = folder(&url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let client = Client::in_session(&proxy, "session-of-ops").await;
    let mut first = client.call("slow").await;
    first.until("0-0").await;
    drop(first);
    // The server is let go at once, so that it keeps what comes now.
    soon(|| !keeper.is_heard(0)).await;
    keeper.say(0, &json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progress": 2 } }));

    // It loses the stream once more, in the middle of the rest.
    let mut second = client.resume("0-0").await;
    second.until("\"progress\":2").await;
    drop(second);
    soon(|| !keeper.is_heard(0)).await;
    assert_eq!(outcomes(&proxy), [""], "the call is under way");
    keeper.answer_call(
        0,
        &json!({ "content": [{ "type": "text", "text": "the end" }] }),
    );

    let mut third = client.resume("0-1").await;
    third.until("the end").await;
    soon(|| outcomes(&proxy) == ["ok"]).await;
    drop(third);
    assert_eq!((keeper.calls(), keeper.resumed()), (1, 2));
    proxy.stop().await;
    assert_eq!(
        crate::rig::rows(folder.path())
            .iter()
            .filter(|row| row.tool == "slow")
            .count(),
        1
    );
}

/// A network that takes a connection without a word: the server would go on writing there, or say that somebody listens already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_comes_back_before_its_hanging_up_is_noticed_gets_the_rest() {
    let (keeper, url) = Keeper::start().await;
    let folder = folder(&url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let client = Client::in_session(&proxy, "session-of-ops").await;
    let mut first = client.call("slow").await;
    first.until("0-0").await;
    let mut second = client.resume("0-0").await;
    keeper.answer_call(
        0,
        &json!({ "content": [{ "type": "text", "text": "the end" }] }),
    );
    second.until("the end").await;
    let left = first.ends().await;
    assert!(!left.contains("the end"), "{left}");
    soon(|| outcomes(&proxy) == ["ok"]).await;
    proxy.stop().await;
}

/// Servers may end a stream by themselves, and let the client ask for the rest when it is time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_the_server_ends_before_the_answer_goes_on_when_the_client_asks() {
    let (keeper, url) = Keeper::start().await;
    let folder = folder(&url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let client = Client::in_session(&proxy, "session-of-ops").await;
    let first = client.call("slow").await;
    keeper.hang_up(0);
    assert!(first.ends().await.contains("0-0"));
    keeper.answer_call(0, &json!({ "isError": true, "content": [] }));
    client.resume("0-0").await.until("isError").await;
    soon(|| outcomes(&proxy) == ["tool_error"]).await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_hidden_stays_hidden_in_the_rest() {
    let (keeper, url) = Keeper::start().await;
    let folder = folder(&url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let client = Client::in_session(&proxy, "session-of-ops").await;
    let mut first = client.ask("tools/list", json!({})).await;
    first.until("0-0").await;
    drop(first);
    soon(|| !keeper.is_heard(0)).await;
    keeper.answer_call(
        0,
        &json!({ "tools": [{ "name": "vm_list" }, { "name": "vm_delete" }] }),
    );
    let mut second = client.resume("0-0").await;
    let heard = second.until("vm_list").await;
    assert!(
        heard.contains("id: 0-1") && !heard.contains("vm_delete"),
        "{heard}"
    );
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_grant_gets_nothing_of_a_stream_and_does_not_take_it_from_its_client() {
    let (keeper, url) = Keeper::start().await;
    let folder = folder(&url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let ops = Client::in_session(&proxy, "session-of-ops").await;
    let mut first = ops.call("slow").await;
    first.until("0-0").await;

    let mut thief = Client::without_session(&proxy).with_token(OTHER_TOKEN);
    // Without a session nothing says whose the event is; in that of `ops` it is nobody; in its own the server has no such event.
    assert_eq!(thief.come_back("0-0").await.status(), 400);
    thief
        .headers
        .insert("mcp-session-id", "session-of-ops".to_owned());
    assert_eq!(thief.come_back("0-0").await.status(), 404);
    assert_eq!(keeper.resumed(), 0, "the server was not asked");
    thief.headers.remove("mcp-session-id");
    let thief = thief.enter("session-of-dev").await;
    assert_eq!(thief.come_back("0-0").await.status(), 404);
    assert!(keeper.is_heard(0), "the stream was not let go");

    keeper.answer_call(
        0,
        &json!({ "content": [{ "type": "text", "text": "the end" }] }),
    );
    first.until("the end").await;
    soon(|| outcomes(&proxy) == ["ok"]).await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_session_a_client_resumes_what_it_was_told_itself() {
    let (keeper, url) = Keeper::start().await;
    let folder = folder(&url, &policy());
    let proxy = Proxy::start(folder.path()).await;
    let client = Client::without_session(&proxy);
    let mut first = client.call("slow").await;
    first.until("0-0").await;
    drop(first);
    soon(|| !keeper.is_heard(0)).await;
    assert_eq!(client.come_back("0-1").await.status(), 400);
    keeper.answer_call(
        0,
        &json!({ "content": [{ "type": "text", "text": "the end" }] }),
    );
    client.resume("0-0").await.until("the end").await;
    soon(|| outcomes(&proxy) == ["ok"]).await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_client_that_never_comes_back_the_record_still_hears_how_its_call_ended() {
    let (keeper, url) = Keeper::start().await;
    let folder = folder(&url, &policy());
    patient(folder.path(), "4s");
    let proxy = Proxy::start(folder.path()).await;
    let client = Client::in_session(&proxy, "session-of-ops").await;
    for number in 0..2 {
        let mut call = client.call("slow").await;
        call.until(&format!("{number}-0")).await;
    }
    soon(|| !keeper.is_heard(0) && !keeper.is_heard(1)).await;
    keeper.answer_call(0, &json!({ "content": [] }));
    soon(|| outcomes(&proxy) == ["ok", ""]).await;
    // Weir listens to the other, until a client comes for it after all.
    soon(|| keeper.is_heard(1)).await;
    let mut late = client.resume("1-0").await;
    keeper.answer_call(1, &json!({ "isError": true, "content": [] }));
    late.until("isError").await;
    soon(|| outcomes(&proxy) == ["ok", "tool_error"]).await;
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stop_does_not_wait_for_clients_that_went_away_but_for_their_calls() {
    let (keeper, url) = Keeper::start().await;
    let folder = folder(&url, &policy());
    let mut proxy = Proxy::start(folder.path()).await;
    let client = Client::in_session(&proxy, "session-of-ops").await;
    client.call("slow").await.until("0-0").await;
    client.call("slow").await.until("1-0").await;
    soon(|| !keeper.is_heard(0) && !keeper.is_heard(1)).await;
    keeper.answer_call(0, &json!({ "content": [] }));
    proxy.begin_stop();
    proxy.stop().await;
    let rows = crate::rig::rows(folder.path());
    let mut outcomes: Vec<_> = rows
        .iter()
        .filter(|row| row.tool == "slow")
        .map(|row| row.outcome.as_str())
        .collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes, ["ok", "unknown"]);
}

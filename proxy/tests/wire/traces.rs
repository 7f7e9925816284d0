//! Traces, as a collector of OTLP over HTTP gets them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::AsArray as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::rig::{Proxy, Server, TOKEN, call, folder, policy, soon};

const CANARY: &str = "canary-5f1c0a";

/// A collector: it takes what comes, and is away when told to be.
#[derive(Clone)]
struct Collector {
    url: String,
    bodies: Arc<Mutex<Vec<Value>>>,
    is_away: Arc<std::sync::atomic::AtomicBool>,
}

/// One span, decoded.
#[derive(Debug, Clone)]
struct Span {
    trace: String,
    id: String,
    parent: Option<String>,
    name: String,
    kind: i64,
    took: u128,
    attributes: BTreeMap<String, String>,
    failed: bool,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let collector = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            bodies: Arc::default(),
            is_away: Arc::default(),
        };
        let serving = collector.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let collector = serving.clone();
                let service = service_fn(move |request| {
                    let collector = collector.clone();
                    async move { Ok::<_, std::convert::Infallible>(collector.take(request).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
            }
        });
        collector
    }

    async fn take(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert_eq!(
            (head.method.as_str(), head.uri.path()),
            ("POST", "/v1/traces")
        );
        assert_eq!(head.headers["content-type"], "application/json");
        let mut response = Response::new(Full::new(Bytes::from_static(b"{}")));
        if self.is_away.load(std::sync::atomic::Ordering::SeqCst) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return response;
        }
        self.bodies
            .lock()
            .unwrap()
            .push(serde_json::from_slice(&body).unwrap());
        response
    }

    fn spans(&self) -> Vec<Span> {
        let bodies = self.bodies.lock().unwrap();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let mut spans = Vec::new();
        for resource in bodies.iter().flat_map(|body| list(&body["resourceSpans"])) {
            let of = attributes(&resource["resource"]["attributes"]);
            assert_eq!(of["service.name"], "weir");
            assert!(!of["service.instance.id"].is_empty());
            for scope in list(&resource["scopeSpans"]) {
                spans.extend(list(&scope["spans"]).iter().map(Span::decode));
            }
        }
        spans
    }

    fn named(&self, name: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| span.name == name);
        spans
    }
}

fn attributes(list: &Value) -> BTreeMap<String, String> {
    let pair = |attribute: &Value| {
        (
            attribute["key"].as_str().unwrap().to_owned(),
            attribute["value"]["stringValue"]
                .as_str()
                .unwrap()
                .to_owned(),
        )
    };
    let list = list.as_array().unwrap();
    let pairs: BTreeMap<_, _> = list.iter().map(pair).collect();
    assert_eq!(pairs.len(), list.len(), "no attribute twice: {list:?}");
    pairs
}

impl Span {
    fn decode(span: &Value) -> Self {
        let text = |name: &str| span[name].as_str().unwrap().to_owned();
        let nanos = |name: &str| text(name).parse::<u128>().unwrap();
        let span = Self {
            trace: text("traceId"),
            id: text("spanId"),
            parent: span["parentSpanId"].as_str().map(str::to_owned),
            name: text("name"),
            kind: span["kind"].as_i64().unwrap(),
            took: nanos("endTimeUnixNano") - nanos("startTimeUnixNano"),
            attributes: attributes(&span["attributes"]),
            failed: span["status"]["code"] == 2,
        };
        assert_eq!((span.trace.len(), span.id.len()), (32, 16));
        span
    }
}

/// The column `trace_id` of every row.
fn traces(folder: &std::path::Path) -> Vec<String> {
    let reader = weir_recorder::RecordReader::open(folder.join("record")).unwrap();
    let mut traces = Vec::new();
    for batch in reader.calls(&["trace_id"]).unwrap() {
        let batch = batch.unwrap();
        let column = batch.column(0).as_fixed_size_binary();
        traces.extend(column.iter().flatten().map(hex::encode));
    }
    traces
}

async fn started(collector: &str) -> (Server, tempfile::TempDir, Proxy) {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let file = folder.path().join("weir.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        format!("{text}\n[telemetry]\notlp = \"{collector}\"\n"),
    )
    .unwrap();
    let proxy = Proxy::start(folder.path()).await;
    (server, folder, proxy)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_a_span_of_its_callers_trace_and_its_server_hears_of_it() {
    let collector = Collector::start().await;
    let (server, folder, proxy) = started(&collector.url).await;
    let (trace, caller) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let parent = format!("00-{trace}-{caller}-01");
    let message = json!({ "jsonrpc": "2.0", "id": "r-1", "method": "tools/call",
        "params": { "name": "echo", "arguments": { "note": CANARY }, "_meta": { "traceparent": parent } } });
    assert_eq!(proxy.post(message.to_string()).await.status, 200);
    assert!(
        proxy
            .call("vm_stop", json!({ "id": 1, "force": true, "note": CANARY }))
            .await
            .is_denied()
    );
    assert_eq!(
        proxy
            .post(r#"{"jsonrpc":"2.0","id":3,"method":"tools/list"}"#)
            .await
            .status,
        200
    );
    soon(|| collector.spans().len() >= 5).await;

    let [here, way] = &collector.named("tools/call echo")[..] else {
        panic!("{:?}", collector.spans())
    };
    assert_eq!(
        (here.kind, way.kind),
        (2, 3),
        "a server to its caller, a client to its server"
    );
    assert_eq!(
        (here.trace.as_str(), here.parent.as_deref()),
        (trace, Some(caller))
    );
    assert_eq!(
        (way.trace.as_str(), way.parent.as_ref()),
        (trace, Some(&here.id))
    );
    assert!(way.took <= here.took && here.took > 0);
    assert!(!here.failed && !way.failed);
    let names = &here.attributes;
    for (name, value) in [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", "echo"),
        ("jsonrpc.request.id", "\"r-1\""),
        ("network.transport", "tcp"),
        ("client.address", "127.0.0.1"),
        ("gen_ai.security.verdict.type", "allow"),
        ("gen_ai.security.action.type", "allow"),
        ("weir.grant", "ops"),
        ("weir.server", "nas"),
    ] {
        assert_eq!(names.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(names["gen_ai.security.policy.id"].starts_with("sha256:"));
    // The server is told its place in the trace; the body is as it was judged.
    let reached = server
        .log()
        .into_iter()
        .find(|it| it.body.windows(4).any(|at| at == b"echo"))
        .unwrap();
    assert_eq!(
        reached.headers["traceparent"],
        format!("00-{trace}-{}-01", way.id).as_str()
    );
    assert_eq!(reached.body, message.to_string().as_bytes());

    let [denied] = &collector.named("tools/call vm_stop")[..] else {
        panic!("{:?}", collector.spans())
    };
    assert!(
        denied.failed && denied.parent.is_none(),
        "nothing went to the server"
    );
    let names = &denied.attributes;
    assert_eq!(names["gen_ai.security.verdict.type"], "deny");
    assert_eq!(names["gen_ai.security.action.type"], "block");
    assert_eq!(
        names["gen_ai.security.policy.rule.id"],
        "/tools/vm_stop/deny_if/args.force-eq"
    );
    assert_eq!(names["error.type"], "deny_if");
    // The record names the same traces, also where the caller gave none.
    let mut told: Vec<String> = collector
        .spans()
        .into_iter()
        .map(|span| span.trace)
        .collect();
    told.sort_unstable();
    told.dedup();
    let mut recorded = traces(folder.path());
    recorded.sort_unstable();
    assert_eq!(recorded, told);
    assert_eq!(told.len(), 3);
    let everything = format!("{:?}", collector.bodies.lock().unwrap());
    assert!(
        !everything.contains(CANARY) && !everything.contains(TOKEN),
        "{everything}"
    );
    assert!(!everything.contains("upstream-secret"), "{everything}");
    let metrics = proxy.admin("/metrics").await;
    assert!(metrics.contains("weir_spans_exported_total 5"), "{metrics}");
    proxy.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_that_its_caller_does_not_sample_is_not_exported() {
    let collector = Collector::start().await;
    let (server, _folder, proxy) = started(&collector.url).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let request = proxy
        .request()
        .header("traceparent", parent)
        .body(Full::new(call("vm_list", &json!({})).into()))
        .unwrap();
    assert_eq!(proxy.send(request).await.status, 200);
    assert_eq!(
        server.log()[0].headers["traceparent"],
        parent,
        "it goes on as it came"
    );
    proxy.call("echo", json!({})).await;
    proxy.stop().await;
    // What waited was sent with the stop.
    let names: Vec<_> = collector
        .spans()
        .into_iter()
        .map(|span| span.name)
        .collect();
    assert_eq!(names, ["tools/call echo", "tools/call echo"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_holds_nothing_up_and_what_is_lost_is_counted() {
    let collector = Collector::start().await;
    collector
        .is_away
        .store(true, std::sync::atomic::Ordering::SeqCst);
    let (_server, _folder, proxy) = started(&collector.url).await;
    for _ in 0..20 {
        let call = proxy.call("vm_list", json!({}));
        let reply = tokio::time::timeout(Duration::from_secs(5), call)
            .await
            .unwrap();
        assert_eq!(reply.status, 200);
    }
    let lost = r#"weir_spans_dropped_total{reason="collector"} "#;
    let mut count = 0;
    while count < 40 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        let metrics = proxy.admin("/metrics").await;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(lost))
            .unwrap();
        count = line.parse().unwrap();
    }
    assert_eq!(count, 40, "a message and its way to the server, each");
    collector
        .is_away
        .store(false, std::sync::atomic::Ordering::SeqCst);
    proxy.call("vm_list", json!({})).await;
    soon(|| collector.spans().len() == 2).await;
    proxy.stop().await;
}

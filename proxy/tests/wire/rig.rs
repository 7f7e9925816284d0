//! What the tests stand on: a server, a proxy in front of it, a client, and the record read back.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use weir_proxy::{Config, Ready, ServeError};
use weir_recorder::{Disk, RecordReader, Storage};

pub(crate) const TOKEN: &str = "weir-test-token-ops";
pub(crate) const OTHER_TOKEN: &str = "weir-test-token-dev";

/// One request as it reached the server.
#[derive(Debug, Clone)]
pub(crate) struct Reached {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An MCP server that writes down what reaches it.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    log: Arc<Mutex<Vec<Reached>>>,
    /// `slow` answers once this is notified.
    pub(crate) go_on: Arc<Notify>,
    /// Notified when `slow` is called.
    pub(crate) arrived: Arc<Notify>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = Self {
            url: format!("http://{}/mcp", listener.local_addr().unwrap()),
            log: Arc::default(),
            go_on: Arc::default(),
            arrived: Arc::default(),
        };
        let serving = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = serving.clone();
                let service = service_fn(move |request| {
                    let server = server.clone();
                    async move { Ok::<_, std::convert::Infallible>(server.answer(request).await) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        server
    }

    /// Everything that reached the server.
    pub(crate) fn log(&self) -> Vec<Reached> {
        self.log.lock().unwrap().clone()
    }

    /// The tools that were called, in order.
    pub(crate) fn tools(&self) -> Vec<String> {
        let name = |reached: Reached| {
            let message: Value = serde_json::from_slice(&reached.body).ok()?;
            Some(message["params"]["name"].as_str()?.to_owned())
        };
        self.log().into_iter().filter_map(name).collect()
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Response<UnsyncBoxBody<Bytes, std::convert::Infallible>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        self.log.lock().unwrap().push(Reached {
            headers: head.headers.clone(),
            body: body.clone(),
        });
        if head.method == Method::GET {
            return never_ending();
        }
        let tool = message["params"]["name"].as_str().unwrap_or_default();
        if tool.starts_with("slow") {
            self.arrived.notify_one();
            self.go_on.notified().await;
        }
        let result = match message["method"].as_str().unwrap_or_default() {
            "initialize" => {
                json!({ "protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": { "name": "test" } })
            }
            "tools/list" => {
                json!({ "tools": [{ "name": "vm_list" }, { "name": "vm_stop" }, { "name": "vm_delete" }], "kept": 1.0 })
            }
            _ if tool.starts_with("echo") => {
                let arguments = &message["params"]["arguments"];
                json!({ "content": [{ "type": "text", "text": arguments.to_string() }], "structuredContent": arguments })
            }
            _ if tool == "fails" => json!({ "content": [], "isError": true }),
            _ => json!({ "content": [{ "type": "text", "text": format!("did {tool}") }] }),
        };
        if message["id"].is_null() {
            return whole(StatusCode::ACCEPTED, "", "");
        }
        if tool == "breaks" {
            return whole(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain",
                &message.to_string(),
            );
        }
        if tool == "refuses" {
            let error = json!({ "jsonrpc": "2.0", "id": message["id"], "error": { "code": -32602, "message": "no" } });
            return whole(StatusCode::OK, "application/json", &error.to_string());
        }
        let answer = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }).to_string();
        if tool.ends_with("streams") {
            let text = format!(
                ": hello\n\nevent: message\ndata: {{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}}\n\nid: 7\ndata: {answer}\n\n"
            );
            return whole(StatusCode::OK, "text/event-stream", &text);
        }
        if tool == "samples" {
            let asks = r#"{"jsonrpc":"2.0","id":99,"method":"sampling/createMessage","params":{"messages":[],"tools":[{}]}}"#;
            let lists = r#"{"jsonrpc":"2.0","id":98,"method":"roots/list"}"#;
            let text = format!("data: {asks}\n\ndata: {lists}\n\ndata: {answer}\n\n");
            return whole(StatusCode::OK, "text/event-stream", &text);
        }
        let mut response = whole(StatusCode::OK, "application/json", &answer);
        if message["method"] == "initialize" && head.headers.contains_key("x-request-id") {
            let id = head.headers["x-request-id"].clone();
            response.headers_mut().insert("mcp-session-id", id);
        }
        response
    }
}

fn whole(
    status: StatusCode,
    kind: &str,
    text: &str,
) -> Response<UnsyncBoxBody<Bytes, std::convert::Infallible>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())).boxed_unsync());
    *response.status_mut() = status;
    if !kind.is_empty() {
        response
            .headers_mut()
            .insert("content-type", kind.parse().unwrap());
    }
    response
}

fn never_ending() -> Response<UnsyncBoxBody<Bytes, std::convert::Infallible>> {
    let first =
        futures_util::stream::once(async { Ok(Frame::data(Bytes::from_static(b": open\n\n"))) });
    let frames = futures_util::StreamExt::chain(first, futures_util::stream::pending());
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response
        .headers_mut()
        .insert("content-type", "text/event-stream".parse().unwrap());
    response
}

/// A running proxy and its folder.
pub(crate) struct Proxy {
    pub(crate) ready: Ready,
    pub(crate) folder: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Result<(), ServeError>>,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// What a reply says.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.body))
    }

    pub(crate) fn is_denied(&self) -> bool {
        String::from_utf8_lossy(&self.body).contains("[POLICY DENIED]")
    }
}

/// A folder with a configuration, a policy for `ops` and one for `dev`.
pub(crate) fn folder(server_url: &str, policy: &Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), server_url, "", policy);
    folder
}

pub(crate) fn write_config(folder: &Path, server_url: &str, more: &str, policy: &Value) {
    std::fs::write(folder.join("ops.json"), policy.to_string()).unwrap();
    let hash = |token: &str| hex::encode(Sha256::digest(token));
    let (ops, dev) = (hash(TOKEN), hash(OTHER_TOKEN));
    let text = format!(
        r#"
[listen]
address = "127.0.0.1:0"
[record]
path = "record"
[admin]
address = "127.0.0.1:0"
[limits]
body_bytes_max = 100000
drain_timeout = "5s"
[[server]]
name = "nas"
url = "{server_url}"
headers = {{ Authorization = "Bearer upstream-secret" }}
[[grant]]
name = "ops"
server = "nas"
token = {{ sha256 = "{ops}" }}
policy = "ops.json"
[[grant]]
name = "dev"
server = "nas"
token = {{ sha256 = "{dev}" }}
{more}"#
    );
    std::fs::write(folder.join("weir.toml"), text).unwrap();
}

impl Proxy {
    pub(crate) async fn start(folder: &Path) -> Self {
        Self::start_on(folder, Arc::new(Disk)).await
    }

    pub(crate) async fn start_on(folder: &Path, storage: Arc<dyn Storage>) -> Self {
        let config = Config::load(&folder.join("weir.toml")).unwrap();
        let (is_ready, ready) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(weir_proxy::serve_on(
            config,
            storage,
            move |ready| is_ready.send(ready).unwrap(),
            async move { drop(stopped.await) },
        ));
        let Ok(ready) = ready.await else {
            panic!("did not start: {:?}", serving.await)
        };
        let given = folder.join("cert.pem");
        let client = client(ready.ca_pem_path.as_deref().unwrap_or(&given));
        Self {
            ready,
            folder: folder.to_owned(),
            stop: Some(stop),
            serving,
            client,
        }
    }

    /// Stops in good order.
    pub(crate) async fn stop(mut self) {
        drop(self.stop.take());
        self.serving.await.unwrap().unwrap();
    }

    pub(crate) fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}/nas/mcp", self.ready.address)
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Reply {
        let (head, body) = self.client.request(request).await.unwrap().into_parts();
        let body = tokio::time::timeout(Duration::from_secs(20), body.collect())
            .await
            .unwrap()
            .unwrap()
            .to_bytes();
        Reply {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// The head of an answer whose body is not read.
    pub(crate) async fn open(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.client.request(request).await.unwrap()
    }

    pub(crate) fn request(&self) -> http::request::Builder {
        Request::post(self.url())
            .header("authorization", format!("Bearer {TOKEN}"))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("user-agent", "test/1")
    }

    pub(crate) async fn post(&self, body: impl Into<Bytes>) -> Reply {
        let body = body.into();
        self.send(self.request().body(Full::new(body)).unwrap())
            .await
    }

    /// Calls a tool with the token of `ops`.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Reply {
        self.post(call(tool, &arguments)).await
    }

    /// What the admin listener says.
    pub(crate) async fn admin(&self, path: &str) -> String {
        ask_admin(self.ready.admin_address.unwrap(), path).await.1
    }

    /// Whether it is ready, and what it says of that.
    pub(crate) async fn ready(&self) -> (StatusCode, Value) {
        let (status, text) = ask_admin(self.ready.admin_address.unwrap(), "/readyz").await;
        (status, serde_json::from_str(&text).unwrap())
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        rows(&self.folder)
    }
}

pub(crate) async fn ask_admin(address: SocketAddr, path: &str) -> (StatusCode, String) {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    let url = format!("http://{address}{path}");
    let response = client.get(url.parse().unwrap()).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

pub(crate) fn call(tool: &str, arguments: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": tool, "arguments": arguments } }).to_string()
}

pub(crate) fn client(ca: &Path) -> Client<HttpsConnector<HttpConnector>, Full<Bytes>> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_all_versions()
        .build();
    Client::builder(TokioExecutor::new()).build(connector)
}

/// One row of the record, as far as tests look at it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) method: String,
    pub(crate) tool: String,
    pub(crate) grant: String,
    pub(crate) session: String,
    pub(crate) client_name: String,
    pub(crate) verdict: String,
    pub(crate) reason: String,
    pub(crate) rule: String,
    pub(crate) outcome: String,
    pub(crate) arguments: String,
    pub(crate) direction: String,
    pub(crate) definition: String,
}

/// Every row of the record, sealed or not, in order.
pub(crate) fn rows(folder: &Path) -> Vec<Row> {
    const WORDS: [&str; 11] = [
        "method",
        "tool",
        "grant",
        "session",
        "client_name",
        "verdict",
        "reason",
        "rule",
        "outcome",
        "direction",
        "tool_definition_digest",
    ];
    let mut columns = vec!["seq", "arguments"];
    columns.extend(WORDS);
    let reader = RecordReader::open(folder.join("record")).unwrap();
    let mut rows = Vec::new();
    for batch in reader.calls(&columns).unwrap() {
        let batch = batch.unwrap();
        let seq = batch.column(0).as_primitive::<Int64Type>();
        let arguments = batch.column(1).as_string::<i32>();
        let word = |name: &str, place: usize| {
            let column = batch
                .column_by_name(name)
                .unwrap()
                .as_dictionary::<Int32Type>();
            let words = column.values().as_string::<i32>();
            column
                .key(place)
                .map(|key| words.value(key).to_owned())
                .unwrap_or_default()
        };
        for place in 0..batch.num_rows() {
            let [
                method,
                tool,
                grant,
                session,
                client_name,
                verdict,
                reason,
                rule,
                outcome,
                direction,
                definition,
            ] = WORDS.map(|name| word(name, place));
            let arguments = if arguments.is_valid(place) {
                arguments.value(place).to_owned()
            } else {
                String::new()
            };
            rows.push(Row {
                seq: seq.value(place),
                method,
                tool,
                grant,
                session,
                client_name,
                verdict,
                reason,
                rule,
                outcome,
                arguments,
                direction,
                definition,
            });
        }
    }
    rows
}

/// The kinds of all events, in order.
pub(crate) fn events(folder: &Path) -> Vec<String> {
    let batch = RecordReader::open(folder.join("record"))
        .unwrap()
        .events()
        .unwrap();
    let kind = batch.column_by_name("kind").unwrap();
    let kind = arrow::compute::cast(kind, &arrow::datatypes::DataType::Utf8).unwrap();
    kind.as_string::<i32>()
        .iter()
        .map(|kind| kind.unwrap_or_default().to_owned())
        .collect()
}

/// Puts lines into the section of the server.
pub(crate) fn configure_server(folder: &Path, lines: &str) {
    let file = folder.join("weir.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replacen("name = \"nas\"\n", &format!("name = \"nas\"\n{lines}\n"), 1);
    std::fs::write(&file, text).unwrap();
}

/// Puts lines into the section `[limits]`.
pub(crate) fn configure_limits(folder: &Path, lines: &str) {
    let file = folder.join("weir.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replacen("[limits]\n", &format!("[limits]\n{lines}\n"), 1);
    std::fs::write(&file, text).unwrap();
}

/// A text column of the record, by the place of its row; empty where it is null.
pub(crate) fn column(folder: &Path, name: &str) -> Vec<(i64, String)> {
    let reader = RecordReader::open(folder.join("record")).unwrap();
    let mut found = Vec::new();
    for batch in reader.calls(&["seq", name]).unwrap() {
        let batch = batch.unwrap();
        let seq = batch.column(0).as_primitive::<Int64Type>().clone();
        let column = batch.column(1);
        for row in 0..batch.num_rows() {
            let value = column.slice(row, 1);
            let text = match value.as_list_opt::<i32>() {
                Some(list) if list.is_valid(0) => {
                    let items =
                        arrow::compute::cast(&list.value(0), &arrow::datatypes::DataType::Utf8)
                            .unwrap();
                    let items: Vec<_> = items
                        .as_string::<i32>()
                        .iter()
                        .flatten()
                        .map(str::to_owned)
                        .collect();
                    items.join(" ")
                }
                Some(_) => String::new(),
                None => {
                    let text =
                        arrow::compute::cast(&value, &arrow::datatypes::DataType::Utf8).unwrap();
                    text.as_string::<i32>().iter().flatten().collect()
                }
            };
            found.push((seq.value(row), text));
        }
    }
    found
}

/// Asks again until the condition holds: what is told in the background is told soon.
pub(crate) async fn soon(mut holds: impl FnMut() -> bool) {
    for _ in 0..400 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("did not become true in time");
}

pub(crate) fn policy() -> Value {
    json!({
        "version": "1",
        "default": "deny",
        "hide": ["vm_delete"],
        "tools": {
            "vm_list": {}, "slow": {}, "slow_streams": {}, "echo": {}, "echo_quietly": {}, "breaks": {}, "fails": {}, "refuses": {}, "streams": {}, "samples": {},
            "vm_stop": {
                "deny_if": [{ "conditions": [{ "path": "args.force", "op": "eq", "value": true }], "on_deny": "Forced power-off needs a person." }],
                "limits": [{ "counter": "vm_stop_rate", "window": "hour", "max": 3, "scope": "grant" }]
            },
            "resource:truenas://vms": {}
        }
    })
}

//! The agents: MCP clients that trust the demo's CA, hold a token each, and follow the script.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use hyper::{Request, Response};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use weir_corpus::{Label, Message, Morning, Shape};
use weir_proxy::Ready;

use super::folder::{Folder, Grant};
use super::stage::Stage;

/// The revision with a handshake and sessions, and the one without.
const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";

/// One request of an agent, and what it was told.
#[derive(Debug, Clone, Serialize)]
pub struct Sent {
    /// The agent, which is its grant's name too.
    pub grant: String,
    /// The server it asked.
    pub server: &'static str,
    /// What a person would call it; the handshake is routine.
    pub label: &'static str,
    /// JSON-RPC id; none for bytes that were malformed on purpose.
    pub id: Option<u64>,
    /// JSON-RPC method; empty for malformed bytes.
    pub method: String,
    /// The tool or resource as it stood in the request.
    pub name: Option<String>,
    /// The arguments' text as it was sent.
    pub arguments: Option<String>,
    /// The operation that the script meant, if it is a tool call.
    pub operation: String,
    /// What came back.
    pub told: Told,
}

/// What an agent was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// An answer of the server, good or bad.
    Answered,
    /// Weir refused: the rule, where it was told, and the text.
    Refused {
        /// The rule that decided.
        rule: String,
        /// The text given.
        message: String,
    },
}

/// Lets every agent of the morning work at once, each in its own order; returns what was sent, agent by agent.
pub async fn work(
    folder: &Folder,
    morning: &Morning,
    ready: &Ready,
    stage: &Stage,
) -> anyhow::Result<Vec<Sent>> {
    let ca = ready
        .ca_pem_path
        .as_deref()
        .ok_or_else(|| anyhow!("the proxy made no local CA"))?;
    let client = client(ca)?;
    let start = Instant::now();
    let agents =
        morning
            .agents
            .iter()
            .zip(folder.grants())
            .enumerate()
            .map(|(index, (agent, grant))| {
                let mut agent = Agent {
                    client: client.clone(),
                    url: format!("https://{}/{}/mcp", ready.address, grant.server),
                    grant,
                    modern: agent.server == Shape::Flat,
                    identity: json!({"name": agent.client.name, "version": agent.client.version}),
                    session: None,
                    next_id: 0,
                    sent: Vec::new(),
                };
                async move {
                    agent.begin().await?;
                    for call in morning.calls.iter().filter(|call| call.agent == index) {
                        sleep_until(start + Duration::from_millis(call.at_ms)).await;
                        agent
                            .send(call.label, &call.operation, &call.message)
                            .await?;
                        stage.step();
                    }
                    Ok::<_, anyhow::Error>(agent.sent)
                }
            });
    let sent: Vec<Sent> = futures_util::future::try_join_all(agents)
        .await?
        .into_iter()
        .flatten()
        .collect();
    let mut lines = Vec::new();
    for sent in &sent {
        serde_json::to_writer(&mut lines, sent)?;
        lines.push(b'\n');
    }
    std::fs::File::create(folder.transcript())
        .and_then(|mut file| file.write_all(&lines))
        .context("cannot write the agents' transcript")?;
    Ok(sent)
}

type HttpsClient = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// A client that trusts the demo's CA and nobody else.
fn client(ca: &Path) -> anyhow::Result<HttpsClient> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)
        .with_context(|| format!("cannot read `{}`", ca.display()))?
    {
        roots.add(certificate?)?;
    }
    let tls = ClientConfig::builder()
        .with_root_certificates(Arc::new(roots))
        .with_no_client_auth();
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_only()
        .enable_http1()
        .build();
    Ok(Client::builder(TokioExecutor::new())
        .retry_canceled_requests(false)
        .build(connector))
}

struct Agent<'a> {
    client: HttpsClient,
    url: String,
    grant: &'a Grant,
    modern: bool,
    identity: Value,
    session: Option<String>,
    next_id: u64,
    sent: Vec<Sent>,
}

impl Agent<'_> {
    /// The handshake, in the era that has one; the other begins by asking what there is.
    async fn begin(&mut self) -> anyhow::Result<()> {
        let request = |method: &str, params| Message::Request {
            method: method.to_owned(),
            params,
        };
        if self.modern {
            return self
                .send(
                    Label::Routine,
                    "",
                    &request("server/discover", Some(json!({}))),
                )
                .await;
        }
        let params =
            json!({"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": self.identity});
        self.send(Label::Routine, "", &request("initialize", Some(params)))
            .await?;
        let initialized = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        self.post(initialized.to_string(), "notifications/initialized", None)
            .await?;
        Ok(())
    }

    async fn send(
        &mut self,
        label: Label,
        operation: &str,
        message: &Message,
    ) -> anyhow::Result<()> {
        let (body, method, params) = match message {
            Message::Raw(text) => (text.clone(), String::new(), Value::Null),
            Message::Request { method, params } => {
                let mut params = params.clone().unwrap_or_else(|| json!({}));
                if self.modern
                    && let Some(members) = params.as_object_mut()
                {
                    members.insert("_meta".to_owned(), self.meta());
                }
                let body = json!({"jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params});
                (body.to_string(), method.clone(), params)
            }
        };
        let raw = matches!(message, Message::Raw(_));
        let name = params
            .get("name")
            .or_else(|| params.get("uri"))
            .and_then(Value::as_str)
            .map(str::to_owned);
        let header = if raw { "tools/call" } else { method.as_str() };
        let reply = self.post(body, header, name.as_deref()).await?;
        self.sent.push(Sent {
            grant: self.grant.name.clone(),
            server: self.grant.server,
            label: label.as_str(),
            id: (!raw).then_some(self.next_id),
            method,
            name,
            arguments: params.get("arguments").map(Value::to_string),
            operation: operation.to_owned(),
            told: Told::read(&reply, raw),
        });
        self.next_id += u64::from(!raw);
        Ok(())
    }

    fn meta(&self) -> Value {
        json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientInfo": self.identity,
            "io.modelcontextprotocol/clientCapabilities": {},
        })
    }

    /// Sends a body and reads the answer, JSON or event stream; null where there is none.
    async fn post(
        &mut self,
        body: String,
        method: &str,
        name: Option<&str>,
    ) -> anyhow::Result<Value> {
        let mut request = Request::post(&self.url)
            .header(AUTHORIZATION, format!("Bearer {}", self.grant.token.text))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream");
        if self.modern {
            request = request
                .header("mcp-protocol-version", MODERN)
                .header("mcp-method", method);
            if let Some(name) = name {
                request = request.header("mcp-name", name);
            }
        } else if method != "initialize" {
            request = request.header("mcp-protocol-version", LEGACY);
        }
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
        }
        let request = request.body(Full::from(body))?;
        let response = self
            .client
            .request(request)
            .await
            .with_context(|| format!("cannot reach {}", self.url))?;
        if let Some(session) = response.headers().get("mcp-session-id") {
            self.session = Some(session.to_str()?.to_owned());
        }
        answer(response).await
    }
}

async fn answer<B>(response: Response<B>) -> anyhow::Result<Value>
where
    B: hyper::body::Body,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let (head, body) = response.into_parts();
    let streams = head
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    let body = body
        .collect()
        .await
        .context("the answer broke off")?
        .to_bytes();
    if body.is_empty() {
        return Ok(Value::Null);
    }
    let text = std::str::from_utf8(&body).context("the answer is not UTF-8")?;
    let message = if streams {
        text.lines()
            .rev()
            .find_map(|line| line.strip_prefix("data:"))
            .unwrap_or_default()
    } else {
        text
    };
    serde_json::from_str(message)
        .with_context(|| format!("the answer ({}) is not JSON: {text}", head.status))
}

impl Told {
    fn read(reply: &Value, raw: bool) -> Self {
        let text = |pointer: &str| {
            reply
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let refused = |rule: Option<String>, message: Option<String>| Self::Refused {
            rule: rule.unwrap_or_default(),
            message: message.unwrap_or_default(),
        };
        let rule = text("/result/_meta/weir~1rule").or_else(|| text("/error/data/weir~1rule"));
        if rule.is_some() || (raw && reply.get("error").is_some()) {
            return refused(
                rule,
                text("/result/content/0/text").or_else(|| text("/error/message")),
            );
        }
        match reply.pointer("/error/code").and_then(Value::as_i64) {
            Some(-31001) => refused(None, text("/error/message")),
            _ => Self::Answered,
        }
    }

    /// Whether Weir refused.
    pub fn is_refused(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }
}

//! A visit to a server: the handshake and its lists, and no call.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use weir_policy::Digest;
use weir_proxy::leave::{Leave, Pass};
use weir_proxy::listing;
use weir_proxy::upstream::{
    AnswerBody, Era, Exchange, MessageKind, RequestId, Upstream, UpstreamSpec,
};

/// The revision that is spoken.
const REVISION: &str = "2025-11-25";
/// Pages that a list may have.
const PAGES_MAX: usize = 1_000;
/// How long the server may take to end.
const CLOSING_MAX: Duration = Duration::from_secs(3);

/// What a server showed.
pub(super) struct Seen {
    /// Its name and version, as it gives them.
    pub(super) title: String,
    pub(super) tools: Vec<Tool>,
}

/// A tool as the server defines it.
pub(super) struct Tool {
    pub(super) name: String,
    /// Of the definition as it stands, as in the record's events.
    pub(super) digest: String,
    pub(super) definition: Value,
}

/// Asks for everything that is listed.
pub(super) async fn visit(spec: &UpstreamSpec) -> anyhow::Result<Seen> {
    let upstream = Upstream::connect(spec).await?;
    let seen = Visit {
        upstream: &upstream,
        session: None,
        next_id: 1,
    }
    .all()
    .await;
    upstream.close(CLOSING_MAX).await;
    seen
}

struct Visit<'u> {
    upstream: &'u Upstream,
    session: Option<Arc<str>>,
    next_id: u64,
}

impl Visit<'_> {
    async fn all(mut self) -> anyhow::Result<Seen> {
        let hello = json!({
            "protocolVersion": REVISION,
            "capabilities": {},
            "clientInfo": {"name": "weir scan", "version": env!("CARGO_PKG_VERSION")},
        });
        let answer = self.ask("initialize", hello).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        let said = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str);
        let title = [
            said("/result/serverInfo/name"),
            said("/result/serverInfo/version"),
        ];
        let title: Vec<&str> = title.into_iter().flatten().collect();
        self.tell("notifications/initialized").await?;
        let mut tools: Vec<Tool> = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let params = cursor.map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor }));
            let page = self.ask("tools/list", params).await?;
            for (name, text) in
                listing::tools(&page).map_err(|error| anyhow!("its list: {error}"))?
            {
                tools.push(Tool {
                    name,
                    digest: Digest::of(text.as_bytes()).to_string(),
                    definition: serde_json::from_str(&text)?,
                });
            }
            let page: Value = serde_json::from_slice(&page)?;
            cursor = page
                .pointer("/result/nextCursor")
                .and_then(Value::as_str)
                .map(str::to_owned);
            if cursor.is_none() {
                return Ok(Seen {
                    title: title.join(" "),
                    tools,
                });
            }
        }
        bail!("its list does not end within {PAGES_MAX} pages")
    }

    /// Sends a request and waits for its answer.
    async fn ask(&mut self, method: &str, params: Value) -> anyhow::Result<Bytes> {
        let id = self.next_id.to_string();
        self.next_id += 1;
        let head = r#"{"jsonrpc":"2.0","id":"#;
        let body = format!(r#"{head}{id},"method":"{method}","params":{params}}}"#);
        let request_id = RequestId {
            raw: id.as_str().into(),
            span: head.len()..head.len() + id.len(),
        };
        let answer = self.send(method, body, Some(request_id)).await?;
        if answer.is_empty() {
            bail!("no answer to `{method}`");
        }
        let told: Value = serde_json::from_slice(&answer)
            .with_context(|| format!("its answer to `{method}` is no JSON"))?;
        match told.get("error") {
            Some(error) => bail!("it refuses `{method}`: {error}"),
            None => Ok(answer),
        }
    }

    async fn tell(&mut self, method: &str) -> anyhow::Result<()> {
        let body = format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#);
        self.send(method, body, None).await.map(drop)
    }

    async fn send(
        &mut self,
        method: &str,
        body: String,
        request_id: Option<RequestId>,
    ) -> anyhow::Result<Bytes> {
        let pass = Pass::for_method(method)
            .ok_or_else(|| anyhow!("`{method}` is a call, and a scan makes none"))?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let both = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(ACCEPT, both);
        if method != "initialize" {
            headers.insert("mcp-protocol-version", HeaderValue::from_static(REVISION));
        }
        if let Some(session) = &self.session {
            headers.insert("mcp-session-id", session.parse()?);
        }
        let wanted = request_id
            .as_ref()
            .and_then(|id| serde_json::from_str::<Value>(&id.raw).ok());
        let kind = match request_id {
            Some(_) => MessageKind::Request,
            None => MessageKind::Notification,
        };
        let exchange = Exchange {
            method: Method::POST,
            headers: Arc::new(headers),
            body: body.into(),
            request_id,
            rpc_method: method.into(),
            kind,
            era: Era::Legacy,
            session: self.session.clone(),
            grant: "scan".into(),
            caller: "scan".into(),
        };
        let answer = self.upstream.forward(Leave::Pass(pass), exchange).await?;
        if !answer.status.is_success() {
            bail!("it answers `{method}` with HTTP {}", answer.status);
        }
        if let Some(session) = answer.headers.get("mcp-session-id") {
            self.session = Some(session.to_str()?.into());
        }
        match (answer.body, wanted) {
            (AnswerBody::Whole(whole), _) => Ok(whole),
            (AnswerBody::Events(_), None) => Ok(Bytes::new()),
            (AnswerBody::Events(mut events), Some(id)) => {
                while let Some(event) = events.next().await {
                    let Some(data) = event?.data() else { continue };
                    let message: Value = serde_json::from_slice(&data).unwrap_or_default();
                    let is_answer =
                        message.get("method").is_none() && message.get("id") == Some(&id);
                    if is_answer {
                        return Ok(data);
                    }
                }
                bail!("its answer to `{method}` broke off")
            }
        }
    }
}

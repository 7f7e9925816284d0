//! Spans on their way to the collector: in batches, each tried once.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::span::Finished;
use super::{Told, json};
use crate::config::TelemetryConfig;
use crate::upstream::{Connector, Versions};

/// Spans of one request at most.
const BATCH_MAX: usize = 512;
/// How long the first span of a batch waits for others.
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// From the connection to the answer; meanwhile spans wait in the queue.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Exporter {
    endpoint: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    client: Client<Connector, Full<Bytes>>,
    node: String,
    told: Arc<Told>,
    is_away: bool,
}

impl Exporter {
    pub(super) async fn new(
        config: &TelemetryConfig,
        node: &str,
        told: Arc<Told>,
    ) -> Result<Self, String> {
        let base = config.otlp.to_string();
        let endpoint = format!("{}/v1/traces", base.trim_end_matches('/'));
        let endpoint: Uri = endpoint
            .parse()
            .map_err(|_| "`otlp` is no address".to_owned())?;
        let connector =
            Connector::new(&endpoint, config.ca.as_deref(), Versions::One, PATIENCE).await?;
        let client = Client::builder(TokioExecutor::new())
            .retry_canceled_requests(false)
            .build(connector);
        Ok(Self {
            endpoint,
            headers: config.headers.clone(),
            client,
            node: node.to_owned(),
            told,
            is_away: false,
        })
    }

    /// Until it is closed; then what waits is sent, and that is the end.
    pub(super) async fn run(
        mut self,
        mut spans: mpsc::Receiver<Finished>,
        closing: CancellationToken,
    ) {
        let mut batch = Vec::new();
        while !closing.is_cancelled() {
            tokio::select! {
                biased;
                () = closing.cancelled() => {}
                () = fill(&mut spans, &mut batch) => {}
            }
            self.export(&mut batch).await;
        }
        spans.close();
        while spans.recv_many(&mut batch, BATCH_MAX).await > 0 {
            self.export(&mut batch).await;
        }
    }

    async fn export(&mut self, batch: &mut Vec<Finished>) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        let sent = timeout(PATIENCE, self.send(batch)).await;
        batch.clear();
        match sent.unwrap_or_else(|_| Err("no answer in time".to_owned())) {
            Ok(()) => {
                self.told.exported.fetch_add(count, Ordering::Relaxed);
                if std::mem::take(&mut self.is_away) {
                    tracing::info!("the collector of traces takes spans again");
                }
            }
            Err(why) => {
                self.told.lost.fetch_add(count, Ordering::Relaxed);
                if !std::mem::replace(&mut self.is_away, true) {
                    tracing::warn!(%why, "the collector of traces does not take spans: they are dropped and counted");
                }
            }
        }
    }

    async fn send(&self, batch: &[Finished]) -> Result<(), String> {
        let body = json::request(&self.node, batch).to_string();
        let mut request = Request::post(self.endpoint.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name, value.clone());
        }
        let response = self.client.request(request).await.map_err(|error| {
            let cause = std::error::Error::source(&error);
            cause.map_or_else(|| error.to_string(), ToString::to_string)
        })?;
        let status = response.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("it answers with status {}", status.as_u16()))
        }
    }
}

/// Waits for a span, and a moment for more.
async fn fill(spans: &mut mpsc::Receiver<Finished>, batch: &mut Vec<Finished>) {
    if spans.recv_many(batch, BATCH_MAX).await == 0 {
        return std::future::pending().await; // nobody can send any more
    }
    let until = Instant::now() + BATCH_WAIT;
    while batch.len() < BATCH_MAX {
        let room = BATCH_MAX - batch.len();
        match timeout_at(until, spans.recv_many(batch, room)).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

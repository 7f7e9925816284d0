//! Traces: each message that was parsed is a span, and its way to the server another, with the names of OpenTelemetry's
//! conventions for MCP. They are sent to a collector by OTLP over HTTP.
//!
//! No call ever waits for a collector: a span that finds the queue full is dropped and counted. A span holds names, ids and verdicts;
//! no argument, no result, no header and no token.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::TelemetryConfig;

pub(crate) use parent::Traceparent;
pub(crate) use span::{Message, Span};

use export::Exporter;
use span::Finished;

mod export;
mod json;
mod parent;
mod span;

/// Spans that wait for the collector; more are dropped.
const QUEUE: usize = 4096;

/// Where spans go, if anywhere.
#[derive(Default)]
pub(crate) struct Traces(Option<Running>);

struct Running {
    collector: Collector,
    closing: CancellationToken,
    exporting: Mutex<Option<JoinHandle<()>>>,
}

/// The near end of the queue, and what became of what was put into it.
#[derive(Clone)]
struct Collector {
    queue: mpsc::Sender<Finished>,
    told: Arc<Told>,
}

/// What became of spans since the start.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// The collector has them.
    pub(crate) exported: AtomicU64,
    /// The queue was full.
    pub(crate) crowded_out: AtomicU64,
    /// The collector did not take them.
    pub(crate) lost: AtomicU64,
}

impl Traces {
    /// The error is one line for the operator.
    pub(crate) async fn start(config: &TelemetryConfig, node: &str) -> Result<Self, String> {
        let (queue, spans) = mpsc::channel(QUEUE);
        let told = Arc::new(Told::default());
        let closing = CancellationToken::new();
        let exporter = Exporter::new(config, node, Arc::clone(&told)).await?;
        let exporting = tokio::spawn(exporter.run(spans, closing.clone()));
        Ok(Self(Some(Running {
            collector: Collector { queue, told },
            closing,
            exporting: Mutex::new(Some(exporting)),
        })))
    }

    /// The span of a message; one that records nothing where nobody collects, or the caller's trace is not sampled.
    pub(crate) fn begin(&self, message: &Message<'_>) -> Span {
        match &self.0 {
            Some(running) if message.parent.is_none_or(|parent| parent.is_sampled) => {
                Span::begin(running.collector.clone(), message)
            }
            _ => Span::default(),
        }
    }

    /// What became of spans, if any are collected.
    pub(crate) fn told(&self) -> Option<&Told> {
        self.0.as_ref().map(|running| &*running.collector.told)
    }

    /// Sends what waits, within bounds; what comes later is lost.
    pub(crate) async fn close(&self, most: Duration) {
        let Some(running) = &self.0 else { return };
        running.closing.cancel();
        let exporting = running.exporting.lock().await.take();
        if let Some(exporting) = exporting {
            drop(tokio::time::timeout(most, exporting).await);
        }
    }
}

impl Collector {
    fn take(&self, spans: impl IntoIterator<Item = Finished>) {
        for span in spans {
            if self.queue.try_send(span).is_err() {
                self.told.crowded_out.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

//! Health and metrics, on a listener of their own that never leaves this host.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::gate::Gate;

/// Serves `/healthz` and `/metrics` until the stop begins.
pub(crate) async fn listen(gate: Arc<Gate>, listener: TcpListener) {
    let stopping = gate.stopping.clone();
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn(only_loopback_names))
        .with_state(gate);
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(async move { stopping.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(%error, "the admin listener ended");
    }
}

/// A page of another site that resolves its name to this host gets nothing.
async fn only_loopback_names(request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if matches!(name, "localhost" | "127.0.0.1" | "[::1]")
        && !request.headers().contains_key("origin")
    {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "only for this host\n").into_response()
    }
}

/// What `/healthz` says.
#[derive(Debug, Serialize)]
struct Health {
    status: &'static str,
    node: String,
    record: RecordHealth,
    servers: Vec<String>,
    sessions: usize,
    in_flight: usize,
}

#[derive(Debug, Serialize)]
struct RecordHealth {
    recording: bool,
    fault: Option<String>,
    waiting: usize,
    unsealed: u64,
    sealed: u64,
    last_seq: Option<i64>,
    disk_left_bytes: Option<u64>,
}

async fn healthz(State(gate): State<Arc<Gate>>) -> (StatusCode, Json<Health>) {
    let record = gate.recorder.health();
    let status = if record.recording {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "degraded")
    };
    let health = Health {
        status: status.1,
        node: gate.ledger.node().to_owned(),
        record: RecordHealth {
            recording: record.recording,
            fault: record.fault,
            waiting: record.waiting,
            unsealed: record.unsealed,
            sealed: record.sealed,
            last_seq: record.last_seq,
            disk_left_bytes: gate.disk_left(),
        },
        servers: gate
            .servers
            .iter()
            .map(|server| server.name.to_string())
            .collect(),
        sessions: gate.sessions.len(),
        in_flight: gate.under_way(),
    };
    (status.0, Json(health))
}

async fn metrics(State(gate): State<Arc<Gate>>) -> (HeaderMap, String) {
    let record = gate.recorder.health();
    let telemetry = &gate.telemetry;
    telemetry.gauge("weir_recording", f64::from(u8::from(record.recording)));
    telemetry.gauge("weir_record_waiting", record.waiting as f64);
    telemetry.gauge("weir_record_unsealed", record.unsealed as f64);
    telemetry.gauge("weir_sessions", gate.sessions.len() as f64);
    telemetry.gauge("weir_in_flight", gate.under_way() as f64);
    if let Some(left) = gate.disk_left() {
        telemetry.gauge("weir_disk_left_bytes", left as f64);
    }
    let headers = HeaderMap::from_iter([(
        CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; version=0.0.4"),
    )]);
    (headers, telemetry.render())
}

//! Health, metrics and approvals, on a listener of their own that never leaves this host.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use tokio::net::TcpListener;
use weir_recorder::{Durability, Room};

use crate::gate::Gate;
use crate::oauth::IssuerHealth;
use crate::replica::ReplicaHealth;

mod approvals;

/// Serves `/healthz`, `/metrics` and `/approvals` until the stop begins.
pub(crate) async fn listen(gate: Arc<Gate>, listener: TcpListener) {
    let stopping = gate.stopping.clone();
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .merge(approvals::routes())
        .layer(DefaultBodyLimit::max(ANSWER_BYTES_MAX))
        .layer(middleware::from_fn(only_loopback_names))
        .with_state(gate);
    let served = axum::serve(listener, router)
        .with_graceful_shutdown(async move { stopping.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(%error, "the admin listener ended");
    }
}

/// What a person says is short.
const ANSWER_BYTES_MAX: usize = 16 << 10;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    object_storage: Option<ReplicaHealth>,
    configuration: ConfigurationHealth,
    #[serde(skip_serializing_if = "Option::is_none")]
    oauth: Option<OauthHealth>,
    servers: Vec<String>,
    sessions: usize,
    in_flight: usize,
    held: usize,
}

/// Whether what is in force is what the files say.
#[derive(Debug, Serialize)]
struct ConfigurationHealth {
    reloads: u64,
    fault: Option<String>,
}

/// Whether access tokens can be verified.
#[derive(Debug, Serialize)]
struct OauthHealth {
    issuer: String,
    keys: usize,
    age_seconds: Option<u64>,
    fault: Option<String>,
}

impl From<IssuerHealth> for OauthHealth {
    fn from(health: IssuerHealth) -> Self {
        Self {
            issuer: health.issuer,
            keys: health.keys,
            age_seconds: health.age.map(|age| age.as_secs()),
            fault: health.fault,
        }
    }
}

#[derive(Debug, Serialize)]
struct RecordHealth {
    recording: bool,
    durability: &'static str,
    fault: Option<String>,
    waiting: usize,
    unsealed: u64,
    sealed: u64,
    last_seq: Option<i64>,
    disk_left_bytes: Option<u64>,
    room: RoomHealth,
}

/// How much room the record has.
#[derive(Debug, Serialize)]
struct RoomHealth {
    used_bytes: u64,
    bytes_max: Option<u64>,
    left_bytes: Option<u64>,
    reserve_bytes: u64,
}

impl From<Room> for RoomHealth {
    fn from(room: Room) -> Self {
        Self {
            used_bytes: room.used,
            bytes_max: room.bytes_max,
            left_bytes: room.left,
            reserve_bytes: room.reserve,
        }
    }
}

async fn healthz(State(gate): State<Arc<Gate>>) -> (StatusCode, Json<Health>) {
    let record = gate.recorder.health();
    let durability = match gate.recorder.durability() {
        Durability::Sync => "sync",
        Durability::Interval(_) => "interval",
        Durability::Off => "off",
    };
    let reloads = gate.reloads.fared();
    let status = if record.recording {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "degraded")
    };
    let health = Health {
        status: status.1,
        node: gate.ledger.node().to_owned(),
        record: RecordHealth {
            recording: record.recording && durability != "off",
            durability,
            fault: record.fault,
            waiting: record.waiting,
            unsealed: record.unsealed,
            sealed: record.sealed,
            last_seq: record.last_seq,
            disk_left_bytes: gate.disk_left(),
            room: record.room.into(),
        },
        object_storage: gate.replica.health(),
        configuration: ConfigurationHealth {
            reloads: reloads.succeeded,
            fault: reloads.fault,
        },
        oauth: gate
            .issuer
            .load()
            .as_ref()
            .map(|issuer| issuer.health().into()),
        servers: gate
            .servers
            .iter()
            .map(|server| server.name.to_string())
            .collect(),
        sessions: gate.sessions.len(),
        in_flight: gate.under_way(),
        held: gate.approvals.held(),
    };
    (status.0, Json(health))
}

async fn metrics(State(gate): State<Arc<Gate>>) -> (HeaderMap, String) {
    let record = gate.recorder.health();
    let telemetry = &gate.telemetry;
    telemetry.gauge("weir_recording", f64::from(u8::from(record.recording)));
    telemetry.gauge("weir_record_waiting", record.waiting as f64);
    telemetry.gauge("weir_record_unsealed", record.unsealed as f64);
    telemetry.gauge("weir_record_durable_entries", record.durable as f64);
    telemetry.gauge("weir_record_syncs", record.syncs as f64);
    let room = record.room;
    telemetry.gauge("weir_record_used_bytes", room.used as f64);
    telemetry.gauge("weir_record_reserve_bytes", room.reserve as f64);
    for (name, bytes) in [
        ("weir_record_bytes_max", room.bytes_max),
        ("weir_record_left_bytes", room.left),
    ] {
        if let Some(bytes) = bytes {
            telemetry.gauge(name, bytes as f64);
        }
    }
    telemetry.gauge("weir_sessions", gate.sessions.len() as f64);
    telemetry.gauge("weir_in_flight", gate.under_way() as f64);
    telemetry.gauge("weir_approvals_held", gate.approvals.held() as f64);
    let is_refused = gate.reloads.fared().fault.is_some();
    telemetry.gauge("weir_reload_refused", f64::from(u8::from(is_refused)));
    if let Some(issuer) = gate.issuer.load().as_ref().map(|issuer| issuer.health()) {
        telemetry.gauge("weir_oauth_keys", issuer.keys as f64);
        telemetry.gauge(
            "weir_oauth_faulty",
            f64::from(u8::from(issuer.fault.is_some())),
        );
        if let Some(age) = issuer.age {
            telemetry.gauge("weir_oauth_keys_age_seconds", age.as_secs_f64());
        }
    }
    if let Some(replica) = gate.replica.health() {
        telemetry.gauge("weir_replica_behind_files", replica.behind_files as f64);
        telemetry.gauge("weir_replica_behind_bytes", replica.behind_bytes as f64);
        telemetry.gauge("weir_replica_behind_entries", replica.behind_entries as f64);
        telemetry.gauge("weir_replica_behind_seconds", replica.behind_seconds);
        telemetry.gauge(
            "weir_replica_faulty",
            f64::from(u8::from(replica.fault.is_some())),
        );
    }
    if let Some(left) = gate.disk_left() {
        telemetry.gauge("weir_disk_left_bytes", left as f64);
    }
    let headers = HeaderMap::from_iter([(
        CONTENT_TYPE,
        http::HeaderValue::from_static("text/plain; version=0.0.4"),
    )]);
    (headers, telemetry.render())
}

//! `/healthz`: whether the proxy lives and can record, and how its parts fare.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use serde_json::json;
use weir_recorder::{Durability, Room};

use super::Desk;
use crate::bounds::Resource;
use crate::gate::Gate;
use crate::oauth::IssuerHealth;
use crate::replica::ReplicaHealth;

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
    /// `off`: nothing is written down, as configured.
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

pub(super) async fn healthz(State(desk): State<Arc<Desk>>) -> Response {
    match desk.gate() {
        Some(gate) => of(gate).into_response(),
        // It lives: nothing is served yet, and nothing is wrong.
        None => Json(json!({ "status": "starting" })).into_response(),
    }
}

fn of(gate: &Gate) -> (StatusCode, Json<Health>) {
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
        sessions: gate.bounds.in_use(Resource::Sessions),
        in_flight: gate.under_way(),
        held: gate.approvals.held(),
    };
    (status.0, Json(health))
}

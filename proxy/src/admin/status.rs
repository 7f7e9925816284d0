//! `/status`: all that `weir status` shows. Times are UTC; what is counted is counted since the start.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use weir_recorder::Durability;

use super::Desk;
use super::ready::Readiness;
use crate::bounds::Resource;
use crate::gate::{Gate, Served};
use crate::grants::Grant;

#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    started_at: Timestamp,
    #[serde(flatten)]
    readiness: Readiness,
    listeners: Vec<Listener>,
    /// What there is once the counters are rebuilt.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    serving: Option<Serving>,
}

#[derive(Debug, Serialize)]
struct Listener {
    name: &'static str,
    address: SocketAddr,
}

#[derive(Debug, Serialize)]
struct Serving {
    node: String,
    configuration: Configuration,
    servers: Vec<Server>,
    grants: Vec<Granted>,
    approvals: Approvals,
    record: Record,
    limits: Vec<Used>,
}

#[derive(Debug, Serialize)]
struct Configuration {
    reloads: u64,
    /// Why the newest one is not in force, where that is so.
    fault: Option<String>,
}

#[derive(Debug, Serialize)]
struct Server {
    name: Arc<str>,
    /// `unused`, `ok` or `failing`.
    state: &'static str,
    answered_at: Option<Timestamp>,
    failed_at: Option<Timestamp>,
    failure: Option<String>,
}

#[derive(Debug, Serialize)]
struct Granted {
    name: Arc<str>,
    server: Arc<str>,
    /// Since when it is in force as it is, its policy with it.
    since: Timestamp,
    policy: Option<Policy>,
    shadow: Vec<Policy>,
    calls: u64,
    denied: u64,
    refused: u64,
    in_flight: usize,
    connections: usize,
    streams: usize,
    sessions: usize,
}

#[derive(Debug, Serialize)]
struct Policy {
    name: String,
    digest: String,
}

#[derive(Debug, Serialize)]
struct Approvals {
    waiting: usize,
    oldest_at: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Record {
    path: String,
    /// Whether decisions are written down: not where that is off, nor while it fails.
    recording: bool,
    fault: Option<String>,
    last_seq: Option<i64>,
    waiting: usize,
    unsealed: u64,
    used_bytes: u64,
    left_bytes: Option<u64>,
    disk_left_bytes: Option<u64>,
    /// How long the newest decisions waited until they were durable.
    commit_wait: Option<CommitWait>,
    checkpoint: Option<Checkpoint>,
}

#[derive(Debug, Serialize)]
struct CommitWait {
    /// So many of them.
    count: usize,
    p50_us: u64,
    p99_us: u64,
}

#[derive(Debug, Serialize)]
struct Checkpoint {
    /// Entries that it covers.
    entries: Option<u64>,
    /// Of the last of them.
    time: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Used {
    limit: &'static str,
    in_use: usize,
    max: usize,
}

pub(super) async fn status(State(desk): State<Arc<Desk>>) -> Json<Status> {
    let checkpoint = match desk.gate() {
        Some(gate) => newest_checkpoint(gate).await,
        None => None,
    };
    let listeners = [
        ("clients", Some(desk.address)),
        ("admin", desk.admin_address),
    ];
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        started_at: desk.started_at,
        readiness: Readiness::of(&desk.progress, desk.gate()),
        listeners: listeners
            .into_iter()
            .filter_map(|(name, address)| address.map(|address| Listener { name, address }))
            .collect(),
        serving: desk.gate().map(|gate| Serving::of(gate, checkpoint)),
    })
}

impl Serving {
    fn of(gate: &Gate, checkpoint: Option<Checkpoint>) -> Self {
        let reloads = gate.reloads.fared();
        let waiting = gate.approvals.waiting();
        let limit = |resource: Resource| Used {
            limit: resource.as_str(),
            in_use: gate.bounds.in_use(resource),
            max: resource.most(&gate.limits),
        };
        let counters = Used {
            limit: "counters",
            in_use: gate.ledger.counters(),
            max: gate.limits.counters_max,
        };
        let grants = gate.grants();
        Self {
            node: gate.ledger.node().to_owned(),
            configuration: Configuration {
                reloads: reloads.succeeded,
                fault: reloads.fault,
            },
            servers: gate.servers.iter().map(|it| Server::of(it)).collect(),
            grants: grants.0.iter().map(|it| Granted::of(gate, it)).collect(),
            approvals: Approvals {
                waiting: waiting.len(),
                oldest_at: waiting
                    .first()
                    .and_then(|it| Timestamp::from_microsecond(it.asked_at.0).ok()),
            },
            record: Record::of(gate, checkpoint),
            limits: Resource::ALL
                .into_iter()
                .map(limit)
                .chain([counters])
                .collect(),
        }
    }
}

impl Server {
    fn of(server: &Served) -> Self {
        let told = server.standing.now();
        Self {
            name: Arc::clone(&server.name),
            state: told.state(),
            answered_at: told.answered_at,
            failed_at: told.failed_at,
            failure: told.failure,
        }
    }
}

impl Granted {
    fn of(gate: &Gate, grant: &Grant) -> Self {
        let fared = gate.telemetry.fared(&grant.name);
        let in_use = |resource| gate.bounds.in_use_of(resource, &grant.name);
        Self {
            name: Arc::clone(&grant.name),
            server: Arc::clone(&grant.server),
            since: grant.since,
            policy: grant.policy.as_ref().map(|policy| Policy {
                name: policy.name().to_owned(),
                digest: policy.digest().to_string(),
            }),
            shadow: grant
                .candidates
                .iter()
                .map(|candidate| Policy {
                    name: candidate.name.to_string(),
                    digest: candidate.digest.to_string(),
                })
                .collect(),
            calls: fared.calls,
            denied: fared.denied,
            refused: fared.refused,
            in_flight: in_use(Resource::InFlight),
            connections: in_use(Resource::Connections),
            streams: in_use(Resource::Streams),
            sessions: in_use(Resource::Sessions),
        }
    }
}

impl Record {
    fn of(gate: &Gate, checkpoint: Option<Checkpoint>) -> Self {
        let health = gate.recorder.health();
        let micros =
            |span: std::time::Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Self {
            path: gate.recorder.path().display().to_string(),
            recording: health.recording && gate.recorder.durability() != Durability::Off,
            fault: health.fault,
            last_seq: health.last_seq,
            waiting: health.waiting,
            unsealed: health.unsealed,
            used_bytes: health.room.used,
            left_bytes: health.room.left,
            disk_left_bytes: gate.disk_left(),
            commit_wait: gate.telemetry.commit_waits().map(|waits| CommitWait {
                count: waits.count,
                p50_us: micros(waits.p50),
                p99_us: micros(waits.p99),
            }),
            checkpoint,
        }
    }
}

/// The newest checkpoint, as its note tells it: the size on its second line, the time on a line of its own.
async fn newest_checkpoint(gate: &Gate) -> Option<Checkpoint> {
    let recorder = gate.recorder.clone();
    let newest = tokio::task::spawn_blocking(move || recorder.checkpoint()).await;
    let (_, note) = newest.ok()?.ok()??;
    let text = String::from_utf8_lossy(&note);
    let time = text.lines().find_map(|line| line.strip_prefix("time "));
    Some(Checkpoint {
        entries: text.lines().nth(1).and_then(|line| line.parse().ok()),
        time: time.and_then(|time| time.parse().ok()),
    })
}

//! Serving: from a configuration to a running proxy, and to its good end.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use weir_recorder::{Disk, Event, EventKind, RecordError, RecordOptions, Recorder, Storage};

use crate::admin::Desk;
use crate::approvals::Approvals;
use crate::bounds::Bounds;
use crate::config::{Config, Encryption, RecordConfig};
use crate::enforce::{Cancellable, Resumable, tell_suppressed};
use crate::gate::{Gate, Hosts, Served};
use crate::grants::Grants;
use crate::ledger::{Clock, Ledger, LedgerOptions};
use crate::oauth::Issuer;
use crate::reload::{Reloader, Reloads};
use crate::replica::ReplicaSlot;
use crate::sessions::Sessions;
use crate::strangers::Strangers;
use crate::telemetry::Telemetry;
use crate::tls::{Presented, Tls};
use crate::traces::Traces;
use crate::{admin, listener};

use error::Faults;
pub use error::{Fault, ServeError};
pub(crate) use progress::Progress;

mod error;
pub(crate) mod load;
mod progress;

/// Results that may be on their way to a file at once.
const SPILLING_MAX: usize = 8;
/// How long the end of connections and children may take.
const SERVERS_END_MAX: Duration = Duration::from_secs(5);

/// How long the last spans may take to their collector.
const SPANS_END_MAX: Duration = Duration::from_secs(2);

/// What is known once the proxy can be used.
#[derive(Debug, Clone)]
pub struct Ready {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where health and metrics are, if anywhere.
    pub admin_address: Option<SocketAddr>,
    /// The local CA's certificate, for clients to trust; none where the operator gave a certificate.
    pub ca_pem_path: Option<PathBuf>,
    /// This proxy's name in the record.
    pub node: String,
    /// The record, for whoever ships a copy of it. It is closed when the proxy has stopped; what is sealed can be shipped still.
    pub recorder: Recorder,
    /// Where whoever ships says how that fares.
    pub replica: ReplicaSlot,
    /// Puts another configuration in force.
    pub reloader: Reloader,
    /// The servers' names, in the configuration's order; each is at `https://<address>/<name>/mcp`.
    pub servers: Vec<String>,
}

/// Serves until `shutdown` is done, then stops in good order: no new calls, those under way are finished, the record is
/// sealed. `ready` is called once, when clients can connect.
pub fn serve<'a>(
    config: Config,
    ready: impl FnOnce(Ready) + Send + 'a,
    shutdown: impl Future<Output = ()> + Send + 'a,
) -> Serving<'a> {
    serve_on(config, Arc::new(Disk), ready, shutdown)
}

/// As [`serve`], with the record on any storage: for tests that take the disk away.
pub fn serve_on<'a>(
    config: Config,
    storage: Arc<dyn Storage>,
    ready: impl FnOnce(Ready) + Send + 'a,
    shutdown: impl Future<Output = ()> + Send + 'a,
) -> Serving<'a> {
    boxed(config, storage, Box::new(ready), Box::pin(shutdown))
}

/// A proxy at work. Boxed, so that everything below it is compiled in this crate once, and not where it is awaited.
pub type Serving<'a> = Pin<Box<dyn Future<Output = Result<(), ServeError>> + Send + 'a>>;

fn boxed<'a>(
    config: Config,
    storage: Arc<dyn Storage>,
    ready: Box<dyn FnOnce(Ready) + Send + 'a>,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
) -> Serving<'a> {
    Box::pin(run(config, storage, ready, shutdown))
}

async fn run(
    config: Config,
    storage: Arc<dyn Storage>,
    ready: Box<dyn FnOnce(Ready) + Send + '_>,
    shutdown: Pin<Box<dyn Future<Output = ()> + Send + '_>>,
) -> Result<(), ServeError> {
    if config.servers.is_empty() {
        return Err(ServeError::NoServer);
    }
    // Everything that can be wrong is found before the record is touched and before anybody can connect, and told at once.
    let mut faults = Faults::default();
    let tls = faults.noting(Tls::prepare(&config));
    let grants = faults.noting(load::grants(&config));
    let servers = faults.noting(load::servers(&config).await);
    let issuer = faults.noting(load::issuer(&config).await);
    // Who can connect can also ask how the proxy fares.
    let admin = match config.admin {
        Some(address) => faults.noting(bind(address).await),
        None => None,
    };
    let listening = faults.noting(bind(config.listen.address).await);
    faults.told()?;
    let (Some(tls), Some(grants), Some(servers), Some(issuer), Some(listening)) =
        (tls, grants, servers, issuer, listening)
    else {
        return Err(ServeError::NoServer); // whatever is missing was told above
    };

    let address = local_address(&listening, config.listen.address)?;
    let admin_address = admin
        .as_ref()
        .map(|admin| local_address(admin, address))
        .transpose()?;
    // It answers from here on, and until the last call has ended.
    let desk = Arc::new(Desk::new(address, admin_address));
    let administering = admin
        .map(|admin| AbortOnDropHandle::new(tokio::spawn(admin::listen(Arc::clone(&desk), admin))));

    let gate = open(&config, storage, grants, servers, issuer, &desk.progress).await?;
    desk.open(&gate);
    let drain = gate.limits.drain_timeout;
    let ca_pem_path = tls.ca_pem_path().map(ToOwned::to_owned);
    let tls = Arc::new(Presented::new(tls));
    let accepting = tokio::spawn(listener::listen(
        Arc::clone(&gate),
        listening,
        Arc::clone(&tls),
        drain,
    ));
    desk.progress.listens(true);
    let housekeeping = tokio::spawn(keep_house(Arc::clone(&gate)));
    ready(Ready {
        address,
        admin_address,
        ca_pem_path,
        node: gate.ledger.node().to_owned(),
        recorder: gate.recorder.clone(),
        replica: gate.replica.clone(),
        reloader: Reloader::new(&gate, &tls, config.clone()),
        servers: config
            .servers
            .iter()
            .map(|server| server.name.clone())
            .collect(),
    });

    shutdown.await;

    // The stop: no new connections.
    tracing::info!("stopping");
    desk.progress.listens(false);
    gate.stopping.cancel();
    drop(accepting.await);
    let housekeeping = async {
        drop(housekeeping.await);
        drop(administering);
    };
    close(&gate, drain, SERVERS_END_MAX, housekeeping).await
}

/// The record opened, the counters rebuilt, and everything a call will meet: from here on it can be judged.
pub(crate) async fn open(
    config: &Config,
    storage: Arc<dyn Storage>,
    grants: Grants,
    servers: Vec<Arc<Served>>,
    issuer: Option<Arc<Issuer>>,
    progress: &Progress,
) -> Result<Arc<Gate>, ServeError> {
    let windows = grants
        .0
        .iter()
        .filter_map(|grant| grant.policy.as_ref()?.longest_window());
    let longest_window = windows.max();
    let (recorder, log, recovered) = blocking({
        let mut options = record_options(&config.record, &*storage)?;
        // Retention leaves what the counters are rebuilt from.
        options.retain.window = grants.window();
        move || Recorder::open(options, storage)
    })
    .await??;
    progress.record_opened();
    let options = LedgerOptions {
        node: recorder.node().to_owned(),
        counters_per_grant: config.limits.counters_per_grant,
        longest_window,
        gaps_start_empty: config.record.gaps_start_empty,
    };
    load::keep(&recorder, &grants, &servers)?;
    load::warn_of_hidden_amounts(&grants, &servers);
    let clock = Clock::system(recovered.last_decided_at);
    let (ledger, folded) =
        blocking(move || Ledger::open(&options, clock, log, &recovered)).await??;
    tracing::info!(
        calls = folded.calls,
        gaps = folded.gaps,
        "counters were rebuilt from the record"
    );
    progress.counters_rebuilt();

    let traces = match &config.telemetry {
        Some(telemetry) => Traces::start(telemetry, ledger.node())
            .await
            .map_err(|what| ServeError::Telemetry { what })?,
        None => Traces::default(),
    };
    let gate = Arc::new(Gate {
        hosts: hosts(config),
        servers,
        granted: ArcSwap::from_pointee(grants),
        issuer: ArcSwapOption::from(issuer),
        reloads: Reloads::default(),
        strangers: Strangers::default(),
        sessions: Sessions::default(),
        digest_key: recorder.digest_key().clone(),
        strict_outcomes: config.record.strict_outcomes,
        ledger,
        recorder,
        replica: ReplicaSlot::default(),
        approvals: Approvals::new(config.approvals.clone(), load::approvers(config)),
        telemetry: Telemetry::new(),
        resumable: Resumable::default(),
        traces,
        bounds: Bounds::new(&config.limits),
        cancellable: Cancellable::default(),
        spilling: Arc::new(Semaphore::new(SPILLING_MAX)),
        carriers: TaskTracker::new(),
        stopping: CancellationToken::new(),
        giving_up: CancellationToken::new(),
        limits: config.limits.clone(),
    });
    load::tell(&gate, folded);
    let listings = gate.grants().listings();
    let rebuild = gate
        .ledger
        .begin_candidates(listings, gate.recorder.reader());
    load::judge_alongside(&gate, rebuild).await;
    Ok(gate)
}

/// The good end, once nothing new arrives: calls under way are finished, within bounds; then nobody can write any more, and
/// the record is sealed.
pub(crate) async fn close(
    gate: &Arc<Gate>,
    drain: Duration,
    servers_end_max: Duration,
    housekeeping: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    gate.carriers.close();
    if tokio::time::timeout(drain, gate.carriers.wait())
        .await
        .is_err()
    {
        gate.giving_up.cancel();
        drop(tokio::time::timeout(Duration::from_secs(1), gate.carriers.wait()).await);
    }
    for server in &gate.servers {
        server.upstream.close(servers_end_max).await;
    }
    gate.traces.close(SPANS_END_MAX).await;
    housekeeping.await;
    tell_suppressed(gate);
    gate.tell_last_strangers();
    drop(gate.ledger.event(&Event::of(EventKind::Stop)));
    let recorder = gate.recorder.clone();
    blocking(move || recorder.close()).await??;
    Ok(())
}

/// Once a second: clock steps, and refusals that were counted.
pub(crate) async fn keep_house(gate: Arc<Gate>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            biased;
            () = gate.stopping.cancelled() => return,
            _ = tick.tick() => {
                if let Some(step) = gate.ledger.check_clock() {
                    tracing::warn!(microseconds = step.by, adopted = step.adopted, "the wall clock stepped");
                }
                tell_suppressed(&gate);
                gate.tell_strangers();
            }
        }
    }
}

fn record_options(
    record: &RecordConfig,
    storage: &dyn Storage,
) -> Result<RecordOptions, RecordError> {
    Ok(RecordOptions {
        node: record.node.clone(),
        durability: record.durability,
        seal_rows: record.seal_rows,
        seal_age: record.seal_age,
        commit_wait_max: record.commit_wait_max,
        compact_segments: record.compact_segments,
        retain: record.retain,
        bytes_max: record.bytes_max,
        reserve_bytes: record.reserve_bytes,
        anchor: record.anchor.clone(),
        signing_key: record.signing_key.clone(),
        keys: record.encryption.keys(storage)?,
        seal_in_the_clear: record.encryption == Encryption::Off,
        ..RecordOptions::new(&record.path)
    })
}

fn hosts(config: &Config) -> Hosts {
    Hosts {
        names: config.listen.names(),
        origins: config.listen.origins.clone(),
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })
}

fn local_address(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, ServeError> {
    listener
        .local_addr()
        .map_err(|source| ServeError::Listen { address, source })
}

/// Runs what waits for the disk on a thread that may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServeError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ServeError::Interrupted {
            what: error.to_string(),
        })
}

//! Serving: from a configuration to a running proxy, and to its good end.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_recorder::{Disk, Durability, Event, EventKind, RecordOptions, Recorder, Storage};

use crate::config::{Config, RecordConfig};
use crate::enforce::tell_suppressed;
use crate::gate::{Gate, Hosts};
use crate::grants::Strangers;
use crate::ledger::{Clock, Ledger, LedgerOptions};
use crate::sessions::Sessions;
use crate::telemetry::Telemetry;
use crate::{admin, listener, tls};

pub use error::{Fault, ServeError};

mod error;
mod load;

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
    // Everything that can be wrong is found before the record is touched and before anybody can connect.
    let tls = tls::prepare(&config.listen, &config.state)?;
    let grants = load::grants(&config)?;
    let servers = load::servers(&config).await?;
    let listening = bind(config.listen.address).await?;
    let admin = match config.admin {
        Some(address) => Some(bind(address).await?),
        None => None,
    };

    let (recorder, log, recovered) = blocking({
        let options = record_options(&config.record);
        move || Recorder::open(options, storage)
    })
    .await??;
    let windows = grants
        .0
        .iter()
        .filter_map(|grant| grant.policy.as_ref()?.longest_window());
    let options = LedgerOptions {
        node: recorder.node().to_owned(),
        counters_per_grant: config.limits.counters_per_grant,
        longest_window: windows.max(),
        gaps_start_empty: config.record.gaps_start_empty,
    };
    load::keep(&recorder, &grants, &servers)?;
    let clock = Clock::system(recovered.last_decided_at);
    let (ledger, folded) =
        blocking(move || Ledger::open(&options, clock, log, &recovered)).await??;
    tracing::info!(
        calls = folded.calls,
        gaps = folded.gaps,
        "counters were rebuilt from the record"
    );

    let gate = Arc::new(Gate {
        hosts: hosts(&config),
        servers,
        grants,
        strangers: Strangers::default(),
        sessions: Sessions::new(config.limits.sessions_max),
        digest_key: recorder.digest_key().clone(),
        ledger,
        recorder,
        telemetry: Telemetry::new(),
        in_flight: Arc::new(Semaphore::new(config.limits.in_flight_max)),
        streams: Arc::new(Semaphore::new(config.limits.sessions_max)),
        carriers: TaskTracker::new(),
        stopping: CancellationToken::new(),
        giving_up: CancellationToken::new(),
        limits: config.limits.clone(),
    });
    load::tell(&gate, folded);

    let address = local_address(&listening, config.listen.address)?;
    let admin_address = admin
        .as_ref()
        .map(|admin| local_address(admin, address))
        .transpose()?;
    let drain = gate.limits.drain_timeout;
    let accepting = tokio::spawn(listener::listen(
        Arc::clone(&gate),
        listening,
        TlsAcceptor::from(tls.server),
        drain,
    ));
    let housekeeping = tokio::spawn(keep_house(Arc::clone(&gate)));
    let administering = admin.map(|admin| tokio::spawn(admin::listen(Arc::clone(&gate), admin)));
    ready(Ready {
        address,
        admin_address,
        ca_pem_path: tls.ca_pem_path,
        node: gate.ledger.node().to_owned(),
        servers: config
            .servers
            .iter()
            .map(|server| server.name.clone())
            .collect(),
    });

    shutdown.await;

    // The stop: no new connections; calls under way are finished, within bounds; then nobody can write any more, and the
    // record is sealed.
    tracing::info!("stopping");
    gate.stopping.cancel();
    drop(accepting.await);
    gate.carriers.close();
    if tokio::time::timeout(drain, gate.carriers.wait())
        .await
        .is_err()
    {
        gate.giving_up.cancel();
        drop(tokio::time::timeout(Duration::from_secs(1), gate.carriers.wait()).await);
    }
    for server in &gate.servers {
        server.upstream.close(Duration::from_secs(5)).await;
    }
    drop(housekeeping.await);
    if let Some(administering) = administering {
        administering.abort();
    }
    tell_suppressed(&gate);
    drop(gate.ledger.event(&Event::of(EventKind::Stop)));
    let recorder = gate.recorder.clone();
    blocking(move || recorder.close()).await??;
    Ok(())
}

/// Once a second: clock steps, and refusals that were counted.
async fn keep_house(gate: Arc<Gate>) {
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
            }
        }
    }
}

fn record_options(record: &RecordConfig) -> RecordOptions {
    RecordOptions {
        node: record.node.clone(),
        durability: record
            .interval
            .map_or(Durability::Sync, Durability::Interval),
        seal_rows: record.seal_rows,
        seal_age: record.seal_age,
        commit_wait_max: record.commit_wait_max,
        anchor: record.anchor.clone(),
        signing_key: record.signing_key.clone(),
        ..RecordOptions::new(&record.path)
    }
}

fn hosts(config: &Config) -> Hosts {
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    names.push(config.listen.address.ip().to_string());
    names.extend(config.listen.hosts.iter().cloned());
    Hosts {
        names,
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
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServeError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ServeError::Interrupted {
            what: error.to_string(),
        })
}

//! One client on a pipe, as a desktop client starts its servers: lines in, lines out, and between them the same life of a call
//! as over HTTPS.
//!
//! There is no token and no address: whoever starts the process may use it, under its one grant. The server is a child that this
//! client has to itself, or an address. The end comes from either side: the client closes its pipe, the server ends, or the
//! process is told to stop.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, timeout};
use weir_recorder::{Disk, RecordError};

use self::front::Front;
use self::lines::Lines;
use crate::config::Config;
use crate::enforce::Caller;
use crate::gate::Gate;
use crate::grants::Identity;
use crate::peer::Peer;
use crate::serve::{self, ServeError, load};

mod asked;
mod front;
mod lines;
mod output;

/// Clients kill what has not ended two seconds after SIGTERM: what is done then must fit.
const HURRY: Farewell = Farewell {
    calls: Duration::from_millis(400),
    server: Duration::from_millis(900),
};

/// Why it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WrapEnd {
    /// The client closed its pipe.
    Client,
    /// The server ended, so.
    Server(String),
    /// The process was told to.
    Asked,
}

/// What is waited for at the end.
#[derive(Debug, Clone, Copy)]
struct Farewell {
    calls: Duration,
    server: Duration,
}

/// A wrapped server at work. Boxed, so that everything below it is compiled in this crate once.
pub type Wrapping<'a> = Pin<Box<dyn Future<Output = Result<WrapEnd, ServeError>> + Send + 'a>>;

/// Stands between the client on `input` and `output` and the configuration's first server, under its first grant, until either
/// ends or `shutdown` is done. Nobody else can connect: what the configuration says of listening is not looked at.
///
/// A record that another process has is waited for as long as `handover_max`.
pub fn wrap<'a>(
    config: Config,
    handover_max: Duration,
    input: impl AsyncRead + Send + Unpin + 'a,
    output: impl AsyncWrite + Send + Unpin + 'static,
    shutdown: impl Future<Output = ()> + Send + 'a,
) -> Wrapping<'a> {
    Box::pin(run(
        config,
        handover_max,
        Box::new(input),
        Box::new(output),
        Box::pin(shutdown),
    ))
}

async fn run(
    config: Config,
    handover_max: Duration,
    input: Box<dyn AsyncRead + Send + Unpin + '_>,
    output: Box<dyn AsyncWrite + Send + Unpin>,
    mut shutdown: Pin<Box<dyn Future<Output = ()> + Send + '_>>,
) -> Result<WrapEnd, ServeError> {
    let gate = tokio::select! {
        biased;
        () = &mut shutdown => return Ok(WrapEnd::Asked),
        gate = open(&config, handover_max) => gate?,
    };
    let (Some(server), Some(grant)) = (gate.servers.first(), gate.grants().0.first().cloned())
    else {
        return Err(ServeError::NoServer);
    };
    let caller = Arc::new(Caller {
        identity: Identity::of_grant(&grant, None),
        grant,
        server: Arc::clone(server),
        peer: Arc::new(Peer::of_pipe()),
        agent: Arc::from("stdio"),
    });
    let housekeeping = tokio::spawn(serve::keep_house(Arc::clone(&gate)));
    let housekeeping = async { drop(housekeeping.await) };
    if let Err(error) = server.upstream.begin() {
        gate.stopping.cancel();
        serve::close(&gate, HURRY.calls, HURRY.server, housekeeping).await?;
        return Err(error.into());
    }
    let (out, writing) = output::write_to(output);
    let front = Front::new(&gate, caller, out);
    front.begin();
    let lines = Lines::new(input, gate.limits.body_bytes_max);
    let end = tokio::select! {
        biased;
        () = &mut shutdown => WrapEnd::Asked,
        how = server.upstream.ended() => WrapEnd::Server(how),
        () = front.is_unheard() => WrapEnd::Client,
        () = front.hear(lines) => WrapEnd::Client,
    };
    tracing::info!(?end, "stopping");
    let patient = Farewell {
        calls: gate.limits.drain_timeout,
        server: Duration::from_secs(3),
    };
    let farewell = match end {
        WrapEnd::Client => patient,
        WrapEnd::Server(_) | WrapEnd::Asked => HURRY,
    };
    // Streams that wait for nothing in particular end; calls get their answers, unless there is a hurry.
    gate.stopping.cancel();
    let farewell = tokio::select! {
        biased;
        () = &mut shutdown, if end == WrapEnd::Client => HURRY,
        _ = timeout(farewell.calls, front.answered()) => farewell,
    };
    front.take_leave().await;
    drop(front);
    let closed = serve::close(&gate, HURRY.calls, farewell.server, housekeeping).await;
    // Whoever does not read its answers now will not.
    drop(timeout(HURRY.calls, writing).await);
    closed.map(|()| end)
}

/// Opens everything; waits for the record a little if another process has it.
async fn open(config: &Config, handover_max: Duration) -> Result<Arc<Gate>, ServeError> {
    let late = Instant::now() + handover_max;
    loop {
        let grants = load::grants(config)?;
        let servers = load::servers(config).await?;
        let progress = serve::Progress::default();
        match serve::open(config, Arc::new(Disk), grants, servers, None, &progress).await {
            Err(ServeError::Record(RecordError::Locked { .. })) if Instant::now() < late => {
                sleep(Duration::from_millis(100)).await;
            }
            opened => return opened,
        }
    }
}

//! How a peer is come by: a command is started, or a stream is opened.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use tokio_util::task::TaskTracker;

use super::backoff::Backoff;
use super::peer::Peer;
use super::process;
use super::sse::{self, Place};
use crate::upstream::{Sharing, Transport, UpstreamSpec, Versions, http};

#[expect(
    clippy::large_enum_variant,
    reason = "there is one for each session, and it is not moved about"
)]
pub(super) enum Way {
    Process(Process),
    Stream(Place),
}

pub(super) struct Process {
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    directory: PathBuf,
    line_bytes_max: usize,
    /// Its stderr is ours, as if the one client had started it.
    shares_stderr: bool,
    backoff: Arc<Backoff>,
}

impl Way {
    /// Checks the command, or makes ready to reach the address; the error is one line for the operator.
    pub(super) async fn prepare(spec: &UpstreamSpec) -> Result<Self, String> {
        match &spec.transport {
            Transport::Stdio {
                command,
                environment,
                directory,
            } => {
                if command.first().is_none_or(String::is_empty) {
                    return Err("`command` is empty".into());
                }
                let folder = tokio::fs::metadata(directory).await;
                if !folder
                    .map_err(|fault| format!("`{}`: {fault}", directory.display()))?
                    .is_dir()
                {
                    return Err(format!("`{}` is no folder", directory.display()));
                }
                Ok(Self::Process(Process {
                    command: command.clone(),
                    environment: environment.clone(),
                    directory: directory.clone(),
                    line_bytes_max: spec.limits.event_bytes_max,
                    shares_stderr: spec.sharing == Sharing::Sole,
                    backoff: Arc::default(),
                }))
            }
            Transport::Sse { url, ca } => Ok(Self::Stream(Place {
                pool: http::pool(
                    url,
                    ca.as_deref(),
                    Versions::One,
                    spec.limits.connect_timeout,
                )
                .await?,
                url: url.clone(),
                headers: spec.headers.clone(),
                limits: spec.limits,
            })),
            Transport::Http { .. } => Err("is reached by requests of their own".into()),
        }
    }

    /// A new peer for this grant. A command that keeps ending by itself is started again after a pause only.
    pub(super) fn start(
        &self,
        server: &Arc<str>,
        grant: &Arc<str>,
        tasks: &TaskTracker,
    ) -> Result<Arc<Peer>, String> {
        let process = match self {
            Self::Stream(place) => return Ok(sse::start(server, place, tasks)),
            Self::Process(process) => process,
        };
        let started = Instant::now();
        process.backoff.admits(grant, started).map_err(|pause| {
            format!(
                "the command keeps ending by itself; it is started again in {:.1} s",
                pause.as_secs_f32()
            )
        })?;
        let start = process::Start {
            server,
            command: &process.command,
            environment: &process.environment,
            directory: &process.directory,
            line_bytes_max: process.line_bytes_max,
            shares_stderr: process.shares_stderr,
        };
        let peer = process::start(&start, tasks)?;
        let (watched, backoff) = (Arc::clone(&peer), Arc::clone(&process.backoff));
        let grant = Arc::clone(grant);
        tasks.spawn(async move {
            let how = watched.ended().await;
            if !watched.is_asked_to_end() {
                tracing::warn!(server = %watched.server, how, "a command ended by itself");
                backoff.note(&grant, started, Instant::now());
            }
        });
        Ok(peer)
    }
}

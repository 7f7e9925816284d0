//! `weir wrap`: one client on stdin and stdout, for those who start their servers themselves.

mod told;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use weir_proxy::config::Config;
use weir_proxy::upstream::{Sharing, Transport};
use weir_proxy::{ServeError, WrapEnd, wrap};
use weir_recorder::RecordError;

use super::serve::{LogFormat, explained, start_logging};
use crate::failure::{Fix as _, advised};
use crate::{configuration, terminal};

use self::told::Told;

/// Run one MCP server under a policy, between stdin and stdout
///
/// For clients that start their servers themselves, such as desktop clients: put `weir wrap
/// --policy P --record DIR --` before the server's own command. Every message of the client
/// is judged, and on disk with its decision, before the server gets it; a denied call is
/// answered with a tool error. The server gets Weir's environment and writes to Weir's
/// stderr. With --url the server is one at an address. Both end together: when the client
/// closes the pipe, when the server ends, or at SIGTERM.
///
/// One process writes a record: a client that starts several servers needs a folder for
/// each. It guards against mistakes, not against an agent that can start the server itself.
///
/// Examples:
///   weir wrap --policy ops.json --record ~/weir/nas --profile truenas -- npx -y truenas-mcp
///   weir wrap --policy ops.json --record ~/weir/files --url https://files.example/mcp --header Authorization=FILES_AUTHORIZATION
///   weir wrap --config weir.toml --grant ops-agent --record ~/weir/ops      with all that weir.toml can say
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Wrap {
    /// The policy that judges the client's calls.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "config",
        conflicts_with = "config"
    )]
    policy: Option<PathBuf>,

    /// The record's folder; made if it does not exist.
    #[arg(long, value_name = "DIR", required_unless_present = "config")]
    record: Option<PathBuf>,

    /// Let several processes with this --record run at once: each takes DIR/1, DIR/2, … and
    /// counts its limits alone.
    #[arg(long)]
    several: bool,

    /// What kind of server it is, as `profile` in weir.toml: truenas.
    #[arg(long, value_name = "NAME", conflicts_with = "config")]
    profile: Option<String>,

    /// Who calls, in the record; with --config, which of its grants.
    #[arg(long, value_name = "NAME")]
    grant: Option<String>,

    /// What the server is called in the record; with --config, which of its servers.
    #[arg(long, value_name = "NAME")]
    server: Option<String>,

    /// Take server, grant, policy and everything else from this weir.toml.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The server's address, if it is not started here.
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "command"])]
    url: Option<String>,

    /// A CA to trust for that address besides the system's.
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,

    /// A header for every request there, its value taken from an environment variable.
    #[arg(long = "header", value_name = "NAME=VARIABLE", requires = "url")]
    headers: Vec<String>,

    /// What to log to stderr: a level, or levels by module. Argument values are never logged.
    #[arg(long, value_name = "FILTER", default_value = "warn", env = "WEIR_LOG")]
    log: String,

    /// How to log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,

    /// The server's command line.
    #[arg(last = true, value_name = "CMD", required_unless_present_any = ["url", "config"], conflicts_with = "config")]
    command: Vec<String>,
}

impl Wrap {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        start_logging(&self.log, self.log_format)?;
        let config = self.configuration()?;
        let runtime =
            tokio::runtime::Runtime::new().context("cannot start the threads that serve")?;
        let ended = runtime.block_on(self.stand_between(config));
        // A read of stdin that nobody ends would be waited for.
        runtime.shutdown_background();
        match ended? {
            WrapEnd::Client | WrapEnd::Asked => Ok(ExitCode::SUCCESS),
            WrapEnd::Server(how) => Err(anyhow!("the server ended by itself: {how}")),
        }
    }

    /// One server and one grant.
    fn configuration(&self) -> anyhow::Result<Config> {
        let mut config = match &self.config {
            Some(path) => self.chosen(configuration::load(path)?)?,
            None => self.told().read()?,
        };
        if let Some(record) = &self.record {
            config.record.path = configuration::absolute(record);
        }
        for server in &mut config.servers {
            server.upstream.sharing = Sharing::Sole;
            if let (Transport::Stdio { environment, .. }, None) =
                (&mut server.upstream.transport, &self.config)
            {
                *environment = own_environment();
            }
            // Who waits for a person's answer waits as long as it would without us.
            server.upstream.limits.answer_timeout = config.limits.upstream_timeout.max(ANSWER_MIN);
        }
        Ok(config)
    }

    fn told(&self) -> Told<'_> {
        Told {
            policy: self.policy.as_deref(),
            record: self.record.as_deref(),
            profile: self.profile.as_deref(),
            grant: self.grant.as_deref().unwrap_or("wrap"),
            server: self.server.as_deref().unwrap_or("wrapped"),
            url: self.url.as_deref(),
            ca: self.ca.as_deref(),
            headers: &self.headers,
            command: &self.command,
        }
    }

    /// The one server and grant of a weir.toml that fit.
    fn chosen(&self, mut config: Config) -> anyhow::Result<Config> {
        let fits = |asked: &Option<String>, name: &str| asked.as_ref().is_none_or(|a| a == name);
        let names: Vec<String> = config
            .grants
            .iter()
            .map(|grant| format!("`{}` (server `{}`)", grant.name, grant.server))
            .collect();
        config
            .grants
            .retain(|grant| fits(&self.grant, &grant.name) && fits(&self.server, &grant.server));
        let [grant] = config.grants.as_slice() else {
            return Err(anyhow!(
                "{} grants of `{}` fit, and a client has one",
                config.grants.len(),
                config.path.display()
            ))
            .fix(|| {
                format!(
                    "choose with --grant or --server; there are: {}",
                    names.join(", ")
                )
            });
        };
        let server = grant.server.clone();
        config.servers.retain(|other| other.name == server);
        config.object_storage = None;
        // Nobody listens for their answers here, so what needs a person is denied at once.
        config.approvers.clear();
        Ok(config)
    }

    async fn stand_between(&self, mut config: Config) -> anyhow::Result<WrapEnd> {
        let stop = told_to_stop()?;
        if !self.several {
            let ended = between(config, HANDOVER_MAX, &stop).await;
            return match ended {
                Err(error @ ServeError::Record(RecordError::Locked { .. })) => Err(advised(
                    error.into(),
                    "give each server that a client starts a folder of its own with --record; or --several, and each process counts its limits alone".into(),
                )),
                ended => ended.map_err(explained),
            };
        }
        let folder = config.record.path.clone();
        for place in 1..=PLACES_MAX {
            config.record.path = folder.join(place.to_string());
            match between(config.clone(), Duration::ZERO, &stop).await {
                Err(ServeError::Record(RecordError::Locked { .. })) => {}
                ended => return ended.map_err(explained),
            }
        }
        Err(anyhow!(
            "{PLACES_MAX} processes write records in `{}`",
            folder.display()
        ))
    }
}

async fn between(
    config: Config,
    handover_max: Duration,
    stop: &watch::Receiver<u32>,
) -> Result<WrapEnd, ServeError> {
    let mut stop = stop.clone();
    let stopped = async move { drop(stop.wait_for(|signals| *signals > 0).await) };
    let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
    wrap(config, handover_max, input, output, stopped).await
}

/// How long the record may still be held by the process that a client has just replaced by this one.
const HANDOVER_MAX: Duration = Duration::from_secs(5);
/// The longest that an answer is waited for, at least.
const ANSWER_MIN: Duration = Duration::from_hours(1);
/// Processes that may share a folder's name.
const PLACES_MAX: u32 = 64;

/// What the client gave us for its server.
fn own_environment() -> std::collections::BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The number of signals that asked for the end; the second one ends the process at once.
fn told_to_stop() -> anyhow::Result<watch::Receiver<u32>> {
    let (told, stop) = watch::channel(0);
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ] {
        let mut signal = signal(kind).context("cannot listen for signals")?;
        let told = told.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                told.send_modify(|signals| *signals += 1);
                if *told.borrow() > 1 {
                    terminal::note("stopped at once; the journal keeps what is not sealed\n");
                    #[expect(
                        clippy::exit,
                        clippy::disallowed_methods,
                        reason = "the user asked twice; what is durable is durable already"
                    )]
                    std::process::exit(INTERRUPTED);
                }
            }
        });
    }
    Ok(stop)
}

/// What a shell gives for a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

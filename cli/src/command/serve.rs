//! `weir serve`: the proxy.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use weir_policy::Problems;
use weir_proxy::{Config, Ready, ServeError, serve};
use weir_recorder::Durability;

use crate::configuration::absolute;
use crate::failure::{Fix as _, Rendered};
use crate::{configuration, notify, reloading, shipping, terminal};

/// What a shell gives for a process that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Run the proxy
///
/// Serves every [[server]] of the configuration at https://ADDRESS/NAME/mcp to whoever
/// holds the token of one of its grants. Every tool call is judged, and on disk with its
/// decision, before it is forwarded. SIGTERM or Ctrl-C stops it: calls under way end, the
/// record is sealed. A changed policy, grant or certificate comes into force by itself, or
/// at SIGHUP; one with an error leaves what is in force. systemd is told (Type=notify), and its
/// watchdog for as long as decisions become durable. A second signal stops it at once; nothing that was forwarded is lost
/// then either.
///
/// Examples:
///   weir serve                                  from ./weir.toml
///   weir serve --config /etc/weir/weir.toml --log warn,weir_proxy=debug --log-format json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Serve {
    /// The configuration; `weir init` writes one.
    #[arg(long, value_name = "FILE", default_value = "weir.toml")]
    config: PathBuf,

    /// What to log to stderr: a level, or levels by module. Argument values are never logged.
    #[arg(long, value_name = "FILTER", default_value = "info", env = "WEIR_LOG")]
    log: String,

    /// How to log.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl Serve {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        start_logging(&self.log, self.log_format)?;
        let config = configuration::load(&self.config)?;
        let runtime =
            tokio::runtime::Runtime::new().context("cannot start the threads that serve")?;
        runtime.block_on(run(config, self.config))?;
        terminal::print("stopped; the record is sealed\n")?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Logs to stderr what this filter lets through.
pub fn start_logging(log: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter: EnvFilter = log
        .parse()
        .with_context(|| format!("`{log}` is not a log filter"))
        .fix(|| {
            "write a level (error, warn, info, debug), or levels by module: warn,weir_proxy=debug"
                .into()
        })?;
    // At their lower levels these show what they carry, secrets included.
    let filter = ["h2", "hyper", "hyper_util", "rustls", "tokio_rustls"]
        .iter()
        .filter_map(|library| format!("{library}=info").parse().ok())
        .fold(filter, EnvFilter::add_directive);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => subscriber
            .with_ansi(terminal::watched())
            .with_target(false)
            .try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    started.map_err(|error| anyhow!("cannot start logging: {error}"))
}

async fn run(config: Config, path: PathBuf) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    // Before anybody is told that this serves: whoever hears it may send one at once.
    let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
    let shutdown = async move {
        tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
        notify::stopping();
        terminal::note("stopping: calls under way may end; a second signal stops at once\n");
        tokio::spawn(async move {
            tokio::select! { _ = terminate.recv() => {} _ = interrupt.recv() => {} }
            terminal::note("stopped at once; the journal keeps what is not sealed\n");
            #[expect(
                clippy::exit,
                clippy::disallowed_methods,
                reason = "the user asked twice; what is durable is durable already"
            )]
            std::process::exit(INTERRUPTED);
        });
    };
    let told = config.clone();
    let shipping = shipping::prepare(&config)?;
    let ready = |ready: Ready| {
        if let Some(shipping) = &shipping {
            shipping.begin(&ready);
        }
        tell(&told, &ready);
        notify::ready(&ready.recorder);
        tokio::spawn(reloading::watch(hangup, ready.reloader, path, told));
    };
    let served = serve(config, ready, shutdown).await.map_err(explained);
    // The record is closed, so everything is sealed; of a failure too, what is sealed is worth having.
    if let Some(shipping) = shipping {
        shipping.finish();
    }
    served
}

/// A policy's problems with their carets, and all faults where there are several; anything else is one line already.
pub fn explained(error: ServeError) -> anyhow::Error {
    if matches!(
        error,
        ServeError::Policy { .. } | ServeError::Several { .. }
    ) {
        return Rendered::bad(pages(&error).join("\n\n"));
    }
    error.into()
}

/// Each thing that is wrong, as it is shown.
fn pages(error: &ServeError) -> Vec<String> {
    if let ServeError::Policy { problems } = error {
        return problems.iter().map(Problems::styled).collect();
    }
    if let ServeError::Several { faults } = error {
        return faults.iter().flat_map(pages).collect();
    }
    let (red, reset) = (terminal::ERROR, terminal::RESET);
    vec![format!("{red}error{reset}: {error}")]
}

/// Says where everything is, once everything is there.
fn tell(config: &Config, ready: &Ready) {
    let (strong, dim, reset) = (terminal::STRONG, terminal::DIM, terminal::RESET);
    let mut lines: Vec<String> = Vec::new();
    for server in &config.servers {
        let grants = config
            .grants
            .iter()
            .filter(|grant| grant.server == server.name)
            .map(|grant| grant.name.as_str());
        let grants = grants.collect::<Vec<_>>().join(", ");
        lines.push(format!(
            "{strong}serving{reset}  https://{}/{}/mcp  {dim}{grants}{reset}\n",
            ready.address, server.name
        ));
    }
    lines.extend(ready.admin_address.map(|address| {
        format!("{strong}admin{reset}    http://{address}/healthz, /readyz, /status and /metrics\n")
    }));
    lines.extend(
        ready
            .ca_pem_path
            .as_ref()
            .map(|ca| format!("{strong}trust{reset}    {}\n", absolute(ca).display())),
    );
    let off = match config.record.durability {
        Durability::Off => "  calls are not recorded",
        Durability::Sync | Durability::Interval(_) => "",
    };
    lines.push(format!(
        "{strong}record{reset}   {}{strong}{off}{reset}\n",
        absolute(&config.record.path).display()
    ));
    // Whoever closed stdout does not want to hear it; the proxy serves all the same.
    drop(terminal::print(&lines.concat()));
}

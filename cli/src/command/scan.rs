//! `weir scan`: what an agent can call on a server, how dangerous that is, and what is said to it.

mod finding;
mod page;
mod past;
mod starting;
mod visit;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use tokio::runtime::Runtime;
use weir_policy::{Policy, Profile};
use weir_proxy::Config;
use weir_proxy::upstream::{Sharing, Transport, UpstreamLimits, UpstreamSpec};

use super::policy::{load, profile};
use crate::configuration;
use crate::failure::Fix as _;
use crate::terminal;
use finding::{Finding, difference};
use past::Past;

/// How long a server may take for its handshake, and for a page of a list.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);

/// A definition is new, changed or gone.
const CHANGED: u8 = 1;

/// Show what an agent can call here: every tool, and every operation behind a dispatcher of a
/// known kind of server, with its class of risk and what the policies in force say of it
///
/// The server is asked for its lists and for nothing else: no tool is called. Definitions are
/// compared with those that the record knows, or with an earlier scan; a tool that says today
/// it lists and tomorrow that it deletes is a known trick. What a server says of itself
/// (annotations) is shown where it contradicts the name, and never believed.
///
/// Examples:
///   weir scan --config my-weir/weir.toml
///   weir scan --config my-weir/weir.toml --server truenas --format json > scan.json
///   weir scan --against scan.json -- npx -y some-mcp-server      before it is ever used
///   weir scan --starting-policy ops.json -- node dist/cli.js     a first policy, by class
///
/// Exit codes: 0 nothing changed, 1 a definition is new, changed or gone since, 2 bad usage,
/// or a server that cannot be asked.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Scan {
    /// The configuration whose servers are asked, with its policies and its record.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "command",
        conflicts_with = "command"
    )]
    config: Option<PathBuf>,

    /// Of the configuration, only this server.
    #[arg(long, value_name = "NAME", requires = "config")]
    server: Option<String>,

    /// A server that speaks over stdin and stdout: its program and arguments.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,

    /// Of a command: which kind of server it is.
    #[arg(long, value_name = "NAME", value_parser = profile, conflicts_with = "config")]
    profile: Option<Arc<Profile>>,

    /// Of a command: also show what this policy says.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    policy: Option<PathBuf>,

    /// An earlier `--format json`, to compare with instead of the record.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,

    /// Write a policy to begin with to this file: reads pass, writes and what runs or stops are limited, what destroys or pays is hidden.
    #[arg(long, value_name = "FILE")]
    starting_policy: Option<PathBuf>,

    /// How to write the answer.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For machines, and for `--against`.
    Json,
}

/// What is to be asked, and what is known of it.
struct Target {
    spec: UpstreamSpec,
    profile: Option<Arc<Profile>>,
    /// The policies that it is used under, by the grant's name; none where a grant has no policy.
    policies: BTreeMap<String, Option<Policy>>,
}

/// One server, looked at.
#[derive(Debug, Serialize)]
struct Scanned {
    server: String,
    /// What it calls itself.
    title: String,
    profile: Option<String>,
    /// Where the profile and the server differ.
    differences: Vec<String>,
    tools: Vec<Finding>,
    /// Tools that were known, and are there no more.
    gone: Vec<String>,
}

impl Scan {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (targets, record) = match &self.config {
            Some(path) => self.configured(path)?,
            None => (vec![self.commanded()?], None),
        };
        let past = match (&self.against, &record) {
            (Some(path), _) => Past::of_scan(path)?,
            (None, Some(record)) => Past::of_record(record)?,
            (None, None) => Past::default(),
        };
        let runtime = Runtime::new().context("cannot start the threads that ask")?;
        let mut scanned = Vec::new();
        for target in &targets {
            let visited = runtime.block_on(visit::visit(&target.spec));
            let seen = visited.with_context(|| format!("server `{}`", target.spec.server))?;
            let server = target.spec.server.to_string();
            let profile = target.profile.as_deref();
            let differences =
                profile.map_or_else(Vec::new, |profile| difference(profile, &seen.tools));
            let tools = finding::all(&server, &seen.tools, profile, &target.policies, &past);
            scanned.push(Scanned {
                title: seen.title,
                profile: profile.map(|profile| profile.name().to_owned()),
                differences,
                gone: past.gone(&server, &seen.tools),
                tools,
                server,
            });
        }
        if let Some(file) = &self.starting_policy {
            let policy = starting::policy(&scanned)?;
            std::fs::write(file, policy)
                .with_context(|| format!("cannot write the policy `{}`", file.display()))?;
            terminal::note(&format!("a policy to begin with: {}\n", file.display()));
        }
        terminal::print(&match self.format {
            Format::Text => page::text(&scanned),
            Format::Json => [serde_json::to_string_pretty(&scanned)?, "\n".into()].concat(),
        })?;
        let changed = scanned.iter().any(Scanned::is_changed);
        Ok(ExitCode::from(if changed { CHANGED } else { 0 }))
    }

    /// The servers of a configuration, and its record if there is one.
    fn configured(&self, path: &Path) -> anyhow::Result<(Vec<Target>, Option<PathBuf>)> {
        let config = configuration::load(path)?;
        let wanted = |name: &str| self.server.as_deref().is_none_or(|wanted| wanted == name);
        let mut targets = Vec::new();
        for server in config.servers.iter().filter(|server| wanted(&server.name)) {
            let mut spec = server.upstream.clone();
            spec.limits.answer_timeout = spec.limits.answer_timeout.min(ANSWER_WAIT_MAX);
            targets.push(Target {
                spec,
                profile: server.resolver.profile.as_deref().and_then(Profile::named),
                policies: policies(&config, &server.name)?,
            });
        }
        if targets.is_empty() {
            let known: Vec<_> = config
                .servers
                .iter()
                .map(|server| server.name.as_str())
                .collect();
            return Err(anyhow!("no [[server]] is called so"))
                .fix(|| format!("there are: {}", known.join(", ")));
        }
        let record = config.record.path;
        Ok((targets, record.is_dir().then_some(record)))
    }

    /// The server that the command line names.
    fn commanded(&self) -> anyhow::Result<Target> {
        let directory = std::env::current_dir().context("there is no working directory")?;
        let policy = self.policy.as_deref().map(load).transpose()?;
        Ok(Target {
            spec: UpstreamSpec {
                server: "command".into(),
                transport: Transport::Stdio {
                    command: self.command.clone(),
                    environment: std::env::vars().collect(),
                    directory,
                },
                headers: Vec::new(),
                limits: limits(),
                sharing: Sharing::Session,
            },
            profile: self.profile.clone(),
            policies: policy
                .into_iter()
                .map(|policy| ("policy".to_owned(), Some(policy)))
                .collect(),
        })
    }
}

impl Scanned {
    fn is_changed(&self) -> bool {
        !self.gone.is_empty() || self.tools.iter().any(|tool| tool.since.is_some())
    }
}

/// The policies of the grants of a server.
fn policies(config: &Config, server: &str) -> anyhow::Result<BTreeMap<String, Option<Policy>>> {
    let grants = config.grants.iter().filter(|grant| grant.server == server);
    grants
        .map(|grant| {
            let policy = grant.policy.as_deref().map(load).transpose()?;
            Ok((grant.name.clone(), policy))
        })
        .collect()
}

/// Those of a configuration that sets none.
fn limits() -> UpstreamLimits {
    let limits = weir_proxy::config::Limits::default();
    UpstreamLimits {
        connect_timeout: limits.connect_timeout,
        answer_timeout: ANSWER_WAIT_MAX,
        event_bytes_max: limits.event_bytes_max,
        answer_bytes_max: limits.answer_bytes_max,
        in_flight_max: 1,
        streams_max: 1,
        children_max: 1,
    }
}

//! `weir.toml`: everything the proxy is told, read whole and checked before anything starts.
//!
//! [`Config::load`] reports every problem of the file at once, each with its line, and refuses what it does not know:
//! a key of the design that this version lacks is an error too, never a silence.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use weir_policy::ResolverSpec;
use weir_recorder::{Durability, Retain};

pub use approvals::{ApprovalsConfig, ApproverConfig};
pub use credential::{AccessName, Credential};
pub use encryption::{Encryption, KeysText};
pub use oauth::OauthConfig;
pub use object_storage::{AccessKey, ObjectStorageConfig, RetentionConfig};
pub use problem::{ConfigProblem, ConfigProblems};
pub use telemetry::TelemetryConfig;

pub use crate::certificate::{CertificateName, Subject};

use crate::keeping::Keeping;
use crate::upstream::UpstreamSpec;

mod approvals;
mod budget;
mod credential;
mod encryption;
mod grant;
mod keeping;
pub(crate) mod oauth;
mod object_storage;
mod problem;
mod read;
pub mod reference;
mod retain;
mod section;
mod server;
mod telemetry;

/// What to serve, to whom, under which policies, and where to write it down.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// Where clients connect.
    pub listen: Listen,
    /// Where Weir keeps what it makes for itself: the local CA and its certificate.
    pub state: PathBuf,
    /// Where calls are written down.
    pub record: RecordConfig,
    /// Where a copy of the record is shipped to, if anywhere; whoever serves sees to it.
    pub object_storage: Option<ObjectStorageConfig>,
    /// Health and metrics; none if left out.
    pub admin: Option<SocketAddr>,
    /// Who may answer where a policy asks a person; nobody is asked if there is none.
    pub approvers: Vec<ApproverConfig>,
    /// Bounds of what waits for a person.
    pub approvals: ApprovalsConfig,
    /// The servers behind Weir, in the file's order; names are unique.
    pub servers: Vec<ServerConfig>,
    /// Who may use them, in the file's order; names are unique.
    pub grants: Vec<GrantConfig>,
    /// Whose access tokens open grants, if anybody's.
    pub oauth: Option<OauthConfig>,
    /// Who collects traces, if anybody.
    pub telemetry: Option<TelemetryConfig>,
    /// Bounds of everything.
    pub limits: Limits,
}

/// Where clients connect.
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Which certificate to show.
    pub tls: TlsFiles,
    /// The CAs that vouch for clients, as a PEM file; clients show no certificates if left out.
    pub client_ca: Option<PathBuf>,
    /// What these CAs have taken back, as a PEM file of one list for each of them.
    pub client_crl: Option<PathBuf>,
    /// Names clients may use for this host besides the address itself and the loopback names.
    pub hosts: Vec<String>,
    /// Origins of pages that may call, besides those on the hosts above: `https://console.example`.
    pub origins: Vec<String>,
}

/// Which certificate to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsFiles {
    /// The operator's own, as PEM files.
    Given {
        /// The chain, leaf first.
        certificate: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
    /// One of a local CA, made in [`Config::state`] on the first start and kept.
    Local,
}

/// Where calls are written down.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordConfig {
    /// The record's folder.
    pub path: PathBuf,
    /// This proxy's name in the record; the folder's own if left out.
    pub node: Option<String>,
    /// When a decision counts as written, or that none is.
    pub durability: Durability,
    /// Rows at which a segment is sealed.
    pub seal_rows: usize,
    /// Age at which a segment is sealed.
    pub seal_age: Duration,
    /// How long a call waits for its decision to be durable before it is refused.
    pub commit_wait_max: Duration,
    /// Whether an answer is withheld whose outcome the record does not have.
    pub strict_outcomes: bool,
    /// Small segments of a day at which they are joined; 0 joins none.
    pub compact_segments: usize,
    /// Which calls are kept; all if left out.
    pub retain: Retain,
    /// Bytes that the record may have; nine tenths of its disk if left out.
    pub bytes_max: Option<u64>,
    /// Bytes allocated ahead for what must be written on a full disk.
    pub reserve_bytes: u64,
    /// The folder outside the record where checkpoints go too.
    pub anchor: Option<PathBuf>,
    /// The key that signs checkpoints; beside the record if left out.
    pub signing_key: Option<PathBuf>,
    /// What encrypts what calls carry, in sealed files.
    pub encryption: Encryption,
    /// Where the record does not reach back over a limit's window: false starts such limits full, true starts them empty.
    pub gaps_start_empty: bool,
}

/// One server behind Weir, served at `/<name>/mcp`.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Its name: a path segment.
    pub name: String,
    /// How it is reached.
    pub upstream: UpstreamSpec,
    /// How its calls are to be read: dispatch, aliases, profile.
    pub resolver: ResolverSpec,
    /// What the record keeps of its calls.
    pub keeping: Keeping,
}

/// One caller's leave to use one server.
#[derive(Debug, Clone)]
pub struct GrantConfig {
    /// Its name in the record.
    pub name: String,
    /// The server it opens.
    pub server: String,
    /// What opens it.
    pub credential: Credential,
    /// Its policy; without one, everything is denied.
    pub policy: Option<PathBuf>,
    /// Policies that are judged alongside and never enforced: each as the file names it, and where it is.
    pub shadow: Vec<(String, PathBuf)>,
    /// How many of everything it may have at once.
    pub limits: GrantLimits,
}

/// How many of everything one grant may have at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantLimits {
    /// Connections on which it calls.
    pub connections_max: usize,
    /// Requests under way.
    pub in_flight_max: usize,
    /// Streams open.
    pub streams_max: usize,
    /// Sessions remembered.
    pub sessions_max: usize,
}

impl GrantLimits {
    /// What a grant may have that says nothing of its own.
    pub fn of(limits: &Limits) -> Self {
        Self {
            connections_max: limits.connections_per_grant_max,
            in_flight_max: limits.in_flight_per_grant_max,
            streams_max: limits.streams_per_grant_max,
            sessions_max: limits.sessions_per_grant_max,
        }
    }
}

/// Bounds of everything, all with defaults that suit a small host.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Largest request body.
    pub body_bytes_max: usize,
    /// Largest answer that is not a stream.
    pub answer_bytes_max: usize,
    /// Largest single event of a stream.
    pub event_bytes_max: usize,
    /// Connections open at once.
    pub connections_max: usize,
    /// Of these, those of one grant.
    pub connections_per_grant_max: usize,
    /// Requests under way at once.
    pub in_flight_max: usize,
    /// Of these, those of one grant.
    pub in_flight_per_grant_max: usize,
    /// Streams open at once that wait for nothing in particular.
    pub streams_max: usize,
    /// Of these, those of one grant.
    pub streams_per_grant_max: usize,
    /// Sessions remembered at once.
    pub sessions_max: usize,
    /// Of these, those of one grant.
    pub sessions_per_grant_max: usize,
    /// Children, or streams of the older transport, of one server at once.
    pub children_max: usize,
    /// Live counters in all: every grant's own together.
    pub counters_max: usize,
    /// Live counters per grant.
    pub counters_per_grant: usize,
    /// TLS handshake.
    pub handshake_timeout: Duration,
    /// Request line and headers; also how long a connection may be idle between requests.
    pub header_read_timeout: Duration,
    /// Request body.
    pub body_read_timeout: Duration,
    /// TCP and TLS to an upstream, start of a child.
    pub connect_timeout: Duration,
    /// From the request to the upstream's answer, and between two events of it.
    pub upstream_timeout: Duration,
    /// How long a stop waits for calls under way.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes_max: 4 << 20,
            answer_bytes_max: 32 << 20,
            event_bytes_max: 8 << 20,
            connections_max: 1024,
            connections_per_grant_max: 512,
            in_flight_max: 512,
            in_flight_per_grant_max: 256,
            streams_max: 1024,
            streams_per_grant_max: 256,
            sessions_max: 4096,
            sessions_per_grant_max: 1024,
            children_max: 64,
            counters_max: 1_000_000,
            counters_per_grant: 10_000,
            handshake_timeout: Duration::from_secs(10),
            header_read_timeout: Duration::from_secs(75),
            body_read_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            upstream_timeout: Duration::from_mins(5),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

impl Config {
    /// Every policy file that it names, candidates among them.
    pub fn policies(&self) -> impl Iterator<Item = &PathBuf> {
        self.grants.iter().flat_map(|grant| {
            let candidates = grant.shadow.iter().map(|(_, path)| path);
            grant.policy.iter().chain(candidates)
        })
    }

    /// Reads a configuration that names no environment variable.
    pub fn load(path: &Path) -> Result<Self, ConfigProblems> {
        Self::load_with_environment(path, &|_| None)
    }

    /// Reads a configuration; `{ env = "NAME" }` in it is looked up with `environment`, since this crate does not read the
    /// environment by itself.
    pub fn load_with_environment(
        path: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigProblems> {
        read::load(path, environment)
    }

    /// Reads a configuration from its text, with paths relative to where `path` would stand.
    pub fn read(
        text: &str,
        path: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigProblems> {
        read::read(text, path, environment)
    }
}

impl Listen {
    /// The names that this host answers to.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = vec![
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "::1".to_owned(),
        ];
        names.push(self.address.ip().to_string());
        names.extend(self.hosts.iter().cloned());
        names
    }
}

/// A credential: a header's value that shows itself to nobody.
fn secret_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name: HeaderName = name.parse().map_err(|_| "not a header name")?;
    let mut value: HeaderValue = value
        .parse()
        .map_err(|_| "a value that cannot stand in a header")?;
    value.set_sensitive(true);
    Ok((name, value))
}

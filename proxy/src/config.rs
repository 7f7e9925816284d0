//! `weir.toml`: everything the proxy is told, read whole and checked before anything starts.
//!
//! [`Config::load`] reports every problem of the file at once, each with its line, and refuses what it does not know:
//! a key of the design that this version lacks is an error too, never a silence.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use weir_policy::ResolverSpec;

pub use problem::{ConfigProblem, ConfigProblems};

use crate::upstream::UpstreamSpec;

mod grant;
mod problem;
mod read;
mod section;
mod server;

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
    /// Health and metrics; none if left out.
    pub admin: Option<SocketAddr>,
    /// The servers behind Weir, in the file's order; names are unique.
    pub servers: Vec<ServerConfig>,
    /// Who may use them, in the file's order; names are unique.
    pub grants: Vec<GrantConfig>,
    /// Bounds of everything.
    pub limits: Limits,
}

/// Where clients connect.
#[derive(Debug, Clone)]
pub struct Listen {
    /// Address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// Which certificate to show.
    pub tls: TlsFiles,
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
#[derive(Debug, Clone)]
pub struct RecordConfig {
    /// The record's folder.
    pub path: PathBuf,
    /// This proxy's name in the record; the folder's own if left out.
    pub node: Option<String>,
    /// How long a decision may be at risk: `None` is not at all.
    pub interval: Option<Duration>,
    /// Rows at which a segment is sealed.
    pub seal_rows: usize,
    /// Age at which a segment is sealed.
    pub seal_age: Duration,
    /// How long a call waits for its decision to be durable before it is refused.
    pub commit_wait_max: Duration,
    /// The folder outside the record where checkpoints go too.
    pub anchor: Option<PathBuf>,
    /// The key that signs checkpoints; beside the record if left out.
    pub signing_key: Option<PathBuf>,
    /// Where the record does not reach back over a limit's window: false starts such limits full, true starts them empty.
    pub gaps_start_empty: bool,
}

/// One server behind Weir, served at `/<name>/mcp`.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Its name: a path segment.
    pub name: String,
    /// How it is reached.
    pub upstream: UpstreamSpec,
    /// How its calls are to be read: dispatch, aliases, profile.
    pub resolver: ResolverSpec,
}

/// One caller's leave to use one server.
#[derive(Debug, Clone)]
pub struct GrantConfig {
    /// Its name in the record.
    pub name: String,
    /// The server it opens.
    pub server: String,
    /// SHA-256 of its bearer token.
    pub token_sha256: [u8; 32],
    /// Its policy; without one, everything is denied.
    pub policy: Option<PathBuf>,
}

/// Bounds of everything, all with defaults that suit a small host.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest request body.
    pub body_bytes_max: usize,
    /// Largest answer that is not a stream.
    pub answer_bytes_max: usize,
    /// Largest single event of a stream.
    pub event_bytes_max: usize,
    /// Connections open at once.
    pub connections_max: usize,
    /// Requests under way at once.
    pub in_flight_max: usize,
    /// Sessions remembered at once.
    pub sessions_max: usize,
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
            in_flight_max: 512,
            sessions_max: 4096,
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

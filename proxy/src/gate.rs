//! Everything a call meets on its way: one value, shared by all connections.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_policy::Resolver;
use weir_recorder::{DigestKey, Recorder};

use crate::approvals::Approvals;
use crate::bounds::{Bounds, Resource};
use crate::config::Limits;
use crate::definitions::Definitions;
use crate::enforce::{Cancellable, Resumable};
use crate::grants::Grants;
use crate::keeping::Keeping;
use crate::ledger::Ledger;
use crate::oauth::Issuer;
use crate::reload::Reloads;
use crate::replica::ReplicaSlot;
use crate::sessions::Sessions;
use crate::standing::Standing;
use crate::strangers::Strangers;
use crate::telemetry::Telemetry;
use crate::traces::Traces;
use crate::upstream::Upstream;

/// A running proxy, as calls see it.
pub(crate) struct Gate {
    pub(crate) limits: Limits,
    pub(crate) hosts: Hosts,
    pub(crate) servers: Vec<Arc<Served>>,
    /// Those in force; the next request meets what a reload put here.
    pub(crate) granted: ArcSwap<Grants>,
    /// Whose access tokens open grants, if anybody's.
    pub(crate) issuer: ArcSwapOption<Issuer>,
    pub(crate) reloads: Reloads,
    pub(crate) strangers: Strangers,
    pub(crate) sessions: Sessions,
    pub(crate) ledger: Ledger,
    pub(crate) recorder: Recorder,
    pub(crate) replica: ReplicaSlot,
    pub(crate) digest_key: DigestKey,
    /// No answer goes out before its outcome is durable.
    pub(crate) strict_outcomes: bool,
    /// Calls that wait for a person.
    pub(crate) approvals: Arc<Approvals>,
    pub(crate) telemetry: Telemetry,
    /// Streams of calls under way that a client may come back for.
    pub(crate) resumable: Resumable,
    pub(crate) traces: Traces,
    /// Connections, requests under way, open streams and sessions, and how many there may be.
    pub(crate) bounds: Bounds,
    /// Calls under way that a client may cancel by a message.
    pub(crate) cancellable: Cancellable,
    /// Results that are on their way to a file.
    pub(crate) spilling: Arc<Semaphore>,
    /// The tasks that carry calls to their servers.
    pub(crate) carriers: TaskTracker,
    /// The stop has begun: streams that wait for nothing in particular end.
    pub(crate) stopping: CancellationToken,
    /// The stop waits no longer: calls under way are given up, their outcome unknown.
    pub(crate) giving_up: CancellationToken,
}

/// One server behind Weir.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: Arc<str>,
    pub(crate) upstream: Upstream,
    pub(crate) resolver: Resolver,
    pub(crate) resolver_digest: String,
    pub(crate) keeping: Keeping,
    pub(crate) definitions: Definitions,
    /// How it has answered of late.
    pub(crate) standing: Standing,
}

/// The names clients may use for this host, and the pages that may call.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    pub(crate) names: Vec<String>,
    pub(crate) origins: Vec<String>,
}

impl Gate {
    pub(crate) fn server(&self, name: &str) -> Option<&Arc<Served>> {
        self.servers.iter().find(|server| *server.name == *name)
    }

    /// The grants in force.
    pub(crate) fn grants(&self) -> Arc<Grants> {
        self.granted.load_full()
    }

    pub(crate) fn put_in_force(&self, grants: Grants) {
        self.granted.store(Arc::new(grants));
    }

    /// Requests under way, streams that wait for nothing in particular not counted.
    pub(crate) fn under_way(&self) -> usize {
        self.bounds.in_use(Resource::InFlight)
    }

    /// Bytes left on the disk of the record, if the system tells.
    pub(crate) fn disk_left(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(self.recorder.path()).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// How long a legacy call whose client has left is still listened to.
    pub(crate) fn patience(&self) -> Duration {
        self.limits.upstream_timeout
    }
}

impl Hosts {
    /// Whether a `Host` or `:authority` names this host. The port is not looked at: it does not tell who is called.
    pub(crate) fn names(&self, authority: &str) -> bool {
        let host = host_of(authority);
        self.names.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Whether a page from this origin may call.
    pub(crate) fn admits(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        if self.origins.contains(&origin) {
            return true;
        }
        let authority = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        authority.is_some_and(|authority| !authority.contains('/') && self.names(authority))
    }
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    authority.split(':').next().unwrap_or(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_names_and_origins_are_admitted() {
        let hosts = Hosts {
            names: vec!["localhost".into(), "127.0.0.1".into(), "::1".into()],
            origins: vec!["https://console.example".into()],
        };
        for authority in ["localhost:8443", "LOCALHOST", "127.0.0.1:1", "[::1]:8443"] {
            assert!(hosts.names(authority), "{authority}");
        }
        for authority in ["evil.example", "localhost.evil.example", ""] {
            assert!(!hosts.names(authority), "{authority}");
        }
        assert!(hosts.admits("https://console.example") && hosts.admits("http://localhost:6274"));
        for origin in [
            "null",
            "https://evil.example",
            "https://localhost@evil.example",
            "file://",
        ] {
            assert!(!hosts.admits(origin), "{origin}");
        }
    }
}

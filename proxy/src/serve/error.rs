//! Why the proxy cannot serve, and whose fault that is.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use weir_policy::Problems;
use weir_recorder::RecordError;

use crate::ledger::Unfoldable;
use crate::upstream::ConnectError;

/// Who has to act on a failure; status, log level and retry follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The caller.
    Client,
    /// A server behind Weir.
    Upstream,
    /// Whoever runs Weir.
    Operator,
    /// Us.
    Bug,
}

/// Why the proxy cannot start, or did not stop in good order. Each is one clear line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {}", listen_words(source))]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A certificate, key or CA cannot be used.
    #[error("TLS: {what}")]
    Tls {
        /// What is wrong, with the file's name.
        what: String,
    },
    /// The authorisation server cannot be asked.
    #[error("[oauth]: {what}")]
    Issuer {
        /// What is wrong.
        what: String,
    },
    /// The collector of traces cannot be asked.
    #[error("[telemetry]: {what}")]
    Telemetry {
        /// What is wrong.
        what: String,
    },
    /// A policy file cannot be read.
    #[error("cannot read the policy `{}`: {source}", path.display())]
    PolicyFile {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Policies that do not load, all of them.
    #[error("{}", all(problems))]
    Policy {
        /// The problems of each.
        problems: Vec<Problems>,
    },
    /// How a server's calls are to be read makes no sense.
    #[error("server `{server}`: {what}")]
    Resolver {
        /// Which server.
        server: String,
        /// What is wrong.
        what: String,
    },
    /// The record cannot be opened, or not be closed.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// The counters cannot be rebuilt from the record.
    #[error("the counters cannot be rebuilt from the record: {0}")]
    Fold(#[from] Unfoldable),
    /// A thread of ours ended early.
    #[error("a thread of the proxy ended early: {what}")]
    Interrupted {
        /// What it said.
        what: String,
    },
    /// A server cannot be set up.
    #[error("{0}")]
    Upstream(#[from] ConnectError),
    /// A grant opens a server that is new in the configuration.
    #[error("grant `{grant}` opens `{server}`, which this proxy does not serve yet: restart it")]
    NewServer {
        /// The grant.
        grant: String,
        /// The server.
        server: String,
    },
    /// More grants than the limits that the proxy started with have counters for.
    #[error(
        "{grants} grants of {each} counters each could have more than {max}, which this proxy started with: raise `counters_max` in [limits] and restart it"
    )]
    TooManyGrants {
        /// So many there would be.
        grants: usize,
        /// `counters_per_grant` in force.
        each: usize,
        /// `counters_max` in force.
        max: usize,
    },
    /// What changed could not be written down.
    #[error("the record cannot be written: {what}")]
    Unrecorded {
        /// Why not.
        what: String,
    },
    /// There is nothing to serve.
    #[error("the configuration names no server")]
    NoServer,
    /// More than one thing keeps it from starting; never one of these itself.
    #[error("{}", all(faults))]
    Several {
        /// Each of them.
        faults: Vec<ServeError>,
    },
}

/// Everything that keeps a start from happening, so that all of it is told at once.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<ServeError>);

impl Faults {
    /// What came of one step; if nothing did, why not is noted.
    pub(super) fn noting<T>(&mut self, result: Result<T, ServeError>) -> Option<T> {
        result.map_err(|fault| self.note(fault)).ok()
    }

    pub(super) fn note(&mut self, fault: ServeError) {
        if let ServeError::Several { faults } = fault {
            self.0.extend(faults);
        } else {
            self.0.push(fault);
        }
    }

    /// What was noted, if anything was.
    pub(super) fn told(mut self) -> Result<(), ServeError> {
        match (self.0.pop(), self.0.is_empty()) {
            (None, _) => Ok(()),
            (Some(only), true) => Err(only),
            (Some(last), false) => {
                self.0.push(last);
                Err(ServeError::Several { faults: self.0 })
            }
        }
    }
}

impl ServeError {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Interrupted { .. } => Fault::Bug,
            Self::Several { faults } => faults.first().map_or(Fault::Bug, Self::fault),
            Self::Upstream(_) => Fault::Upstream,
            Self::Listen { .. }
            | Self::Tls { .. }
            | Self::Issuer { .. }
            | Self::Telemetry { .. }
            | Self::PolicyFile { .. }
            | Self::Policy { .. }
            | Self::Resolver { .. }
            | Self::Record(_)
            | Self::Fold(_)
            | Self::NewServer { .. }
            | Self::TooManyGrants { .. }
            | Self::Unrecorded { .. }
            | Self::NoServer => Fault::Operator,
        }
    }
}

fn listen_words(error: &io::Error) -> String {
    let words = [
        (
            io::ErrorKind::AddrInUse,
            "another program listens there already",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "this host does not have that address",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "permission denied: ports below 1024 need a privilege",
        ),
    ];
    let known = words.into_iter().find(|(kind, _)| *kind == error.kind());
    known.map_or_else(|| error.kind().to_string(), |(_, words)| words.to_owned())
}

fn all(problems: &[impl ToString]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

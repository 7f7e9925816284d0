//! What can keep a replay or a query from giving an answer.

use std::path::PathBuf;

use weir_recorder::{Finding, RecordError};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The record cannot be read.
    #[error("record `{path}`: {cause}")]
    Record {
        /// The folder of the record.
        path: PathBuf,
        /// What the recorder's reader said.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The record is not what was signed.
    #[error(
        "record `{path}` fails verification: {}; `weir verify --record {path}` tells more",
        told(.findings)
    )]
    Unverified {
        /// The folder of the record.
        path: PathBuf,
        /// What is wrong with it, the worst first.
        findings: Vec<Finding>,
    },
    /// The record holds something that its schema does not allow.
    #[error("record: column `{column}`: {problem}")]
    Column {
        /// The column.
        column: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A candidate is not a policy. The text shows every problem with its place.
    #[error("{0}")]
    Policy(weir_policy::Problems),
    /// A selected or assigned grant has no call in the record.
    #[error("{what} `{name}` has no call in the record{}", hint(.known))]
    Unknown {
        /// `server` or `grant`.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// A time that cannot be read.
    #[error("`{text}` is not a time: write `2026-11-22T06:00:00Z` or `2026-11-22`")]
    Time {
        /// What was given.
        text: String,
    },
    /// The file for `--out` cannot be written.
    #[error("cannot write `{path}`: {cause}")]
    Out {
        /// The file.
        path: PathBuf,
        /// What the writer said.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Rows that are too many for memory cannot be put aside.
    #[error("cannot put rows aside in the folder for temporary files: {cause}")]
    Spill {
        /// What the file system said.
        cause: std::io::Error,
    },
    /// A thread of replay ended without a result.
    #[error("replay stopped before its end: a bug in weir")]
    Stopped,
}

fn told(findings: &[Finding]) -> String {
    let Some(worst) = findings.first() else {
        return "it is not what was signed".into();
    };
    let more = match findings.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("{}: {}{more}", worst.state, crate::shown(&worst.text))
}

fn hint(known: &[String]) -> String {
    if known.is_empty() {
        return String::new();
    }
    let names: Vec<String> = known
        .iter()
        .map(|name| format!("`{}`", crate::shown(name)))
        .collect();
    format!(": there are {}", names.join(", "))
}

impl From<std::io::Error> for ReplayError {
    fn from(cause: std::io::Error) -> Self {
        Self::Spill { cause }
    }
}

/// What keeps part of a record from being replayed: a file may have vanished, and then it is worth another attempt.
#[derive(Debug)]
pub(crate) enum Failed {
    Record(RecordError),
    Replay(ReplayError),
    /// Nobody wants to know any more.
    Unwanted,
}

impl From<RecordError> for Failed {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl From<ReplayError> for Failed {
    fn from(error: ReplayError) -> Self {
        Self::Replay(error)
    }
}

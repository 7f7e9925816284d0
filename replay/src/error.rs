//! What can keep a replay or a query from giving an answer.

use std::path::PathBuf;

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
    /// A thread of replay ended without a result.
    #[error("replay stopped before its end: a bug in weir")]
    Stopped,
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

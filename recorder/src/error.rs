//! What can go wrong with a record.

use std::io;
use std::path::{Path, PathBuf};

/// The record cannot be opened, read or sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Another process has the record open.
    #[error("the record `{}` is in use by another process: two proxies cannot share a folder", path.display())]
    Locked {
        /// The record's folder.
        path: PathBuf,
    },
    /// The folder holds no record.
    #[error("`{}` is not a record: it has no node.json", path.display())]
    NotARecord {
        /// The folder.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file of the record is not what it should be.
    #[error("`{}` is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The record was written by a later version.
    #[error("`{}` has format version {found}, this build reads up to {known}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The latest version known here.
        known: String,
    },
    /// The folder belongs to a node of another name.
    #[error("the record `{}` belongs to node `{found}`, not `{asked}`", path.display())]
    OtherNode {
        /// The record's folder.
        path: PathBuf,
        /// Its name.
        found: String,
        /// The name that was asked for.
        asked: String,
    },
    /// A node's name cannot stand in a file name.
    #[error(
        "`{0}` cannot name a node: use 1 to 64 letters, digits, `.`, `_` or `-`, beginning with a letter or digit"
    )]
    NodeName(String),
    /// A column was asked for that does not exist.
    #[error("the table `{table}` has no column `{column}`")]
    NoColumn {
        /// The table.
        table: &'static str,
        /// The column.
        column: String,
    },
    /// A document is not kept here.
    #[error("no document with digest `{0}` is kept in this record")]
    NoDocument(String),
    /// A digest is not of the form `sha256:<64 hex digits>`.
    #[error("`{0}` is not a digest: expected `sha256:` and 64 hex digits")]
    Digest(String),
    /// Bytes do not have the digest under which they were to be kept.
    #[error("the document does not have the digest `{0}`")]
    DigestMismatch(String),
    /// The columns could not be encoded or decoded.
    #[error("columns: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// A segment could not be encoded or decoded.
    #[error("parquet: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// Entries cannot be made durable at the moment.
    #[error("the record cannot be written: {0}")]
    Unwritable(String),
    /// The evidence cannot be kept up.
    #[error("evidence: {0}")]
    Evidence(String),
    /// The record is closed, or one of its threads is gone.
    #[error("the record is closed")]
    Closed,
}

impl RecordError {
    /// An I/O error with what was attempted.
    pub(crate) fn io(
        action: &'static str,
        path: impl AsRef<Path>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// Whether a file that had been listed was gone when it was opened.
    pub(crate) fn is_vanished(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

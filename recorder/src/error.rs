//! What can go wrong with a record.

use std::io;
use std::path::{Path, PathBuf};

use crate::rows::Unreadable;
use crate::{KeyFault, RecordKeysError};

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
    /// The file system cannot exchange two folders in one step.
    #[error(
        "`{}` cannot be compacted: its file system cannot exchange two folders in one step (ext4, xfs, btrfs, tmpfs and APFS can)",
        path.display()
    )]
    NoExchange {
        /// The folder.
        path: PathBuf,
    },
    /// A column is encrypted, and cannot be decrypted.
    #[error("the column `{column}` of `{}` is encrypted: {fault}", path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Why it is not.
        fault: KeyFault,
    },
    /// A result kept in a file is encrypted, and cannot be decrypted.
    #[error("the result `{digest}` is encrypted: {fault}")]
    EncryptedResult {
        /// The digest of the file.
        digest: String,
        /// Why it is not.
        fault: KeyFault,
    },
    /// The record is encrypted, and what comes next would not be.
    #[error(
        "the record `{}` is sealed with the record key `{key_id}`, and without record keys its next rows would be sealed in the clear",
        path.display()
    )]
    KeysWanted {
        /// The record's folder.
        path: PathBuf,
        /// The key that was in use last.
        key_id: String,
    },
    /// Something is to be encrypted, and this build cannot.
    #[error("this build encrypts nothing: it lacks the feature `encryption`")]
    NotBuilt,
    /// Record keys cannot be taken.
    #[error(transparent)]
    Keys(#[from] RecordKeysError),
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

impl From<Unreadable> for RecordError {
    fn from(_: Unreadable) -> Self {
        let what = "a value that no column can hold".to_owned();
        Self::Arrow(arrow::error::ArrowError::InvalidArgumentError(what))
    }
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

    /// What the file system said, if it refused.
    pub(crate) fn of_io(&self) -> Option<&io::Error> {
        if let Self::Io { source, .. } = self {
            Some(source)
        } else {
            None
        }
    }

    /// Whether record keys, or others, would help.
    pub fn lacks_keys(&self) -> bool {
        matches!(
            self,
            Self::Encrypted { .. } | Self::EncryptedResult { .. } | Self::KeysWanted { .. }
        )
    }

    /// Whether a file that had been listed was gone when it was opened: files were joined or removed meanwhile, and whoever looks
    /// again finds their rows.
    pub fn is_vanished(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

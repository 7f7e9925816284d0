//! What can go wrong with a copy.

use std::io;
use std::path::PathBuf;

use weir_recorder::RecordError;

/// A copy cannot be made, brought up to its record, or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ObjectStorageError {
    /// The place is not one where a copy can be.
    #[error("{0}")]
    Place(String),
    /// The object storage refused, or did not answer.
    #[error("cannot {action} `{path}` in the bucket: {source}")]
    Store {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The object.
        path: String,
        /// Why not.
        source: Box<object_store::Error>,
    },
    /// An object is there already, with other contents. Nothing is ever overwritten.
    #[error(
        "the bucket has another `{path}` than the record: an object is written once and never again, so somebody else wrote it, or this record was brought back from an older copy"
    )]
    Conflict {
        /// The object.
        path: String,
    },
    /// The bucket has more of this log than the record.
    #[error(
        "the bucket has {there} entries of `{node}`, the record vouches for {here}: it was cut off, or brought back from a copy. A record that begins anew needs another node name or another prefix"
    )]
    Ahead {
        /// The log's node.
        node: String,
        /// Entries in the bucket.
        there: u64,
        /// Entries in the record.
        here: u64,
    },
    /// The bucket has a checkpoint that this record never wrote.
    #[error(
        "the bucket has the checkpoint `{path}` and this record does not: the record was brought back from an older copy and went another way since. It needs another node name and another prefix"
    )]
    Forked {
        /// The checkpoint.
        path: String,
    },
    /// The prefix holds a copy of another record.
    #[error(
        "the prefix holds a copy of {there}, this is {here}: give each record a prefix of its own"
    )]
    OtherRecord {
        /// Whose it is.
        there: String,
        /// Whose it should be.
        here: String,
    },
    /// A file of the record is not what was signed, so it is not copied.
    #[error("`{path}` is not as it was signed; it is not copied. `weir verify` says more")]
    Altered {
        /// The file.
        path: PathBuf,
    },
    /// There is no copy.
    #[error("`{place}` holds no copy of a record: it has no signed list of files")]
    NoCopy {
        /// Where.
        place: String,
    },
    /// There is no list of this number.
    #[error("`{place}` has no list {number}: `weir verify` names the newest one")]
    NoList {
        /// Where.
        place: String,
        /// The number.
        number: u64,
    },
    /// What is said to be a public key is none.
    #[error("the public key `{path}` in the bucket: {what}")]
    Key {
        /// The object.
        path: String,
        /// Why.
        what: String,
    },
    /// A file here cannot be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    File {
        /// What was attempted, as a verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl ObjectStorageError {
    pub(crate) fn store(
        action: &'static str,
        path: impl Into<String>,
    ) -> impl FnOnce(object_store::Error) -> Self {
        let path = path.into();
        move |source| Self::Store {
            action,
            path,
            source: Box::new(source),
        }
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// Whether somebody must act: waiting will not help.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Store { source, .. } => is_refusal(source),
            Self::File { .. } | Self::Record(_) => false,
            Self::Place(_)
            | Self::Conflict { .. }
            | Self::Ahead { .. }
            | Self::Forked { .. }
            | Self::OtherRecord { .. }
            | Self::Altered { .. }
            | Self::NoCopy { .. }
            | Self::NoList { .. }
            | Self::Key { .. } => true,
        }
    }
}

/// Whether the storage answered that it will not, and not that it cannot.
fn is_refusal(error: &object_store::Error) -> bool {
    let typed = matches!(
        error,
        object_store::Error::PermissionDenied { .. }
            | object_store::Error::Unauthenticated { .. }
            | object_store::Error::NotImplemented { .. }
    );
    // Of a listing that was refused there is no more than its text.
    let text = error.to_string();
    let said = |status| text.contains(&format!("non-2xx status code: {status}"));
    typed || ["401", "403", "404"].into_iter().any(said)
}

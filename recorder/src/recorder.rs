//! The record's door: opening, sealing, closing, and how it fares.

use std::path::Path;
use std::sync::Arc;

use crate::{Calls, DigestKey, Log, RecordError, RecordOptions, RecordReader, Storage};

/// A record that is open for writing. Clones are handles to the same record.
#[derive(Debug, Clone)]
pub struct Recorder {
    key: DigestKey,
    node: Arc<str>,
    reader: RecordReader,
}

/// What was found when a record was opened.
#[derive(Debug)]
pub struct Recovered {
    /// The last place taken in the log, none in a new record.
    pub last_seq: Option<i64>,
    /// The time of the last entry, in microseconds since the epoch.
    pub last_decided_at: Option<i64>,
    /// Calls whose outcome was never written; they are `unknown` now, and count as consumed.
    pub unfinished: u64,
    /// A journal ended in the middle of an entry: the process or the machine stopped while writing.
    pub torn: bool,
    /// Reads what was recorded.
    pub reader: RecordReader,
}

impl Recovered {
    /// The recorded calls of this node decided at or after this time, in `seq` order: what counters are folded from.
    pub fn calls_since(&self, micros: i64, columns: &[&str]) -> Result<Calls, RecordError> {
        self.reader.calls_between(columns, Some(micros), None)
    }
}

/// How a record fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Decisions can be written.
    pub recording: bool,
    /// Why not, or what last went wrong with sealing.
    pub fault: Option<String>,
    /// Entries waiting for the disk.
    pub waiting: usize,
    /// Entries in the journal and not yet sealed.
    pub unsealed: u64,
    /// The last place taken in the log.
    pub last_seq: Option<i64>,
    /// Segments written since the record was opened.
    pub sealed: u64,
}

impl Recorder {
    /// Opens a record to write, making it if it does not exist: takes the folder's lock, recovers the journal, and starts
    /// the threads that commit and seal.
    pub fn open(
        options: RecordOptions,
        storage: Arc<dyn Storage>,
    ) -> Result<(Self, Log, Recovered), RecordError> {
        let _ = (options, storage);
        Err(RecordError::Closed)
    }

    /// The node's name in the record.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The record's folder.
    pub fn path(&self) -> &Path {
        self.reader.path()
    }

    /// The key of this record's digests.
    pub fn digest_key(&self) -> &DigestKey {
        &self.key
    }

    /// Reads what is recorded, this moment's journal included.
    pub fn reader(&self) -> RecordReader {
        self.reader.clone()
    }

    /// Keeps a policy under its digest (`sha256:…`), durable when this returns; fine if it is kept already.
    pub fn keep_policy(&self, digest: &str, document: &[u8]) -> Result<(), RecordError> {
        let _ = (digest, document);
        Err(RecordError::Closed)
    }

    /// Keeps a resolver under its digest, as [`Recorder::keep_policy`].
    pub fn keep_resolver(&self, digest: &str, document: &[u8]) -> Result<(), RecordError> {
        let _ = (digest, document);
        Err(RecordError::Closed)
    }

    /// Seals everything written so far and returns when that is done.
    pub fn seal_now(&self) -> Result<(), RecordError> {
        Err(RecordError::Closed)
    }

    /// How the record fares.
    pub fn health(&self) -> Health {
        Health {
            recording: false,
            fault: None,
            waiting: 0,
            unsealed: 0,
            last_seq: None,
            sealed: 0,
        }
    }

    /// Commits what waits, seals it, stops the threads and releases the folder. Calls without an outcome are sealed as
    /// `unknown`. Later entries are refused.
    pub fn close(&self) -> Result<(), RecordError> {
        Err(RecordError::Closed)
    }
}

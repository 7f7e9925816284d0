//! How a record is kept.

use std::path::PathBuf;
use std::time::Duration;

/// How a record is kept: where, how safely, and in pieces of what size. Every limit has a default.
#[derive(Debug, Clone)]
pub struct RecordOptions {
    /// The record's folder; made if it does not exist.
    pub path: PathBuf,
    /// Name of this proxy in the record. None: the name that the folder already has, else a new random one.
    pub node: Option<String>,
    /// When a decision counts as written.
    pub durability: Durability,
    /// Seal once a journal file holds this many entries. Default 131,072 calls' decisions.
    pub seal_rows: usize,
    /// Seal once the oldest entry of a journal file is this old. Default 60 s.
    pub seal_age: Duration,
    /// Longest a decision may wait to become durable; after that it is refused and its journal file is given up.
    /// Default 5 s.
    pub commit_wait_max: Duration,
    /// Entries that may wait for the disk; beyond that decisions are refused at once. Default 16,384.
    pub queue_max: usize,
    /// Bytes that may wait for the disk; beyond that decisions are refused at once. Default 256 MiB.
    pub queue_bytes_max: usize,
    /// Bytes written under one sync. Default 4 MiB; a single larger entry goes by itself.
    pub batch_bytes_max: usize,
    /// Seal once a journal file is this large. Default 64 MiB.
    pub journal_bytes_max: u64,
    /// Bytes by which a journal file is zeroed ahead, so that a sync need not grow it. Default 8 MiB.
    pub journal_ahead_bytes: u64,
    /// Pause between attempts to write again after a storage fault. Default 250 ms.
    pub retry_pause: Duration,
    /// The private key that signs checkpoints; made if it does not exist, and its public key beside it, ending in `.pub`.
    /// None: `<record>.key`, beside the record's folder.
    pub signing_key: Option<PathBuf>,
    /// A folder outside the record, best on another machine, that gets every checkpoint too and never loses one. None by
    /// default: then nobody can notice that the end of the record was cut off.
    pub anchor: Option<PathBuf>,
    /// Longest that durable entries stay without a checkpoint, besides the one at each seal. Default 5 s.
    pub checkpoint_age: Duration,
}

/// When a decision counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Once `fdatasync` returned: a call that was forwarded is in the record whatever happens.
    Sync,
    /// Once handed to the operating system, with a sync at least this often: that much is at risk when the power fails.
    Interval(Duration),
}

impl RecordOptions {
    /// The defaults, for a record in this folder.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            node: None,
            durability: Durability::Sync,
            seal_rows: 131_072,
            seal_age: Duration::from_mins(1),
            commit_wait_max: Duration::from_secs(5),
            queue_max: 16_384,
            queue_bytes_max: 256 << 20,
            batch_bytes_max: 4 << 20,
            journal_bytes_max: 64 << 20,
            journal_ahead_bytes: 8 << 20,
            retry_pause: Duration::from_millis(250),
            signing_key: None,
            anchor: None,
            checkpoint_age: Duration::from_secs(5),
        }
    }
}

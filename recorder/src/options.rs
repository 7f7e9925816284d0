//! How a record is kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{Anchor, RecordKeys};

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
    /// Bytes by which the next journal file is zeroed, in the background, once the one in use fills up. Default 68 MiB: a batch
    /// more than `journal_bytes_max`, so that no call waits for zeros.
    pub journal_room_bytes: u64,
    /// Pause between attempts to write again after a storage fault. Default 250 ms.
    pub retry_pause: Duration,
    /// The private key that signs checkpoints; made if it does not exist, and its public key beside it, ending in `.pub`.
    /// None: `<record>.key`, beside the record's folder.
    pub signing_key: Option<PathBuf>,
    /// What encrypts the columns that hold what calls carry, and long results: the last of these keys; all of them are read
    /// with. None by default: then a record that was encrypted before is not opened.
    pub keys: RecordKeys,
    /// Seal in the clear from now on, although the record was encrypted before and there are no `keys`.
    pub seal_in_the_clear: bool,
    /// A folder outside the record, best on another machine, that gets every checkpoint too and never loses one. None by
    /// default: then nobody can notice that the end of the record was cut off.
    pub anchor: Option<PathBuf>,
    /// Further anchors: each gets every checkpoint too, on a thread of its own.
    pub anchors: Vec<Arc<dyn Anchor>>,
    /// Longest that durable entries stay without a checkpoint, besides the one at each seal. Default 5 s.
    pub checkpoint_age: Duration,
    /// Join the small segments of a day that lasts once there are this many; those of a day that is over are joined too. Default
    /// 64; 0 joins none unless asked.
    pub compact_segments: usize,
    /// What is removed when it is old or too much. Nothing by default.
    pub retain: Retain,
    /// Bytes that all files of the record may have together, the reserve among them; beyond that decisions are refused. None, the
    /// default: nine tenths of the disk, where the system tells how large that is.
    pub bytes_max: Option<u64>,
    /// Bytes allocated ahead, and given up where the disk is full, for what must still be written then. Default 64 MiB.
    pub reserve_bytes: u64,
    /// Pause between looks at what can be joined or is to be removed. Default 60 s.
    pub tidy_pause: Duration,
    /// How long a folder that made room for another is kept, for who is listing it at that moment. Default 2 s.
    pub tidy_grace: Duration,
}

/// Which calls are kept. Whole days are removed, the oldest first, and never the last two; times are those of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retain {
    /// Days that ended longer ago are removed.
    pub age: Option<Duration>,
    /// Days are removed until all sealed files have at most this many bytes.
    pub bytes: Option<u64>,
    /// Nothing younger is removed, whatever the others say: what counters are rebuilt from.
    pub window: Duration,
}

/// When a decision counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Once `fdatasync` returned: a call that was forwarded is in the record whatever happens.
    Sync,
    /// Once handed to the operating system, with a sync at least this often: that much is at risk when the power fails.
    Interval(Duration),
    /// Never: calls are neither written nor held up for it. Events still are.
    Off,
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
            journal_room_bytes: 68 << 20,
            retry_pause: Duration::from_millis(250),
            signing_key: None,
            keys: RecordKeys::default(),
            seal_in_the_clear: false,
            anchor: None,
            anchors: Vec::new(),
            checkpoint_age: Duration::from_secs(5),
            compact_segments: 64,
            retain: Retain::default(),
            bytes_max: None,
            reserve_bytes: 64 << 20,
            tidy_pause: Duration::from_mins(1),
            tidy_grace: Duration::from_secs(2),
        }
    }
}

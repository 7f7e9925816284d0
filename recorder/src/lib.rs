//! The record: every call and its decision, durable before the call is forwarded, sealed to Parquet, read back whole.
//!
//! A [`Log`] is the single writer. It gives each entry its place and time, and hands it to a journal whose sync many
//! entries share; [`Commit::wait`] then yields the [`Permit`] without which nothing is forwarded. Journal files are
//! sealed into segments in the background. A [`RecordReader`] sees segments and journal as one table, each row once.
//!
//! ```
//! use std::sync::Arc;
//! use weir_recorder::{Call, Disk, Finish, Outcome, RecordOptions, RecordReader, Recorder, Verdict};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("record");
//! let (recorder, mut log, _) = Recorder::open(RecordOptions::new(&path), Arc::new(Disk))?;
//! let stamp = log.stamp(1_763_800_000_000_000);
//! let call = Call { verdict: Verdict::Allow, tool: Some("vm_stop"), ..Call::default() };
//! let permit = log.decide(stamp, &call).wait_blocking()?.ok_or("denied")?;
//! // … forward the call, then:
//! let finish = Finish::<&str> { outcome: Outcome::Ok, ..Finish::default() };
//! log.finish(1_763_800_000_250_000, permit.seq(), &finish);
//! recorder.close()?;
//!
//! let rows: usize = RecordReader::open(&path)?.calls(&["tool", "outcome"])?.map(|b| b.map_or(0, |b| b.num_rows())).sum();
//! assert_eq!(rows, 1);
//! # Ok(()) }
//! ```
//!
//! This crate never evaluates a policy, never opens a socket, never reads the wall clock, and never says that an entry is
//! durable before the disk did.

mod backlog;
mod budget;
mod call;
mod changes;
mod commit;
mod committer;
mod digest;
mod entry;
mod error;
mod event;
mod evidence;
mod identity;
mod index;
mod journal;
mod keeper;
mod keys;
mod layout;
mod log;
mod options;
mod pulse;
mod queue;
mod reader;
mod recorder;
mod recovery;
mod rows;
mod schema;
mod seal;
mod sealer;
mod segments;
mod spare;
mod spilled;
mod storage;

pub use budget::Room;
pub use call::{
    Answer, Approval, Call, Direction, Finish, LimitCount, Outcome, PENDING, Shadow, Verdict,
};
pub use changes::{CHANGES_COLUMNS, CHANGES_RISKS, Changes, changes_schema};
pub use commit::{Commit, Permit, Unrecorded};
pub use digest::DigestKey;
pub use error::RecordError;
pub use event::{Event, EventKind};
pub use evidence::anchor::{Anchor, FolderAnchor};
pub use evidence::key::{KeyError, SigningKey, VerifyingKey};
pub use evidence::merkle::{CompactRange, Hash, leaf_hash, node_hash};
pub use evidence::note::{Note, NoteError};
pub use evidence::proof::{
    Subtrees, consistency_ranges, inclusion_ranges, verify_consistency, verify_inclusion,
};
pub use evidence::shipment::{ListError, Shipment, ShippedFile, successor, verify_list};
pub use evidence::verify::{
    CallProof, EntryProof, FilesVerification, Finding, LogVerification, ProofError, RemovedCalls,
    State, Verification, VerifyOptions, prove, verify, verify_files, verify_files_on, verify_on,
    verify_proof,
};
pub use keeper::{CompactedDay, Compaction, RemovedDay};
pub use keys::{KeyFault, RecordKeys, RecordKeysError};
pub use log::{Log, Stamp, Void};
pub use options::{Durability, RecordOptions, Retain};
pub use reader::{CallGroup, CallRow, CallRows, Calls, GroupRows, RecordReader, Segment};
pub use recorder::{Health, Recorder, Recovered};
pub use schema::{SCHEMA_VERSION, SCHEMA_VERSION_KEY, calls_schema, events_schema};
pub use segments::encryption::ClosedColumn;
pub use spilled::{names_spilled, spilled};
pub use storage::{Disk, Source, Space, Storage, StorageFile};

//! The record read back: sealed segments and the live journal as one table.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::{Disk, RecordError, Storage, calls_schema};

mod row;

pub use row::{CallRow, CallRows};

/// Reads a record, also while a proxy writes it, and also a copy of one.
#[derive(Debug, Clone)]
pub struct RecordReader {
    path: PathBuf,
    storage: Arc<dyn Storage>,
}

/// One sealed Parquet file of calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// The node that wrote it.
    pub node: String,
    /// The day of its calls' `decided_at`, UTC, as `YYYY-MM-DD`.
    pub date: String,
    /// The least `seq` in it.
    pub first_seq: i64,
    /// The greatest `seq` in it.
    pub last_seq: i64,
}

/// Batches of calls in (`node`, `seq`) order, each row once.
#[derive(Debug)]
pub struct Calls(());

impl Iterator for Calls {
    type Item = Result<RecordBatch, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}

impl RecordReader {
    /// Opens a record on disk.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, RecordError> {
        Self::open_with(path, Arc::new(Disk))
    }

    /// Opens a record on any storage.
    pub fn open_with(
        path: impl Into<PathBuf>,
        storage: Arc<dyn Storage>,
    ) -> Result<Self, RecordError> {
        Ok(Self {
            path: path.into(),
            storage,
        })
    }

    /// The record's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sealed segments, sorted by node and first `seq`.
    pub fn segments(&self) -> Result<Vec<Segment>, RecordError> {
        let _ = &self.storage;
        Ok(Vec::new())
    }

    /// The calls in the journal that no segment holds yet, with every column, in (`node`, `seq`) order.
    pub fn live(&self) -> Result<RecordBatch, RecordError> {
        Ok(RecordBatch::new_empty(calls_schema()))
    }

    /// Every call, with these columns in this order, in (`node`, `seq`) order. The answer is of one moment: each row that was
    /// durable when this was called comes exactly once, also while segments are being sealed.
    pub fn calls(&self, columns: &[&str]) -> Result<Calls, RecordError> {
        self.calls_between(columns, None, None)
    }

    /// The calls decided at or after `from` and before `to`, in microseconds since the epoch.
    pub fn calls_between(
        &self,
        columns: &[&str],
        from: Option<i64>,
        to: Option<i64>,
    ) -> Result<Calls, RecordError> {
        let _ = (columns, from, to);
        Ok(Calls(()))
    }

    /// The rows of one segment, with these columns in this order: for those who read segments side by side.
    pub fn segment(&self, segment: &Segment, columns: &[&str]) -> Result<Calls, RecordError> {
        let _ = (segment, columns);
        Ok(Calls(()))
    }

    /// Every event, in (`node`, `seq`) order.
    pub fn events(&self) -> Result<RecordBatch, RecordError> {
        Ok(RecordBatch::new_empty(crate::events_schema()))
    }

    /// The policy kept under this digest.
    pub fn policy(&self, digest: &str) -> Result<Vec<u8>, RecordError> {
        Err(RecordError::NoDocument(digest.to_owned()))
    }

    /// The resolver kept under this digest.
    pub fn resolver(&self, digest: &str) -> Result<Vec<u8>, RecordError> {
        Err(RecordError::NoDocument(digest.to_owned()))
    }
}

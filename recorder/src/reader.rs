//! The record read back: sealed segments and the live journal as one table.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use crate::evidence::event_row::EventColumns;
use crate::identity::{self, Identity};
use crate::layout::{Layout, Table};
use crate::spilled;
use crate::{
    Changes, Disk, EventKind, RecordError, RecordKeys, Storage, calls_schema, events_schema,
};

mod calls;
mod groups;
pub(crate) mod row;
mod silence;
pub(crate) mod snapshot;

pub use calls::Calls;
pub use groups::{CallGroup, GroupRows};
pub use row::{CallRow, CallRows};

use snapshot::Snapshot;

/// Reads a record, also while a proxy writes it, and also a copy of one.
#[derive(Debug, Clone)]
pub struct RecordReader {
    layout: Layout,
    storage: Arc<dyn Storage>,
    keys: RecordKeys,
}

/// One sealed Parquet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// The node that wrote it.
    pub node: String,
    /// The day of its rows, UTC, as `YYYY-MM-DD`: of `decided_at` for calls.
    pub date: String,
    /// The least `seq` in it.
    pub first_seq: i64,
    /// The greatest `seq` in it.
    pub last_seq: i64,
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
        let layout = Layout::new(path);
        let not_a_record = || RecordError::NotARecord {
            path: layout.root().to_owned(),
        };
        Identity::read(&*storage, &layout)?.ok_or_else(not_a_record)?;
        Ok(Self {
            layout,
            storage,
            keys: RecordKeys::default(),
        })
    }

    /// With keys to read what is encrypted; every other column is read without.
    #[must_use]
    pub fn with_keys(mut self, keys: RecordKeys) -> Self {
        self.keys = keys;
        self
    }

    /// The keys that it reads with.
    pub fn keys(&self) -> &RecordKeys {
        &self.keys
    }

    /// The record's folder.
    pub fn path(&self) -> &Path {
        self.layout.root()
    }

    /// The sealed segments of calls, sorted by node and first `seq`.
    pub fn segments(&self) -> Result<Vec<Segment>, RecordError> {
        crate::segments::list(&*self.storage, &self.layout, Table::Calls, None..=None)
    }

    /// The calls in the journal that no segment holds yet, with every column, in (`node`, `seq`) order.
    pub fn live(&self) -> Result<RecordBatch, RecordError> {
        Ok(self.sealed_and_live()?.1)
    }

    /// The sealed segments and the calls beside them, of one moment: each row is in exactly one of the two.
    pub fn sealed_and_live(&self) -> Result<(Vec<Segment>, RecordBatch), RecordError> {
        let Snapshot { segments, live } = self.snapshot(Table::Calls, None, None)?;
        let live = concat_batches(&calls_schema(), live.iter().map(|(_, rows)| rows))?;
        Ok((segments, live))
    }

    /// The calls that change something, of one moment: as far as possible from the projection that is sorted by tool and grant.
    pub fn changes(&self) -> Result<Changes, RecordError> {
        snapshot::undisturbed(|| {
            let (segments, live) = self.sealed_and_live()?;
            Changes::of(&*self.storage, &self.layout, segments, &live)
        })
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
        let Snapshot { segments, live } = self.snapshot(Table::Calls, from, to)?;
        let calls = Calls::new(
            Arc::clone(&self.storage),
            self.keys.clone(),
            columns,
            segments,
            live,
            (from, to),
        )?;
        Ok(calls.following(&self.layout))
    }

    /// The rows of one segment, with these columns in this order: for those who read segments side by side.
    pub fn segment(&self, segment: &Segment, columns: &[&str]) -> Result<Calls, RecordError> {
        Calls::new(
            Arc::clone(&self.storage),
            self.keys.clone(),
            columns,
            vec![segment.clone()],
            Vec::new(),
            (None, None),
        )
    }

    /// Every event, in (`node`, `seq`) order.
    pub fn events(&self) -> Result<RecordBatch, RecordError> {
        snapshot::undisturbed(|| self.read_events())
    }

    fn read_events(&self) -> Result<RecordBatch, RecordError> {
        let Snapshot { segments, live } = self.snapshot(Table::Events, None, None)?;
        let schema = events_schema();
        let columns: Vec<&str> = schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let mut parts: Vec<(String, i64, RecordBatch)> = Vec::new();
        for segment in segments {
            let (storage, path) = (&*self.storage, &segment.path);
            for batch in
                crate::segments::open(storage, path, Table::Events, &columns, &self.keys)?.0
            {
                parts.push((
                    segment.node.clone(),
                    segment.first_seq,
                    batch?.with_schema(events_schema())?,
                ));
            }
        }
        parts.extend(live.into_iter().map(|(node, rows)| (node, i64::MAX, rows)));
        // Events are never carried over, so files of one node do not overlap.
        parts.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        Ok(concat_batches(
            &schema,
            parts.iter().map(|(_, _, rows)| rows),
        )?)
    }

    /// Where retention removed calls: the time from when on none was, in microseconds since the epoch.
    pub fn complete_from(&self) -> Result<Option<i64>, RecordError> {
        let events = self.events()?;
        let columns = EventColumns::new(&events)?;
        let mut from = None;
        for i in 0..events.num_rows() {
            let Ok(facts) = columns.read(i) else { continue };
            let detail = facts
                .event
                .detail
                .filter(|_| facts.event.kind == EventKind::Retention);
            from = from.max(detail.and_then(end_of_day));
        }
        Ok(from)
    }

    /// The policy kept under this digest.
    pub fn policy(&self, digest: &str) -> Result<Vec<u8>, RecordError> {
        identity::kept(&*self.storage, &self.layout.policies(), digest)
    }

    /// The resolver kept under this digest.
    pub fn resolver(&self, digest: &str) -> Result<Vec<u8>, RecordError> {
        identity::kept(&*self.storage, &self.layout.resolvers(), digest)
    }

    /// The result that is kept in a file of its own, as the column `result` names it; decrypted, where it is encrypted. None if the
    /// column holds the result itself.
    pub fn result(&self, named: &str) -> Result<Option<Vec<u8>>, RecordError> {
        let Some(digest) = spilled::spilled(named) else {
            return Ok(None);
        };
        let kept = identity::kept(&*self.storage, &self.layout.results(), digest)?;
        if !spilled::is_encrypted(named) {
            return Ok(Some(kept));
        }
        self.decrypted(digest, &kept).map(Some)
    }

    #[cfg(feature = "encryption")]
    fn decrypted(&self, digest: &str, kept: &[u8]) -> Result<Vec<u8>, RecordError> {
        match crate::keys::parcel::unwrap(kept, &self.keys) {
            Ok(Some(result)) => Ok(result),
            Ok(None) => Err(RecordError::Damaged {
                path: self.layout.results(),
                what: format!("the result `{digest}` is not what was encrypted"),
            }),
            Err(fault) => Err(RecordError::EncryptedResult {
                digest: digest.to_owned(),
                fault,
            }),
        }
    }

    #[cfg(not(feature = "encryption"))]
    fn decrypted(&self, digest: &str, _: &[u8]) -> Result<Vec<u8>, RecordError> {
        Err(RecordError::EncryptedResult {
            digest: digest.to_owned(),
            fault: crate::KeyFault::NotBuilt,
        })
    }

    fn snapshot(
        &self,
        table: Table,
        from: Option<i64>,
        to: Option<i64>,
    ) -> Result<Snapshot, RecordError> {
        Snapshot::take(&*self.storage, &self.layout, table, from, to)
    }
}

/// When the day ends that an event `retention` names.
fn end_of_day(detail: &str) -> Option<i64> {
    let detail: serde_json::Value = serde_json::from_str(detail).ok()?;
    let day: jiff::civil::Date = detail.get("day")?.as_str()?.parse().ok()?;
    let midnight = day
        .tomorrow()
        .ok()?
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()?;
    Some(midnight.timestamp().as_microsecond())
}

//! Sealing: what journal files hold, written as segments, split by day.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::evidence::Evidence;
use crate::evidence::checkpoint::SealedFile;
use crate::index::Index;
use crate::layout::{DAY, Layout, Table, date};
use crate::rows::{CallsBuilder, End, EventsBuilder};
use crate::segments::{self, Staged, Unsealed};
use crate::{RecordError, Storage};

/// What sealing came to.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Files written.
    pub(crate) segments: u64,
    /// Calls written.
    pub(crate) sealed: Vec<i64>,
    /// Calls left open: place, time, and the entry to carry on.
    pub(crate) open: Vec<(i64, i64, Vec<u8>)>,
    /// Calls written as `unknown`.
    pub(crate) unknown: u64,
}

/// Writes what these journal files hold and no segment does. Calls that may still end are left out, unless this is the
/// `last` time that anybody could write their end: then they are `unknown`.
pub(crate) fn seal(
    storage: &dyn Storage,
    layout: &Layout,
    node: &Arc<str>,
    index: &Index<'_>,
    last: bool,
    evidence: &Evidence,
) -> Result<Done, RecordError> {
    let mut done = Done::default();
    let target = Target {
        storage,
        layout,
        node,
        reached: (index.last_seq.unwrap_or(-1), index.last_at.unwrap_or(0)),
    };

    let sealed = target.sealed(Table::Calls, index.calls_range(), index.first_decided_at())?;
    let mut rows = Days::new(&target, Table::Calls, CallsBuilder::new(node));
    index.each_call(&sealed, |found| {
        if found.is_open() && !last {
            done.open
                .push((found.seq, found.at, found.payload.to_vec()));
            return Ok(());
        }
        let end = if found.is_open() {
            End::Unknown
        } else {
            found.end
        };
        done.unknown += u64::from(end == End::Unknown);
        done.sealed.push(found.seq);
        rows.of(found.seq, found.at)?
            .push(found.seq, found.at, found.call, &end)
    })?;
    let mut staged = rows.finish()?;

    let sealed = target.sealed(Table::Events, index.events_range(), index.first_event_at())?;
    let mut rows = Days::new(&target, Table::Events, EventsBuilder::new(node));
    index.each_event(&sealed, |seq, at, event| {
        rows.of(seq, at)?.push(seq, at, event)
    })?;
    staged.extend(rows.finish()?);
    // What the files hold is signed before anybody sees them.
    evidence.wait_for(index.last_seq)?;
    evidence.checkpoint(staged.iter().map(|file| SealedFile {
        digest: file.digest,
        path: file.name.clone(),
    }))?;
    for file in &staged {
        file.publish(storage)?;
    }
    done.segments += staged.len() as u64;
    Ok(done)
}

/// Where segments go, and how far the log has come.
struct Target<'a> {
    storage: &'a dyn Storage,
    layout: &'a Layout,
    node: &'a Arc<str>,
    reached: (i64, i64),
}

impl Target<'_> {
    fn sealed(
        &self,
        table: Table,
        range: Option<(i64, i64)>,
        since: Option<i64>,
    ) -> Result<HashSet<i64>, RecordError> {
        let Some(range) = range else {
            return Ok(HashSet::new());
        };
        let segments = segments::list(self.storage, self.layout, table, since..=None)?;
        let ours = segments
            .iter()
            .filter(|segment| *segment.node == **self.node);
        segments::sealed_seqs(self.storage, table, ours, range)
    }
}

/// Rows on their way to a segment.
trait Rows {
    fn take(&mut self) -> Result<RecordBatch, RecordError>;
}

impl Rows for CallsBuilder {
    fn take(&mut self) -> Result<RecordBatch, RecordError> {
        self.finish()
    }
}

impl Rows for EventsBuilder {
    fn take(&mut self) -> Result<RecordBatch, RecordError> {
        self.finish()
    }
}

/// Rows that become one segment a day.
struct Days<'a, R> {
    target: &'a Target<'a>,
    table: Table,
    rows: R,
    day: i64,
    range: Option<(i64, i64)>,
    staged: Vec<Staged>,
}

impl<'a, R: Rows> Days<'a, R> {
    fn new(target: &'a Target<'a>, table: Table, rows: R) -> Self {
        Self {
            target,
            table,
            rows,
            day: 0,
            range: None,
            staged: Vec::new(),
        }
    }

    /// The rows of this time's day; those of the day before are written first.
    fn of(&mut self, seq: i64, at: i64) -> Result<&mut R, RecordError> {
        let day = at.div_euclid(DAY);
        if day != self.day {
            self.write()?;
            self.day = day;
        }
        let (first, last) = self.range.unwrap_or((seq, seq));
        self.range = Some((first.min(seq), last.max(seq)));
        Ok(&mut self.rows)
    }

    fn finish(mut self) -> Result<Vec<Staged>, RecordError> {
        self.write()?;
        Ok(self.staged)
    }

    fn write(&mut self) -> Result<(), RecordError> {
        let Some((first_seq, last_seq)) = self.range.take() else {
            return Ok(());
        };
        let Target {
            storage,
            layout,
            node,
            reached,
        } = *self.target;
        let (table, date, rows) = (self.table, date(self.day * DAY), self.rows.take()?);
        let unsealed = Unsealed {
            table,
            node,
            date: &date,
            first_seq,
            last_seq,
            rows,
            reached,
        };
        self.staged
            .push(segments::stage(storage, layout, &unsealed)?);
        Ok(())
    }
}

//! Sealing: what journal files hold, written as segments, split by day.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::evidence::Evidence;
use crate::evidence::checkpoint::SealedFile;
use crate::index::{Carried, Index, Openness};
use crate::layout::{DAY, Layout, Table, date};
use crate::rows::{CallsBuilder, End, EventsBuilder};
use crate::segments::{self, Begun, SegmentWriter, Staged};
use crate::{RecordError, RecordKeys, Storage};

/// What sealing came to.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Files written.
    pub(crate) segments: u64,
    /// Calls written.
    pub(crate) sealed: Vec<i64>,
    /// What calls left open are made of, to be carried on.
    pub(crate) open: Vec<Carried>,
    /// Calls written as `unknown`.
    pub(crate) unknown: u64,
}

/// Where segments go, and who signs them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sealing<'s> {
    pub(crate) storage: &'s dyn Storage,
    pub(crate) layout: &'s Layout,
    pub(crate) node: &'s Arc<str>,
    pub(crate) evidence: &'s Evidence,
    pub(crate) keys: &'s RecordKeys,
}

impl Sealing<'_> {
    /// Writes what these journal files hold and no segment does. Calls that may still end are left out, unless this is the
    /// `last` time that anybody could write their end: then they are `unknown`.
    pub(crate) fn seal(&self, index: &Index<'_>, last: bool) -> Result<Done, RecordError> {
        // The files that are looked through stay where they are, and a day folder is the one that others read.
        let _naming = self.evidence.naming();
        let mut done = Done::default();
        let target = Target {
            of: self,
            reached: (index.last_seq.unwrap_or(-1), index.last_at.unwrap_or(0)),
        };

        let sealed = target.sealed(Table::Calls, &index.call_seqs(), index.first_decided_at())?;
        let mut rows = Days::new(&target, Table::Calls, CallsBuilder::new(self.node));
        index.each_call(&sealed, |mut call| {
            let (seq, at) = call.place();
            if let Some(openness) = call.is_open()? {
                if !last {
                    done.open.extend(call.carried());
                    return Ok(());
                }
                call.end = End::Unknown;
                done.unknown += u64::from(openness == Openness::Outcome);
            }
            done.sealed.push(seq);
            call.add_to(rows.of(seq, at)?)
        })?;
        let mut staged = rows.finish()?;

        let sealed = target.sealed(Table::Events, &index.event_seqs(), index.first_event_at())?;
        let mut rows = Days::new(&target, Table::Events, EventsBuilder::new(self.node));
        index.each_event(&sealed, |seq, at, event| {
            Ok(rows.of(seq, at)?.push(seq, at, event)?)
        })?;
        staged.extend(rows.finish()?);
        // What the files hold is signed before anybody sees them.
        self.evidence.wait_for(index.last_seq)?;
        self.evidence
            .checkpoint(staged.iter().map(|file| SealedFile {
                digest: file.digest,
                path: file.name.clone(),
            }))?;
        for file in &staged {
            file.publish(self.storage)?;
        }
        done.segments += staged.len() as u64;
        Ok(done)
    }
}

/// Where segments go, and how far the log has come.
struct Target<'a> {
    of: &'a Sealing<'a>,
    reached: (i64, i64),
}

impl Target<'_> {
    /// Which of these places segments hold already.
    fn sealed(
        &self,
        table: Table,
        seqs: &[i64],
        since: Option<i64>,
    ) -> Result<HashSet<i64>, RecordError> {
        if seqs.is_empty() {
            return Ok(HashSet::new());
        }
        let Sealing {
            storage,
            layout,
            node,
            ..
        } = *self.of;
        let segments = segments::list(storage, layout, table, since..=None)?;
        let ours = segments.iter().filter(|segment| *segment.node == **node);
        segments::sealed_seqs(storage, table, ours, seqs)
    }
}

/// Rows of a batch on its way to a segment: so few that the columns stay in the processor's cache while they are made and encoded.
const BATCH_ROWS: usize = 8192;

/// Rows on their way to a segment.
trait Rows {
    fn count(&self) -> usize;
    fn take(&mut self) -> Result<RecordBatch, RecordError>;
}

impl Rows for CallsBuilder {
    fn count(&self) -> usize {
        self.len()
    }

    fn take(&mut self) -> Result<RecordBatch, RecordError> {
        Ok(self.finish()?)
    }
}

impl Rows for EventsBuilder {
    fn count(&self) -> usize {
        self.len()
    }

    fn take(&mut self) -> Result<RecordBatch, RecordError> {
        Ok(self.finish()?)
    }
}

/// Rows that become one segment a day.
struct Days<'a, R> {
    target: &'a Target<'a>,
    table: Table,
    rows: R,
    day: i64,
    last_seq: i64,
    writer: Option<SegmentWriter<'a>>,
    staged: Vec<Staged>,
}

impl<'a, R: Rows> Days<'a, R> {
    fn new(target: &'a Target<'a>, table: Table, rows: R) -> Self {
        Self {
            target,
            table,
            rows,
            day: 0,
            last_seq: 0,
            writer: None,
            staged: Vec::new(),
        }
    }

    /// The rows of this time's day, to which one with this `seq` is about to be added; those of the day before are ended first.
    fn of(&mut self, seq: i64, at: i64) -> Result<&mut R, RecordError> {
        let day = at.div_euclid(DAY);
        if day != self.day {
            self.end_day()?;
            self.day = day;
        }
        match &mut self.writer {
            None => self.writer = Some(self.begin(seq)?),
            Some(writer) if self.rows.count() >= BATCH_ROWS => writer.write(&self.rows.take()?)?,
            Some(_) => {}
        }
        self.last_seq = seq;
        Ok(&mut self.rows)
    }

    fn finish(mut self) -> Result<Vec<Staged>, RecordError> {
        self.end_day()?;
        Ok(self.staged)
    }

    fn begin(&self, first_seq: i64) -> Result<SegmentWriter<'a>, RecordError> {
        let Target { of, reached } = *self.target;
        let Sealing {
            storage,
            layout,
            node,
            keys,
            ..
        } = *of;
        let begun = Begun {
            table: self.table,
            node,
            date: date(self.day * DAY),
            first_seq,
            reached,
            keys,
        };
        SegmentWriter::begin(storage, layout, begun)
    }

    fn end_day(&mut self) -> Result<(), RecordError> {
        if let Some(mut writer) = self.writer.take() {
            writer.write(&self.rows.take()?)?;
            self.staged.push(writer.finish(self.last_seq)?);
        }
        Ok(())
    }
}

//! The rows of a sealed file, checked against the file's own name.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::{FieldRef, SchemaRef};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::super::event_row::{EventColumns, EventFacts};
use super::super::growth::Placed;
use super::super::leaf::Leaf;
use super::super::merkle::leaf_hash;
use super::super::row::{CallColumns, CallFacts};
use super::moment::SealedSegment;
use crate::layout::{DAY, Table, date};
use crate::{KeyFault, RecordKeys, Storage, segments};

/// A row of either table.
#[derive(Debug)]
pub(crate) enum Row<'a> {
    Call(CallFacts<'a>),
    /// A call of which what is encrypted was not read: its places are known, its leaves are not.
    Part(CallFacts<'a>),
    Event(EventFacts<'a>),
}

impl Row<'_> {
    /// This, where not all of it was read.
    fn in_part(self) -> Self {
        match self {
            Self::Call(facts) => Self::Part(facts),
            other @ (Self::Part(_) | Self::Event(_)) => other,
        }
    }

    /// Its leaves: one for each entry that it tells of.
    pub(crate) fn leaves(
        &self,
        leaf: &mut Leaf,
        mut visit: impl FnMut(Placed) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut place = |seq, at, bytes: &[u8]| {
            let hash = leaf_hash(bytes);
            visit(Placed { seq, at, hash })
        };
        match self {
            Self::Call(facts) | Self::Part(facts) => {
                let CallFacts {
                    seq,
                    at,
                    call,
                    refused_at,
                    answered,
                    end,
                    ..
                } = facts;
                place(*seq, *at, leaf.decided((*seq, *at), call, *refused_at))?;
                if let Some(answered) = answered {
                    let bytes = leaf.answered(*seq, answered);
                    place(answered.seq, answered.at, bytes)?;
                }
                if let Some((end, at, finish)) = end {
                    place(*end, *at, leaf.finished(*seq, (*end, *at), finish))?;
                }
                Ok(())
            }
            Self::Event(EventFacts { seq, at, event, .. }) => {
                place(*seq, *at, leaf.event((*seq, *at), event))
            }
        }
    }

    fn place(&self) -> (i64, i64, &str) {
        match self {
            Self::Call(facts) | Self::Part(facts) => (facts.seq, facts.at, facts.node),
            Self::Event(facts) => (facts.seq, facts.at, facts.node),
        }
    }
}

/// Visits every row of a segment, in order, and gives what its encrypted columns would have taken if these keys do not open
/// them; what is wrong with it, as text.
pub(super) fn read_segment(
    storage: &dyn Storage,
    segment: &SealedSegment,
    node: &str,
    keys: &RecordKeys,
    mut visit: impl FnMut(&Row<'_>) -> Result<(), String>,
) -> Result<BTreeSet<KeyFault>, String> {
    let schema = segments::schema(segment.table);
    let (batches, closed) = segments::open_in_part(storage, &segment.path, segment.table, keys)
        .map_err(|e| e.to_string())?;
    let mut last: Option<i64> = None;
    let mut day = None;
    let mut check = |row: &Row<'_>| {
        let (seq, at, of) = row.place();
        if of != node {
            return Err(format!("entry {seq} is of node `{of}`"));
        }
        if day != Some(at.div_euclid(DAY)) {
            if date(at) != segment.name.date {
                return Err(format!("entry {seq} is of another day"));
            }
            day = Some(at.div_euclid(DAY));
        }
        let first = last.is_none();
        if (first && seq != segment.name.first_seq) || last.is_some_and(|last| seq <= last) {
            return Err(format!("entry {seq} is out of its order"));
        }
        last = Some(seq);
        visit(row)
    };
    each_ahead(batches, |batch| {
        if closed.is_empty() {
            return each(batch, segment.table, |row| check(&row));
        }
        let batch = completed(batch, &schema).map_err(|e| e.to_string())?;
        each(&batch, segment.table, |row| check(&row.in_part()))
    })?;
    match last {
        Some(last) if last == segment.name.last_seq => {
            Ok(closed.into_iter().map(|closed| closed.fault).collect())
        }
        _ => Err("it does not end where its name says".into()),
    }
}

/// Batches that may be decoded before they are looked at.
const AHEAD: usize = 2;

/// Visits every batch while the next ones are decoded on a thread of their own.
fn each_ahead(
    mut batches: ParquetRecordBatchReader,
    mut visit: impl FnMut(&RecordBatch) -> Result<(), String>,
) -> Result<(), String> {
    let mut one = |batch: Result<RecordBatch, ArrowError>| {
        let batch = batch.map_err(|e| e.to_string())?;
        visit(&batch).map(|()| batch.num_rows())
    };
    let Some(first) = batches.next() else {
        return Ok(());
    };
    if one(first)? < segments::BATCH_ROWS {
        // What fits into one batch is not worth a thread.
        return batches.try_for_each(|batch| one(batch).map(drop));
    }
    let rest = &mut batches;
    let visited = thread::scope(|scope| {
        let (decoded, coming) = sync_channel(AHEAD);
        let decode = move || {
            // Who looks at them may have seen enough.
            rest.try_for_each(|batch| decoded.send(batch)).ok();
        };
        let decoding = thread::Builder::new().spawn_scoped(scope, decode).ok()?;
        let visited = coming.iter().try_for_each(|batch| one(batch).map(drop));
        drop(coming);
        match decoding.join() {
            Ok(()) => Some(visited),
            Err(_) => Some(Err(UNDECODABLE.into())),
        }
    });
    // Where there is no thread to be had, they are decoded here.
    visited.unwrap_or_else(|| batches.try_for_each(|batch| one(batch).map(drop)))
}

/// What is said of bytes at which the Parquet reader panics.
pub(super) const UNDECODABLE: &str = "it cannot be decoded";

/// A batch with every column: those that it lacks have no value.
fn completed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let column = |field: &FieldRef| match batch.column_by_name(field.name()) {
        Some(column) => Arc::clone(column),
        None => new_null_array(field.data_type(), batch.num_rows()),
    };
    let columns = schema.fields().iter().map(column).collect();
    RecordBatch::try_new(Arc::clone(schema), columns)
}

fn each(
    batch: &RecordBatch,
    table: Table,
    mut visit: impl FnMut(Row<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let untrue = |i: usize, why| format!("row {i} of a batch is none that Weir writes: {why}");
    match table {
        Table::Calls => {
            let columns = CallColumns::new(batch).map_err(|e| e.to_string())?;
            for i in 0..batch.num_rows() {
                let facts = columns.read(i, true).map_err(|why| untrue(i, why))?;
                visit(Row::Call(facts))?;
            }
        }
        Table::Events => {
            let columns = EventColumns::new(batch).map_err(|e| e.to_string())?;
            for i in 0..batch.num_rows() {
                let facts = columns.read(i).map_err(|why| untrue(i, why))?;
                visit(Row::Event(facts))?;
            }
        }
        // Derived, and no part of the evidence.
        Table::Changes => {}
    }
    Ok(())
}

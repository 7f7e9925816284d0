//! The rows of a sealed file, checked against the file's own name.

use arrow::array::RecordBatch;

use super::super::event_row::{EventColumns, EventFacts};
use super::super::growth::Placed;
use super::super::leaf::Leaf;
use super::super::merkle::leaf_hash;
use super::super::row::{CallColumns, CallFacts};
use super::moment::SealedSegment;
use crate::layout::{Table, date};
use crate::{Storage, calls_schema, events_schema, segments};

/// A row of either table.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
pub(crate) enum Row<'a> {
    Call(CallFacts<'a>),
    Event(EventFacts<'a>),
}

impl Row<'_> {
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
            Self::Call(CallFacts {
                seq,
                at,
                call,
                refused_at,
                end,
                ..
            }) => {
                place(*seq, *at, leaf.decided((*seq, *at), call, *refused_at))?;
                if let Some((end, at, finish)) = end {
                    place(*end, *at, leaf.finished(*seq, (*end, *at), finish))?;
                }
                if let Some(approval) = &call.approval
                    && let Some(answer) = approval.answer_seq
                {
                    place(answer, *at, leaf.answered(*seq, approval))?;
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
            Self::Call(facts) => (facts.seq, facts.at, facts.node),
            Self::Event(facts) => (facts.seq, facts.at, facts.node),
        }
    }
}

/// Visits every row of a segment, in order; what is wrong with it, as text.
pub(crate) fn read_segment(
    storage: &dyn Storage,
    segment: &SealedSegment,
    node: &str,
    mut visit: impl FnMut(Row<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let schema = match segment.table {
        Table::Calls => calls_schema(),
        Table::Events => events_schema(),
    };
    let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let (batches, _) = segments::open(storage, &segment.path, segment.table, &columns)
        .map_err(|e| e.to_string())?;
    let mut last: Option<i64> = None;
    let mut check = |row: Row<'_>| {
        let (seq, at, of) = row.place();
        if of != node {
            return Err(format!("entry {seq} is of node `{of}`"));
        }
        if date(at) != segment.name.date {
            return Err(format!("entry {seq} is of another day"));
        }
        let first = last.is_none();
        if (first && seq != segment.name.first_seq) || last.is_some_and(|last| seq <= last) {
            return Err(format!("entry {seq} is out of its order"));
        }
        last = Some(seq);
        visit(row)
    };
    for batch in batches {
        let batch = batch.map_err(|e| e.to_string())?;
        each(&batch, segment.table, &mut check)?;
    }
    match last {
        Some(last) if last == segment.name.last_seq => Ok(()),
        _ => Err("it does not end where its name says".into()),
    }
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
                visit(Row::Call(
                    columns.read(i, true).map_err(|why| untrue(i, why))?,
                ))?;
            }
        }
        Table::Events => {
            let columns = EventColumns::new(batch).map_err(|e| e.to_string())?;
            for i in 0..batch.num_rows() {
                visit(Row::Event(columns.read(i).map_err(|why| untrue(i, why))?))?;
            }
        }
    }
    Ok(())
}

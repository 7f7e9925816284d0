//! Several sealed files of a day as one, in bounded memory: rows pass by in the log's order, a row group at a time.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::layout::{Layout, Table};
use crate::reader::Calls;
use crate::segments::{self, Begun, SegmentWriter, Staged};
use crate::{RecordError, RecordKeys, Segment, Storage};

/// Writes the rows of these files, which are of one table, day and node, into a new one in the folder of that day in this layout,
/// synced when this returns, and counts them.
pub(super) fn merge(
    storage: &Arc<dyn Storage>,
    layout: &Layout,
    table: Table,
    files: &[Segment],
    keys: &RecordKeys,
    is_stopping: &dyn Fn() -> bool,
) -> Result<(Staged, u64), RecordError> {
    let mut rows = 0;
    for file in files {
        rows += segments::row_count(&**storage, &file.path)?;
    }
    let reached = reached(&**storage, files)?;
    let first_seq = files.iter().map(|file| file.first_seq).min().unwrap_or(0);
    let last_seq = files.iter().map(|file| file.last_seq).max().unwrap_or(0);
    let (node, date) = files.first().map_or(("", ""), |f| (&f.node, &f.date));
    let begun = Begun {
        table,
        node,
        date: date.to_owned(),
        first_seq,
        reached,
        keys,
    };
    let mut writer = SegmentWriter::begin(&**storage, layout, begun)?;
    let mut written = 0;
    for batch in batches(storage, table, files, keys)? {
        if is_stopping() {
            return Err(RecordError::Closed);
        }
        let batch = batch?;
        written += batch.num_rows() as u64;
        writer.write(&batch)?;
    }
    if written != rows {
        return Err(RecordError::Damaged {
            path: layout.day(table, date),
            what: format!("its files have {rows} rows, of which {written} differ"),
        });
    }
    Ok((writer.finish(last_seq)?, rows))
}

/// How far the log had come when the last of these files was sealed.
pub(super) fn reached(storage: &dyn Storage, files: &[Segment]) -> Result<(i64, i64), RecordError> {
    let mut reached = (-1, 0);
    for file in files {
        if let Some((seq, at)) = segments::log_reached(storage, &file.path)? {
            reached = (seq.max(reached.0), at.max(reached.1));
        }
    }
    Ok(reached)
}

type Batches<'a> = Box<dyn Iterator<Item = Result<RecordBatch, RecordError>> + 'a>;

/// Every row, in the log's order.
fn batches<'a>(
    storage: &'a Arc<dyn Storage>,
    table: Table,
    files: &'a [Segment],
    keys: &'a RecordKeys,
) -> Result<Batches<'a>, RecordError> {
    let schema = segments::schema(table);
    let columns: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    if table == Table::Calls {
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let calls = Calls::of_files(storage, keys, &columns, files.to_vec())?;
        return Ok(Box::new(calls));
    }
    // Events are never carried over, so files of one node do not overlap.
    Ok(Box::new(files.iter().flat_map(move |file| {
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        let read = segments::open(&**storage, &file.path, table, &columns, keys);
        let batches: Batches<'a> = match read {
            Ok((batches, _)) => Box::new(batches.map(|batch| Ok(batch?))),
            Err(error) => Box::new(std::iter::once(Err(error))),
        };
        batches
    })))
}

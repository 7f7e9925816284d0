//! Sealed Parquet files: finding, writing and reading them.

use std::ops::RangeInclusive;

use crate::layout::{Layout, Table, date, segment};
use crate::{RecordError, Segment, Storage};

pub(crate) mod encryption;
mod opening;
mod properties;
mod writing;

pub(crate) use opening::{Footer, log_reached, open, open_in_part, row_count, sealed_seqs};
pub(crate) use writing::{Begun, SegmentWriter, Staged, remove_leftovers, schema};

/// Rows of a row group.
pub(crate) const ROW_GROUP_ROWS: usize = 131_072;

/// Rows of a batch when reading: so few that the columns stay in the processor's cache until they are looked at, and a whole number to
/// a row group, so that a batch never spans two dictionaries.
pub(crate) const BATCH_ROWS: usize = 8192;

/// The segments of a table whose day is not before that of `since` (microseconds), sorted by node and first `seq`.
pub(crate) fn list(
    storage: &dyn Storage,
    layout: &Layout,
    table: Table,
    days: RangeInclusive<Option<i64>>,
) -> Result<Vec<Segment>, RecordError> {
    let folder = layout.table(table);
    let (first_day, last_day) = (days.start().map(date), days.end().map(date));
    let outside = |day: &str| {
        let date = day.strip_prefix("date=").unwrap_or("");
        first_day.as_deref().is_some_and(|first| date < first)
            || last_day.as_deref().is_some_and(|last| date > last)
    };
    let mut found = Vec::new();
    for day in storage
        .list(&folder)
        .map_err(RecordError::io("list", &folder))?
    {
        if !day.starts_with("date=") || outside(&day) {
            continue;
        }
        let names = storage
            .list(&folder.join(&day))
            .map_err(RecordError::io("list", folder.join(&day)))?;
        found.extend(names.iter().filter_map(|name| segment(&folder, &day, name)));
    }
    found.sort_by(|a, b| {
        (&a.node, a.first_seq, a.last_seq).cmp(&(&b.node, b.first_seq, b.last_seq))
    });
    Ok(found)
}

/// Whether no segment of this node is sealed yet.
pub(crate) fn is_empty(
    storage: &dyn Storage,
    layout: &Layout,
    node: &str,
) -> Result<bool, RecordError> {
    for table in Table::OF_THE_LOG {
        let segments = list(storage, layout, table, None..=None)?;
        if segments.iter().any(|segment| segment.node == node) {
            return Ok(false);
        }
    }
    Ok(true)
}

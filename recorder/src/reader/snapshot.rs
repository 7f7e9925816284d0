//! One moment of a record that is being written.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::index::{Index, JournalBytes};
use crate::layout::{Layout, Table};
use crate::{RecordError, Segment, Storage, segments};

/// Segments, and beside them the rows of each node that only the journal has.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) segments: Vec<Segment>,
    pub(super) live: Vec<(String, RecordBatch)>,
}

/// How often a file may vanish between being listed and being read before that is an error.
const ATTEMPTS_MAX: usize = 100;

/// Does it again where a file vanished between being listed and being read: it was sealed, joined with others, or removed.
pub(crate) fn undisturbed<T>(read: impl Fn() -> Result<T, RecordError>) -> Result<T, RecordError> {
    let mut attempts = 0;
    loop {
        match read() {
            Err(error) if error.is_vanished() && attempts < ATTEMPTS_MAX => attempts += 1,
            result => return result,
        }
    }
}

impl Snapshot {
    /// Reads the journal first and lists the segments after: a file leaves the journal only once its rows are in segments or
    /// in a later journal file. So what is missed in one is found in the other, and what is found in both is sealed. A
    /// file that vanishes in between means that this happened just now, so it is all done again.
    pub(super) fn take(
        storage: &dyn Storage,
        layout: &Layout,
        table: Table,
        from: Option<i64>,
        to: Option<i64>,
    ) -> Result<Self, RecordError> {
        undisturbed(|| Self::attempt(storage, layout, table, from, to))
    }

    fn attempt(
        storage: &dyn Storage,
        layout: &Layout,
        table: Table,
        from: Option<i64>,
        to: Option<i64>,
    ) -> Result<Self, RecordError> {
        let files = JournalBytes::read_all(storage, layout)?;
        let segments = segments::list(storage, layout, table, from..=to)?;
        let mut live = Vec::new();
        for of_node in files.chunk_by(|a, b| a.0 == b.0) {
            let Some((node, _)) = of_node.first() else {
                continue;
            };
            let index = Index::of(of_node.iter().map(|(_, file)| (file, None)))?;
            let seqs = match table {
                Table::Calls | Table::Changes => index.call_seqs(),
                Table::Events => index.event_seqs(),
            };
            if seqs.is_empty() {
                continue;
            }
            // Segments of other days are not looked through, so rows of other days are not asked for either.
            let ours = segments.iter().filter(|segment| segment.node == *node);
            let sealed = segments::sealed_seqs(storage, table, ours, &seqs)?;
            let rows = rows(&index, table, &Arc::from(node.as_str()), &sealed)?;
            live.push((node.clone(), rows));
        }
        Ok(Self { segments, live })
    }
}

fn rows(
    index: &Index<'_>,
    table: Table,
    node: &Arc<str>,
    sealed: &HashSet<i64>,
) -> Result<RecordBatch, RecordError> {
    match table {
        Table::Calls | Table::Changes => index.calls(node, sealed),
        Table::Events => index.events(node, sealed),
    }
}

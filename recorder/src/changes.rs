//! The second projection: the calls that change something, few columns of them, sorted by tool and grant.
//!
//! ```text
//! changes/date=2026-11-22/nas-1-9c1185a5f0e1d2c3.parquet
//! ```
//!
//! It is derived: whatever it holds is in `calls/`, which alone is evidence, and it can be thrown away and made again. The name
//! says of which files of `calls/` it was made, so that one of others is known for it and left aside.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use arrow::array::{AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, SchemaRef};
use sha2::{Digest, Sha256};

use crate::layout::{Layout, Table};
use crate::{RecordError, Segment, Storage, calls_schema};

/// Its columns, in their order; each is what it is in `calls`. No arguments, no results: these are looked up in `calls` by `node` and
/// `seq`, and stand encrypted there where that is configured.
pub const CHANGES_COLUMNS: [&str; 11] = [
    "tool",
    "grant",
    "seq",
    "node",
    "decided_at",
    "server",
    "session",
    "risk",
    "verdict",
    "rule",
    "outcome",
];

/// How many of these columns it is sorted by: `tool`, `grant`, `seq`.
pub(crate) const SORTED_BY: usize = 3;

/// What a call that changes something is, in the column `risk`.
pub const CHANGES_RISKS: [&str; 4] = ["write", "execute", "destructive", "financial"];

/// The columns of the projection `changes`.
pub fn changes_schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let calls = calls_schema();
        let places = CHANGES_COLUMNS
            .iter()
            .filter_map(|it| calls.index_of(it).ok());
        let places: Vec<usize> = places.collect();
        calls.project(&places).map_or(calls, Arc::new)
    });
    Arc::clone(&SCHEMA)
}

/// The calls that change something, of one moment: each is in exactly one of the three.
#[derive(Debug)]
pub struct Changes {
    /// Files of the projection, with the columns of [`changes_schema`].
    pub projected: Vec<PathBuf>,
    /// Sealed files of `calls` that no file of the projection stands for; of their rows those with one of [`CHANGES_RISKS`] count.
    pub others: Vec<Segment>,
    /// Those that are not sealed yet, with the columns of [`changes_schema`].
    pub live: RecordBatch,
}

impl Changes {
    /// Finds which of these files a file of the projection stands for.
    pub(crate) fn of(
        storage: &dyn Storage,
        layout: &Layout,
        segments: Vec<Segment>,
        live: &RecordBatch,
    ) -> Result<Self, RecordError> {
        let mut changes = Self {
            projected: Vec::new(),
            others: Vec::new(),
            live: only_changes(&narrow(live)?)?,
        };
        let mut days: BTreeMap<(String, String), Vec<Segment>> = BTreeMap::new();
        for segment in segments {
            let day = (segment.date.clone(), segment.node.clone());
            days.entry(day).or_default().push(segment);
        }
        for ((date, _), files) in days {
            let folder = layout.day(Table::Changes, &date);
            let names = storage
                .list(&folder)
                .map_err(RecordError::io("list", &folder))?;
            let name = file_name(storage, &files)?;
            if names.contains(&name) {
                changes.projected.push(folder.join(name));
            } else {
                changes.others.extend(files);
            }
        }
        Ok(changes)
    }
}

/// The name of the file that stands for these sealed files of one day and node.
pub(crate) fn file_name(storage: &dyn Storage, files: &[Segment]) -> Result<String, RecordError> {
    let mut hash = Sha256::new();
    for file in files {
        let bytes = storage
            .length(&file.path)
            .map_err(RecordError::io("open", &file.path))?;
        let name = file.path.file_name().unwrap_or_default();
        hash.update(format!("{bytes} {}\n", name.to_string_lossy()));
    }
    let node = files.first().map_or("", |file| &file.node);
    let of = hex::encode(hash.finalize());
    Ok(format!("{node}-{}.parquet", of.get(..16).unwrap_or(&of)))
}

/// Calls with the columns of the projection.
fn narrow(calls: &RecordBatch) -> Result<RecordBatch, RecordError> {
    let schema = calls.schema();
    let places: Result<Vec<_>, _> = CHANGES_COLUMNS
        .iter()
        .map(|it| schema.index_of(it))
        .collect();
    Ok(calls.project(&places?)?)
}

/// Of rows with a column `risk`, those that change something.
pub(crate) fn only_changes(rows: &RecordBatch) -> Result<RecordBatch, RecordError> {
    let missing = || RecordError::NoColumn {
        table: "calls",
        column: "risk".into(),
    };
    let risks = rows.column_by_name("risk").ok_or_else(missing)?;
    let risks = risks.as_dictionary_opt::<Int32Type>().ok_or_else(missing)?;
    let words = risks.values().as_string_opt::<i32>().ok_or_else(missing)?;
    let changing: Vec<bool> = words
        .iter()
        .map(|word| word.is_some_and(|word| CHANGES_RISKS.contains(&word)))
        .collect();
    let is_change = |i| risks.key(i).and_then(|key| changing.get(key).copied());
    let mask: BooleanArray = (0..risks.len())
        .map(|i| Some(is_change(i).unwrap_or(false)))
        .collect();
    Ok(filter_record_batch(rows, &mask)?)
}

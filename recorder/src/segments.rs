//! Sealed Parquet files: finding, writing and reading them.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use crate::layout::{Layout, Table, date, segment, segment_name};
use crate::schema::{SCHEMA_VERSION, SCHEMA_VERSION_KEY, calls_schema, events_schema};
use crate::{RecordError, Segment, Source, Storage};

/// Rows of a row group.
pub(crate) const ROW_GROUP_ROWS: usize = 131_072;

/// Rows of a batch when reading; two to a row group, so that a batch never spans two dictionaries.
pub(crate) const BATCH_ROWS: usize = 65_536;

/// Metadata keys: how far the log had come, including entries that are no rows.
const LOG_SEQ_KEY: &str = "weir.log_seq";
const LOG_AT_KEY: &str = "weir.log_at";

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
    for table in [Table::Calls, Table::Events] {
        let segments = list(storage, layout, table, None..=None)?;
        if segments.iter().any(|segment| segment.node == node) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Which `seq` in this range the segments hold.
pub(crate) fn sealed_seqs<'a>(
    storage: &dyn Storage,
    table: Table,
    segments: impl IntoIterator<Item = &'a Segment>,
    (first, last): (i64, i64),
) -> Result<HashSet<i64>, RecordError> {
    let mut sealed = HashSet::new();
    for segment in segments
        .into_iter()
        .filter(|s| s.first_seq <= last && s.last_seq >= first)
    {
        let (batches, _) = open(storage, &segment.path, table, &["seq"])?;
        for batch in batches {
            let batch = batch?;
            let seqs = batch.column(0).as_primitive::<Int64Type>().values();
            sealed.extend(seqs.iter().filter(|seq| (first..=last).contains(seq)));
        }
    }
    Ok(sealed)
}

/// Opens a segment; the batches have the columns asked for in the file's order, and the second value gives the place of
/// each in the order asked for.
pub(crate) fn open(
    storage: &dyn Storage,
    path: &Path,
    table: Table,
    columns: &[&str],
) -> Result<(ParquetRecordBatchReader, Vec<usize>), RecordError> {
    let source = storage.open(path).map_err(RecordError::io("open", path))?;
    let builder = ParquetRecordBatchReaderBuilder::<Source>::try_new(source)?;
    let version = builder
        .schema()
        .metadata()
        .get(SCHEMA_VERSION_KEY)
        .map_or("none", String::as_str);
    if version != SCHEMA_VERSION {
        let (found, known) = (version.to_owned(), SCHEMA_VERSION.to_owned());
        return Err(RecordError::Version {
            path: path.to_owned(),
            found,
            known,
        });
    }
    let mut roots = Vec::with_capacity(columns.len());
    for column in columns {
        let missing = || RecordError::NoColumn {
            table: table.folder(),
            column: (*column).to_owned(),
        };
        roots.push(builder.schema().index_of(column).map_err(|_| missing())?);
    }
    let mut order = roots.clone();
    order.sort_unstable();
    order.dedup();
    let places = roots
        .iter()
        .filter_map(|root| order.binary_search(root).ok())
        .collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), order);
    Ok((
        builder
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()?,
        places,
    ))
}

/// How far the log had come when this segment was sealed: the greatest place taken and the latest time.
pub(crate) fn log_reached(
    storage: &dyn Storage,
    path: &Path,
) -> Result<Option<(i64, i64)>, RecordError> {
    let source = storage.open(path).map_err(RecordError::io("open", path))?;
    let builder = ParquetRecordBatchReaderBuilder::<Source>::try_new(source)?;
    let pairs = builder.metadata().file_metadata().key_value_metadata();
    let number = |key: &str| {
        let pair = pairs?.iter().find(|pair| pair.key == key)?;
        pair.value.as_ref()?.parse::<i64>().ok()
    };
    Ok(number(LOG_SEQ_KEY).zip(number(LOG_AT_KEY)))
}

/// Rows of one day and node, on their way to becoming a segment.
#[derive(Debug)]
pub(crate) struct Unsealed<'a> {
    pub(crate) table: Table,
    pub(crate) node: &'a str,
    pub(crate) date: &'a str,
    pub(crate) first_seq: i64,
    pub(crate) last_seq: i64,
    pub(crate) rows: RecordBatch,
    /// Greatest place and latest time of the log so far.
    pub(crate) reached: (i64, i64),
}

/// A segment that is written and synced, and has not got its name yet.
#[derive(Debug)]
pub(crate) struct Staged {
    folder: PathBuf,
    aside: PathBuf,
    path: PathBuf,
    /// SHA-256 of its bytes.
    pub(crate) digest: [u8; 32],
    /// Its path in the record's folder.
    pub(crate) name: String,
}

impl Staged {
    /// Gives it its name, durable when this returns.
    pub(crate) fn publish(&self, storage: &dyn Storage) -> Result<(), RecordError> {
        storage
            .rename(&self.aside, &self.path)
            .map_err(RecordError::io("rename", &self.aside))?;
        sync(storage, &self.folder)
    }
}

/// Writes a segment aside.
pub(crate) fn stage(
    storage: &dyn Storage,
    layout: &Layout,
    unsealed: &Unsealed<'_>,
) -> Result<Staged, RecordError> {
    let folder = layout.day(unsealed.table, unsealed.date);
    let name = segment_name(unsealed.node, unsealed.first_seq, unsealed.last_seq);
    let (aside, path) = (folder.join(format!(".{name}.tmp")), folder.join(&name));
    let bytes = encode(unsealed)?;
    storage
        .create_folder(&folder)
        .map_err(RecordError::io("create", &folder))?;
    sync(storage, &layout.table(unsealed.table))?;
    remove_if_there(storage, &aside)?;
    let mut file = storage
        .create(&aside)
        .map_err(RecordError::io("create", &aside))?;
    file.write_at(0, &bytes)
        .map_err(RecordError::io("write", &aside))?;
    file.sync_data().map_err(RecordError::io("sync", &aside))?;
    let table = unsealed.table.folder();
    Ok(Staged {
        digest: Sha256::digest(&bytes).into(),
        name: format!("{table}/date={}/{name}", unsealed.date),
        folder,
        aside,
        path,
    })
}

/// Removes what was being written when the last process stopped.
pub(crate) fn remove_leftovers(
    storage: &dyn Storage,
    layout: &Layout,
    table: Table,
) -> Result<(), RecordError> {
    let folder = layout.table(table);
    for day in storage
        .list(&folder)
        .map_err(RecordError::io("list", &folder))?
    {
        let day = folder.join(day);
        // What is no folder holds no leftovers.
        let names = storage.list(&day).unwrap_or_default();
        for name in names.iter().filter(|name| is_aside(name)) {
            remove_if_there(storage, &day.join(name))?;
        }
    }
    Ok(())
}

/// Whether a file was being written; see [`write`].
fn is_aside(name: &str) -> bool {
    name.strip_prefix('.')
        .and_then(|name| name.strip_suffix(".tmp"))
        .is_some()
}

fn remove_if_there(storage: &dyn Storage, path: &Path) -> Result<(), RecordError> {
    match storage.remove(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(RecordError::io("remove", path)(e))
        }
        _ => Ok(()),
    }
}

fn sync(storage: &dyn Storage, folder: &Path) -> Result<(), RecordError> {
    storage
        .sync_folder(folder)
        .map_err(RecordError::io("sync", folder))
}

fn encode(unsealed: &Unsealed<'_>) -> Result<Vec<u8>, RecordError> {
    let rows = &unsealed.rows;
    let properties = properties(unsealed.table, rows.num_rows(), unsealed.reached)?;
    let mut writer = ArrowWriter::try_new(Vec::new(), schema(unsealed.table), Some(properties))?;
    writer.write(rows)?;
    Ok(writer.into_inner()?)
}

fn schema(table: Table) -> SchemaRef {
    match table {
        Table::Calls => calls_schema(),
        Table::Events => events_schema(),
    }
}

/// Columns whose values hardly repeat: a dictionary would only cost.
const PLAIN: [&str; 21] = [
    "seq",
    "finish_seq",
    "call_id",
    "decided_at",
    "received_at",
    "finished_at",
    "trace_id",
    "request_id",
    "request_bytes",
    "arguments",
    "effective_arguments",
    "arguments_digest",
    "decide_ns",
    "commit_us",
    "upstream_us",
    "result_bytes",
    "result_digest",
    "result",
    "at",
    "text",
    "detail",
];

/// Columns of numbers that mostly grow.
const DELTA: [&str; 6] = [
    "seq",
    "finish_seq",
    "decided_at",
    "received_at",
    "finished_at",
    "at",
];

/// Columns that are looked up by one value.
const BLOOM: [&str; 2] = ["call_id", "session"];

/// Columns too long for statistics to be of use.
const NO_STATISTICS: [&str; 5] = [
    "arguments",
    "effective_arguments",
    "result",
    "text",
    "detail",
];

fn properties(
    table: Table,
    rows: usize,
    (seq, at): (i64, i64),
) -> Result<WriterProperties, RecordError> {
    let path = |name: &str| ColumnPath::from(name);
    let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(vec![SortingColumn {
            column_idx: 0,
            descending: false,
            nulls_first: false,
        }]))
        .set_key_value_metadata(Some(vec![
            pair(SCHEMA_VERSION_KEY, SCHEMA_VERSION.to_owned()),
            pair(LOG_SEQ_KEY, seq.to_string()),
            pair(LOG_AT_KEY, at.to_string()),
        ]))
        .set_created_by(format!("weir {}", env!("CARGO_PKG_VERSION")));
    for name in PLAIN {
        builder = builder.set_column_dictionary_enabled(path(name), false);
    }
    for name in DELTA {
        builder = builder.set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in NO_STATISTICS {
        builder = builder.set_column_statistics_enabled(path(name), EnabledStatistics::None);
    }
    if table == Table::Calls {
        for name in BLOOM {
            builder = builder
                .set_column_bloom_filter_max_ndv(path(name), rows.clamp(1, ROW_GROUP_ROWS) as u64);
        }
    }
    Ok(builder.build())
}

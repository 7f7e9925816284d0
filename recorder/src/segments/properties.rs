//! How a sealed file is laid out inside (DESIGN 6.2): the one place where writer properties are made.

use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::ROW_GROUP_ROWS;
use super::encryption::encrypt;
use crate::changes::SORTED_BY;
use crate::layout::Table;
use crate::schema::{SCHEMA_VERSION, SCHEMA_VERSION_KEY};
use crate::{RecordError, RecordKeys};

/// Metadata keys: how far the log had come, including entries that are no rows.
pub(super) const LOG_SEQ_KEY: &str = "weir.log_seq";
pub(super) const LOG_AT_KEY: &str = "weir.log_at";

/// Metadata key of the id of the record key, in a file that has encrypted columns: for those who cannot read these.
pub(super) const RECORD_KEY: &str = "weir.record_key";

/// The properties of a file of this table that holds rows of a log that had come so far: its greatest place and latest time. With
/// record keys, what calls carry is encrypted.
pub(super) fn properties(
    table: Table,
    (seq, at): (i64, i64),
    keys: &RecordKeys,
) -> Result<WriterProperties, RecordError> {
    let path = |name: &str| ColumnPath::new(name.split('.').map(str::to_owned).collect());
    let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    let mut pairs = vec![
        pair(SCHEMA_VERSION_KEY, SCHEMA_VERSION.to_owned()),
        pair(LOG_SEQ_KEY, seq.to_string()),
        pair(LOG_AT_KEY, at.to_string()),
    ];
    let key = keys.active_id().filter(|_| table == Table::Calls);
    pairs.extend(key.map(|id| pair(RECORD_KEY, id.to_owned())));
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(sorting(table)))
        .set_key_value_metadata(Some(pairs))
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
            builder = builder.set_column_bloom_filter_max_ndv(path(name), ROW_GROUP_ROWS as u64);
        }
    }
    Ok(encrypt(builder, table, keys)?.build())
}

/// Rows of the log come by their place, the first column; those of the projection by its first few.
fn sorting(table: Table) -> Vec<SortingColumn> {
    let (columns, nulls_first) = match table {
        Table::Calls | Table::Events => (1, false),
        Table::Changes => (SORTED_BY as i32, true),
    };
    let column = |column_idx| SortingColumn {
        column_idx,
        descending: false,
        nulls_first,
    };
    (0..columns).map(column).collect()
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

/// Columns in which least and greatest values let nobody pass over a page: texts, random bytes, and words that are the same
/// everywhere or mixed everywhere. To keep them for a word takes two comparisons a row.
const NO_STATISTICS: [&str; 35] = [
    "node",
    "direction",
    "call_id",
    "client_name",
    "client_version",
    "client_address",
    "protocol",
    "trace_id",
    "method",
    "wire_tool",
    "risk",
    "request_id",
    "arguments",
    "effective_arguments",
    "arguments_digest",
    "redacted.list.item",
    "reason",
    "rule",
    "message",
    "via.list.item",
    "resolver_digest",
    "engine",
    "tool_definition_digest",
    "shadow.list.item.verdict",
    "shadow.list.item.rule",
    "shadow.list.item.policy_digest",
    "approval.by",
    "approval.answer",
    "limit_counts.list.item.counter",
    "limit_counts.list.item.value",
    "result_digest",
    "result",
    "address",
    "text",
    "detail",
];

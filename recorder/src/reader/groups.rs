//! Calls cut into row groups, for those who read many at a time and put them in order themselves.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef};
use parquet::arrow::arrow_reader::RowSelection;
use parquet::basic::Encoding;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;

use super::RecordReader;
use super::snapshot::Snapshot;
use crate::layout::Table;
use crate::segments::Footer;
use crate::{RecordError, RecordKeys, Storage};

/// Some calls of one node, which can be read by themselves, on any thread, and more than once.
#[derive(Debug, Clone)]
pub struct CallGroup {
    /// The node that decided them.
    pub node: String,
    /// How many they are.
    pub rows: usize,
    /// The least `seq` of them.
    pub first_seq: i64,
    /// The greatest `seq` of them.
    pub last_seq: i64,
    /// The greatest `seq` of the same node in files before this one, and the least in files behind it.
    shared: (i64, i64),
    storage: Arc<dyn Storage>,
    keys: RecordKeys,
    rows_of: RowsOf,
}

#[derive(Debug, Clone)]
enum RowsOf {
    Sealed(Arc<Footer>, usize),
    Live(RecordBatch),
}

/// Batches of a group.
pub struct GroupRows {
    batches: Box<dyn Iterator<Item = Result<RecordBatch, RecordError>> + Send>,
    schema: SchemaRef,
}

impl RecordReader {
    /// Every call of this moment as groups, sorted by node and least `seq`: each row that is durable is in one of them.
    ///
    /// Groups of two files overlap by the few calls that were open when the first was sealed. A file that is joined with others
    /// before it is read has vanished ([`RecordError::is_vanished`]), and then the groups are to be asked for anew.
    pub fn groups(&self) -> Result<Vec<CallGroup>, RecordError> {
        let Snapshot { segments, live } = self.snapshot(Table::Calls, None, None)?;
        let mut groups = Vec::new();
        let mut before: BTreeMap<String, i64> = BTreeMap::new();
        let mut later = segments.iter().skip(1);
        for segment in &segments {
            let next = later.next().filter(|next| next.node == segment.node);
            let behind = next.map_or(i64::MAX, |next| next.first_seq);
            let reached = before.entry(segment.node.clone()).or_insert(i64::MIN);
            let shared = (*reached, behind);
            *reached = segment.last_seq.max(*reached);
            let footer = Arc::new(Footer::read(&*self.storage, &segment.path, Table::Calls)?);
            for (nth, group) in footer.metadata().row_groups().iter().enumerate() {
                let (first_seq, last_seq) =
                    seqs_of(&footer, nth).unwrap_or((segment.first_seq, segment.last_seq));
                groups.push(CallGroup {
                    node: segment.node.clone(),
                    rows: group.num_rows() as usize,
                    first_seq,
                    last_seq,
                    shared,
                    storage: Arc::clone(&self.storage),
                    keys: self.keys.clone(),
                    rows_of: RowsOf::Sealed(Arc::clone(&footer), nth),
                });
            }
        }
        for (node, rows) in live.into_iter().filter(|(_, rows)| rows.num_rows() > 0) {
            let seqs = rows.column(0).as_primitive::<Int64Type>().values();
            let (first, last) = (seqs.first().copied(), seqs.last().copied());
            groups.push(CallGroup {
                node,
                rows: rows.num_rows(),
                first_seq: first.unwrap_or_default(),
                last_seq: last.unwrap_or_default(),
                // What the journal gives is what no file has.
                shared: (i64::MIN, i64::MAX),
                storage: Arc::clone(&self.storage),
                keys: self.keys.clone(),
                rows_of: RowsOf::Live(rows),
            });
        }
        groups.sort_by(|a, b| (&a.node, a.first_seq).cmp(&(&b.node, b.first_seq)));
        Ok(groups)
    }
}

impl CallGroup {
    /// Whether the call at this place may be in another group too: each row is in one, unless somebody copied a file.
    pub fn is_shared(&self, seq: i64) -> bool {
        let (before, behind) = self.shared;
        seq <= before || seq >= behind
    }

    /// Its rows with these columns, in this order.
    pub fn read(&self, columns: &[&str]) -> Result<GroupRows, RecordError> {
        self.open(columns, None)
    }

    /// Those of its rows that lie in these ranges, which count from 0 and follow each other.
    pub fn read_ranges(
        &self,
        columns: &[&str],
        ranges: &[std::ops::Range<usize>],
    ) -> Result<GroupRows, RecordError> {
        self.open(columns, Some(ranges))
    }

    /// The words of a dictionary column that its rows have; perhaps also words that none has.
    pub fn words(&self, column: &str) -> Result<Vec<String>, RecordError> {
        let is_whole = self.has_one_dictionary(column);
        let mut words = Vec::new();
        for batch in self.read(&[column])? {
            let batch = batch?;
            let dictionary = batch.column(0).as_dictionary_opt::<Int32Type>();
            let values = dictionary.and_then(|d| d.values().as_string_opt::<i32>());
            words.extend(values.into_iter().flatten().flatten().map(str::to_owned));
            if is_whole && !words.is_empty() {
                // The rows behind have no other.
                break;
            }
        }
        words.sort_unstable();
        words.dedup();
        Ok(words)
    }

    /// Whether a column of truths may be true in any of its rows.
    pub fn may_be_true(&self, column: &str) -> Result<bool, RecordError> {
        if let RowsOf::Sealed(footer, group) = &self.rows_of {
            let chunk = footer.column(*group, column);
            if let Some(Statistics::Boolean(truths)) = chunk.and_then(|c| c.statistics()) {
                let all_null = truths.null_count_opt() == Some(self.rows as u64);
                return Ok(!all_null && truths.max_opt().is_none_or(|greatest| *greatest));
            }
        }
        for batch in self.read(&[column])? {
            let batch = batch?;
            let truths = batch.column(0).as_boolean_opt();
            if truths.is_none_or(|truths| truths.true_count() > 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The file that it is read from; none for what only the journal has.
    pub fn file(&self) -> Option<&Path> {
        match &self.rows_of {
            RowsOf::Sealed(footer, _) => Some(footer.path()),
            RowsOf::Live(_) => None,
        }
    }

    /// Whether every page refers to one dictionary, so that whoever reads any of it has all of its words.
    fn has_one_dictionary(&self, column: &str) -> bool {
        let RowsOf::Sealed(footer, group) = &self.rows_of else {
            return false;
        };
        let chunk = footer.column(*group, column);
        let pages = chunk.and_then(ColumnChunkMetaData::page_encoding_stats_mask);
        pages.is_some_and(|pages| {
            pages.is_only(Encoding::RLE_DICTIONARY) || pages.is_only(Encoding::PLAIN_DICTIONARY)
        })
    }

    fn open(
        &self,
        columns: &[&str],
        ranges: Option<&[std::ops::Range<usize>]>,
    ) -> Result<GroupRows, RecordError> {
        let schema = crate::calls_schema();
        let mut fields = Vec::with_capacity(columns.len());
        for column in columns {
            let missing = |_| RecordError::NoColumn {
                table: "calls",
                column: (*column).to_owned(),
            };
            fields.push(schema.index_of(column).map_err(missing)?);
        }
        let schema = Arc::new(schema.project(&fields)?);
        let batches: Box<dyn Iterator<Item = Result<RecordBatch, RecordError>> + Send> =
            match &self.rows_of {
                RowsOf::Sealed(footer, group) => {
                    let (rows, places) = footer.rows(&*self.storage, columns, &self.keys)?;
                    let mut rows = rows.with_row_groups(vec![*group]);
                    if let Some(ranges) = ranges {
                        let ranges = ranges.iter().cloned();
                        let some = RowSelection::from_consecutive_ranges(ranges, self.rows);
                        rows = rows.with_row_selection(some);
                    }
                    let batches = rows.build()?;
                    Box::new(batches.map(move |batch| Ok(batch?.project(&places)?)))
                }
                RowsOf::Live(rows) => {
                    let rows = rows.project(&fields)?;
                    let parts: Vec<_> = match ranges {
                        None => vec![rows],
                        Some(ranges) => ranges
                            .iter()
                            .map(|range| rows.slice(range.start, range.len()))
                            .collect(),
                    };
                    Box::new(parts.into_iter().map(Ok))
                }
            };
        Ok(GroupRows { batches, schema })
    }
}

impl Iterator for GroupRows {
    type Item = Result<RecordBatch, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.batches.next()?;
        Some(batch.and_then(|batch| Ok(as_of(&self.schema, &batch)?)))
    }
}

impl std::fmt::Debug for GroupRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupRows").finish_non_exhaustive()
    }
}

/// The same columns under the names of the table.
fn as_of(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, arrow::error::ArrowError> {
    RecordBatch::try_new_with_options(
        Arc::clone(schema),
        batch.columns().to_vec(),
        &RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
    )
}

/// The least and the greatest `seq` of a row group.
fn seqs_of(footer: &Footer, group: usize) -> Option<(i64, i64)> {
    let Statistics::Int64(seqs) = footer.column(group, "seq")?.statistics()? else {
        return None;
    };
    Some((*seqs.min_opt()?, *seqs.max_opt()?))
}

//! Sealed files read back: the one place where a Parquet file of the record is opened.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::BATCH_ROWS;
use super::encryption::{self, ClosedColumn};
use super::properties::{LOG_AT_KEY, LOG_SEQ_KEY};
use crate::layout::Table;
use crate::schema::{SCHEMA_VERSION, SCHEMA_VERSION_KEY};
use crate::{RecordError, RecordKeys, Segment, Source, Storage};

/// A file of the record whose footer was read. Its rows can be read any number of times, in parts, on any thread.
#[derive(Debug, Clone)]
pub(crate) struct Footer {
    path: PathBuf,
    table: Table,
    read: ArrowReaderMetadata,
}

impl Footer {
    /// Reads the footer of a file.
    pub(crate) fn read(
        storage: &dyn Storage,
        path: &Path,
        table: Table,
    ) -> Result<Self, RecordError> {
        let source = storage.open(path).map_err(RecordError::io("open", path))?;
        let read = ArrowReaderMetadata::load(&source, ArrowReaderOptions::new())?;
        Ok(Self {
            path: path.to_owned(),
            table,
            read,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn schema(&self) -> &SchemaRef {
        self.read.schema()
    }

    pub(crate) fn metadata(&self) -> &ParquetMetaData {
        self.read.metadata()
    }

    /// What the footer says of a column of a row group.
    pub(crate) fn column(&self, group: usize, column: &str) -> Option<&ColumnChunkMetaData> {
        let groups = self.metadata().row_groups();
        let chunks = groups.get(group)?.columns().iter();
        chunks
            .into_iter()
            .find(|chunk| chunk.column_path().parts().first().map(String::as_str) == Some(column))
    }

    /// The footer, with what it takes to read these columns.
    fn unlocked(
        &self,
        source: &Source,
        columns: &[&str],
        keys: &RecordKeys,
    ) -> Result<ArrowReaderMetadata, RecordError> {
        let decryption = keys.open(&self.path, self.metadata(), columns)?;
        #[cfg(feature = "encryption")]
        if let Some(decryption) = decryption {
            let options = ArrowReaderOptions::new().with_file_decryption_properties(decryption);
            return Ok(ArrowReaderMetadata::load(source, options)?);
        }
        #[cfg(not(feature = "encryption"))]
        let ((), _) = (decryption, source);
        Ok(self.read.clone())
    }

    /// The rows, with the columns asked for in the file's order; the second value gives the place of each in the order asked
    /// for. Which row groups, rows and batches, the caller may still say.
    pub(crate) fn rows(
        &self,
        storage: &dyn Storage,
        columns: &[&str],
        keys: &RecordKeys,
    ) -> Result<(ParquetRecordBatchReaderBuilder<Source>, Vec<usize>), RecordError> {
        let path = &self.path;
        let version = self.schema().metadata().get(SCHEMA_VERSION_KEY);
        let version = version.map_or("none", String::as_str);
        if version != SCHEMA_VERSION {
            let (found, known) = (version.to_owned(), SCHEMA_VERSION.to_owned());
            return Err(RecordError::Version {
                path: path.clone(),
                found,
                known,
            });
        }
        let mut roots = Vec::with_capacity(columns.len());
        for column in columns {
            let missing = || RecordError::NoColumn {
                table: self.table.folder(),
                column: (*column).to_owned(),
            };
            roots.push(self.schema().index_of(column).map_err(|_| missing())?);
        }
        let mut order = roots.clone();
        order.sort_unstable();
        order.dedup();
        let places = roots
            .iter()
            .filter_map(|root| order.binary_search(root).ok())
            .collect();
        let source = storage.open(path).map_err(RecordError::io("open", path))?;
        let footer = self.unlocked(&source, columns, keys)?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(source, footer);
        let mask = ProjectionMask::roots(builder.parquet_schema(), order);
        let builder = builder.with_projection(mask);
        Ok((builder.with_batch_size(BATCH_ROWS), places))
    }
}

/// Which of these places, which are sorted, the segments hold.
pub(crate) fn sealed_seqs<'a>(
    storage: &dyn Storage,
    table: Table,
    segments: impl IntoIterator<Item = &'a Segment>,
    seqs: &[i64],
) -> Result<HashSet<i64>, RecordError> {
    let mut sealed = HashSet::new();
    let may_hold = |segment: &&Segment| {
        let from = seqs.partition_point(|seq| *seq < segment.first_seq);
        seqs.get(from).is_some_and(|seq| *seq <= segment.last_seq)
    };
    for segment in segments.into_iter().filter(may_hold) {
        let (batches, _) = open(
            storage,
            &segment.path,
            table,
            &["seq"],
            &RecordKeys::default(),
        )?;
        for batch in batches {
            let batch = batch?;
            let there = batch.column(0).as_primitive::<Int64Type>().values();
            sealed.extend(there.iter().filter(|seq| seqs.binary_search(seq).is_ok()));
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
    keys: &RecordKeys,
) -> Result<(ParquetRecordBatchReader, Vec<usize>), RecordError> {
    let (rows, places) = Footer::read(storage, path, table)?.rows(storage, columns, keys)?;
    Ok((rows.build()?, places))
}

/// Opens a segment with every column that these keys open, and gives those that they do not.
pub(crate) fn open_in_part(
    storage: &dyn Storage,
    path: &Path,
    table: Table,
    keys: &RecordKeys,
) -> Result<(ParquetRecordBatchReader, Vec<ClosedColumn>), RecordError> {
    let footer = Footer::read(storage, path, table)?;
    let closed = encryption::closed(footer.metadata(), keys);
    let is_open = |name: &&str| closed.iter().all(|closed| closed.name != *name);
    let schema = super::schema(table);
    let columns = schema.fields().iter().map(|field| field.name().as_str());
    let columns: Vec<&str> = columns.filter(is_open).collect();
    Ok((footer.rows(storage, &columns, keys)?.0.build()?, closed))
}

/// How many rows a segment has.
pub(crate) fn row_count(storage: &dyn Storage, path: &Path) -> Result<u64, RecordError> {
    let footer = Footer::read(storage, path, Table::Calls)?;
    Ok(footer.metadata().file_metadata().num_rows() as u64)
}

/// How far the log had come when this segment was sealed: the greatest place taken and the latest time.
pub(crate) fn log_reached(
    storage: &dyn Storage,
    path: &Path,
) -> Result<Option<(i64, i64)>, RecordError> {
    let footer = Footer::read(storage, path, Table::Calls)?;
    let pairs = footer.metadata().file_metadata().key_value_metadata();
    let number = |key: &str| {
        let pair = pairs?.iter().find(|pair| pair.key == key)?;
        pair.value.as_ref()?.parse::<i64>().ok()
    };
    Ok(number(LOG_SEQ_KEY).zip(number(LOG_AT_KEY)))
}

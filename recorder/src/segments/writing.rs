//! Sealed files in the making: written aside, synced, and named only when all of them is there.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use sha2::{Digest, Sha256};

use super::properties::properties;
use crate::changes::changes_schema;
use crate::layout::{Layout, Table, segment_name};
use crate::schema::{calls_schema, events_schema};
use crate::{RecordError, RecordKeys, Storage, StorageFile};

/// What a segment is begun with.
#[derive(Debug)]
pub(crate) struct Begun<'a> {
    pub(crate) table: Table,
    pub(crate) node: &'a str,
    pub(crate) date: String,
    /// `seq` of its first row.
    pub(crate) first_seq: i64,
    /// Greatest place and latest time of the log so far.
    pub(crate) reached: (i64, i64),
    /// What encrypts it.
    pub(crate) keys: &'a RecordKeys,
}

/// A segment that rows are being written to. Row groups go to disk one by one, so that it takes the memory of one, however many
/// rows there are. What is not finished is removed at the next start.
pub(crate) struct SegmentWriter<'a> {
    begun: Begun<'a>,
    folder: PathBuf,
    aside: PathBuf,
    file: Box<dyn StorageFile>,
    offset: u64,
    digest: Sha256,
    rows: ArrowWriter<Vec<u8>>,
}

impl<'a> SegmentWriter<'a> {
    /// Begins a file aside, in the folder of its day.
    pub(crate) fn begin(
        storage: &dyn Storage,
        layout: &Layout,
        begun: Begun<'a>,
    ) -> Result<Self, RecordError> {
        let folder = layout.day(begun.table, &begun.date);
        let name = segment_name(begun.node, begun.first_seq, begun.first_seq);
        let aside = folder.join(format!(".{name}.tmp"));
        storage
            .create_folder(&folder)
            .map_err(RecordError::io("create", &folder))?;
        sync(storage, &layout.table(begun.table))?;
        remove_if_there(storage, &aside)?;
        let file = storage
            .create(&aside)
            .map_err(RecordError::io("create", &aside))?;
        let properties = properties(begun.table, begun.reached, begun.keys)?;
        let rows = ArrowWriter::try_new(Vec::new(), schema(begun.table), Some(properties))?;
        Ok(Self {
            begun,
            folder,
            aside,
            file,
            offset: 0,
            digest: Sha256::new(),
            rows,
        })
    }

    /// Adds rows, which come in the order of their `seq`.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), RecordError> {
        self.rows.write(rows)?;
        let bytes = std::mem::take(self.rows.inner_mut());
        self.put(&bytes)
    }

    /// Ends the file with the row of this `seq`; its bytes are durable when this returns, its name is not given yet.
    pub(crate) fn finish(mut self, last_seq: i64) -> Result<Staged, RecordError> {
        self.rows.finish()?;
        let bytes = std::mem::take(self.rows.inner_mut());
        self.put(&bytes)?;
        self.file
            .sync_data()
            .map_err(RecordError::io("sync", &self.aside))?;
        let Begun {
            table,
            node,
            date,
            first_seq,
            ..
        } = self.begun;
        let name = segment_name(node, first_seq, last_seq);
        Ok(Staged {
            digest: self.digest.finalize().into(),
            path: self.folder.join(&name),
            name: format!("{}/date={date}/{name}", table.folder()),
            folder: self.folder,
            aside: self.aside,
        })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file
            .write_at(self.offset, bytes)
            .map_err(RecordError::io("write", &self.aside))?;
        self.offset += bytes.len() as u64;
        self.digest.update(bytes);
        Ok(())
    }
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
    /// The same, under another name in its folder.
    pub(crate) fn named(self, file_name: impl AsRef<Path>) -> Self {
        Self {
            path: self.folder.join(file_name),
            ..self
        }
    }

    /// Gives it its name, durable when this returns.
    pub(crate) fn publish(&self, storage: &dyn Storage) -> Result<(), RecordError> {
        storage
            .rename(&self.aside, &self.path)
            .map_err(RecordError::io("rename", &self.aside))?;
        sync(storage, &self.folder)
    }
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

/// Whether a file was being written; see [`SegmentWriter`].
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

/// The columns of a table.
pub(crate) fn schema(table: Table) -> SchemaRef {
    match table {
        Table::Calls => calls_schema(),
        Table::Events => events_schema(),
        Table::Changes => changes_schema(),
    }
}

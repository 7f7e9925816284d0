//! Journal files that are sealed one after another once nobody writes into them any more: as a record is closed, and as it is
//! opened after a crash.
//!
//! One file at a time is in memory, and beside it what others may complete: calls without an end, and ends whose call comes in a
//! later file. A file from which something is carried on stays until that is sealed too, so that each row is in a file or a segment at
//! whatever moment this is cut short. Rows that are in both are recognised by their `seq`, as everywhere.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::RecordError;
use crate::index::{Carried, Index, JournalBytes};
use crate::seal::{Done, Sealing};

/// Sealing of many files in the log's order.
#[derive(Debug)]
pub(crate) struct Backlog<'s> {
    sealing: Sealing<'s>,
    /// What any of the files declares void, as far as it is not the same file that holds the decision.
    voided: HashMap<i64, i64>,
    carried: Vec<Carried>,
    /// Sealed, and not removed yet.
    kept: Vec<PathBuf>,
}

impl<'s> Backlog<'s> {
    pub(crate) fn new(sealing: Sealing<'s>, voided: HashMap<i64, i64>) -> Self {
        Self {
            sealing,
            voided,
            carried: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Seals what is complete with this file, and removes those that it completes; `first` sees the entries before.
    pub(crate) fn seal(
        &mut self,
        file: &JournalBytes,
        durable_to: Option<i64>,
        first: impl FnOnce(&Index<'_>) -> Result<(), RecordError>,
    ) -> Result<(Done, usize), RecordError> {
        let sealed = self.seal_with(file, durable_to, false, first)?;
        let needed: HashSet<PathBuf> = self.carried.iter().map(|it| it.path.clone()).collect();
        self.remove(&needed)?;
        Ok(sealed)
    }

    /// As [`Backlog::seal`], with the last file: calls that are still open are `unknown`. No file is removed before
    /// [`Backlog::finish`].
    pub(crate) fn seal_last(
        &mut self,
        file: &JournalBytes,
        durable_to: Option<i64>,
        first: impl FnOnce(&Index<'_>) -> Result<(), RecordError>,
    ) -> Result<(Done, usize), RecordError> {
        self.seal_with(file, durable_to, true, first)
    }

    /// Removes what is left of the files.
    pub(crate) fn finish(mut self) -> Result<(), RecordError> {
        self.remove(&HashSet::new())
    }

    fn seal_with(
        &mut self,
        file: &JournalBytes,
        durable_to: Option<i64>,
        last: bool,
        first: impl FnOnce(&Index<'_>) -> Result<(), RecordError>,
    ) -> Result<(Done, usize), RecordError> {
        let index = Index::beside(&self.carried, &self.voided, (file, durable_to))?;
        first(&index)?;
        let mut done = self.sealing.seal(&index, last)?;
        let mut carried = std::mem::take(&mut done.open);
        if !last {
            carried.extend(index.strays());
        }
        let entries = index.entries;
        self.carried = carried;
        self.kept.push(file.path.clone());
        Ok((done, entries))
    }

    fn remove(&mut self, needed: &HashSet<PathBuf>) -> Result<(), RecordError> {
        let storage = self.sealing.storage;
        let folder = self.sealing.layout.journals();
        let (kept, over) = std::mem::take(&mut self.kept)
            .into_iter()
            .partition(|path| needed.contains(path));
        self.kept = kept;
        let over: Vec<PathBuf> = over;
        for path in &over {
            storage
                .remove(path)
                .map_err(RecordError::io("remove", path))?;
        }
        if over.is_empty() {
            return Ok(());
        }
        storage
            .sync_folder(&folder)
            .map_err(RecordError::io("sync", &folder))
    }
}

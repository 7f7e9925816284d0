//! One journal file being written.

use std::io;
use std::path::PathBuf;

use crate::layout::{Layout, journal_name};
use crate::{RecordError, Storage, StorageFile};

/// A journal file, zeroed ahead so that a sync finds its blocks in place and need not grow the file.
pub(crate) struct JournalFile {
    pub(crate) number: u64,
    path: PathBuf,
    file: Box<dyn StorageFile>,
    end: u64,
    zeroed_to: u64,
    ahead: u64,
}

impl std::fmt::Debug for JournalFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalFile")
            .field("path", &self.path)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// Whether there are journal files of this node.
pub(crate) fn has_files(
    storage: &dyn Storage,
    layout: &Layout,
    node: &str,
) -> Result<bool, RecordError> {
    let folder = layout.journals();
    let names = storage
        .list(&folder)
        .map_err(RecordError::io("list", &folder))?;
    let of = |name: &String| journal_name(name).is_some_and(|(of, _)| of == node);
    Ok(names.iter().any(of))
}

impl JournalFile {
    /// Makes a file of zeros, durable under its name. Without a header it counts as no journal yet.
    pub(crate) fn prepare(
        storage: &dyn Storage,
        layout: &Layout,
        node: &str,
        number: u64,
        ahead: u64,
    ) -> io::Result<Self> {
        let path = layout.journal(node, number);
        let file = storage.create(&path)?;
        let mut journal = Self {
            number,
            path,
            file,
            end: 0,
            zeroed_to: 0,
            ahead,
        };
        let prepared = journal
            .zero()
            .and_then(|()| journal.sync())
            .and_then(|()| storage.sync_folder(&layout.journals()));
        match prepared {
            Ok(()) => Ok(journal),
            Err(e) => {
                // On a full disk the half-made file would only be in the way.
                drop(storage.remove(&journal.path));
                Err(e)
            }
        }
    }

    /// Writes these bytes behind the last ones.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(self.end, bytes)?;
        self.end += bytes.len() as u64;
        if self.end > self.zeroed_to {
            self.zero()
        } else {
            Ok(())
        }
    }

    /// Returns once everything written is durable.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Removes a file in which nothing was acknowledged.
    pub(crate) fn discard(self, storage: &dyn Storage) {
        if let Err(error) = storage.remove(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "an unused journal file stays behind");
        }
    }

    fn zero(&mut self) -> io::Result<()> {
        if self.ahead == 0 {
            return Ok(());
        }
        let zeros = vec![0; usize::try_from(self.ahead).unwrap_or(usize::MAX)];
        self.file.write_at(self.end, &zeros)?;
        self.zeroed_to = self.end + self.ahead;
        Ok(())
    }
}

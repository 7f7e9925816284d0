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
    /// Bytes zeroed before it was used.
    room: u64,
    /// Bytes zeroed whenever these are used up.
    step: u64,
}

/// Zeros written at once.
const ZEROS_MAX: u64 = 1 << 20;

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
    /// Makes a file with this room, durable under its name. Without a header it counts as no journal yet.
    pub(crate) fn prepare(
        storage: &dyn Storage,
        layout: &Layout,
        node: &str,
        number: u64,
        (room, step): (u64, u64),
    ) -> io::Result<Self> {
        let path = layout.journal(node, number);
        let file = storage.create(&path)?;
        let journal = Self {
            number,
            path,
            file,
            end: 0,
            zeroed_to: 0,
            room: 0,
            step,
        };
        let journal = journal.grow(room, storage)?;
        match storage.sync_folder(&layout.journals()) {
            Ok(()) => Ok(journal),
            Err(e) => {
                journal.discard(storage);
                Err(e)
            }
        }
    }

    /// The same file with more room. If there is no space for it, the file is gone: half made, it would only be in the way.
    pub(crate) fn grow(mut self, room: u64, storage: &dyn Storage) -> io::Result<Self> {
        let zeroed = self.zero(room).and_then(|()| self.sync());
        match zeroed {
            Ok(()) => {
                self.room = room;
                Ok(self)
            }
            Err(e) => {
                self.discard(storage);
                Err(e)
            }
        }
    }

    /// Bytes zeroed before it was used.
    pub(crate) fn room(&self) -> u64 {
        self.room
    }

    /// Bytes in it.
    pub(crate) fn used(&self) -> u64 {
        self.end
    }

    /// Writes these bytes behind the last ones.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(self.end, bytes)?;
        self.end += bytes.len() as u64;
        if self.end > self.zeroed_to && self.step > 0 {
            self.zeroed_to = self.end;
            self.zero(self.end + self.step)
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

    fn zero(&mut self, to: u64) -> io::Result<()> {
        let most = to.saturating_sub(self.zeroed_to).min(ZEROS_MAX);
        let zeros = vec![0; usize::try_from(most).unwrap_or(0)];
        while self.zeroed_to < to {
            let count = (to - self.zeroed_to).min(most);
            let zeros = zeros.get(..usize::try_from(count).unwrap_or(0));
            self.file
                .write_at(self.zeroed_to, zeros.unwrap_or_default())?;
            self.zeroed_to += count;
        }
        Ok(())
    }
}

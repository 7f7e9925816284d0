//! A storage that keeps account of how many bytes the files of a record have.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Source, Space, Storage, StorageFile};
use crate::RecordError;
use crate::layout::{Layout, Table};

/// A storage whose files below one folder are counted, by the length that they have: what is made ahead counts, and so does the
/// second name of a file. What others change there is noticed when it is measured again.
#[derive(Debug)]
pub(crate) struct Metered {
    inner: Arc<dyn Storage>,
    root: PathBuf,
    bytes: Arc<AtomicU64>,
}

impl Metered {
    pub(crate) fn new(inner: Arc<dyn Storage>, root: &Path) -> Self {
        Self {
            inner,
            root: root.to_owned(),
            bytes: Arc::default(),
        }
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Looks at every file, and goes on from there.
    pub(crate) fn measure(&self, layout: &Layout) -> Result<(), RecordError> {
        let mut bytes = self.files_in(layout.root())?;
        for folder in [
            layout.journals(),
            layout.policies(),
            layout.resolvers(),
            layout.results(),
            layout.removals(),
            layout.checkpoints(),
        ] {
            bytes += self.files_in(&folder)?;
        }
        for layout in [layout, &layout.aside()] {
            for table in Table::ALL {
                let folder = layout.table(table);
                for day in self.names(&folder)? {
                    bytes += self.files_in(&folder.join(day))?;
                }
            }
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn names(&self, folder: &Path) -> Result<Vec<String>, RecordError> {
        match self.inner.list(folder) {
            // A day that was removed meanwhile, or a file where others keep a folder.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(Vec::new())
            }
            names => names.map_err(RecordError::io("list", folder)),
        }
    }

    fn files_in(&self, folder: &Path) -> Result<u64, RecordError> {
        let names = self.names(folder)?;
        // What vanishes meanwhile has no length.
        let lengths = names
            .iter()
            .map(|name| self.inner.length(&folder.join(name)).unwrap_or(0));
        Ok(lengths.sum())
    }

    fn counts(&self, path: &Path) -> bool {
        path.starts_with(&self.root)
    }

    /// The length of a file that is about to go.
    fn going(&self, path: &Path) -> u64 {
        if self.counts(path) {
            self.inner.length(path).unwrap_or(0)
        } else {
            0
        }
    }

    fn gone(&self, bytes: u64) {
        let less = |now: u64| Some(now.saturating_sub(bytes));
        // It always says `Some`, so it never fails.
        self.bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok();
    }

    fn counted(&self, path: &Path, file: Box<dyn StorageFile>) -> Box<dyn StorageFile> {
        if !self.counts(path) {
            return file;
        }
        Box::new(Counted {
            file,
            end: 0,
            bytes: Arc::clone(&self.bytes),
        })
    }
}

impl Storage for Metered {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.inner.create_folder(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(self.counted(path, self.inner.create(path)?))
    }

    fn create_private(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        Ok(self.counted(path, self.inner.create_private(path)?))
    }

    fn reserve(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let reserved = self.inner.reserve(path, bytes);
        // Half of it may be there where it fails.
        self.bytes.fetch_add(self.going(path), Ordering::Relaxed);
        reserved
    }

    fn space(&self, path: &Path) -> io::Result<Option<Space>> {
        self.inner.space(path)
    }

    fn is_private(&self, path: &Path) -> io::Result<bool> {
        self.inner.is_private(path)
    }

    fn open(&self, path: &Path) -> io::Result<Source> {
        self.inner.open(path)
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        self.inner.length(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.inner.read(path)
    }

    fn read_into(&self, path: &Path, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.inner.read_into(path, buffer)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.inner.list(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let going = self.going(to);
        self.inner.rename(from, to)?;
        self.gone(going);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let going = self.going(path);
        self.inner.remove(path)?;
        self.gone(going);
        Ok(())
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        self.inner.remove_folder(folder)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.link(from, to)?;
        self.bytes.fetch_add(self.going(to), Ordering::Relaxed);
        Ok(())
    }

    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        self.inner.exchange(one, other)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.inner.sync_folder(folder)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.inner.lock(path)
    }
}

/// A file that tells when it grows.
struct Counted {
    file: Box<dyn StorageFile>,
    end: u64,
    bytes: Arc<AtomicU64>,
}

impl StorageFile for Counted {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_at(offset, bytes)?;
        let end = offset + bytes.len() as u64;
        if end > self.end {
            self.bytes.fetch_add(end - self.end, Ordering::Relaxed);
            self.end = end;
        }
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

//! The anchor: a place outside the record that gets every checkpoint and never loses one. Only against it can anybody notice that
//! the end of a record was cut off.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Disk, Storage};

/// A place that keeps checkpoints: small files, each with a name of its own, none ever changed or removed.
///
/// A record that is open calls [`Anchor::keep`] on a thread that nobody waits for, once for each new checkpoint, and again until it
/// succeeds or a newer one has come. [`Anchor::names`] and [`Anchor::read`] are asked when a record is opened and when it is
/// verified; all three have to come to an end in some bounded time.
pub trait Anchor: Debug + Send + Sync {
    /// What it is in messages: a folder, an address.
    fn place(&self) -> String;
    /// The names that it has; none if it is not there yet.
    fn names(&self) -> io::Result<Vec<String>>;
    /// The bytes of a name; [`io::ErrorKind::NotFound`] if it does not have it.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// Keeps a checkpoint under its name, durable when this returns; fine if just these bytes have that name already.
    /// [`io::ErrorKind::AlreadyExists`] if others have it: nothing is ever written over.
    fn keep(&self, name: &str, note: &[u8]) -> io::Result<()>;
}

/// A folder as an anchor: on another machine's mount, or one that is append-only or write-once.
#[derive(Debug, Clone)]
pub struct FolderAnchor {
    storage: Arc<dyn Storage>,
    folder: PathBuf,
}

impl FolderAnchor {
    /// A folder on disk; made when it gets its first checkpoint.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self::on(Arc::new(Disk), folder)
    }

    pub(crate) fn on(storage: Arc<dyn Storage>, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self { storage, folder }
    }

    fn borrowed(&self) -> Folder<'_> {
        Folder::new(&*self.storage, &self.folder)
    }
}

impl Anchor for FolderAnchor {
    fn place(&self) -> String {
        self.borrowed().place()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.borrowed().names()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.borrowed().read(name)
    }

    fn keep(&self, name: &str, note: &[u8]) -> io::Result<()> {
        self.borrowed().keep(name, note)
    }
}

/// A folder of checkpoints, an anchor's or the record's own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Folder<'a> {
    storage: &'a dyn Storage,
    path: &'a Path,
}

impl<'a> Folder<'a> {
    pub(crate) fn new(storage: &'a dyn Storage, path: &'a Path) -> Self {
        Self { storage, path }
    }
}

impl Anchor for Folder<'_> {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.storage.list(self.path)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.storage.read(&self.path.join(name))
    }

    fn keep(&self, name: &str, note: &[u8]) -> io::Result<()> {
        self.storage.create_folder(self.path)?;
        let path = self.path.join(name);
        match self.storage.create(&path) {
            Ok(mut file) => {
                let written = file.write_at(0, note).and_then(|()| file.sync_data());
                if let Err(error) = written {
                    // Else every attempt would leave one; a folder that is write-once keeps it.
                    drop(self.storage.remove(&path));
                    return Err(error);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                if !self.read(name).is_ok_and(|there| there == note) {
                    return Err(e);
                }
            }
            Err(e) => return Err(e),
        }
        self.storage.sync_folder(self.path)
    }
}

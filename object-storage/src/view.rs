//! A copy as a folder that the recorder can read: the files of a signed list, fetched when they are opened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use weir_recorder::{Disk, Source, Storage, StorageFile};

use crate::list::Entry;
use crate::{Bucket, ObjectStorageError};

/// The files of a copy under a path that is none of this disk; every other path is.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) bucket: &'a Bucket,
    pub(crate) runtime: &'a Runtime,
    pub(crate) root: PathBuf,
    pub(crate) identity: String,
    /// The files that the list names and the bucket has.
    pub(crate) files: BTreeMap<String, Entry>,
    /// Objects read whole that are not as they were shipped. Of sealed files a checkpoint says so itself.
    pub(crate) altered: Mutex<BTreeSet<String>>,
    /// The file opened last: one at a time is what the disk here must hold.
    pub(crate) last: Mutex<Option<(String, File)>>,
}

impl View<'_> {
    /// The path in the copy; none for a path of this disk.
    fn relative(&self, path: &Path) -> Option<String> {
        let path = path.strip_prefix(&self.root).ok()?;
        Some(path.to_string_lossy().into_owned())
    }

    fn entry(&self, path: &str) -> io::Result<&Entry> {
        let entry = self.files.get(path);
        entry.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn fetch(&self, object: &str) -> Result<File, ObjectStorageError> {
        let fail = |e| ObjectStorageError::file("keep", object)(e);
        let mut file = tempfile::tempfile().map_err(fail)?;
        let work = self.bucket.stream(object, |piece| file.write_all(piece));
        self.runtime.block_on(work)?;
        Ok(file)
    }
}

impl Storage for View<'_> {
    fn open(&self, path: &Path) -> io::Result<Source> {
        let Some(path) = self.relative(path) else {
            return Disk.open(path);
        };
        let object = self.entry(&path)?.object(&path).to_owned();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|(of, _)| *of != path) {
            *last = None;
            *last = Some((path, self.fetch(&object).map_err(io::Error::other)?));
        }
        let Some((_, file)) = &*last else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Source::File(file))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        match self.relative(path) {
            Some(path) => Ok(self.entry(&path)?.bytes),
            None => Disk.length(path),
        }
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let Some(path) = self.relative(path) else {
            return Disk.read(path);
        };
        if path == "node.json" {
            return Ok(self.identity.clone().into_bytes());
        }
        let entry = self.entry(&path)?;
        let object = entry.object(&path);
        let bytes = self
            .runtime
            .block_on(self.bucket.get(object))
            .map_err(io::Error::other)?;
        // It was there when the bucket was listed.
        let bytes = bytes.ok_or_else(|| io::Error::other("the object was taken away meanwhile"))?;
        if hex::encode(Sha256::digest(&bytes)) != entry.sha256 {
            let mut altered = self.altered.lock().unwrap_or_else(PoisonError::into_inner);
            altered.insert(object.to_owned());
        }
        Ok(bytes.into())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let Some(folder) = self.relative(folder) else {
            return Disk.list(folder);
        };
        let within = format!("{folder}/");
        let below = self
            .files
            .range(within.clone()..)
            .map_while(|(path, _)| path.strip_prefix(&within));
        let names: BTreeSet<String> = below
            .filter_map(|path| path.split('/').next())
            .map(str::to_owned)
            .collect();
        Ok(names.into_iter().collect())
    }

    fn create_folder(&self, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn create(&self, _: &Path) -> io::Result<Box<dyn StorageFile>> {
        Err(read_only())
    }

    fn create_private(&self, _: &Path) -> io::Result<Box<dyn StorageFile>> {
        Err(read_only())
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        Err(read_only())
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Send + Sync>> {
        Err(read_only())
    }
}

fn read_only() -> io::Error {
    io::ErrorKind::ReadOnlyFilesystem.into()
}

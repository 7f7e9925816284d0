//! The little of a file system that the record needs, as a trait, so that tests can cut the power.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use parquet::file::reader::{ChunkReader, Length};

mod disk;
mod metered;

pub use disk::Disk;
pub(crate) use metered::Metered;

/// The operations a record is made of. Nothing is durable before [`StorageFile::sync_data`] (contents) and
/// [`Storage::sync_folder`] (names) have returned.
pub trait Storage: Debug + Send + Sync {
    /// Makes a folder and its parents; fine if it exists.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes a new, empty file to write; an error if it exists.
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Makes a new, empty file that only its owner may read.
    fn create_private(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Makes a new file of so many bytes, whose place on the disk is taken when this returns. What is in it is of no use.
    fn reserve(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut file = self.create(path)?;
        let zeros = vec![0; 1 << 20];
        let mut at = 0;
        while at < bytes {
            let count = usize::try_from(bytes - at).map_or(zeros.len(), |it| it.min(zeros.len()));
            file.write_at(at, zeros.get(..count).unwrap_or_default())?;
            at += count as u64;
        }
        file.sync_data()
    }
    /// How much room there is on the disk of a folder; none where nobody knows.
    fn space(&self, folder: &Path) -> io::Result<Option<Space>> {
        let _ = folder;
        Ok(None)
    }
    /// Whether only its owner may read a file; where nothing else is known, all are.
    fn is_private(&self, path: &Path) -> io::Result<bool> {
        let _ = path;
        Ok(true)
    }
    /// Opens a file to read parts of it.
    fn open(&self, path: &Path) -> io::Result<Source>;
    /// How long a file is.
    fn length(&self, path: &Path) -> io::Result<u64> {
        self.open(path).map(|source| Length::len(&source))
    }
    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Reads a whole file into a buffer, in the place of what it holds.
    fn read_into(&self, path: &Path, buffer: &mut Vec<u8>) -> io::Result<()> {
        *buffer = self.read(path)?;
        Ok(())
    }
    /// The names in a folder, sorted; none if the folder does not exist.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Gives a file or a folder another name, replacing a file that had that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        let _ = folder;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Gives a file a second name; an error if somebody has that name.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _ = (from, to);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Lets two folders take each other's name in one step: who looks finds the one or the other, and never neither.
    /// [`io::ErrorKind::Unsupported`] where the file system cannot.
    fn exchange(&self, one: &Path, other: &Path) -> io::Result<()> {
        let _ = (one, other);
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Takes the exclusive lock that this file stands for, until the returned value is dropped.
    /// [`io::ErrorKind::WouldBlock`] if somebody has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
}

/// How much room a disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Its size, in bytes.
    pub total: u64,
    /// Bytes that the process may still write.
    pub free: u64,
}

/// A file being written.
pub trait StorageFile: Send {
    /// Writes all bytes at this offset; what lies between the end and the offset reads as zero.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes the contents durable (`fdatasync`).
    fn sync_data(&mut self) -> io::Result<()>;
}

/// A file opened to be read in parts, as the Parquet reader wants it.
#[derive(Debug)]
pub enum Source {
    /// On disk.
    File(File),
    /// In memory.
    Bytes(Bytes),
}

impl Length for Source {
    fn len(&self) -> u64 {
        match self {
            Self::File(file) => Length::len(file),
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

impl ChunkReader for Source {
    type T = Box<dyn io::Read>;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(match self {
            Self::File(file) => Box::new(file.get_read(start)?),
            Self::Bytes(bytes) => Box::new(bytes.get_read(start)?),
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        match self {
            Self::File(file) => file.get_bytes(start, length),
            Self::Bytes(bytes) => bytes.get_bytes(start, length),
        }
    }
}

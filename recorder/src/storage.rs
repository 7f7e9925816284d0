//! The little of a file system that the record needs, as a trait, so that tests can cut the power.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::Path;

use bytes::Bytes;
use parquet::file::reader::{ChunkReader, Length};

mod disk;

pub use disk::Disk;

/// The operations a record is made of. Nothing is durable before [`StorageFile::sync_data`] (contents) and
/// [`Storage::sync_folder`] (names) have returned.
pub trait Storage: Debug + Send + Sync {
    /// Makes a folder and its parents; fine if it exists.
    fn create_folder(&self, path: &Path) -> io::Result<()>;
    /// Makes a new, empty file to write; an error if it exists.
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Makes a new, empty file that only its owner may read.
    fn create_private(&self, path: &Path) -> io::Result<Box<dyn StorageFile>>;
    /// Whether only its owner may read a file; where nothing else is known, all are.
    fn is_private(&self, path: &Path) -> io::Result<bool> {
        let _ = path;
        Ok(true)
    }
    /// Opens a file to read parts of it.
    fn open(&self, path: &Path) -> io::Result<Source>;
    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The names in a folder, sorted; none if the folder does not exist.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Gives a file another name, replacing what had that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Takes the exclusive lock that this file stands for, until the returned value is dropped.
    /// [`io::ErrorKind::WouldBlock`] if somebody has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;
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

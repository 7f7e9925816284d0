//! Checkpoints in a folder.

use std::io;
use std::path::{Path, PathBuf};

use super::checkpoint::Checkpoint;
use super::key::VerifyingKey;
use super::note::Note;
use crate::layout::checkpoint;
use crate::{RecordError, Storage};

/// A file that is named like a checkpoint.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) node: String,
    pub(crate) size: u64,
    /// The note and what it says; why not, if it is none.
    pub(crate) read: Result<(Note, Checkpoint), String>,
}

impl Found {
    /// What it says, if it is a checkpoint of this log that one of these keys signed.
    pub(crate) fn trusted(&self, origin: &str, keys: &[VerifyingKey]) -> Option<Checkpoint> {
        let (note, checkpoint) = self.read.as_ref().ok()?;
        let signed = note.signed_by(keys).is_ok_and(|keys| !keys.is_empty());
        (signed && checkpoint.origin == origin).then(|| checkpoint.clone())
    }
}

/// Reads the checkpoints in a folder, of one node or of all, the smallest log first. What vanishes meanwhile was superfluous.
pub(crate) fn read(
    storage: &dyn Storage,
    folder: &Path,
    node: Option<&str>,
) -> Result<Vec<Found>, RecordError> {
    let names = storage
        .list(folder)
        .map_err(RecordError::io("list", folder))?;
    let mut notes = Vec::new();
    for name in names {
        let Some((of, size)) = checkpoint(&name) else {
            continue;
        };
        if node.is_some_and(|node| node != of) {
            continue;
        }
        let path = folder.join(&name);
        let bytes = match storage.read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(RecordError::io("read", &path)(e)),
        };
        notes.push(Found {
            node: of.to_owned(),
            size,
            read: parse(&bytes, size),
            path,
        });
    }
    notes.sort_by_key(|found| found.size);
    Ok(notes)
}

fn parse(bytes: &[u8], size: u64) -> Result<(Note, Checkpoint), String> {
    let note = Note::parse(bytes).map_err(|e| e.to_string())?;
    let checkpoint = Checkpoint::parse(note.text())?;
    if checkpoint.size() == size {
        Ok((note, checkpoint))
    } else {
        Err(format!(
            "its name says {size} entries, its text {}",
            checkpoint.size()
        ))
    }
}

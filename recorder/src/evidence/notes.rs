//! Checkpoints in a folder or another place.

use std::io;

use super::anchor::Anchor;
use super::checkpoint::Checkpoint;
use super::key::VerifyingKey;
use super::note::Note;
use super::origin;
use crate::RecordError;
use crate::layout::checkpoint;

/// A file that is named like a checkpoint.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) node: String,
    /// The note and what it says; why not, if it is none.
    pub(crate) read: Result<(Note, Checkpoint), String>,
}

impl Found {
    /// How many entries it speaks of; none if it is no checkpoint.
    pub(crate) fn size(&self) -> Option<u64> {
        self.read
            .as_ref()
            .ok()
            .map(|(_, checkpoint)| checkpoint.size())
    }

    /// What it says, if it is a checkpoint of this log that one of these keys signed.
    pub(crate) fn trusted(&self, origin: &str, keys: &[VerifyingKey]) -> Option<Checkpoint> {
        let (note, checkpoint) = self.read.as_ref().ok()?;
        let signed = note.signed_by(keys).is_ok_and(|keys| !keys.is_empty());
        (signed && checkpoint.origin == origin).then(|| checkpoint.clone())
    }
}

/// A name of a checkpoint, not read yet.
#[derive(Debug)]
pub(crate) struct Named {
    name: String,
    node: String,
    pub(crate) size: u64,
    /// Which of several of that size.
    pub(crate) nth: u32,
}

impl Named {
    /// The name itself.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The node that it is named after.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// Reads it; none if it has vanished: then it was superfluous.
    pub(crate) fn read(self, place: &dyn Anchor) -> Result<Option<Found>, RecordError> {
        let Self {
            name, node, size, ..
        } = self;
        match place.read(&name) {
            Ok(bytes) => Ok(Some(Found {
                node,
                read: parse(&bytes, size),
                name,
            })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(RecordError::io("read", format!("{}/{name}", place.place()))(e)),
        }
    }
}

/// The names of the checkpoints in a place, of one node or of all, the smallest log first, and the oldest of a size.
pub(crate) fn list(place: &dyn Anchor, node: Option<&str>) -> Result<Vec<Named>, RecordError> {
    let names = place
        .names()
        .map_err(RecordError::io("list", place.place()))?;
    let parsed = |name: String| {
        let (of, size, nth) = checkpoint(&name)?;
        let ours = node.is_none_or(|node| node == of);
        let node = of.to_owned();
        ours.then_some(Named {
            name,
            node,
            size,
            nth,
        })
    };
    let mut all: Vec<_> = names.into_iter().filter_map(parsed).collect();
    all.sort_by_key(|named| (named.size, named.nth));
    Ok(all)
}

/// Reads the checkpoints in a place, of one node or of all, the smallest log first.
pub(crate) fn read(place: &dyn Anchor, node: Option<&str>) -> Result<Vec<Found>, RecordError> {
    let named = list(place, node)?;
    let found = named.into_iter().map(|named| named.read(place));
    found.filter_map(Result::transpose).collect()
}

/// The newest checkpoint of a log that one of these keys signed, and which of its size it is.
pub(crate) fn newest(
    place: &dyn Anchor,
    node: &str,
    keys: &[VerifyingKey],
) -> Result<Option<(Found, Checkpoint, u32)>, RecordError> {
    let mut named = list(place, Some(node))?;
    while let Some(last) = named.pop() {
        let nth = last.nth;
        let Some(found) = last.read(place)? else {
            continue;
        };
        if let Some(checkpoint) = found.trusted(&origin(node), keys) {
            return Ok(Some((found, checkpoint, nth)));
        }
    }
    Ok(None)
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

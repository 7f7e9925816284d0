//! Journal files as they are read: whole.

use std::path::PathBuf;

use crate::entry::{Frames, Header, Opening, open_file};
use crate::layout::{Layout, journal_name};
use crate::{RecordError, Storage};

/// One journal file, read whole.
#[derive(Debug)]
pub(crate) struct JournalBytes {
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    pub(crate) bytes: Vec<u8>,
}

impl JournalBytes {
    /// Reads one file.
    pub(crate) fn read(
        storage: &dyn Storage,
        path: PathBuf,
        number: u64,
    ) -> Result<Self, RecordError> {
        let bytes = storage
            .read(&path)
            .map_err(RecordError::io("read", &path))?;
        Ok(Self {
            path,
            number,
            bytes,
        })
    }

    /// Reads one file into a buffer that served another before, whose pages the system need not find and clear again.
    pub(crate) fn read_into(
        storage: &dyn Storage,
        path: PathBuf,
        number: u64,
        mut bytes: Vec<u8>,
    ) -> Result<Self, RecordError> {
        storage
            .read_into(&path, &mut bytes)
            .map_err(RecordError::io("read", &path))?;
        Ok(Self {
            path,
            number,
            bytes,
        })
    }

    /// Reads every journal file of a record, with the node that wrote it, sorted by node and number.
    pub(crate) fn read_all(
        storage: &dyn Storage,
        layout: &Layout,
    ) -> Result<Vec<(String, Self)>, RecordError> {
        let folder = layout.journals();
        let names = storage
            .list(&folder)
            .map_err(RecordError::io("list", &folder))?;
        let mut files = Vec::new();
        for name in names {
            if let Some((node, number)) = journal_name(&name) {
                files.push((
                    node.to_owned(),
                    Self::read(storage, folder.join(&name), number)?,
                ));
            }
        }
        files.sort_by(|a, b| (&a.0, a.1.number).cmp(&(&b.0, b.1.number)));
        Ok(files)
    }

    /// The file's header and frames; none if nothing was ever made durable in it.
    pub(crate) fn open(&self) -> Result<Option<(Header, Frames<'_>)>, RecordError> {
        match open_file(&self.bytes) {
            Opening::Journal(header, frames) => Ok(Some((header, frames))),
            Opening::Blank => Ok(None),
            Opening::Later(version) => Err(RecordError::Version {
                path: self.path.clone(),
                found: version.to_string(),
                known: crate::entry::JOURNAL_VERSION.to_string(),
            }),
        }
    }
}

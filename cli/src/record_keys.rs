//! Where the commands find the keys of an encrypted record.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use weir_recorder::{Disk, RecordError, RecordKeys, RecordKeysError};

use crate::failure::Fix as _;

/// The variable that may hold the keys themselves.
const VARIABLE: &str = "WEIR_RECORD_KEYS";

/// The keys of an encrypted record.
#[derive(Debug, Default, clap::Args)]
pub struct KeysArgument {
    /// The record keys, where what calls carry is encrypted; `<record>.keys` beside the folder if left out, unless the variable
    /// `WEIR_RECORD_KEYS` holds the keys themselves.
    #[arg(long, value_name = "FILE")]
    record_keys: Option<PathBuf>,
}

impl KeysArgument {
    /// The keys, none if there are none.
    pub fn read(&self, record: &Path) -> anyhow::Result<RecordKeys> {
        if let Some(given) = self.given()? {
            return Ok(given);
        }
        let Some(beside) = beside(record) else {
            return Ok(RecordKeys::default());
        };
        match RecordKeys::read(&Disk, &beside) {
            // Who may not read them reads what is not encrypted.
            Err(RecordKeysError::Unreadable { source, .. }) if is_not_ours(&source) => {
                Ok(RecordKeys::default())
            }
            keys => Ok(keys?),
        }
    }

    /// The keys for a copy that has no folder beside which they could lie.
    #[cfg(feature = "object-storage")]
    pub fn of_copy(&self) -> anyhow::Result<RecordKeys> {
        Ok(self.given()?.unwrap_or_default())
    }

    fn given(&self) -> anyhow::Result<Option<RecordKeys>> {
        if let Some(path) = &self.record_keys {
            return Ok(Some(RecordKeys::read(&Disk, path)?));
        }
        match std::env::var(VARIABLE) {
            Ok(text) => RecordKeys::parse(&text)
                .map(Some)
                .with_context(|| format!("variable `{VARIABLE}`")),
            Err(_) => Ok(None),
        }
    }
}

fn beside(record: &Path) -> Option<PathBuf> {
    let record = std::path::absolute(record).ok()?;
    let mut name = record.file_name()?.to_owned();
    name.push(".keys");
    Some(record.with_file_name(name))
}

fn is_not_ours(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::NotADirectory
    )
}

/// What to do where a record, or a part of it, is closed.
pub const GIVE_KEYS: &str =
    "give the record keys with --record-keys FILE, as weir.toml names them under [record]";

/// Says where keys are missing how to give them.
pub fn advised<T>(result: Result<T, RecordError>) -> anyhow::Result<T> {
    match result {
        Err(error) if error.lacks_keys() => Err(error).fix(|| GIVE_KEYS.into()),
        other => Ok(other?),
    }
}

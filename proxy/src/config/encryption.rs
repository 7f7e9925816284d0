//! `encryption` of `[record]`: where the record keys come from. They are read when the record is opened, and shown to nobody.

use std::fmt;
use std::path::PathBuf;

use weir_recorder::{RecordKeys, RecordKeysError, Storage};

use super::read::Environment;
use super::section::Section;

/// What of the record is encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Encryption {
    /// Nothing; a record that was encrypted before is not opened.
    #[default]
    Unset,
    /// Nothing from now on, whatever was before.
    Off,
    /// What calls carry, by the keys in this file.
    File(PathBuf),
    /// What calls carry, by these keys.
    Text(KeysText),
}

/// Record keys as text. They do not show themselves.
#[derive(Clone, PartialEq, Eq)]
pub struct KeysText(String);

impl fmt::Debug for KeysText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeysText(…)")
    }
}

impl Encryption {
    /// The keys, read from where they are.
    pub(crate) fn keys(&self, storage: &dyn Storage) -> Result<RecordKeys, RecordKeysError> {
        match self {
            Self::Unset | Self::Off => Ok(RecordKeys::default()),
            Self::File(path) => RecordKeys::read(storage, path),
            Self::Text(KeysText(text)) => RecordKeys::parse(text),
        }
    }
}

const HINT: &str =
    "write `encryption = { keys = \"record.keys\" }`; `weir key new` makes such a file";

pub(super) fn read(section: &Section<'_, '_>, environment: Environment<'_>) -> Encryption {
    let Some(found) = section.raw("encryption") else {
        return Encryption::Unset;
    };
    if found.get_ref().as_str() == Some("off") {
        return Encryption::Off;
    }
    let Some(table) = section.table("encryption") else {
        return Encryption::Unset;
    };
    let encryption = read_keys(&table, environment);
    if encryption.is_none() {
        table.problem("`encryption` says not where its `keys` are", Some(HINT));
    }
    table.finish();
    encryption.unwrap_or_default()
}

fn read_keys(table: &Section<'_, '_>, environment: Environment<'_>) -> Option<Encryption> {
    let found = table.raw("keys")?;
    if found.get_ref().as_str().is_some() {
        return table.file("keys").map(Encryption::File);
    }
    let variable = found.get_ref().get("env")?;
    let name = variable.get_ref().as_str()?;
    let text = environment(name);
    if text.is_none() {
        let message = format!("environment variable `{name}` is not set");
        table.source.problem(&variable.span(), message, None);
    }
    Some(Encryption::Text(KeysText(text.unwrap_or_default())))
}

//! Where the signing key is kept: outside the record's folder, readable by its owner only.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use super::key::SigningKey;
use crate::identity::{random, read_if_there, replace};
use crate::layout::Layout;
use crate::{RecordError, RecordOptions, Storage};

/// The file of a private key; the public one is beside it.
#[derive(Debug)]
pub(super) struct KeyFile(PathBuf);

impl KeyFile {
    /// Where these options keep it.
    pub(super) fn of(layout: &Layout, options: &RecordOptions) -> Result<Self, RecordError> {
        let given = options
            .signing_key
            .as_ref()
            .and_then(|path| std::path::absolute(path).ok());
        let no_name = || {
            RecordError::Evidence(format!(
                "`{}` has no name to put a key beside: say where the signing key is",
                layout.root().display()
            ))
        };
        let path = given.or_else(|| layout.signing_key()).ok_or_else(no_name)?;
        // Both are names of other files beside it: the public key, and either while it is written.
        let extension = path.extension().and_then(OsStr::to_str);
        if let Some(extension @ ("pub" | "tmp")) = extension {
            return Err(RecordError::Evidence(format!(
                "`{}` cannot be where the signing key is: a file `.{extension}` beside it is Weir's own. Name it `.key`",
                path.display()
            )));
        }
        Ok(Self(path))
    }

    /// Reads the key, or makes it if it `may_be_made`. A change of keys that was cut short is completed
    /// or undone by who sees whether its checkpoint was written: the key put aside is used once that exists.
    pub(super) fn establish(
        &self,
        storage: &dyn Storage,
        name: &str,
        may_be_made: bool,
    ) -> Result<SigningKey, RecordError> {
        if let Some(key) = read(storage, &self.0)? {
            return Ok(key);
        }
        if !may_be_made {
            return Err(RecordError::Evidence(format!(
                "the signing key `{}` is not there, but the record was written to: bring the key back, or begin a new record \
                 in another folder",
                self.0.display()
            )));
        }
        let key = Self::generate(name)?;
        if let Some(folder) = self.0.parent() {
            storage
                .create_folder(folder)
                .map_err(RecordError::io("create", folder))?;
        }
        self.put_in_force(storage, &key)?;
        Ok(key)
    }

    /// A new key.
    pub(super) fn generate(name: &str) -> Result<SigningKey, RecordError> {
        SigningKey::from_seed(name, random()?).map_err(|e| RecordError::Evidence(e.to_string()))
    }

    /// The key that was put aside, if a change of keys was cut short.
    pub(super) fn aside(&self, storage: &dyn Storage) -> Result<Option<SigningKey>, RecordError> {
        read(storage, &self.next())
    }

    /// Keeps the next key, durable when this returns, while the present one is in force.
    pub(super) fn put_aside(
        &self,
        storage: &dyn Storage,
        key: &SigningKey,
    ) -> Result<(), RecordError> {
        write(storage, &self.next(), key)
    }

    /// Makes a key the one in force.
    pub(super) fn put_in_force(
        &self,
        storage: &dyn Storage,
        key: &SigningKey,
    ) -> Result<(), RecordError> {
        let public = format!("{}\n", key.public());
        replace(storage, &self.public(), public.as_bytes(), |s, p| {
            s.create(p)
        })?;
        write(storage, &self.0, key)?;
        self.drop_aside(storage)
    }

    /// Forgets the key that was put aside.
    pub(super) fn drop_aside(&self, storage: &dyn Storage) -> Result<(), RecordError> {
        let next = self.next();
        match storage.remove(&next) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(RecordError::io("remove", &next)(e))
            }
            _ => Ok(()),
        }
    }

    fn public(&self) -> PathBuf {
        self.0.with_extension("pub")
    }

    fn next(&self) -> PathBuf {
        let mut name: OsString = self.0.clone().into();
        name.push(".next");
        name.into()
    }
}

fn write(storage: &dyn Storage, path: &Path, key: &SigningKey) -> Result<(), RecordError> {
    let text = format!("{}\n", key.to_text());
    replace(storage, path, text.as_bytes(), |s, p| s.create_private(p))
}

fn read(storage: &dyn Storage, path: &Path) -> Result<Option<SigningKey>, RecordError> {
    let Some(bytes) = read_if_there(storage, path)? else {
        return Ok(None);
    };
    let is_private = storage
        .is_private(path)
        .map_err(RecordError::io("look at", path))?;
    if !is_private {
        let path = path.display();
        return Err(RecordError::Evidence(format!(
            "others may read the signing key `{path}`: run `chmod 600 {path}`, and replace the key if somebody did"
        )));
    }
    let damaged = |what: String| RecordError::Damaged {
        path: path.to_owned(),
        what,
    };
    let text = String::from_utf8(bytes).map_err(|_| damaged("it is no text".into()))?;
    SigningKey::parse(text.trim_end())
        .map(Some)
        .map_err(|e| damaged(e.to_string()))
}

//! Record keys: what encrypts the columns that repeat what calls carry, and the results kept in files of their own.
//!
//! They stand in a text, one a line, `weir-record-key+<id>+<32 bytes in base64>`, the newest last: the last one encrypts what is sealed
//! from now on, all of them are read with. To rotate is to append a line. Each sealed file has a data key of its own, wrapped
//! by the record key, and names that one by its id ([`material`]).

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::{RecordError, Storage, identity};

#[cfg(feature = "encryption")]
pub(crate) mod material;
#[cfg(feature = "encryption")]
pub(crate) mod parcel;

const BEFORE: &str = "weir-record-key+";

/// Longest id of a key.
const ID_MAX: usize = 64;

/// The keys of a record, none by default. They show their ids and nothing else.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RecordKeys(Vec<RecordKey>);

/// One of them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct RecordKey {
    pub(crate) id: String,
    pub(crate) secret: [u8; 32],
}

/// Record keys cannot be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordKeysError {
    /// The file cannot be read.
    #[error("cannot read the record keys `{path}`: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others than its owner may read the file.
    #[error(
        "others may read the record keys `{path}`: run `chmod 600 {path}`, and make a new key if somebody did"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
    },
    /// A line is no key. What it holds is not told.
    #[error("line {line} of the record keys {what}")]
    Line {
        /// Counted from one.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// There is no key at all.
    #[error("there is no key among the record keys: `weir key new` makes one")]
    Empty,
    /// An id that cannot name a key.
    #[error(
        "`{0}` cannot name a key: use 1 to 64 letters, digits, `.`, `_` or `-`, beginning with a letter or digit"
    )]
    Id(String),
}

impl RecordKeys {
    /// Reads keys from their text. Empty lines and those that begin with `#` are passed over.
    pub fn parse(text: &str) -> Result<Self, RecordKeysError> {
        let mut keys: Vec<RecordKey> = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what| RecordKeysError::Line { line: i + 1, what };
            let form = "is not of the form `weir-record-key+ID+BASE64`";
            let rest = line.strip_prefix(BEFORE).ok_or(wrong(form))?;
            let (id, secret) = rest.split_once('+').ok_or(wrong(form))?;
            if !is_id(id) {
                return Err(wrong("has an id that cannot name a key"));
            }
            let secret = STANDARD.decode(secret).ok();
            let secret = secret.and_then(|secret| secret.try_into().ok());
            let key = RecordKey {
                id: id.to_owned(),
                secret: secret.ok_or(wrong("does not hold 32 bytes in base64"))?,
            };
            if keys.iter().any(|known| known.id == key.id) {
                return Err(wrong("has the id of an earlier one"));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(RecordKeysError::Empty);
        }
        Ok(Self(keys))
    }

    /// Reads a file of keys, which only its owner may be able to read.
    pub fn read(storage: &dyn Storage, path: &Path) -> Result<Self, RecordKeysError> {
        let unreadable = |source| RecordKeysError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let bytes = storage.read(path).map_err(unreadable)?;
        if !storage.is_private(path).map_err(unreadable)? {
            let path = path.to_owned();
            return Err(RecordKeysError::Exposed { path });
        }
        let no_text = || unreadable(io::Error::new(io::ErrorKind::InvalidData, "it is no text"));
        Self::parse(&String::from_utf8(bytes).map_err(|_| no_text())?)
    }

    /// The line of a new key with this id.
    pub fn new_line(id: &str) -> Result<String, RecordError> {
        if !is_id(id) {
            return Err(RecordKeysError::Id(id.to_owned()).into());
        }
        let secret = identity::random::<32>()?;
        Ok(format!("{BEFORE}{id}+{}\n", STANDARD.encode(secret)))
    }

    /// Their ids, the newest last.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| key.id.as_str())
    }

    /// The id of the key that encrypts what is sealed from now on.
    pub fn active_id(&self) -> Option<&str> {
        self.active().map(|key| key.id.as_str())
    }

    pub(crate) fn active(&self) -> Option<&RecordKey> {
        self.0.last()
    }

    #[cfg(feature = "encryption")]
    pub(crate) fn find(&self, id: &str) -> Option<&RecordKey> {
        self.0.iter().find(|key| key.id == id)
    }
}

impl fmt::Debug for RecordKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RecordKeys")
            .field(&self.ids().collect::<Vec<_>>())
            .finish()
    }
}

fn is_id(id: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    id.len() <= ID_MAX
        && id.starts_with(|c: char| c.is_ascii_alphanumeric())
        && id.chars().all(fine)
}

/// Why what is encrypted cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// Its key is not among those given.
    #[error("the record key `{0}` is missing")]
    Missing(String),
    /// What is called so opens nothing: it is another key, or the wrapped data key was changed.
    #[error("the record key given as `{0}` is not the one that it was encrypted with")]
    Wrong(String),
    /// How its data key is wrapped is not known here.
    #[error("its data key is wrapped in a way that this build does not know")]
    Unknown,
    /// This build has no encryption.
    #[error("this build reads nothing encrypted: it lacks the feature `encryption`")]
    NotBuilt,
}

impl KeyFault {
    /// The id of the key that it takes, where that is known.
    pub fn key_id(&self) -> Option<&str> {
        match self {
            Self::Missing(id) | Self::Wrong(id) => Some(id),
            Self::Unknown | Self::NotBuilt => None,
        }
    }
}

/// Keys that are not at hand, as one text.
pub(crate) fn listed(faults: &BTreeSet<KeyFault>) -> String {
    let texts: Vec<_> = faults.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_last_line_is_the_key_in_use_and_all_are_read_with() {
        let (one, two) = (RecordKeys::new_line("one"), RecordKeys::new_line("two"));
        let text = format!(
            "# kept apart from the record\n\n{}{}",
            one.unwrap(),
            two.unwrap()
        );
        let keys = RecordKeys::parse(&text).unwrap();
        assert_eq!(keys.ids().collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(keys.active_id(), Some("two"));
    }

    #[test]
    fn a_line_that_is_no_key_is_told_without_what_it_holds() {
        let fine = RecordKeys::new_line("k").unwrap();
        for wrong in [
            "canary-secret",
            "weir-record-key+k",
            "weir-record-key++canary-secret",
            "weir-record-key+k+canary-secret",
            "weir-record-key+k+AAAA",
            fine.trim(),
        ] {
            let told = RecordKeys::parse(&format!("{fine}{wrong}\n")).unwrap_err();
            assert!(
                matches!(told, RecordKeysError::Line { line: 2, .. }),
                "{wrong}"
            );
            assert!(!told.to_string().contains("canary"), "{told}");
        }
        assert!(matches!(
            RecordKeys::parse("# none\n"),
            Err(RecordKeysError::Empty)
        ));
        assert!(RecordKeys::new_line("../x").is_err());
    }

    #[test]
    fn keys_show_their_ids_and_nothing_else() {
        let line = RecordKeys::new_line("k1").unwrap();
        let keys = RecordKeys::parse(&line).unwrap();
        assert_eq!(format!("{keys:?}"), r#"RecordKeys(["k1"])"#);
    }
}

//! The list of a copy's files: what is in the bucket counts only once a signed list names it.
//!
//! ```text
//! shipments/nas-1-000000000042.9c1185a5….json     the list, named after its digest
//! shipments/nas-1-000000000042.note               the statement that vouches for it, written last
//! ```
//!
//! Lists are numbered from 1. A list that is not `whole` says what came and went since the one before, so that a copy of many files
//! does not repeat all their names every time; after at most [`STEPS_MAX`] of these comes a whole one.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use weir_recorder::{Hash, ListError, VerifyingKey, verify_list};

use crate::{Bucket, ObjectStorageError};

/// Lists in a row that only say what changed.
pub(crate) const STEPS_MAX: u64 = 64;

/// Where lists and statements are.
pub(crate) const FOLDER: &str = "shipments";

/// A list, as its object holds it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct List {
    /// The format.
    pub(crate) version: u32,
    /// Whether `files` are all there are.
    pub(crate) whole: bool,
    /// How many entries the newest checkpoint in it covers.
    pub(crate) entries: u64,
    /// The record's `node.json`.
    pub(crate) identity: String,
    /// Files that are part of the copy from now on.
    pub(crate) files: BTreeMap<String, Entry>,
    /// Files that no longer are; their objects stay.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) gone: BTreeSet<String>,
    /// Leaf hashes, in hex, of entries that are not sealed yet, by node and place.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) unsealed: BTreeMap<String, BTreeMap<i64, String>>,
}

/// The format that this version writes and reads.
pub(crate) const VERSION: u32 = 1;

/// A file of the copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// SHA-256 in hex.
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
    /// Its object, where that is not named as the file is: the file took the name of another that the copy had before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) object: Option<String>,
}

impl Entry {
    /// The object that holds the file of this path.
    pub(crate) fn object<'a>(&'a self, path: &'a str) -> &'a str {
        self.object.as_deref().unwrap_or(path)
    }
}

/// What a copy consists of, as its lists say.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Number of the newest list; none was written where it is 0.
    pub(crate) number: u64,
    /// Lists since the last whole one.
    pub(crate) steps: u64,
    pub(crate) entries: u64,
    pub(crate) identity: String,
    pub(crate) files: BTreeMap<String, Entry>,
    pub(crate) unsealed: BTreeMap<String, BTreeMap<i64, String>>,
}

/// Why a list does not count.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unlisted {
    #[error("the statement `{0}` is gone")]
    NoNote(String),
    #[error("the list `{0}` is gone")]
    NoList(String),
    #[error("the statement `{0}`: {1}")]
    Note(String, ListError),
    #[error("the statement `{0}` is not of its name")]
    Number(String),
    #[error("the list `{0}` is not as it was signed")]
    Altered(String),
    #[error(transparent)]
    Bucket(#[from] ObjectStorageError),
}

/// Name of a statement.
pub(crate) fn note_name(node: &str, number: u64) -> String {
    format!("{FOLDER}/{node}-{number:012}.note")
}

/// Name of a list.
pub(crate) fn list_name(node: &str, number: u64, digest: &Hash) -> String {
    let digest = hex::encode(digest);
    format!("{FOLDER}/{node}-{number:012}.{digest}.json")
}

/// The node and number of a statement.
pub(crate) fn parse_note_name(path: &str) -> Option<(&str, u64)> {
    let name = path.strip_prefix(FOLDER)?.strip_prefix('/')?;
    let (node, number) = name.strip_suffix(".note")?.rsplit_once('-')?;
    Some((node, number.parse().ok()?))
}

impl List {
    /// Its bytes and their digest.
    pub(crate) fn encode(&self) -> Result<(Bytes, Hash), serde_json::Error> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        let digest = Sha256::digest(&bytes).into();
        Ok((bytes.into(), digest))
    }

    /// Reads the `number`th list, if a key that is believed vouches for it.
    async fn read(
        bucket: &Bucket,
        node: &str,
        number: u64,
        keys: &[VerifyingKey],
    ) -> Result<Self, Unlisted> {
        let name = note_name(node, number);
        let Some(statement) = bucket.get(&name).await? else {
            return Err(Unlisted::NoNote(name));
        };
        let (said, digest) =
            verify_list(&statement, node, keys).map_err(|why| Unlisted::Note(name.clone(), why))?;
        if said != number {
            return Err(Unlisted::Number(name));
        }
        let name = list_name(node, number, &digest);
        let Some(bytes) = bucket.get(&name).await? else {
            return Err(Unlisted::NoList(name));
        };
        let found: Hash = Sha256::digest(&bytes).into();
        let list: Option<Self> = serde_json::from_slice(&bytes).ok();
        list.filter(|list| found == digest && list.version == VERSION)
            .ok_or(Unlisted::Altered(name))
    }
}

impl Contents {
    /// What the copy consists of by its `number`th list.
    pub(crate) async fn read(
        bucket: &Bucket,
        node: &str,
        number: u64,
        keys: &[VerifyingKey],
    ) -> Result<Self, Unlisted> {
        let mut lists = Vec::new();
        for at in (1..=number).rev() {
            let list = List::read(bucket, node, at, keys).await?;
            let whole = list.whole;
            lists.push(list);
            if whole {
                break;
            }
        }
        let mut contents = Self::default();
        for list in lists.into_iter().rev() {
            contents.follow(list);
        }
        contents.number = number;
        Ok(contents)
    }

    /// What the copy consists of once this list is there too.
    pub(crate) fn follow(&mut self, list: List) {
        if list.whole {
            self.files.clear();
            self.steps = 0;
        } else {
            self.steps += 1;
        }
        for path in &list.gone {
            self.files.remove(path);
        }
        self.files.extend(list.files);
        self.entries = list.entries;
        self.identity = list.identity;
        self.unsealed = list.unsealed;
        self.number += 1;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_name_of_a_statement_is_read_back() {
        assert_eq!(
            parse_note_name(&note_name("nas-1", 42)),
            Some(("nas-1", 42))
        );
        assert_eq!(
            parse_note_name("shipments/nas-1-000000000042.00.json"),
            None
        );
        assert_eq!(parse_note_name("checkpoints/nas-1-000000000042.note"), None);
    }

    #[test]
    fn lists_add_up() {
        let entry = |sha256: &str| Entry {
            sha256: sha256.into(),
            bytes: 1,
            object: None,
        };
        let files = |names: &[&str]| {
            names
                .iter()
                .map(|name| ((*name).to_owned(), entry(name)))
                .collect()
        };
        let mut contents = Contents::default();
        contents.follow(List {
            whole: true,
            files: files(&["a", "b"]),
            entries: 1,
            ..List::default()
        });
        let gone = BTreeSet::from(["a".to_owned()]);
        contents.follow(List {
            files: files(&["c"]),
            gone,
            entries: 2,
            ..List::default()
        });
        assert_eq!(contents.files.keys().collect::<Vec<_>>(), ["b", "c"]);
        assert_eq!(
            (contents.number, contents.steps, contents.entries),
            (2, 1, 2)
        );
        contents.follow(List {
            whole: true,
            files: files(&["d"]),
            entries: 3,
            ..List::default()
        });
        assert_eq!(contents.files.keys().collect::<Vec<_>>(), ["d"]);
        assert_eq!(
            (contents.number, contents.steps, contents.entries),
            (3, 0, 3)
        );
    }
}

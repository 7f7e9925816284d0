//! Who a record belongs to: `node.json`, the digest key, and documents kept by their digest.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::layout::{Layout, check_node};
use crate::schema::SCHEMA_VERSION;
use crate::{DigestKey, Durability, RecordError, RecordOptions, Storage};

/// The contents of `node.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The node's name.
    pub(crate) node: String,
    /// Version of the schema.
    pub(crate) schema_version: String,
    /// `sync` or `interval`.
    pub(crate) durability: String,
    /// What is at risk under `interval`, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interval_ms: Option<u64>,
    /// The id of the record key that encrypts what is sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) record_key: Option<String>,
}

impl Identity {
    /// Reads `node.json`; none if the folder has none.
    pub(crate) fn read(
        storage: &dyn Storage,
        layout: &Layout,
    ) -> Result<Option<Self>, RecordError> {
        let path = layout.identity();
        let Some(bytes) = read_if_there(storage, &path)? else {
            return Ok(None);
        };
        let damaged = |e: serde_json::Error| RecordError::Damaged {
            path: path.clone(),
            what: e.to_string(),
        };
        let identity: Self = serde_json::from_slice(&bytes).map_err(damaged)?;
        check_node(&identity.node)?;
        if identity.schema_version != SCHEMA_VERSION {
            let (found, known) = (identity.schema_version, SCHEMA_VERSION.to_owned());
            return Err(RecordError::Version { path, found, known });
        }
        Ok(Some(identity))
    }

    /// Reads or makes `node.json`, as these options want it.
    pub(crate) fn establish(
        storage: &dyn Storage,
        layout: &Layout,
        options: &RecordOptions,
    ) -> Result<Self, RecordError> {
        let found = Self::read(storage, layout)?;
        let node = match (&found, &options.node) {
            (Some(found), Some(asked)) if found.node != *asked => {
                let (found, asked) = (found.node.clone(), asked.clone());
                return Err(RecordError::OtherNode {
                    path: layout.root().to_owned(),
                    found,
                    asked,
                });
            }
            (Some(found), _) => found.node.clone(),
            (None, Some(asked)) => asked.clone(),
            (None, None) => format!("weir-{}", hex::encode(random::<4>()?)),
        };
        check_node(&node)?;
        let (durability, interval_ms) = match options.durability {
            Durability::Sync => ("sync", None),
            Durability::Interval(pause) => ("interval", Some(millis(pause))),
            Durability::Off => ("off", None),
        };
        let identity = Self {
            node,
            schema_version: SCHEMA_VERSION.into(),
            durability: durability.into(),
            interval_ms,
            record_key: options.keys.active_id().map(str::to_owned),
        };
        let before = found.as_ref().and_then(|found| found.record_key.clone());
        if let (Some(key_id), None, false) =
            (before, &identity.record_key, options.seal_in_the_clear)
        {
            let path = layout.root().to_owned();
            return Err(RecordError::KeysWanted { path, key_id });
        }
        if identity.record_key.is_some() && !cfg!(feature = "encryption") {
            return Err(RecordError::NotBuilt);
        }
        if found.as_ref() != Some(&identity) {
            let damaged = |e: serde_json::Error| RecordError::Damaged {
                path: layout.identity(),
                what: e.to_string(),
            };
            let mut json = serde_json::to_vec_pretty(&identity).map_err(damaged)?;
            json.push(b'\n');
            replace(storage, &layout.identity(), &json, |s, p| s.create(p))?;
        }
        Ok(identity)
    }
}

fn millis(pause: Duration) -> u64 {
    u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)
}

/// Reads or makes the digest key.
pub(crate) fn digest_key(storage: &dyn Storage, layout: &Layout) -> Result<DigestKey, RecordError> {
    let path = layout.digest_key();
    if let Some(bytes) = read_if_there(storage, &path)? {
        let wrong = || RecordError::Damaged {
            path: path.clone(),
            what: "a digest key is 32 bytes".into(),
        };
        return Ok(DigestKey::from_bytes(
            bytes.try_into().map_err(|_| wrong())?,
        ));
    }
    let key = DigestKey::from_bytes(random()?);
    replace(storage, &path, key.as_bytes(), |s, p| s.create_private(p))?;
    Ok(key)
}

/// Keeps a document under its digest, durable when this returns.
pub(crate) fn keep(
    storage: &dyn Storage,
    folder: &Path,
    digest: &str,
    document: &[u8],
) -> Result<(), RecordError> {
    let path = folder.join(format!("{}.json", hex_of(digest)?));
    if !matches(digest, document) {
        return Err(RecordError::DigestMismatch(digest.to_owned()));
    }
    // A file of that name may be a torn one.
    if read_if_there(storage, &path)?.is_some_and(|kept| kept == document) {
        return Ok(());
    }
    replace(storage, &path, document, |s, p| s.create(p))
}

/// Reads a document kept under its digest.
pub(crate) fn kept(
    storage: &dyn Storage,
    folder: &Path,
    digest: &str,
) -> Result<Vec<u8>, RecordError> {
    let path = folder.join(format!("{}.json", hex_of(digest)?));
    let document =
        read_if_there(storage, &path)?.ok_or_else(|| RecordError::NoDocument(digest.to_owned()))?;
    if matches(digest, &document) {
        Ok(document)
    } else {
        Err(RecordError::Damaged {
            path,
            what: "its bytes do not have the digest that it is named by".into(),
        })
    }
}

pub(crate) fn hex_of(digest: &str) -> Result<&str, RecordError> {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    let fine = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if fine {
        Ok(hex)
    } else {
        Err(RecordError::Digest(digest.to_owned()))
    }
}

fn matches(digest: &str, document: &[u8]) -> bool {
    hex_of(digest).is_ok_and(|hex| hex == hex::encode(Sha256::digest(document)))
}

/// The digest that names a document.
pub(crate) fn digest(document: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(document)))
}

pub(crate) type Create = fn(&dyn Storage, &Path) -> io::Result<Box<dyn crate::StorageFile>>;

/// Writes a file aside and exchanges it in one step, durable when this returns.
pub(crate) fn replace(
    storage: &dyn Storage,
    path: &Path,
    bytes: &[u8],
    create: Create,
) -> Result<(), RecordError> {
    let folder = path.parent().unwrap_or(path);
    let aside = path.with_extension("tmp");
    match storage.remove(&aside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(RecordError::io("remove", &aside)(e));
        }
        _ => {}
    }
    let mut file = create(storage, &aside).map_err(RecordError::io("create", &aside))?;
    file.write_at(0, bytes)
        .map_err(RecordError::io("write", &aside))?;
    file.sync_data().map_err(RecordError::io("sync", &aside))?;
    storage
        .rename(&aside, path)
        .map_err(RecordError::io("rename", &aside))?;
    storage
        .sync_folder(folder)
        .map_err(RecordError::io("sync", folder))
}

pub(crate) fn read_if_there(
    storage: &dyn Storage,
    path: &Path,
) -> Result<Option<Vec<u8>>, RecordError> {
    match storage.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(RecordError::io("read", path)(e)),
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], RecordError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| RecordError::io("read", "random bytes")(io::Error::other(e.to_string())))?;
    Ok(bytes)
}

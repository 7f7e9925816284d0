//! A copy of a record that needs no journal: what it consists of at one moment, and the statement that vouches for its list.
//!
//! Sealed files alone are no valid copy: a checkpoint covers calls that have not ended yet, and those are in the journal. The copy
//! has their leaves instead, hashed, so that no argument leaves the folder before it is sealed. That a leaf may stand for a row
//! is signed with the list of files: else whoever can write to the copy could take rows away and leave hashes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use super::anchor::Folder;
use super::checkpoint::Checkpoint;
use super::merkle::Hash;
use super::note::{Note, NoteError};
use super::notes;
use super::verify::{Moment, NodeMoment};
use super::{Evidence, origin};
use crate::identity::{Identity, read_if_there};
use crate::layout::{Layout, Table};
use crate::{RecordError, Storage, VerifyingKey, segments};

/// What a copy of a record consists of at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shipment {
    /// The record's node.
    pub node: String,
    /// How many entries the newest checkpoint of the copy covers.
    pub entries: u64,
    /// Documents that rows name, sealed files, checkpoints: in this order. Every file but these is left behind.
    pub files: Vec<ShippedFile>,
    /// Leaves of the entries that a checkpoint covers and no sealed file holds yet, by node.
    pub unsealed: BTreeMap<String, BTreeMap<i64, Hash>>,
}

/// A file of a record, to be copied as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShippedFile {
    /// Its path in the record's folder, with `/`.
    pub path: String,
    /// SHA-256 of its bytes as it was signed; none where nothing says it, or where the copy had the file before.
    pub digest: Option<Hash>,
}

/// The second word of a statement's origin, which keeps it from being taken for a checkpoint.
const KIND: &str = "shipment";

/// Folders of documents that rows and events name by their digest.
const DOCUMENTS: [&str; 4] = ["policies", "resolvers", "results", "removed"];

/// How often a checkpoint may be written while the record is looked at.
const ATTEMPTS_MAX: usize = 100;

impl Shipment {
    /// Looks at a record, which may be written meanwhile. Of the files that the copy is `known` to have, nothing is read. None
    /// while nothing was sealed.
    pub(crate) fn take(
        storage: &dyn Storage,
        layout: &Layout,
        known: &HashSet<String>,
    ) -> Result<Option<Self>, RecordError> {
        let identity = Identity::read(storage, layout)?.ok_or_else(|| RecordError::NotARecord {
            path: layout.root().to_owned(),
        })?;
        let folder = layout.checkpoints();
        let folder = Folder::new(storage, &folder);
        for _ in 0..ATTEMPTS_MAX {
            // What is signed is there by the time it is looked at, and what is there was signed before the names are read again.
            let before = Lasting::read(folder, known)?;
            let Some(&entries) = before.sizes.get(&identity.node) else {
                return Ok(None);
            };
            let mut documents = documents(storage, layout)?;
            let files = files(&before, &documents, sealed(storage, layout)?);
            let mut shipment = Self {
                node: identity.node.clone(),
                entries,
                files,
                unsealed: BTreeMap::new(),
            };
            // Without news the journal is not read.
            if shipment.files.len() == known.len()
                && shipment.files.iter().all(|file| known.contains(&file.path))
            {
                return Ok(Some(shipment));
            }
            let moment = Moment::take(storage, layout)?;
            if Lasting::read(folder, known)?.paths != before.paths {
                continue;
            }
            // What a row names was there when the row was; and what goes with its rows may have gone since.
            documents.extend(self::documents(storage, layout)?);
            let segments = moment.nodes.values().flat_map(NodeMoment::segments);
            let sealed = segments.map(|file| relative(layout, &file.path)).collect();
            shipment.files =
                files_with_digests(storage, layout, known, &before, &documents, sealed)?;
            shipment.unsealed = unsealed(moment, &before);
            return Ok(Some(shipment));
        }
        Err(RecordError::Evidence(
            "checkpoints are written faster than they can be looked at".into(),
        ))
    }

    /// The newest checkpoint of a log, as it lies there.
    pub(crate) fn newest_checkpoint(
        storage: &dyn Storage,
        layout: &Layout,
        node: &str,
    ) -> Result<Option<(String, Vec<u8>)>, RecordError> {
        let folder = layout.checkpoints();
        let mut names = notes::list(&Folder::new(storage, &folder), Some(node))?;
        while let Some(newest) = names.pop() {
            // A superfluous one goes away while it is looked at; the next is older, and as good.
            if let Some(bytes) = read_if_there(storage, &folder.join(newest.name()))? {
                return Ok(Some((in_copy(newest.name()), bytes)));
            }
        }
        Ok(None)
    }
}

/// The paths of sealed files, of whatever node.
fn sealed(storage: &dyn Storage, layout: &Layout) -> Result<Vec<String>, RecordError> {
    let mut paths = Vec::new();
    for table in Table::OF_THE_LOG {
        let segments = segments::list(storage, layout, table, None..=None)?;
        paths.extend(segments.iter().map(|file| relative(layout, &file.path)));
    }
    Ok(paths)
}

/// The paths of documents that rows and events name.
fn documents(storage: &dyn Storage, layout: &Layout) -> Result<BTreeSet<String>, RecordError> {
    let mut paths = BTreeSet::new();
    for folder in DOCUMENTS {
        let path = layout.root().join(folder);
        let names = storage
            .list(&path)
            .map_err(RecordError::io("list", &path))?;
        // Others are on their way to their names.
        let kept = names
            .iter()
            .filter(|name| name.strip_suffix(".json").is_some());
        paths.extend(kept.map(|name| format!("{folder}/{name}")));
    }
    Ok(paths)
}

/// Everything to copy, with the digests that the checkpoints which were read sign.
fn files(lasting: &Lasting, documents: &BTreeSet<String>, sealed: Vec<String>) -> Vec<ShippedFile> {
    let named = |path: &String| {
        let name = path.rsplit('/').next()?;
        hash_of(name.strip_suffix(".json")?)
    };
    let mut files: Vec<_> = documents
        .iter()
        .map(|path| ShippedFile {
            path: path.clone(),
            digest: named(path),
        })
        .collect();
    files.extend(sealed.into_iter().map(|path| ShippedFile {
        digest: lasting.digests.get(&path).copied(),
        path,
    }));
    let checkpoints = lasting.paths.iter().cloned();
    files.extend(checkpoints.map(|path| ShippedFile { path, digest: None }));
    files
}

/// As [`files`]; every sealed file that the copy does not have gets the digest that it was signed with.
fn files_with_digests(
    storage: &dyn Storage,
    layout: &Layout,
    known: &HashSet<String>,
    lasting: &Lasting,
    documents: &BTreeSet<String>,
    sealed: Vec<String>,
) -> Result<Vec<ShippedFile>, RecordError> {
    let signed = |path: &String| known.contains(path) || lasting.digests.contains_key(path);
    if sealed.iter().all(signed) {
        return Ok(files(lasting, documents, sealed));
    }
    // A checkpoint that the copy has names it: the file came after it, or was in the copy before and went.
    let folder = layout.checkpoints();
    let all = Lasting::read(Folder::new(storage, &folder), &HashSet::new())?;
    let lasting = Lasting {
        digests: all.digests,
        paths: lasting.paths.clone(),
        sizes: HashMap::new(),
    };
    Ok(files(&lasting, documents, sealed))
}

/// Leaves of what the checkpoints cover and the journal holds.
fn unsealed(moment: Moment, lasting: &Lasting) -> BTreeMap<String, BTreeMap<i64, Hash>> {
    let mut unsealed = BTreeMap::new();
    for (node, part) in moment.nodes {
        let size = lasting.sizes.get(&node).copied().unwrap_or(0) as i64;
        let covered = part.journal.into_iter().filter(|(seq, _)| *seq < size);
        let leaves: BTreeMap<_, _> = covered.collect();
        if !leaves.is_empty() {
            unsealed.insert(node, leaves);
        }
    }
    unsealed
}

/// The checkpoints that stay: those that name files or hand over to a key.
struct Lasting {
    paths: Vec<String>,
    /// The greatest log that they speak of, by node.
    sizes: HashMap<String, u64>,
    /// Of the files that those which were read name; the newest word on a path counts.
    digests: HashMap<String, Hash>,
}

impl Lasting {
    fn read(folder: Folder<'_>, known: &HashSet<String>) -> Result<Self, RecordError> {
        let (mut paths, mut sizes, mut digests) = (Vec::new(), HashMap::new(), HashMap::new());
        for name in notes::list(&folder, None)? {
            let (path, of, size) = (in_copy(name.name()), name.node().to_owned(), name.size);
            if !known.contains(&path) {
                let Some(found) = name.read(&folder)? else {
                    continue;
                };
                let Ok((
                    _,
                    Checkpoint {
                        segments, next_key, ..
                    },
                )) = found.read
                else {
                    continue;
                };
                if segments.is_empty() && next_key.is_none() {
                    continue;
                }
                digests.extend(segments.into_iter().map(|file| (file.path, file.digest)));
            }
            paths.push(path);
            let greatest = sizes.entry(of).or_insert(size);
            *greatest = size.max(*greatest);
        }
        Ok(Self {
            paths,
            sizes,
            digests,
        })
    }
}

fn hash_of(hex: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(hex, &mut hash).ok()?;
    Some(hash)
}

/// A checkpoint's path in the record's folder.
fn in_copy(name: &str) -> String {
    format!("checkpoints/{name}")
}

fn relative(layout: &Layout, path: &Path) -> String {
    let path = path.strip_prefix(layout.root()).unwrap_or(path);
    path.to_string_lossy().into_owned()
}

impl Evidence {
    /// Vouches for a list of files: the `number`th of this log's copies, and the digest of the list.
    pub(crate) fn sign_list(&self, number: u64, digest: &Hash) -> String {
        let origin = format!("{}/{KIND}", origin(&self.node));
        let text = format!("{origin}\n{number}\nsha256:{}\n", hex::encode(digest));
        Note::sign(text, &[&self.notary().key]).to_string()
    }
}

/// A statement does not vouch for a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// It is no note, or one with a false signature.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// None of the keys that are believed signed it.
    #[error("no key that is believed signed it")]
    Stranger,
    /// It says something else.
    #[error("it is no statement about a list of the log `{0}`")]
    Other(String),
}

/// Reads what [`crate::Recorder::sign_list`] signed: the number of the list and its digest.
pub fn verify_list(
    statement: &[u8],
    node: &str,
    keys: &[VerifyingKey],
) -> Result<(u64, Hash), ListError> {
    let parsed = Note::parse(statement)?;
    if parsed.signed_by(keys)?.is_empty() {
        return Err(ListError::Stranger);
    }
    let other = || ListError::Other(node.to_owned());
    let rest = parsed
        .text()
        .strip_prefix(&format!("{}/{KIND}\n", origin(node)));
    let (number, digest) = rest
        .and_then(|rest| rest.strip_suffix('\n')?.split_once('\n'))
        .ok_or_else(other)?;
    let digest = digest.strip_prefix("sha256:").and_then(hash_of);
    let number = number.parse().map_err(|_| other())?;
    Ok((number, digest.ok_or_else(other)?))
}

/// The key that a checkpoint hands over to, if it does, and if one of these keys signed it.
pub fn successor(note: &[u8], keys: &[VerifyingKey]) -> Option<VerifyingKey> {
    let note = Note::parse(note).ok()?;
    if note.signed_by(keys).ok()?.is_empty() {
        return None;
    }
    let checkpoint = Checkpoint::parse(note.text()).ok()?;
    checkpoint.next_key
}

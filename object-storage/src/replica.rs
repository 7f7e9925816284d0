//! A copy that is brought up to its record, round by round.
//!
//! The order is what makes it safe to stop anywhere: documents that rows name, sealed files, checkpoints, the list of all these, and
//! last the signed statement that makes the list count. Until that is there, the copy is what the list before says, whose
//! objects nobody touches. What was shipped is asked of the bucket, so there is nothing here to lose.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use futures_util::{StreamExt, TryStreamExt, stream};
use sha2::{Digest, Sha256};
use weir_recorder::{Hash, ListError, Recorder, Shipment, ShippedFile, VerifyingKey, successor};

use crate::list::{
    Contents, Entry, FOLDER, List, STEPS_MAX, Unlisted, VERSION, list_name, note_name,
    parse_note_name,
};
use crate::{Bucket, ObjectStorageError};

/// A copy in a bucket.
#[derive(Debug)]
pub struct Replica {
    bucket: Bucket,
    /// What the bucket holds; none before it was asked, and after anything went wrong.
    contents: Option<Contents>,
    /// The newest checkpoint that the bucket has.
    checkpoint: Option<String>,
    /// The key that was in force in the round before.
    key: Option<VerifyingKey>,
}

/// What a round came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Round {
    /// Files that were written, or found to be there.
    pub files: usize,
    /// Their size.
    pub bytes: u64,
    /// How many entries the copy covers now.
    pub entries: u64,
    /// Number of the list that says so; 0 while nothing was sealed.
    pub list: u64,
}

/// Hears how far a round is.
pub type Progress<'a> = &'a (dyn Fn(Behind) + Sync);

/// What the record has and the copy does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Behind {
    /// Files.
    pub files: usize,
    /// Their size.
    pub bytes: u64,
    /// Entries that a checkpoint of the record covers and none of the copy.
    pub entries: u64,
}

/// Files under way at once.
const AT_ONCE: usize = 4;

/// The public key that was in force when the copy began; those after it are handed over to by checkpoints.
pub(crate) const PUBLIC_KEY: &str = "record.pub";

impl Replica {
    /// The copy in this bucket.
    pub fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            contents: None,
            checkpoint: None,
            key: None,
        }
    }

    /// Brings the copy up to the record, as far as that is sealed.
    pub async fn round(
        &mut self,
        recorder: &Recorder,
        progress: Progress<'_>,
    ) -> Result<Round, ObjectStorageError> {
        // Whatever goes wrong, the bucket is asked again how far it is.
        let asked_before = self.contents.is_some();
        let contents = match self.contents.take() {
            Some(contents) => contents,
            None => self.ask(recorder).await?,
        };
        let mut contents = contents;
        let key = self.key.replace(recorder.public_key());
        if key.is_some() && key != self.key {
            contents.steps = STEPS_MAX;
        }
        let known: HashSet<String> = contents.files.keys().cloned().collect();
        let Some(shipment) = recorder.shipment(&known)? else {
            self.contents = Some(contents);
            return Ok(Round::default());
        };
        if contents.entries > shipment.entries {
            let (there, here) = (contents.entries, shipment.entries);
            return Err(ObjectStorageError::Ahead {
                node: shipment.node,
                there,
                here,
            });
        }
        if !asked_before {
            check_history(recorder, &contents)?;
        }
        let mut round = Round {
            entries: shipment.entries,
            ..Round::default()
        };
        let identity = identity(recorder.path())?;
        let new = changed(&contents, &shipment);
        let here: HashSet<&str> = shipment.files.iter().map(|file| &*file.path).collect();
        let gone: BTreeSet<String> = contents
            .files
            .keys()
            .filter(|path| !here.contains(path.as_str()))
            .cloned()
            .collect();
        let contents = if new.is_empty() && gone.is_empty() && contents.identity == identity {
            contents
        } else {
            let shipped = self
                .send(recorder.path(), &contents, &new, shipment.entries, progress)
                .await?;
            round.files = shipped.len();
            round.bytes = shipped.values().map(|entry| entry.bytes).sum();
            self.list(recorder, contents, shipment, identity, shipped, gone)
                .await?
        };
        round.list = contents.number;
        self.contents = Some(contents);
        self.send_newest(recorder).await?;
        Ok(round)
    }

    /// What the bucket holds, and whether it is of this record.
    async fn ask(&mut self, recorder: &Recorder) -> Result<Contents, ObjectStorageError> {
        let node = recorder.node();
        let lists = self.bucket.list(FOLDER).await?;
        let mut number = 0;
        for (of, at) in lists.keys().filter_map(|path| parse_note_name(path)) {
            if of != node {
                let (there, here) = (format!("the node `{of}`"), format!("`{node}`"));
                return Err(ObjectStorageError::OtherRecord { there, here });
            }
            number = at.max(number);
        }
        let keys = self.believed(recorder).await?;
        let present = [recorder.public_key()];
        let mut read = Contents::read(&self.bucket, node, number, &present).await;
        if matches!(read, Err(Unlisted::Note(_, ListError::Stranger))) {
            read = Contents::read(&self.bucket, node, number, &keys).await;
            // Who knows the new key only has to find a list that it signed and that needs no other.
            if let Ok(contents) = &mut read {
                contents.steps = STEPS_MAX;
            }
        }
        match read {
            Ok(contents) => Ok(contents),
            Err(Unlisted::Bucket(error)) => Err(error),
            // What goes on from a list that does not hold would not hold either.
            Err(why) => Err(ObjectStorageError::Place(format!(
                "the copy in `{}` was altered: {why}",
                self.bucket.place()
            ))),
        }
    }

    /// The keys that signed this log: the one that the copy began with, and those after it.
    async fn believed(&self, recorder: &Recorder) -> Result<Vec<VerifyingKey>, ObjectStorageError> {
        let present = recorder.public_key();
        let Some(first) = crate::verify::public_key_in(&self.bucket).await? else {
            let text = format!("{present}\n");
            self.bucket
                .put(PUBLIC_KEY, text.into_bytes().into())
                .await?;
            return Ok(vec![present]);
        };
        let mut keys = vec![first];
        if keys.contains(&present) {
            return Ok(keys);
        }
        // There were other keys since: the record's own checkpoints say which.
        let folder = recorder.path().join("checkpoints");
        let names = fs::read_dir(&folder).map_err(ObjectStorageError::file("list", &folder))?;
        let mut notes = Vec::new();
        for name in names {
            let path = name
                .map_err(ObjectStorageError::file("list", &folder))?
                .path();
            // A superfluous one goes away while they are looked at.
            notes.extend(fs::read(&path));
        }
        extend_keys(&mut keys, &notes);
        if keys.contains(&present) {
            return Ok(keys);
        }
        let key =
            |key: Option<&VerifyingKey>| format!("the key `{}`", key.unwrap_or(&present).name());
        Err(ObjectStorageError::OtherRecord {
            there: format!(
                "a record that begins with {}, and whose checkpoints never handed over to this one's",
                key(keys.first())
            ),
            here: format!("one of {}", key(None)),
        })
    }

    /// Writes files, those of one kind before those of the next.
    async fn send(
        &self,
        record: &Path,
        contents: &Contents,
        files: &[&ShippedFile],
        entries: u64,
        progress: Progress<'_>,
    ) -> Result<BTreeMap<String, Entry>, ObjectStorageError> {
        let size =
            |file: &ShippedFile| fs::metadata(record.join(&file.path)).map_or(0, |it| it.len());
        let mut behind = Behind {
            files: files.len(),
            bytes: files.iter().map(|file| size(file)).sum(),
            entries: entries.saturating_sub(contents.entries),
        };
        progress(behind);
        let mut shipped = BTreeMap::new();
        for kind in files.chunk_by(|a, b| kind(a) == kind(b)) {
            let mut sending = stream::iter(kind)
                .map(|file| self.send_file(record, contents, file))
                .buffer_unordered(AT_ONCE);
            while let Some((path, entry)) = sending.try_next().await? {
                behind.files -= 1;
                behind.bytes = behind.bytes.saturating_sub(entry.bytes);
                progress(behind);
                shipped.insert(path, entry);
            }
        }
        Ok(shipped)
    }

    async fn send_file(
        &self,
        record: &Path,
        contents: &Contents,
        file: &ShippedFile,
    ) -> Result<(String, Entry), ObjectStorageError> {
        let local = record.join(&file.path);
        if file.digest.is_none() && kind(file) == 1 {
            // No checkpoint names it, so it is none of the record's.
            return Err(ObjectStorageError::Altered { path: local });
        }
        let object = match (&file.digest, contents.files.get(&file.path)) {
            (Some(digest), Some(_)) => Some(renamed(&file.path, digest)),
            _ => None,
        };
        let name = object.as_deref().unwrap_or(&file.path);
        let (bytes, digest) = self
            .bucket
            .put_file(name, &local, file.digest.as_ref())
            .await?;
        let sha256 = hex::encode(digest);
        Ok((
            file.path.clone(),
            Entry {
                sha256,
                bytes,
                object,
            },
        ))
    }

    /// Makes what was written part of the copy.
    async fn list(
        &self,
        recorder: &Recorder,
        mut contents: Contents,
        shipment: Shipment,
        identity: String,
        shipped: BTreeMap<String, Entry>,
        gone: BTreeSet<String>,
    ) -> Result<Contents, ObjectStorageError> {
        let mut list = List {
            version: VERSION,
            whole: false,
            entries: shipment.entries,
            identity,
            files: shipped,
            gone,
            unsealed: shipment
                .unsealed
                .into_iter()
                .map(|(node, leaves)| (node, in_hex(leaves)))
                .collect(),
        };
        if contents.number == 0 || contents.steps >= STEPS_MAX {
            let gone = std::mem::take(&mut list.gone);
            let mut files = std::mem::take(&mut contents.files);
            files.retain(|path, _| !gone.contains(path));
            files.append(&mut list.files);
            (list.files, list.whole) = (files, true);
        }
        let number = contents.number + 1;
        let unwritable = |e: serde_json::Error| {
            ObjectStorageError::Place(format!("the list cannot be written: {e}"))
        };
        let (bytes, digest) = list.encode().map_err(unwritable)?;
        self.bucket
            .put(&list_name(recorder.node(), number, &digest), bytes)
            .await?;
        let note = recorder.sign_list(number, &digest).into_bytes();
        self.bucket
            .put(&note_name(recorder.node(), number), note.into())
            .await?;
        contents.follow(list);
        Ok(contents)
    }

    /// The newest checkpoint goes there too, though the copy does not reach it yet: the bucket is an anchor.
    async fn send_newest(&mut self, recorder: &Recorder) -> Result<(), ObjectStorageError> {
        let Some((path, bytes)) = recorder.checkpoint()? else {
            return Ok(());
        };
        let listed = self
            .contents
            .as_ref()
            .is_some_and(|contents| contents.files.contains_key(&path));
        if !listed && self.checkpoint.as_ref() != Some(&path) {
            self.bucket.put(&path, bytes.into()).await?;
            self.checkpoint = Some(path);
        }
        Ok(())
    }
}

/// The newest checkpoint of the copy is one of the record's: else it is a copy of another history.
fn check_history(recorder: &Recorder, contents: &Contents) -> Result<(), ObjectStorageError> {
    let ours = format!("checkpoints/{}-", recorder.node());
    let newest = contents
        .files
        .range(ours.clone()..)
        .take_while(|(path, _)| path.starts_with(&ours))
        .last();
    let Some((path, entry)) = newest else {
        return Ok(());
    };
    let here = fs::read(recorder.path().join(path)).map(|bytes| hex::encode(Sha256::digest(bytes)));
    match here {
        Ok(here) if here == entry.sha256 => Ok(()),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ObjectStorageError::file("read", path)(error))
        }
        _ => Err(ObjectStorageError::Forked { path: path.clone() }),
    }
}

/// Files that the copy does not have as they are now.
fn changed<'s>(contents: &Contents, shipment: &'s Shipment) -> Vec<&'s ShippedFile> {
    let is_new = |file: &&ShippedFile| match (contents.files.get(&file.path), &file.digest) {
        (None, _) => true,
        (Some(there), Some(digest)) => there.sha256 != hex::encode(digest),
        (Some(_), None) => false,
    };
    shipment.files.iter().filter(is_new).collect()
}

/// Files of one kind may go side by side.
fn kind(file: &ShippedFile) -> u8 {
    match file.path.split('/').next() {
        Some("calls" | "events") => 1,
        Some("checkpoints") => 2,
        _ => 0,
    }
}

/// The object of a file that took the name of another.
fn renamed(path: &str, digest: &Hash) -> String {
    let (stem, extension) = path.rsplit_once('.').unwrap_or((path, "parquet"));
    format!("{stem}.{}.{extension}", hex::encode(digest))
}

fn in_hex(leaves: BTreeMap<i64, Hash>) -> BTreeMap<i64, String> {
    leaves
        .into_iter()
        .map(|(seq, leaf)| (seq, hex::encode(leaf)))
        .collect()
}

fn identity(record: &Path) -> Result<String, ObjectStorageError> {
    let path = record.join("node.json");
    fs::read_to_string(&path).map_err(ObjectStorageError::file("read", &path))
}

/// Adds the keys that these checkpoints hand over to, and those that these hand over to.
pub(crate) fn extend_keys(keys: &mut Vec<VerifyingKey>, notes: &[impl AsRef<[u8]>]) {
    loop {
        let next = notes
            .iter()
            .filter_map(|note| successor(note.as_ref(), keys));
        let new: Vec<_> = next.filter(|key| !keys.contains(key)).collect();
        if new.is_empty() {
            return;
        }
        for key in new {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
}

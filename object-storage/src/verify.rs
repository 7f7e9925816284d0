//! Verifying a copy where it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::runtime::Runtime;
use weir_recorder::{
    Finding, Hash, ListError, State, Verification, VerifyOptions, VerifyingKey, verify_on,
};

use crate::list::{Contents, FOLDER, Unlisted, parse_note_name};
use crate::replica::{PUBLIC_KEY, extend_keys};
use crate::view::View;
use crate::{Bucket, ObjectStorageError};

/// What verifying a copy came to.
#[derive(Debug)]
pub struct Verified {
    /// As of a record on disk.
    pub verification: Verification,
    /// Number of the list that says what the copy consists of.
    pub list: u64,
    /// Entries whose rows were not sealed when the copy was last brought up: they are proved by their leaves alone.
    pub unsealed: usize,
    /// How many entries the newest checkpoint in the bucket is of, by its name, if that is more than the list reaches: a shipment
    /// is under way, or one was taken away.
    pub beyond: Option<u64>,
}

/// Checkpoints fetched at once.
const AT_ONCE: usize = 16;

const CHECKPOINTS: &str = "checkpoints";

/// Verifies the copy in a bucket. Of sealed files one at a time is kept here, in a file without a name, and each is fetched twice:
/// to see that its bytes are those that were signed, and to read its rows.
pub fn verify(
    bucket: &Bucket,
    runtime: &Runtime,
    options: VerifyOptions<'_>,
) -> Result<Verified, ObjectStorageError> {
    verify_up_to(bucket, runtime, options, None)
}

/// As [`verify`], of an earlier state of the copy: what its list of this number names. Objects are never overwritten and, as far as Weir
/// goes, never deleted, so days that retention removed since are proved as they were then.
pub fn verify_as_of(
    bucket: &Bucket,
    runtime: &Runtime,
    options: VerifyOptions<'_>,
    number: u64,
) -> Result<Verified, ObjectStorageError> {
    verify_up_to(bucket, runtime, options, Some(number))
}

fn verify_up_to(
    bucket: &Bucket,
    runtime: &Runtime,
    options: VerifyOptions<'_>,
    number: Option<u64>,
) -> Result<Verified, ObjectStorageError> {
    let objects = runtime.block_on(bucket.list(""))?;
    let mut findings = Vec::new();
    let asked = (number, &*options.keys);
    let read = runtime.block_on(newest(bucket, &objects, asked, &mut findings))?;
    let Some(contents) = read else {
        return Ok(Verified {
            verification: nothing(bucket, findings),
            list: 0,
            unsealed: 0,
            beyond: beyond(&objects, 0),
        });
    };
    let mut files = BTreeMap::new();
    for (path, entry) in &contents.files {
        let object = entry.object(path);
        match objects.get(object) {
            None => findings.push(Finding {
                state: State::Missing,
                text: format!("`{object}` is gone from the bucket"),
            }),
            Some(bytes) => {
                if *bytes != entry.bytes {
                    let text =
                        format!("`{object}` has {bytes} bytes, {} were shipped", entry.bytes);
                    findings.push(Finding {
                        state: State::Altered,
                        text,
                    });
                }
                files.insert(path.clone(), entry.clone());
            }
        }
    }
    let unsealed = leaves(&contents, &mut findings);
    let count = unsealed.values().map(BTreeMap::len).sum();
    let view = View {
        bucket,
        runtime,
        root: bucket.place().to_string().into(),
        identity: contents.identity,
        files,
        altered: Mutex::default(),
        last: Mutex::new(None),
    };
    let options = VerifyOptions {
        unsealed,
        ..options
    };
    let verification = verify_on(&view, &view.root, &options)?;
    let altered = view
        .altered
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    findings.extend(altered.iter().map(|object| Finding {
        state: State::Altered,
        text: format!("`{object}` is not as it was shipped"),
    }));
    Ok(Verified {
        verification: verification.with(findings),
        list: contents.number,
        unsealed: count,
        beyond: beyond(&objects, contents.entries),
    })
}

/// The newest list that holds; what is wrong with those after it is told. Where one is asked for, that one or none.
async fn newest(
    bucket: &Bucket,
    objects: &BTreeMap<String, u64>,
    (number, keys): (Option<u64>, &[VerifyingKey]),
    findings: &mut Vec<Finding>,
) -> Result<Option<Contents>, ObjectStorageError> {
    let mut notes: Vec<_> = objects
        .keys()
        .filter_map(|path| parse_note_name(path))
        .collect();
    notes.sort_unstable_by_key(|(node, number)| (*number, *node));
    if notes.is_empty() {
        // Checkpoints do not come here without a list for long, but the list may have been taken away.
        if !objects
            .keys()
            .any(|path| path.starts_with(CHECKPOINTS) || path.starts_with(FOLDER))
        {
            return Err(ObjectStorageError::NoCopy {
                place: bucket.place().to_string(),
            });
        }
        findings.push(Finding {
            state: State::Missing,
            text: "there are checkpoints, and no signed list of files".into(),
        });
        return Ok(None);
    }
    if let Some(number) = number {
        notes.retain(|(_, of)| *of == number);
        if notes.is_empty() {
            return Err(ObjectStorageError::NoList {
                place: bucket.place().to_string(),
                number,
            });
        }
    }
    let mut keys = keys.to_vec();
    let mut all_keys = false;
    while let Some((node, number)) = notes.pop() {
        let mut read = Contents::read(bucket, node, number, &keys).await;
        if !all_keys && matches!(read, Err(Unlisted::Note(_, ListError::Stranger))) {
            // Perhaps one that these keys handed over to.
            let checkpoints = checkpoints(bucket, objects).await?;
            let texts: Vec<_> = checkpoints.into_iter().map(|(_, bytes)| bytes).collect();
            extend_keys(&mut keys, &texts);
            all_keys = true;
            read = Contents::read(bucket, node, number, &keys).await;
        }
        let (state, why) = match read {
            Ok(contents) => return Ok(Some(contents)),
            Err(Unlisted::Bucket(error)) => return Err(error),
            Err(why @ (Unlisted::NoNote(_) | Unlisted::NoList(_))) => (State::Missing, why),
            Err(why @ (Unlisted::Note(..) | Unlisted::Number(_) | Unlisted::Altered(_))) => {
                (State::Altered, why)
            }
        };
        findings.push(Finding {
            state,
            text: why.to_string(),
        });
    }
    Ok(None)
}

fn beyond(objects: &BTreeMap<String, u64>, entries: u64) -> Option<u64> {
    let size = |path: &String| {
        let name = path.strip_prefix(CHECKPOINTS)?.strip_suffix(".note")?;
        let size = name.rsplit_once('-')?.1.split('.').next()?;
        size.parse::<u64>().ok()
    };
    objects
        .keys()
        .filter_map(size)
        .max()
        .filter(|size| *size > entries)
}

/// Of a copy without a list that holds, nothing can be said but that.
fn nothing(bucket: &Bucket, findings: Vec<Finding>) -> Verification {
    let empty = Verification {
        state: State::Missing,
        record: bucket.place().to_string().into(),
        durability: "unknown".into(),
        logs: Vec::new(),
        findings: Vec::new(),
    };
    empty.with(findings)
}

fn leaves(
    contents: &Contents,
    findings: &mut Vec<Finding>,
) -> BTreeMap<String, BTreeMap<i64, Hash>> {
    let mut all = BTreeMap::new();
    for (node, leaves) in &contents.unsealed {
        let mut read = BTreeMap::new();
        for (seq, text) in leaves {
            let mut leaf = [0; 32];
            if hex::decode_to_slice(text, &mut leaf).is_ok() {
                read.insert(*seq, leaf);
            } else {
                let text = format!("the list's leaf of entry {seq} is none");
                findings.push(Finding {
                    state: State::Altered,
                    text,
                });
            }
        }
        all.insert(node.clone(), read);
    }
    all
}

/// The public key that a copy began with. Whoever can write to the bucket could have put another there: it is for those who know no
/// better, and a key from elsewhere is better.
pub fn public_key(
    bucket: &Bucket,
    runtime: &Runtime,
) -> Result<Option<VerifyingKey>, ObjectStorageError> {
    runtime.block_on(public_key_in(bucket))
}

pub(crate) async fn public_key_in(
    bucket: &Bucket,
) -> Result<Option<VerifyingKey>, ObjectStorageError> {
    let Some(bytes) = bucket.get(PUBLIC_KEY).await? else {
        return Ok(None);
    };
    let wrong = |what: String| ObjectStorageError::Key {
        path: PUBLIC_KEY.into(),
        what,
    };
    let text = std::str::from_utf8(&bytes).map_err(|e| wrong(e.to_string()))?;
    VerifyingKey::parse(text.trim())
        .map(Some)
        .map_err(|e| wrong(e.to_string()))
}

/// The checkpoints of a bucket, brought here to be the anchor of a record; gone when this is dropped.
#[derive(Debug)]
pub struct FetchedAnchor {
    folder: tempfile::TempDir,
    count: usize,
}

impl FetchedAnchor {
    /// Fetches every checkpoint.
    pub fn fetch(bucket: &Bucket, runtime: &Runtime) -> Result<Self, ObjectStorageError> {
        let folder = tempfile::tempdir().map_err(ObjectStorageError::file("make", "a folder"))?;
        let count = runtime.block_on(async {
            let objects = bucket.list(CHECKPOINTS).await?;
            let notes = checkpoints(bucket, &objects).await?;
            for (path, bytes) in &notes {
                let name = path.rsplit('/').next().unwrap_or(path);
                let file = folder.path().join(name);
                fs::write(&file, bytes).map_err(ObjectStorageError::file("write", &file))?;
            }
            Ok::<_, ObjectStorageError>(notes.len())
        })?;
        Ok(Self { folder, count })
    }

    /// The folder where they are.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }
}

async fn checkpoints(
    bucket: &Bucket,
    objects: &BTreeMap<String, u64>,
) -> Result<Vec<(String, bytes::Bytes)>, ObjectStorageError> {
    let paths = objects.keys().filter(|path| path.starts_with(CHECKPOINTS));
    let read =
        |path: String| async move { Ok(bucket.get(&path).await?.map(|bytes| (path, bytes))) };
    stream::iter(paths.cloned())
        .map(read)
        .buffer_unordered(AT_ONCE)
        .try_filter_map(|found| std::future::ready(Ok(found)))
        .try_collect()
        .await
}

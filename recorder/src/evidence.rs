//! Evidence: what was recorded stays provable (DESIGN 6.5).
//!
//! The entries of a node's log are the [leaves](leaf) of an RFC 6962 [tree](merkle), in the order of their places; a
//! [checkpoint] is a [signed note](note) of its size and root. While a record is open, entries become leaves on a thread of
//! their own once they are durable; a checkpoint is written before what is sealed gets its name, and every few seconds under
//! load, and a copy of it goes to the anchor. [`verify`](crate::verify()) rebuilds the same leaves from the rows.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::layout::{Layout, checkpoint_name};
use crate::{RecordError, RecordOptions, Storage, VerifyingKey, identity, journal};

pub(crate) mod anchor;
pub(crate) mod checkpoint;
pub(crate) mod event_row;
mod growth;
pub(crate) mod key;
mod keyfile;
pub(crate) mod leaf;
pub(crate) mod merkle;
mod mooring;
pub(crate) mod note;
pub(crate) mod notes;
pub(crate) mod proof;
pub(crate) mod removal;
pub(crate) mod row;
pub(crate) mod shipment;
pub(crate) mod verify;
mod witness;

use anchor::{Anchor, Folder, FolderAnchor};
use checkpoint::{Checkpoint, SealedFile};
use growth::Growth;
pub(crate) use growth::{Durable, Hasher, Placed};
use key::SigningKey;
use keyfile::KeyFile;
use merkle::CompactRange;
use mooring::Mooring;
use note::Note;
pub(crate) use witness::Witness;

/// The evidence of a record that is open for writing.
#[derive(Debug)]
pub(crate) struct Evidence {
    storage: Arc<dyn Storage>,
    layout: Layout,
    node: Arc<str>,
    growth: Mutex<Growth>,
    grown: Condvar,
    notary: Mutex<Notary>,
    /// Held while sealed files get their names, or day folders change theirs.
    naming: Mutex<()>,
    /// Why the last checkpoint could not be written. Never held across I/O, as the notary is.
    fault: Mutex<Option<String>>,
    moorings: Vec<Arc<Mooring>>,
    checkpoint_age: Duration,
    wait_max: Duration,
}

/// Who signs, and how far it came.
#[derive(Debug)]
struct Notary {
    file: KeyFile,
    key: SigningKey,
    /// A key was handed over to, and is not in its file yet.
    unsettled: bool,
    /// Size of the last checkpoint, and which of that size it was.
    signed: u64,
    nth: u32,
    at: Instant,
    /// The last checkpoint, if a later one makes it superfluous.
    interim: Option<PathBuf>,
}

/// The longest that sealing waits for leaves to be hashed.
const HASHING_MAX: Duration = Duration::from_secs(30);

/// What a log is called in its checkpoints.
pub(crate) fn origin(node: &str) -> String {
    format!("weir/{node}")
}

impl Evidence {
    /// Goes on from the last checkpoint of this node's log.
    pub(crate) fn open(
        storage: &Arc<dyn Storage>,
        layout: &Layout,
        node: &Arc<str>,
        options: &RecordOptions,
    ) -> Result<Self, RecordError> {
        let folder = layout.checkpoints();
        let folder = Folder::new(&**storage, &folder);
        let is_new = notes::list(&folder, Some(node))?.is_empty();
        let sealed = !crate::segments::is_empty(&**storage, layout, node)?;
        let journal = journal::has_files(&**storage, layout, node)?;
        let file = KeyFile::of(layout, options)?;
        let key = file.establish(&**storage, &origin(node), is_new && !sealed && !journal)?;
        let key = finish_rotation(&**storage, &file, key, folder, node)?;
        let keys = std::slice::from_ref(key.public());
        let last = notes::newest(&folder, node, keys)?;
        if last.is_none() && (!is_new || sealed) {
            return Err(RecordError::Evidence(format!(
                "`{}` has no checkpoint that the key `{}` signed, but was written to: its folder `checkpoints` was altered or \
                 is gone, or it belongs to another key. Bring the one or the other back from a copy, or begin a new record in \
                 another folder; `weir verify` tells what was signed",
                layout.root().display(),
                key.public().name(),
            )));
        }
        let (tree, at, interim, nth) = match last {
            Some((found, last, nth)) => {
                let interim = last.segments.is_empty() && last.next_key.is_none();
                let interim = interim.then(|| layout.checkpoints().join(found.name));
                (last.tree, last.at, interim, nth)
            }
            None => (CompactRange::default(), None, None, 0),
        };
        let folder = options.anchor.iter().map(|folder| {
            let anchor = FolderAnchor::on(Arc::clone(storage), folder);
            Arc::new(anchor) as Arc<dyn Anchor>
        });
        let anchors = folder.chain(options.anchors.iter().cloned());
        let moorings: Vec<_> = anchors
            .map(|anchor| Arc::new(Mooring::new(anchor, Arc::clone(node))))
            .collect();
        for mooring in &moorings {
            mooring.check(key.public(), tree.size())?;
        }
        Ok(Self {
            storage: Arc::clone(storage),
            layout: layout.clone(),
            node: Arc::clone(node),
            notary: Mutex::new(Notary {
                file,
                key,
                unsettled: false,
                signed: tree.size(),
                nth,
                at: Instant::now(),
                interim,
            }),
            naming: Mutex::default(),
            fault: Mutex::default(),
            growth: Mutex::new(Growth::new(tree, at)),
            grown: Condvar::new(),
            moorings,
            checkpoint_age: options.checkpoint_age,
            wait_max: HASHING_MAX,
        })
    }

    fn growth(&self) -> MutexGuard<'_, Growth> {
        self.growth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a checkpoint is written: for nobody who must not wait for the disk.
    fn notary(&self) -> MutexGuard<'_, Notary> {
        self.notary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody else gives names to sealed files while this is held.
    pub(crate) fn naming(&self) -> MutexGuard<'_, ()> {
        self.naming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_fault(&self) -> MutexGuard<'_, Option<String>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many leaves there are, and the time of the last.
    pub(crate) fn reached(&self) -> (i64, Option<i64>) {
        let growth = self.growth();
        (growth.size() as i64, growth.at())
    }

    /// Adds leaves. They count once every place before them is filled.
    pub(crate) fn append(
        &self,
        leaves: impl IntoIterator<Item = Placed>,
        policies: BTreeSet<String>,
    ) {
        self.growth().append(leaves, policies);
        self.grown.notify_all();
    }

    /// Leaves the places before this one empty that nothing will fill any more.
    pub(crate) fn fill_to(&self, seq: i64) {
        self.growth().fill_to(seq);
    }

    /// Waits until this place of the log is a leaf.
    pub(crate) fn wait_for(&self, seq: Option<i64>) -> Result<(), RecordError> {
        let Some(seq) = seq else { return Ok(()) };
        let until = Instant::now() + self.wait_max;
        let mut growth = self.growth();
        while (growth.size() as i64) <= seq {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let reached = growth.size();
                return Err(RecordError::Evidence(format!(
                    "entry {seq} is no leaf yet, only those before {reached} are"
                )));
            }
            growth = self
                .grown
                .wait_timeout(growth, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        Ok(())
    }

    /// Writes a checkpoint of the log as it is, durable when this returns; none if the last one says it all.
    pub(crate) fn checkpoint(
        &self,
        files: impl IntoIterator<Item = SealedFile>,
    ) -> Result<(), RecordError> {
        let mut notary = self.notary();
        let mut files: Vec<_> = files.into_iter().collect();
        files.sort();
        if files.is_empty() && self.growth().size() == notary.signed {
            return Ok(());
        }
        let result = self.write(&mut notary, files, None);
        *self.last_fault() = result.as_ref().err().map(ToString::to_string);
        result
    }

    /// Writes a checkpoint if there are entries that have been without one for long enough.
    fn checkpoint_if_due(&self) {
        let due = self.notary().at.elapsed() >= self.checkpoint_age;
        if due && let Err(error) = self.checkpoint([]) {
            tracing::warn!(%error, "a checkpoint cannot be written");
        }
    }

    /// Writes checkpoints under load until the other side of `stopped` is dropped.
    pub(crate) fn run(&self, stopped: &Receiver<()>) {
        let tick = (self.checkpoint_age / 4).max(Duration::from_millis(10));
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(tick) {
            self.checkpoint_if_due();
        }
    }

    /// A key that may follow the present one.
    pub(crate) fn next_key(&self) -> Result<SigningKey, RecordError> {
        KeyFile::generate(&origin(&self.node))
    }

    /// Goes over to a new key: one last checkpoint of the old one names it, and both sign it. From that checkpoint on only the new
    /// key is believed, so it signs from there on, whatever fails after it.
    pub(crate) fn rotate(&self, next: SigningKey) -> Result<(), RecordError> {
        let mut notary = self.notary();
        self.settle(&mut notary)?;
        notary.file.put_aside(&*self.storage, &next)?;
        let written = self.write(&mut notary, Vec::new(), Some(&next));
        if written.is_err() {
            // It may have got its name before it failed.
            let folder = self.layout.checkpoints();
            let folder = Folder::new(&*self.storage, &folder);
            let present = notary.key.public();
            if !is_handed_over(folder, &self.node, present, &next)? {
                return written;
            }
        }
        notary.key = next;
        notary.unsettled = true;
        written?;
        self.settle(&mut notary)
    }

    /// Puts the key that signs into its file; only once the checkpoint that hands over to it is durable.
    fn settle(&self, notary: &mut Notary) -> Result<(), RecordError> {
        if notary.unsettled {
            let folder = self.layout.checkpoints();
            self.storage
                .sync_folder(&folder)
                .map_err(RecordError::io("sync", &folder))?;
            notary.file.put_in_force(&*self.storage, &notary.key)?;
            notary.unsettled = false;
        }
        Ok(())
    }

    /// The public key in force.
    pub(crate) fn public_key(&self) -> VerifyingKey {
        self.notary().key.public().clone()
    }

    /// What goes wrong; waits for no disk.
    pub(crate) fn fault(&self) -> Option<String> {
        let anchor = self.moorings.iter().find_map(|mooring| mooring.fault());
        self.last_fault().clone().or(anchor)
    }

    fn write(
        &self,
        notary: &mut Notary,
        segments: Vec<SealedFile>,
        next: Option<&SigningKey>,
    ) -> Result<(), RecordError> {
        let (tree, at, policies) = self.growth().snapshot();
        let size = tree.size();
        let checkpoint = Checkpoint {
            origin: origin(&self.node),
            tree,
            at,
            policies: policies.iter().cloned().collect(),
            segments,
            next_key: next.map(|key| key.public().clone()),
        };
        let mut keys = vec![&notary.key];
        keys.extend(next);
        let note = Note::sign(checkpoint.to_text(), &keys).to_string();
        let after = if size == notary.signed { notary.nth } else { 0 };
        let (path, nth) = self.free_name(size, after, &note)?;
        identity::replace(&*self.storage, &path, note.as_bytes(), |s, p| s.create(p))?;
        self.growth().told(&policies);
        let superfluous = notary.interim.take();
        if checkpoint.segments.is_empty() && checkpoint.next_key.is_none() {
            notary.interim = Some(path.clone());
        }
        (notary.signed, notary.nth, notary.at) = (size, nth, Instant::now());
        if let Some(superfluous) = superfluous.filter(|before| *before != path)
            && let Err(error) = self.storage.remove(&superfluous)
        {
            tracing::debug!(%error, "a superfluous checkpoint stays");
        }
        for mooring in &self.moorings {
            mooring.take(size, note.clone());
        }
        Ok(())
    }

    /// A name for a checkpoint of this size, behind the `after`th: what has a name may vouch for files, so that it is never
    /// written over, whatever it is.
    fn free_name(&self, size: u64, after: u32, note: &str) -> Result<(PathBuf, u32), RecordError> {
        let folder = self.layout.checkpoints();
        let mut nth = after;
        loop {
            nth += 1;
            let path = folder.join(checkpoint_name(&self.node, size, nth));
            let there = identity::read_if_there(&*self.storage, &path)?;
            // The same one is from an attempt that failed when it had its name already.
            if there.is_none_or(|there| there == note.as_bytes()) {
                return Ok((path, nth));
            }
        }
    }
}

/// A change of keys that was cut short: it took place if its checkpoint was written.
fn finish_rotation(
    storage: &dyn Storage,
    file: &KeyFile,
    key: SigningKey,
    folder: Folder<'_>,
    node: &str,
) -> Result<SigningKey, RecordError> {
    let Some(next) = file.aside(storage)? else {
        return Ok(key);
    };
    if is_handed_over(folder, node, key.public(), &next)? {
        file.put_in_force(storage, &next)?;
        return Ok(next);
    }
    file.drop_aside(storage)?;
    Ok(key)
}

/// Whether a checkpoint that this key signed hands over to the next.
fn is_handed_over(
    folder: Folder<'_>,
    node: &str,
    present: &VerifyingKey,
    next: &SigningKey,
) -> Result<bool, RecordError> {
    let keys = std::slice::from_ref(present);
    let notes = notes::read(&folder, Some(node))?;
    Ok(notes.iter().any(|found| {
        let Ok((signed, checkpoint)) = &found.read else {
            return false;
        };
        checkpoint.next_key.as_ref() == Some(next.public())
            && signed.signed_by(keys).is_ok_and(|by| !by.is_empty())
    }))
}

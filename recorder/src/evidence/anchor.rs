//! The anchor: a folder outside the record that gets every checkpoint and never loses one. Only against it can anybody notice
//! that the end of a record was cut off.
//!
//! It has a thread of its own, so that a mount that hangs holds up nobody; what waits for it is the newest checkpoint only,
//! since that one covers those before.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::key::VerifyingKey;
use super::notes;
use crate::layout::checkpoint_name;
use crate::{RecordError, Storage};

/// An anchor, and the checkpoint that is on its way there.
#[derive(Debug)]
pub(crate) struct Anchor {
    storage: Arc<dyn Storage>,
    folder: PathBuf,
    node: Arc<str>,
    slot: Mutex<Slot>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    waiting: Option<(u64, String)>,
    writing: bool,
    closing: bool,
    fault: Option<String>,
}

/// Pause after a checkpoint could not be written.
const RETRY: Duration = Duration::from_secs(1);

/// Checkpoints of the same size; there are a few after seals without new entries.
const NTH_MAX: u32 = 1000;

impl Anchor {
    pub(super) fn new(storage: Arc<dyn Storage>, folder: PathBuf, node: Arc<str>) -> Self {
        Self {
            storage,
            folder,
            node,
            slot: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Fails if the anchor has seen more of this log than the record holds. An anchor that cannot be read is no such finding.
    pub(super) fn check(&self, key: &VerifyingKey, size: u64) -> Result<(), RecordError> {
        let keys = std::slice::from_ref(key);
        let seen = match notes::newest(&*self.storage, &self.folder, &self.node, keys) {
            Ok(seen) => seen.map_or(0, |(_, checkpoint, _)| checkpoint.size()),
            Err(error) => {
                tracing::warn!(%error, "the anchor cannot be read");
                self.lock().fault = Some(error.to_string());
                return Ok(());
            }
        };
        if seen <= size {
            return Ok(());
        }
        Err(RecordError::Evidence(format!(
            "the anchor `{}` has seen {seen} entries of `{}`, the record vouches for {size}: it was cut off, or brought back \
             from a copy. A record that begins anew needs another node name or another anchor",
            self.folder.display(),
            self.node,
        )))
    }

    /// Takes a checkpoint to be written.
    pub(super) fn take(&self, size: u64, note: String) {
        self.lock().waiting = Some((size, note));
        self.changed.notify_all();
    }

    /// What goes wrong.
    pub(super) fn fault(&self) -> Option<String> {
        self.lock().fault.clone()
    }

    /// Writes checkpoints until the record is closed and none waits.
    pub(crate) fn run(&self) {
        while let Some((size, note)) = self.next() {
            let result = self.write(size, &note);
            let mut slot = self.lock();
            slot.writing = false;
            slot.fault = result.as_ref().err().map(ToString::to_string);
            if let Err(error) = result {
                tracing::warn!(%error, "the anchor does not take a checkpoint");
                slot.waiting.get_or_insert((size, note));
                if slot.closing {
                    return;
                }
                drop(
                    self.changed
                        .wait_timeout(slot, RETRY)
                        .unwrap_or_else(PoisonError::into_inner),
                );
            }
            self.changed.notify_all();
        }
    }

    /// Waits until what was taken is written, for so long at most, and ends the thread.
    pub(crate) fn close(&self, wait_max: Duration) {
        let until = Instant::now() + wait_max;
        let mut slot = self.lock();
        slot.closing = true;
        self.changed.notify_all();
        while slot.writing || slot.waiting.is_some() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || (slot.fault.is_some() && !slot.writing) {
                tracing::warn!("the last checkpoint did not reach the anchor");
                return;
            }
            slot = self
                .changed
                .wait_timeout(slot, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<(u64, String)> {
        let mut slot = self.lock();
        loop {
            if let Some(waiting) = slot.waiting.take() {
                slot.writing = true;
                return Some(waiting);
            }
            if slot.closing {
                return None;
            }
            slot = self
                .changed
                .wait(slot)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes a file of a new name, once: nothing in the folder is ever changed, so that it may be write-once.
    fn write(&self, size: u64, note: &str) -> Result<(), RecordError> {
        self.storage
            .create_folder(&self.folder)
            .map_err(RecordError::io("create", &self.folder))?;
        for nth in 1..=NTH_MAX {
            let path = self.folder.join(checkpoint_name(&self.node, size, nth));
            match self.storage.create(&path) {
                Ok(mut file) => {
                    let written = file
                        .write_at(0, note.as_bytes())
                        .map_err(RecordError::io("write", &path))
                        .and_then(|()| file.sync_data().map_err(RecordError::io("sync", &path)));
                    if let Err(error) = written {
                        // Else every attempt would leave one; a folder that is write-once keeps it.
                        drop(self.storage.remove(&path));
                        return Err(error);
                    }
                    return self.sync();
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    if self.holds(&path, note) {
                        return self.sync();
                    }
                }
                Err(e) => return Err(RecordError::io("create", &path)(e)),
            }
        }
        Err(RecordError::Evidence(format!(
            "`{}` has too many checkpoints of {size} entries",
            self.folder.display()
        )))
    }

    fn sync(&self) -> Result<(), RecordError> {
        self.storage
            .sync_folder(&self.folder)
            .map_err(RecordError::io("sync", &self.folder))
    }

    fn holds(&self, path: &Path, note: &str) -> bool {
        self.storage
            .read(path)
            .is_ok_and(|there| there == note.as_bytes())
    }
}

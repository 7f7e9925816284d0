//! An [anchor](Anchor) and the thread that brings checkpoints there, so that a mount or a network that hangs holds up nobody.
//! What waits for it is the newest checkpoint only, since that one covers those before.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::anchor::Anchor;
use super::key::VerifyingKey;
use super::notes;
use crate::RecordError;
use crate::layout::checkpoint_name;

/// An anchor, and the checkpoint that is on its way there.
#[derive(Debug)]
pub(crate) struct Mooring {
    anchor: Arc<dyn Anchor>,
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

impl Mooring {
    pub(super) fn new(anchor: Arc<dyn Anchor>, node: Arc<str>) -> Self {
        Self {
            anchor,
            node,
            slot: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Fails if the anchor has seen more of this log than the record holds. An anchor that cannot be read is no such finding.
    pub(super) fn check(&self, key: &VerifyingKey, size: u64) -> Result<(), RecordError> {
        let keys = std::slice::from_ref(key);
        let seen = match notes::newest(&*self.anchor, &self.node, keys) {
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
            self.anchor.place(),
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

    /// Under a new name, once: nothing in an anchor is ever changed, so that it may be write-once.
    fn write(&self, size: u64, note: &str) -> Result<(), RecordError> {
        let place = self.anchor.place();
        for nth in 1..=NTH_MAX {
            let name = checkpoint_name(&self.node, size, nth);
            match self.anchor.keep(&name, note.as_bytes()) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                kept => return kept.map_err(RecordError::io("write to", place)),
            }
        }
        Err(RecordError::Evidence(format!(
            "`{place}` has too many checkpoints of {size} entries"
        )))
    }
}

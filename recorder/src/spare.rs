//! The next journal file, made ahead on a thread of its own, so that no call waits while zeros are written.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::Storage;
use crate::journal::JournalFile;

/// A journal file in stock.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    slot: Mutex<Slot>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Slot {
    made: Option<JournalFile>,
    /// The room that one should have.
    wanted: Option<u64>,
    closed: bool,
}

impl Spare {
    /// Asks for a file with room for so many bytes. Returns at once.
    pub(crate) fn want(&self, room: u64) {
        let mut slot = self.slot();
        if slot.made.as_ref().is_none_or(|made| made.room() < room) {
            slot.wanted = Some(room);
            drop(slot);
            self.wake.notify_all();
        }
    }

    /// The file in stock, if it is ready.
    pub(crate) fn take(&self) -> Option<JournalFile> {
        self.slot().made.take()
    }

    /// Room of the file in stock.
    pub(crate) fn room(&self) -> u64 {
        self.slot().made.as_ref().map_or(0, JournalFile::room)
    }

    /// Makes files as they are asked for, until closed; then the one in stock goes.
    pub(crate) fn run(&self, storage: &dyn Storage, make: impl Fn(u64) -> io::Result<JournalFile>) {
        while let Some((made, room)) = self.next() {
            let result = match made {
                Some(small) => small.grow(room, storage),
                None => make(room),
            };
            match result {
                Ok(journal) => {
                    self.slot().made.replace(journal);
                }
                // The commit thread will make one when it needs it, and say what is wrong.
                Err(error) => tracing::debug!(%error, "no journal file could be made ahead"),
            }
        }
        if let Some(unused) = self.take() {
            unused.discard(storage);
        }
    }

    /// Makes no more.
    pub(crate) fn close(&self) {
        self.slot().closed = true;
        self.wake.notify_all();
    }

    /// Waits until a file is wanted: what there is already, and the room it should have. None once closed.
    fn next(&self) -> Option<(Option<JournalFile>, u64)> {
        let mut slot = self.slot();
        loop {
            if slot.closed {
                return None;
            }
            if let Some(room) = slot.wanted.take() {
                return Some((slot.made.take(), room));
            }
            slot = self.wake.wait(slot).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

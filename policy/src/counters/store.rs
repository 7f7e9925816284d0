//! Where counters live: found by their exact key, removed when their window has ended.

#![expect(
    clippy::inline_always,
    reason = "the hot path: its results are large, and must not be moved"
)]

use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::holders::Holders;
use crate::Micros;
use crate::key::{self, Key, Sealed};
use crate::window::{Tally, Window};

/// All counters of a node.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    /// Seeds differ from process to process; no answer depends on them.
    hasher: RandomState,
    index: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    pub(super) holders: Holders,
    /// No counter ends before this.
    first_end: i64,
}

/// A place for a counter; a new generation for each counter that lives there.
#[derive(Debug, Clone, Default)]
struct Slot {
    /// Of the counter's key; means nothing without one.
    hash: u64,
    generation: u32,
    counter: Option<Counter>,
}

#[derive(Debug, Clone)]
pub(super) struct Counter {
    pub(super) handle: Handle,
    pub(super) head: Arc<Sealed>,
    /// The key after its head.
    pub(super) rest: Box<[u8]>,
    /// The key as text, once it was asked for.
    name: OnceLock<Arc<str>>,
    /// The grant that consumed last: the key counts against its capacity.
    pub(super) holder: u32,
    pub(super) tally: Tally,
}

impl Counter {
    /// Its key as text.
    pub(super) fn name(&self) -> &Arc<str> {
        self.name
            .get_or_init(|| key::describe(&self.head, &self.rest).into())
    }
}

/// A key that comes to a grant, and may have to be inserted.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) hash: u64,
    pub(super) head: Arc<Sealed>,
    pub(super) window: Window,
    /// Where the rest of the key stands in `Counters::keys`.
    pub(super) rest: std::ops::Range<usize>,
}

/// Names one counter for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle {
    slot: u32,
    generation: u32,
}

impl Store {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    #[inline(always)]
    pub(super) fn hash(&self, key: &Key<'_>) -> u64 {
        key.hash(&self.hasher)
    }

    /// The counter of `key`, if there is one. Allocates nothing. Never inlined: alone it needs few enough
    /// registers.
    #[inline(never)]
    pub(super) fn find(&mut self, key: &Key<'_>) -> Option<&mut Counter> {
        let hash = self.hash(key);
        let slots = &self.slots;
        let has_hash = |slot: &u32| {
            slots
                .get(*slot as usize)
                .is_some_and(|slot| slot.hash == hash)
        };
        let mut slot = *self.index.find(hash, has_hash)?;
        if !slots.get(slot as usize)?.is(key) {
            slot = self.find_exactly(hash, key)?;
        }
        self.slots.get_mut(slot as usize)?.counter.as_mut()
    }

    /// As [`Store::find`] where another key has the same hash.
    #[cold]
    fn find_exactly(&self, hash: u64, key: &Key<'_>) -> Option<u32> {
        let is_key = |slot: &u32| {
            self.slots
                .get(*slot as usize)
                .is_some_and(|slot| slot.is(key))
        };
        self.index.find(hash, is_key).copied()
    }

    pub(super) fn get(&self, handle: Handle) -> Option<&Counter> {
        let slot = self.slots.get(handle.slot as usize)?;
        if slot.generation == handle.generation {
            slot.counter.as_ref()
        } else {
            None
        }
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, handle: Handle) -> Option<&mut Counter> {
        let slot = self.slots.get_mut(handle.slot as usize)?;
        if slot.generation == handle.generation {
            slot.counter.as_mut()
        } else {
            None
        }
    }

    /// A new counter; there is none with this key.
    pub(super) fn insert(&mut self, claim: &Claim, rest: &[u8], holder: u32, at: Micros) -> Handle {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let hash = claim.hash;
        let mut handle = Handle {
            slot,
            generation: 0,
        };
        if let Some(place) = self.slots.get_mut(slot as usize) {
            handle.generation = place.generation;
            place.hash = hash;
            place.counter = Some(Counter {
                handle,
                head: Arc::clone(&claim.head),
                rest: rest.into(),
                name: OnceLock::new(),
                holder,
                tally: Tally::new(claim.window, at),
            });
        }
        let slots = &self.slots;
        self.index.insert_unique(hash, slot, |slot| {
            slots.get(*slot as usize).map_or(0, |slot| slot.hash)
        });
        self.holders.hold(holder);
        handle
    }

    pub(super) fn remove(&mut self, handle: Handle) {
        let Some(slot) = self.slots.get_mut(handle.slot as usize) else {
            return;
        };
        if slot.generation != handle.generation {
            return;
        }
        let Some(counter) = slot.counter.take() else {
            return;
        };
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(handle.slot);
        if let Ok(entry) = self
            .index
            .find_entry(slot.hash, |slot| *slot == handle.slot)
        {
            entry.remove();
        }
        self.holders.release(counter.holder);
    }

    /// Removes every counter that counts nothing at `at`.
    pub(super) fn sweep(&mut self, at: Micros) {
        if at.0 < self.first_end {
            return;
        }
        self.first_end = i64::MAX;
        for slot in 0..self.slots.len() as u32 {
            let Some(place) = self.slots.get_mut(slot as usize) else {
                continue;
            };
            let handle = Handle {
                slot,
                generation: place.generation,
            };
            let Some(counter) = place.counter.as_mut() else {
                continue;
            };
            if counter.tally.used(at) == 0 {
                self.remove(handle);
            } else {
                self.first_end = self.first_end.min(counter.tally.ends());
            }
        }
    }

    /// Must be told of every end that may now be the first.
    #[inline(always)]
    pub(super) fn note_end(&mut self, end: i64) {
        self.first_end = self.first_end.min(end);
    }

    /// A counter passes to another grant.
    pub(super) fn pass(&mut self, handle: Handle, grant: u32) {
        let Some(counter) = self.get_mut(handle) else {
            return;
        };
        let before = std::mem::replace(&mut counter.holder, grant);
        self.holders.release(before);
        self.holders.hold(grant);
    }
}

impl Slot {
    /// Whether the counter of `key` lives here.
    #[inline(always)]
    fn is(&self, key: &Key<'_>) -> bool {
        let counter = self.counter.as_ref();
        counter.is_some_and(|counter| key.is(&counter.head, &counter.rest))
    }
}

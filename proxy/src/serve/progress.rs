//! How far the start has come: what `/readyz` tells before there is anything else to tell.

use std::sync::atomic::{AtomicBool, Ordering};

/// What is done of the start. Written by whoever did it, read by the admin address.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    record_open: AtomicBool,
    counters_rebuilt: AtomicBool,
    listening: AtomicBool,
}

impl Progress {
    /// The record is open: what the last run left is recovered.
    pub(crate) fn record_opened(&self) {
        self.record_open.store(true, Ordering::Release);
    }

    /// Every counter is as the record has it.
    pub(crate) fn counters_rebuilt(&self) {
        self.counters_rebuilt.store(true, Ordering::Release);
    }

    /// Clients can connect, or cannot any more.
    pub(crate) fn listens(&self, listens: bool) {
        self.listening.store(listens, Ordering::Release);
    }

    pub(crate) fn has_record(&self) -> bool {
        self.record_open.load(Ordering::Acquire)
    }

    pub(crate) fn has_counters(&self) -> bool {
        self.counters_rebuilt.load(Ordering::Acquire)
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Acquire)
    }
}

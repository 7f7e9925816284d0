//! How a copy of the record fares that somebody ships beside the proxy: shown with the proxy's own health.

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::Serialize;

/// How a copy of the record fares.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplicaHealth {
    /// Where it is.
    pub place: String,
    /// Entries that it covers.
    pub entries: u64,
    /// Files that the record has and it does not.
    pub behind_files: usize,
    /// Their size.
    pub behind_bytes: u64,
    /// Entries that a checkpoint of the record covers and none of the copy.
    pub behind_entries: u64,
    /// Seconds since it was last known to be up to the record.
    pub behind_seconds: f64,
    /// What goes wrong.
    pub fault: Option<String>,
}

type Watch = Box<dyn Fn() -> ReplicaHealth + Send + Sync>;

/// Where whoever ships a copy says how that fares.
#[derive(Clone, Default)]
pub struct ReplicaSlot(Arc<OnceLock<Watch>>);

impl ReplicaSlot {
    /// Shows what this says from now on; the first one counts.
    pub fn show(&self, watch: impl Fn() -> ReplicaHealth + Send + Sync + 'static) {
        drop(self.0.set(Box::new(watch)));
    }

    pub(crate) fn health(&self) -> Option<ReplicaHealth> {
        self.0.get().map(|watch| watch())
    }
}

impl fmt::Debug for ReplicaSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReplicaSlot").field(&self.health()).finish()
    }
}

//! Policies, scripted agent mornings, recorded traffic and hostile inputs, as data and a loader.
//!
//! Everything is embedded, so the demo runs from the binary alone; tests that want files find the
//! recorded folder under [`record_path`].
//!
//! ```
//! let policy = weir_corpus::policy("published/vm_stop").ok_or("no such policy")?;
//! assert!(policy.text.contains("vm_stop_rate"));
//! let monday = weir_corpus::morning("monday")?;
//! assert_eq!(monday.agents.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This crate never depends on the other crates of the workspace: it must be able to judge them all.

mod hostile;
mod mornings;
mod policies;

use std::path::{Path, PathBuf};

pub use hostile::{Hostile, hostile};
pub use mornings::{
    Agent, BadMorning, Call, Client, Label, Message, Morning, Shape, morning, mornings,
};
pub use policies::{PolicyDocument, policies, policy};

/// The recorded folder of a real run, for tests inside this workspace (`corpus/record`).
pub fn record_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("record")
}

/// Where the expected answers to the recorded folder are kept (`corpus/expected`).
pub fn expected_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("expected")
}

//! The threads that write checkpoints while a record is open.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Evidence;
use super::anchor::Anchor;
use crate::RecordError;
use crate::recorder::spawn;

/// The threads that write checkpoints while the record is open.
pub(crate) struct Witness {
    evidence: Arc<Evidence>,
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Witness {
    /// Starts them.
    pub(crate) fn start(evidence: &Arc<Evidence>) -> Result<Self, RecordError> {
        let (stop, stopped) = mpsc::channel();
        let witness = Arc::clone(evidence);
        let thread = spawn("weir-witness", move || witness.run(&stopped))?;
        if evidence.anchor.is_some() {
            let anchored = Arc::clone(evidence);
            let run = move || anchored.anchor.as_ref().map_or((), Anchor::run);
            spawn("weir-anchor", run)?;
        }
        Ok(Self {
            evidence: Arc::clone(evidence),
            stop,
            thread,
        })
    }

    /// Ends both; the anchor gets the last checkpoint, if it takes it in this time.
    pub(crate) fn stop(self, wait_max: Duration) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that writes checkpoints had stopped");
        }
        if let Some(anchor) = &self.evidence.anchor {
            anchor.close(wait_max);
        }
    }
}

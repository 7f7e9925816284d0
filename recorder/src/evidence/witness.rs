//! The threads that write checkpoints while a record is open.

use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Evidence;
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
        for mooring in &evidence.moorings {
            let mooring = Arc::clone(mooring);
            spawn("weir-anchor", move || mooring.run())?;
        }
        Ok(Self {
            evidence: Arc::clone(evidence),
            stop,
            thread,
        })
    }

    /// Ends them; each anchor gets the last checkpoint, if it takes it in this time.
    pub(crate) fn stop(self, wait_max: Duration) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that writes checkpoints had stopped");
        }
        for mooring in &self.evidence.moorings {
            mooring.close(wait_max);
        }
    }
}

//! Keeps sealed files in good shape: joins small ones, projects them, and removes old ones, in the background and on demand.
//!
//! One pass at a time, on a thread that nobody waits for; what it changes of a day that others read is one exchange of two folders.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::budget::Budget;
use crate::evidence::Evidence;
use crate::layout::Layout;
use crate::queue::Queue;
use crate::recorder::spawn;
use crate::{RecordError, Retain, Storage};

pub(crate) mod aside;
pub(crate) mod compaction;
mod merge;
mod projection;
mod results;
mod retention;

pub use compaction::{CompactedDay, Compaction};
pub(crate) use results::Expected;
pub use retention::RemovedDay;

/// Who keeps the sealed files of a record that is open for writing.
#[derive(Debug)]
pub(crate) struct Keeper {
    storage: Arc<dyn Storage>,
    layout: Layout,
    node: Arc<str>,
    evidence: Arc<Evidence>,
    budget: Arc<Budget>,
    pause: Duration,
    grace: Duration,
    segments_max: usize,
    retain: Retain,
    /// [`Retain::window`] as it is now, in microseconds.
    window: AtomicU64,
    /// Where events are written.
    queue: Arc<Queue>,
    is_stopping: AtomicBool,
    /// Results that rows are about to name.
    expected: Expected,
    /// Held by a pass.
    pass: Mutex<Pass>,
}

/// What passes know of each other.
#[derive(Debug, Default)]
struct Pass {
    /// When a day was last joined.
    joined: HashMap<(&'static str, String), Instant>,
    /// Events that told of a removal that could not be done, by the digest that they name.
    told: HashMap<String, i64>,
    /// When a folder was last put aside that a reader may still be listing.
    aside: Option<Instant>,
    /// No removal of results is left that an earlier pass or process began.
    finished_results: bool,
}

impl Keeper {
    pub(crate) fn new(
        storage: &Arc<dyn Storage>,
        layout: &Layout,
        node: &Arc<str>,
        evidence: &Arc<Evidence>,
        budget: &Arc<Budget>,
        queue: &Arc<Queue>,
    ) -> Self {
        let options = &queue.options;
        Self {
            storage: Arc::clone(storage),
            layout: layout.clone(),
            node: Arc::clone(node),
            evidence: Arc::clone(evidence),
            budget: Arc::clone(budget),
            pause: options.tidy_pause,
            grace: options.tidy_grace,
            segments_max: options.compact_segments,
            retain: options.retain,
            window: AtomicU64::new(micros(options.retain.window)),
            queue: Arc::clone(queue),
            is_stopping: AtomicBool::new(false),
            expected: Expected::default(),
            pass: Mutex::default(),
        }
    }

    /// Nothing younger is removed from now on.
    pub(crate) fn retain_window(&self, window: Duration) {
        self.window.store(micros(window), Ordering::Relaxed);
    }

    /// Results that rows are about to name.
    pub(crate) fn expected(&self) -> &Expected {
        &self.expected
    }

    fn lock(&self) -> MutexGuard<'_, Pass> {
        self.pass.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }

    /// Passes until the other side of `stopped` is dropped.
    fn run(&self, stopped: &Receiver<()>) {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(self.pause) {
            if let Err(error) = self.pass()
                && !self.is_stopping()
            {
                tracing::warn!(%error, "sealed files cannot be kept in shape; the record itself is whole");
            }
        }
    }

    fn pass(&self) -> Result<(), RecordError> {
        let mut pass = self.lock();
        self.budget.measure_if_due()?;
        self.clear(&mut pass)?;
        self.remove_due(&mut pass)?;
        if self.segments_max > 0 {
            self.join_due(&mut pass)?;
            self.project_due(&mut pass)?;
        }
        Ok(())
    }

    /// Joins the files of every day that has more than one, and returns when nothing is left aside.
    pub(crate) fn compact(
        &self,
        progress: &mut dyn FnMut(&CompactedDay),
    ) -> Result<Compaction, RecordError> {
        let mut pass = self.lock();
        self.clear(&mut pass)?;
        let mut done = self.join_all(&mut pass, progress)?;
        done.projected = self.project_all(&mut pass)?;
        self.clear(&mut pass)?;
        Ok(done)
    }

    /// Removes what is older or more than is to be kept, and returns when it is gone.
    pub(crate) fn retain(&self) -> Result<Vec<RemovedDay>, RecordError> {
        let mut pass = self.lock();
        let removed = self.remove_due(&mut pass)?;
        self.clear(&mut pass)?;
        self.budget.changed();
        Ok(removed)
    }

    /// Removes what was put aside, once nobody can be listing it any more.
    fn clear(&self, pass: &mut Pass) -> Result<(), RecordError> {
        let Some(since) = pass.aside else {
            return Ok(());
        };
        // Nobody sends: this waits for as long as the folder is kept.
        let (_held, nothing) = mpsc::channel::<()>();
        let left = self.grace.saturating_sub(since.elapsed());
        while since.elapsed() < self.grace && nothing.recv_timeout(left).is_ok() {}
        aside::clear(&*self.storage, &self.layout)?;
        pass.aside = None;
        Ok(())
    }
}

/// The keeper's thread.
pub(crate) struct Keeping {
    keeper: Arc<Keeper>,
    stop: Sender<()>,
    ended: Receiver<()>,
}

impl Keeping {
    /// Starts it; the lock is held for as long as it runs.
    pub(crate) fn start(
        keeper: Arc<Keeper>,
        lock: Arc<dyn Send + Sync>,
    ) -> Result<Self, RecordError> {
        let (stop, stopped) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let run = Arc::clone(&keeper);
        spawn("weir-keeper", move || {
            run.run(&stopped);
            drop((end, lock));
        })?;
        Ok(Self {
            keeper,
            stop,
            ended,
        })
    }

    /// Ends it: a pass gives up what it was building. One that hangs is left behind after this time.
    pub(crate) fn stop(self, wait_max: Duration) {
        self.keeper.is_stopping.store(true, Ordering::Relaxed);
        drop(self.stop);
        if self.ended.recv_timeout(wait_max) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the disk does not answer; the folder stays locked until it does");
        }
    }
}

fn micros(span: Duration) -> u64 {
    span.as_micros().try_into().unwrap_or(u64::MAX)
}

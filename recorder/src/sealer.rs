//! The sealing thread: turns finished journal files into segments, and only then removes them.
//!
//! Whatever moment it is stopped at, each row is in a journal file or a segment; rows in both are recognised by their `seq`,
//! here, at recovery, and by readers.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use crate::backlog::Backlog;
use crate::budget::Budget;
use crate::evidence::Evidence;
use crate::index::{Carried, Index, JournalBytes};
use crate::layout::Layout;
use crate::queue::{Promise, Queue, Sealed};
use crate::seal::Sealing;
use crate::{RecordError, Storage, Unrecorded};

/// What the sealer is asked for.
#[derive(Debug)]
pub(crate) enum Job {
    /// Seal this journal file; of a poisoned one only what was durable. With `last`, nothing stays open.
    Seal {
        number: u64,
        durable_to: Option<i64>,
        last: bool,
    },
    /// Everything asked for before this is done.
    Answer(Sealed),
}

/// Seals journal files, one after another.
#[derive(Debug)]
pub(crate) struct Sealer {
    queue: Arc<Queue>,
    storage: Arc<dyn Storage>,
    layout: Layout,
    node: Arc<str>,
    evidence: Arc<Evidence>,
    budget: Arc<Budget>,
    /// Calls carried into a later file and not sealed yet.
    open: HashSet<i64>,
    /// What the last file was read into.
    buffer: Vec<u8>,
    /// Files that could not be sealed before the record closed, and those behind them.
    left: Vec<(u64, Option<i64>)>,
}

impl Sealer {
    pub(crate) fn new(
        queue: Arc<Queue>,
        storage: Arc<dyn Storage>,
        layout: Layout,
        node: Arc<str>,
        evidence: Arc<Evidence>,
        budget: Arc<Budget>,
    ) -> Self {
        Self {
            queue,
            storage,
            layout,
            node,
            evidence,
            budget,
            open: HashSet::new(),
            buffer: Vec::new(),
            left: Vec::new(),
        }
    }

    /// Works until the last file is sealed, or everybody who may ask is gone. A job that fails is tried again, and those
    /// behind it wait, because what a file holds may depend on the one before.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let mut backlog = VecDeque::new();
        while let Some(job) = backlog.pop_front().or_else(|| jobs.recv().ok()) {
            match job {
                Job::Answer(sealed) => drop(sealed.send(self.answer())),
                Job::Seal {
                    number,
                    durable_to,
                    last: true,
                } => {
                    self.left.push((number, durable_to));
                    self.attempt(Self::seal_left);
                    return;
                }
                // What it holds may be the end of a call in those.
                Job::Seal {
                    number, durable_to, ..
                } if !self.left.is_empty() => self.left.push((number, durable_to)),
                Job::Seal {
                    number,
                    durable_to,
                    last: false,
                } => {
                    while !self.attempt(|sealer| sealer.seal_file(number, durable_to)) {
                        if !self.rest(jobs, &mut backlog) {
                            // Nothing can be carried into a file in use any more.
                            self.left.push((number, durable_to));
                            break;
                        }
                    }
                }
            }
        }
    }

    fn attempt(&mut self, seal: impl FnOnce(&mut Self) -> Result<(), RecordError>) -> bool {
        let result = seal(self);
        if let Err(error) = &result {
            tracing::warn!(%error, "the journal cannot be sealed yet");
            // Once it is sealed, there is more room than before.
            if let Some(error) = error.of_io() {
                self.budget.take_up(error, &self.queue);
            }
        }
        let fault = result.err().map(|error| error.to_string());
        let done = fault.is_none();
        self.budget.changed();
        self.queue.lock().seal_fault = fault;
        done
    }

    /// Waits before another attempt; who asks for a seal meanwhile is told that it fails. False when the record closes.
    fn rest(&self, jobs: &Receiver<Job>, backlog: &mut VecDeque<Job>) -> bool {
        let until = Instant::now() + self.queue.options.retry_pause;
        loop {
            match jobs.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Job::Answer(sealed)) => {
                    drop(sealed.send(Err(self.fault())));
                }
                Ok(job) => backlog.push_back(job),
                Err(RecvTimeoutError::Timeout) => return !self.queue.is_closing(),
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// Whether everything so far is sealed.
    fn answer(&self) -> Result<(), RecordError> {
        if self.left.is_empty() {
            return Ok(());
        }
        Err(self.fault())
    }

    fn fault(&self) -> RecordError {
        RecordError::Unwritable(self.queue.lock().seal_fault.clone().unwrap_or_default())
    }

    /// Seals one file; what is open goes on in the file in use.
    fn seal_file(&mut self, number: u64, durable_to: Option<i64>) -> Result<(), RecordError> {
        let buffer = std::mem::take(&mut self.buffer);
        let file = self.read(number, buffer)?;
        let index = Index::of([(&file, durable_to)])?;
        let done = self.sealing().seal(&index, false)?;
        self.carry_open(&index, &done.open)?;
        for seq in &done.sealed {
            self.open.remove(seq);
        }
        match self.storage.remove(&file.path) {
            // An earlier attempt came as far as that.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed.map_err(RecordError::io("remove", &file.path))?,
        }
        let folder = self.layout.journals();
        self.storage
            .sync_folder(&folder)
            .map_err(RecordError::io("sync", &folder))?;
        self.queue
            .lock()
            .sealed_file(done.segments, index.entries as u64);
        self.buffer = file.bytes;
        Ok(())
    }

    /// Seals the files that are left, the last of which was ended in good order.
    fn seal_left(&mut self) -> Result<(), RecordError> {
        let left = std::mem::take(&mut self.left);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut backlog = Backlog::new(self.sealing(), HashMap::new());
        for (at, (number, durable_to)) in left.iter().enumerate() {
            let file = self.read(*number, buffer)?;
            let is_last = at + 1 == left.len();
            let (done, entries) = if is_last {
                backlog.seal_last(&file, *durable_to, |_| Ok(()))?
            } else {
                backlog.seal(&file, *durable_to, |_| Ok(()))?
            };
            buffer = file.bytes;
            let mut state = self.queue.lock();
            state.sealed_file(done.segments, entries as u64);
        }
        backlog.finish()
    }

    fn sealing(&self) -> Sealing<'_> {
        Sealing {
            storage: &*self.storage,
            layout: &self.layout,
            node: &self.node,
            evidence: &self.evidence,
            keys: &self.queue.options.keys,
        }
    }

    /// Reads a file into a buffer that served another before; an empty one where an earlier attempt came as far as removing it.
    fn read(&self, number: u64, buffer: Vec<u8>) -> Result<JournalBytes, RecordError> {
        let path = self.layout.journal(&self.node, number);
        match JournalBytes::read_into(&*self.storage, path.clone(), number, buffer) {
            Err(error) if error.is_vanished() => Ok(JournalBytes {
                path,
                number,
                bytes: Vec::new(),
            }),
            read => read,
        }
    }

    /// Writes what may still end into the file in use, and ends of calls that went there before; returns once that is durable.
    fn carry_open(&mut self, index: &Index<'_>, open: &[Carried]) -> Result<(), RecordError> {
        let mut carried = Vec::new();
        for entry in open {
            carried.push(self.carry(entry)?);
            self.open.insert(entry.call_seq);
        }
        for stray in index.strays() {
            if self.open.contains(&stray.call_seq) {
                carried.push(self.carry(&stray)?);
            }
        }
        for durable in carried {
            let durable = durable.blocking_recv().unwrap_or(Err(Unrecorded::Closed));
            durable.map_err(|why| RecordError::Unwritable(why.to_string()))?;
        }
        Ok(())
    }

    fn carry(&self, entry: &Carried) -> Result<Promise, RecordError> {
        let queued = self.queue.carry(entry.seq, &entry.payload);
        queued.map_err(|why| RecordError::Unwritable(why.to_string()))
    }
}

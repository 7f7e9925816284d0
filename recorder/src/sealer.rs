//! The sealing thread: turns finished journal files into segments, and only then removes them.
//!
//! Whatever moment it is stopped at, each row is in a journal file or a segment; rows in both are recognised by their `seq`,
//! here, at recovery, and by readers.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use crate::budget::Budget;
use crate::evidence::Evidence;
use crate::index::{Index, JournalBytes};
use crate::layout::Layout;
use crate::queue::{Promise, Queue, Sealed};
use crate::seal::seal;
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
    /// Files that could not be sealed before the record closed.
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
                Job::Answer(sealed) => drop(sealed.send(Ok(()))),
                Job::Seal {
                    number,
                    durable_to,
                    last: true,
                } => {
                    self.left.push((number, durable_to));
                    let files = std::mem::take(&mut self.left);
                    self.attempt(&files, true);
                    return;
                }
                Job::Seal {
                    number,
                    durable_to,
                    last: false,
                } => {
                    while !self.attempt(&[(number, durable_to)], false) {
                        if !self.rest(jobs, &mut backlog) {
                            // Nothing can be carried any more: the last file is sealed together with this one.
                            self.left.push((number, durable_to));
                            break;
                        }
                    }
                }
            }
        }
    }

    fn attempt(&mut self, files: &[(u64, Option<i64>)], last: bool) -> bool {
        let result = self.seal_files(files, last);
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
                    let why = self.queue.lock().seal_fault.clone().unwrap_or_default();
                    drop(sealed.send(Err(RecordError::Unwritable(why))));
                }
                Ok(job) => backlog.push_back(job),
                Err(RecvTimeoutError::Timeout) => return !self.queue.is_closing(),
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn seal_files(&mut self, files: &[(u64, Option<i64>)], last: bool) -> Result<(), RecordError> {
        let mut read = Vec::new();
        for (number, durable_to) in files {
            let path = self.layout.journal(&self.node, *number);
            let buffer = std::mem::take(&mut self.buffer);
            match JournalBytes::read_into(&*self.storage, path, *number, buffer) {
                Ok(file) => read.push((file, *durable_to)),
                // An earlier attempt came as far as removing it.
                Err(error) if error.is_vanished() => {}
                Err(error) => return Err(error),
            }
        }
        let index = Index::of(read.iter().map(|(file, durable_to)| (file, *durable_to)))?;
        let done = seal(
            &*self.storage,
            &self.layout,
            &self.node,
            &index,
            last,
            &self.evidence,
            &self.queue.options.keys,
        )?;
        if !last {
            self.carry_open(&index, &done.open)?;
        }
        for seq in &done.sealed {
            self.open.remove(seq);
        }
        for (file, _) in &read {
            self.storage
                .remove(&file.path)
                .map_err(RecordError::io("remove", &file.path))?;
        }
        let folder = self.layout.journals();
        self.storage
            .sync_folder(&folder)
            .map_err(RecordError::io("sync", &folder))?;
        let entries = index.entries as u64;
        drop(index);
        self.buffer = read.pop().map(|(file, _)| file.bytes).unwrap_or_default();
        let mut state = self.queue.lock();
        state.sealing = state.sealing.saturating_sub(files.len());
        state.sealed += done.segments;
        state.unsealed = state.unsealed.saturating_sub(entries);
        Ok(())
    }

    /// Writes what may still end into the file in use, and ends of calls that went there before; returns once that is durable.
    fn carry_open(
        &mut self,
        index: &Index<'_>,
        open: &[(i64, i64, Vec<u8>)],
    ) -> Result<(), RecordError> {
        let mut carried = Vec::new();
        for (call_seq, seq, payload) in open {
            carried.push(self.carry(*seq, payload)?);
            self.open.insert(*call_seq);
        }
        for (call_seq, payload) in index.strays() {
            if self.open.contains(&call_seq) {
                carried.push(self.carry(call_seq, payload)?);
            }
        }
        for durable in carried {
            let durable = durable.blocking_recv().unwrap_or(Err(Unrecorded::Closed));
            durable.map_err(|why| RecordError::Unwritable(why.to_string()))?;
        }
        Ok(())
    }

    fn carry(&self, seq: i64, payload: &[u8]) -> Result<Promise, RecordError> {
        let queued = self.queue.carry(seq, payload);
        queued.map_err(|why| RecordError::Unwritable(why.to_string()))
    }
}

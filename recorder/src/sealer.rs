//! The sealing thread: turns finished journal files into segments, and only then removes them.
//!
//! Whatever moment it is stopped at, each row is in a journal file or a segment; rows in both are recognised by their `seq`,
//! here, at recovery, and by readers.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::entry::payload_frame;
use crate::evidence::Evidence;
use crate::index::{Index, JournalBytes};
use crate::journal::JournalFile;
use crate::layout::Layout;
use crate::queue::{Entering, Queue, Sealed};
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

/// A journal file made ahead, so that the commit thread need not.
#[derive(Debug, Default)]
pub(crate) struct Spare(Mutex<Option<JournalFile>>);

impl Spare {
    pub(crate) fn take(&self) -> Option<JournalFile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, journal: JournalFile) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(journal);
    }

    fn is_empty(&self) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }
}

/// Seals journal files, one after another.
#[derive(Debug)]
pub(crate) struct Sealer {
    queue: Arc<Queue>,
    storage: Arc<dyn Storage>,
    layout: Layout,
    node: Arc<str>,
    spare: Arc<Spare>,
    evidence: Arc<Evidence>,
    /// Calls carried into a later file and not sealed yet, with their time.
    open: HashMap<i64, i64>,
    /// Files that could not be sealed before the record closed.
    left: Vec<(u64, Option<i64>)>,
}

impl Sealer {
    pub(crate) fn new(
        queue: Arc<Queue>,
        storage: Arc<dyn Storage>,
        layout: Layout,
        node: Arc<str>,
        spare: Arc<Spare>,
        evidence: Arc<Evidence>,
    ) -> Self {
        Self {
            queue,
            storage,
            layout,
            node,
            spare,
            evidence,
            open: HashMap::new(),
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
                    return self.drop_spare();
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
                    self.prepare_spare();
                }
            }
        }
    }

    fn attempt(&mut self, files: &[(u64, Option<i64>)], last: bool) -> bool {
        let result = self.seal_files(files, last);
        if let Err(error) = &result {
            tracing::warn!(%error, "the journal cannot be sealed yet");
        }
        let fault = result.err().map(|error| error.to_string());
        let done = fault.is_none();
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
            match JournalBytes::read(&*self.storage, path, *number) {
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
        let mut state = self.queue.lock();
        state.sealed += done.segments;
        state.unsealed = state.unsealed.saturating_sub(index.entries as u64);
        Ok(())
    }

    /// Writes what may still end into the file in use, and ends of calls that went there before; returns once that is durable.
    fn carry_open(
        &mut self,
        index: &Index<'_>,
        open: &[(i64, i64, Vec<u8>)],
    ) -> Result<(), RecordError> {
        let mut carried = Vec::new();
        for (seq, at, payload) in open {
            carried.push(self.carry((*seq, *at), payload)?);
            self.open.insert(*seq, *at);
        }
        for (call_seq, payload) in index.strays() {
            if let Some(at) = self.open.get(&call_seq) {
                carried.push(self.carry((call_seq, *at), payload)?);
            }
        }
        for durable in carried {
            let durable = durable.blocking_recv().unwrap_or(Err(Unrecorded::Closed));
            durable.map_err(|why| RecordError::Unwritable(why.to_string()))?;
        }
        Ok(())
    }

    fn carry(
        &self,
        place: (i64, i64),
        payload: &[u8],
    ) -> Result<tokio::sync::oneshot::Receiver<Result<(), Unrecorded>>, RecordError> {
        let queued = self
            .queue
            .push(Entering::Carried, place, payload_frame(payload));
        queued.map_err(|why| RecordError::Unwritable(why.to_string()))
    }

    fn drop_spare(&self) {
        if let Some(spare) = self.spare.take() {
            spare.discard(&*self.storage);
        }
    }

    fn prepare_spare(&self) {
        if !self.spare.is_empty() {
            return;
        }
        let (number, ahead) = (
            self.queue.take_number(),
            self.queue.options.journal_ahead_bytes,
        );
        match JournalFile::prepare(&*self.storage, &self.layout, &self.node, number, ahead) {
            Ok(journal) => self.spare.put(journal),
            // The commit thread will make one when it needs it, and say what is wrong.
            Err(error) => tracing::debug!(%error, "no journal file could be made ahead"),
        }
    }
}

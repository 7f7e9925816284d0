//! The sealing thread: turns finished journal files into segments, and only then removes them.
//!
//! Whatever moment it is stopped at, each row is in a journal file or a segment; rows in both are recognised by their `seq`,
//! here, at recovery, and by readers.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::entry::payload_frame;
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
    /// Calls carried into a later file and not sealed yet, with their time.
    open: HashMap<i64, i64>,
}

impl Sealer {
    pub(crate) fn new(
        queue: Arc<Queue>,
        storage: Arc<dyn Storage>,
        layout: Layout,
        node: Arc<str>,
        spare: Arc<Spare>,
    ) -> Self {
        Self {
            queue,
            storage,
            layout,
            node,
            spare,
            open: HashMap::new(),
        }
    }

    /// Works until the last file is sealed, or everybody who may ask is gone. A job that fails is tried again, and those behind it wait, because what a
    /// file holds may depend on the one before.
    pub(crate) fn run(mut self, jobs: &Receiver<Job>) {
        let mut backlog = VecDeque::new();
        while let Some(job) = backlog.pop_front().or_else(|| jobs.recv().ok()) {
            match job {
                Job::Answer(sealed) => drop(sealed.send(Ok(()))),
                Job::Seal {
                    number,
                    durable_to,
                    last,
                } => {
                    let mut attempts_end = last;
                    while let Err(error) = self.seal_file(number, durable_to, last) {
                        tracing::warn!(%error, number, "a journal file cannot be sealed yet");
                        self.queue.lock().seal_fault = Some(error.to_string());
                        if attempts_end {
                            return;
                        }
                        attempts_end = !self.rest(jobs, &mut backlog, &error.to_string());
                    }
                    self.queue.lock().seal_fault = None;
                    if last {
                        return self.drop_spare();
                    }
                    self.prepare_spare();
                }
            }
        }
    }

    /// Waits before another attempt; who asks for a seal meanwhile is told that it fails. False when the record closes: then
    /// there is one attempt more, and the journal stays for the next start.
    fn rest(&self, jobs: &Receiver<Job>, backlog: &mut VecDeque<Job>, why: &str) -> bool {
        let until = Instant::now() + self.queue.options.retry_pause;
        loop {
            match jobs.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Job::Answer(sealed)) => {
                    drop(sealed.send(Err(RecordError::Unwritable(why.to_owned()))));
                }
                Ok(job) => backlog.push_back(job),
                Err(RecvTimeoutError::Timeout) => return !self.queue.is_closing(),
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn seal_file(
        &mut self,
        number: u64,
        durable_to: Option<i64>,
        last: bool,
    ) -> Result<(), RecordError> {
        let path = self.layout.journal(&self.node, number);
        let file = JournalBytes::read(&*self.storage, path.clone(), number)?;
        let index = Index::of([&file], durable_to)?;
        let done = seal(&*self.storage, &self.layout, &self.node, &index, last)?;
        let mut carried = Vec::new();
        for (seq, at, payload) in &done.open {
            carried.push(self.carry((*seq, *at), payload)?);
            self.open.insert(*seq, *at);
        }
        if !last {
            for (call_seq, payload) in index.strays() {
                if let Some(at) = self.open.get(&call_seq) {
                    carried.push(self.carry((call_seq, *at), payload)?);
                }
            }
        }
        for durable in carried {
            let durable = durable.blocking_recv().unwrap_or(Err(Unrecorded::Closed));
            durable.map_err(|why| RecordError::Unwritable(why.to_string()))?;
        }
        for seq in &done.sealed {
            self.open.remove(seq);
        }
        self.storage
            .remove(&path)
            .map_err(RecordError::io("remove", &path))?;
        let folder = self.layout.journals();
        self.storage
            .sync_folder(&folder)
            .map_err(RecordError::io("sync", &folder))?;
        let mut state = self.queue.lock();
        state.sealed += done.segments;
        state.unsealed = state.unsealed.saturating_sub(index.entries as u64);
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

//! The commit thread: takes everything that waits, writes it at once, syncs once, and answers all.
//!
//! A write or sync that fails poisons its file: whatever was not confirmed may or may not be on the disk, and a second sync
//! could report success over lost pages. So the file is never written or synced again. A new one begins with everything that was
//! waiting and a `void` entry that names the refused decisions, in the log's order and under one sync, and only when that
//! is durable are decisions taken again.

use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender};
use std::thread;

use crate::entry::{Entry, EntryWrite, Header, entry_frame, file_head};
use crate::evidence::Durable;
use crate::journal::JournalFile;
use crate::layout::Layout;
use crate::log::Void;
use crate::queue::{Healed, Healing, Mode, Queue, Sealed, Work};
use crate::sealer::{Job, Spare};
use crate::{Durability, Event, EventKind, Storage, Unrecorded};

/// What commit threads share, one after another.
#[derive(Debug)]
pub(crate) struct Committer {
    pub(crate) queue: Arc<Queue>,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) layout: Layout,
    pub(crate) node: Arc<str>,
    pub(crate) sealer: Sender<Job>,
    pub(crate) leaves: SyncSender<Durable>,
    pub(crate) spare: Arc<Spare>,
    /// Hears when the last thread ended in good order.
    pub(crate) closed: Sender<Result<(), Unrecorded>>,
}

/// What tells of a fault.
#[derive(Debug)]
struct Told {
    /// Frames, with their places.
    entries: Vec<(i64, Vec<u8>)>,
    /// How many refused decisions they count.
    refused: u64,
}

impl Committer {
    /// Starts the first thread, on this file.
    pub(crate) fn start(self: &Arc<Self>, journal: JournalFile) -> std::io::Result<()> {
        let this = Arc::clone(self);
        thread::Builder::new()
            .name("weir-commit".into())
            .spawn(move || this.run(journal, 0))
            .map(drop)
    }

    /// Starts a thread for a generation whose predecessor hangs.
    pub(crate) fn start_healing(self: &Arc<Self>, generation: u64) -> std::io::Result<()> {
        let this = Arc::clone(self);
        let heal = move || {
            if let Some(journal) = this.heal(generation) {
                this.run(journal, generation);
            }
        };
        thread::Builder::new()
            .name("weir-commit".into())
            .spawn(heal)
            .map(drop)
    }

    fn run(&self, mut journal: JournalFile, mut generation: u64) {
        loop {
            let result = match self.queue.work(generation) {
                Work::Write { bytes, count } => self.write(&mut journal, generation, &bytes, count),
                Work::Sync => journal
                    .sync()
                    .map(|()| self.tell(self.queue.confirm(generation, 0, true), None)),
                Work::Turn => self.turn(&mut journal, generation),
                Work::Close => return self.end(generation),
                Work::Leave => return,
            };
            let Err(error) = result else { continue };
            let why = Unrecorded::Storage(error.to_string());
            // Someone else may have given the file up already: then the next `work` says so.
            let Some(next) = self.queue.fault(generation, &why) else {
                continue;
            };
            tracing::error!(%error, "the record cannot be written; calls are refused until it can");
            match self.heal(next) {
                Some(healed) => (journal, generation) = (healed, next),
                None => return drop(self.closed.send(Err(why))),
            }
        }
    }

    fn write(
        &self,
        journal: &mut JournalFile,
        generation: u64,
        bytes: &[u8],
        count: usize,
    ) -> std::io::Result<()> {
        journal.append(bytes)?;
        let durable = self.queue.options.durability == Durability::Sync;
        if durable {
            journal.sync()?;
        }
        self.tell(self.queue.confirm(generation, count, durable), None);
        Ok(())
    }

    /// Goes over to a new file, and gives the old one to the sealer.
    fn turn(&self, journal: &mut JournalFile, generation: u64) -> std::io::Result<()> {
        if let Some(waiters) = self.queue.untouched() {
            self.answer(waiters);
            return Ok(());
        }
        let next = self.begin(self.queue.options.journal_ahead_bytes)?;
        let number = next.number;
        *journal = next;
        if let Some((old, waiters)) = self.queue.turned(generation, number) {
            self.to_sealer(Job::Seal {
                number: old.number,
                durable_to: None,
                last: false,
            });
            self.answer(waiters);
        }
        Ok(())
    }

    /// The last turn: into a file that only keeps the place in the log.
    fn end(&self, generation: u64) {
        let result = self
            .begin(0)
            .map(|last| self.queue.turned(generation, last.number));
        if let Ok(Some((old, _))) = &result {
            self.to_sealer(Job::Seal {
                number: old.number,
                durable_to: None,
                last: true,
            });
        }
        self.queue.shut();
        drop(
            self.closed.send(
                result
                    .map(drop)
                    .map_err(|e| Unrecorded::Storage(e.to_string())),
            ),
        );
    }

    /// A file with its header, durable.
    fn begin(&self, ahead: u64) -> std::io::Result<JournalFile> {
        // The last file is small; the sealer discards what was made ahead.
        let spare = if ahead > 0 { self.spare.take() } else { None };
        let mut journal = match spare {
            Some(spare) => spare,
            None => self.prepare(ahead)?,
        };
        let begins = self.queue.first_waiting();
        journal.append(&self.head(journal.number, begins)?)?;
        journal.sync()?;
        Ok(journal)
    }

    fn prepare(&self, ahead: u64) -> std::io::Result<JournalFile> {
        JournalFile::prepare(
            &*self.storage,
            &self.layout,
            &self.node,
            self.queue.take_number(),
            ahead,
        )
    }

    fn head(&self, number: u64, (next_seq, last_at): (i64, i64)) -> std::io::Result<Vec<u8>> {
        let header = Header {
            node: self.node.to_string(),
            number,
            next_seq,
            last_at,
        };
        file_head(&header).ok_or_else(|| std::io::Error::other("the header does not fit"))
    }

    /// Tries until a new file holds everything that was given up, or there is no point any more.
    fn heal(&self, generation: u64) -> Option<JournalFile> {
        let healing = self.queue.take_places();
        let mut told = None;
        loop {
            match self.attempt(generation, &healing, &mut told) {
                Ok(journal) => return journal,
                Err(error) => tracing::warn!(%error, "the record still cannot be written"),
            }
            if !self.queue.pause(generation) {
                return None;
            }
        }
    }

    /// None when the record was closed meanwhile.
    fn attempt(
        &self,
        generation: u64,
        healing: &Healing,
        told: &mut Option<Told>,
    ) -> std::io::Result<Option<JournalFile>> {
        let mut journal = match self.spare.take() {
            Some(spare) => spare,
            None => self.prepare(self.queue.options.journal_ahead_bytes)?,
        };
        match self.rewrite(&mut journal, generation, healing, told) {
            Ok(Some((count, told))) => Ok(self.healed(journal, generation, healing, count, told)),
            Ok(None) => {
                journal.discard(&*self.storage);
                Ok(None)
            }
            Err(error) => {
                journal.discard(&*self.storage);
                Err(error)
            }
        }
    }

    /// Writes into a new file what was given up and what tells of it; the first, as a number of entries, and the second.
    fn rewrite<'t>(
        &self,
        journal: &mut JournalFile,
        generation: u64,
        healing: &Healing,
        told: &'t mut Option<Told>,
    ) -> std::io::Result<Option<(usize, &'t Told)>> {
        let (waiting, last_at) = self.queue.first_waiting();
        let first = healing
            .void
            .as_ref()
            .map_or(healing.event_seq, |(seq, _)| *seq);
        journal.append(&self.head(journal.number, (waiting.min(first), last_at))?)?;
        journal.sync()?;
        // From here on a file that cannot be removed again may hold these, so that they are what they are from now on.
        let told = match told {
            Some(told) => told,
            None => told.insert(self.told(healing)?),
        };
        let Some((entries, count)) = self.queue.take_all(generation, &told.entries) else {
            return Ok(None);
        };
        journal.append(&entries)?;
        journal.sync()?;
        Ok(Some((count, told)))
    }

    fn healed(
        &self,
        journal: JournalFile,
        generation: u64,
        healing: &Healing,
        count: usize,
        told: &Told,
    ) -> Option<JournalFile> {
        let healed = Healed {
            number: journal.number,
            count,
            refused: told.refused,
        };
        let (poisoned, mut frames) = self.queue.healed(generation, healed, healing.clone())?;
        frames.extend(told.entries.iter().map(|(_, frame)| frame.clone()));
        self.tell(frames, healing.void.as_ref().map(|(_, void)| void.clone()));
        tracing::info!("the record can be written again");
        self.to_sealer(Job::Seal {
            number: poisoned.number,
            durable_to: Some(poisoned.durable_to),
            last: false,
        });
        Some(journal)
    }

    /// The entries that tell of a fault: what is void, and why.
    fn told(&self, healing: &Healing) -> std::io::Result<Told> {
        let (why, refused) = {
            let state = self.queue.lock();
            let why = if let Mode::Faulty(why) = &state.mode {
                why.to_string()
            } else {
                String::new()
            };
            (why, state.refused)
        };
        let mut entries: Vec<EntryWrite<'_, &str>> = Vec::new();
        if let Some((seq, void)) = &healing.void {
            entries.push(Entry::Void {
                seq: *seq,
                at: void.at,
                seqs: void.seqs.clone(),
            });
        }
        let count = Some(i64::try_from(refused).unwrap_or(i64::MAX));
        let event = Event {
            count,
            text: Some(why.as_str()),
            ..Event::of(EventKind::StorageFault)
        };
        entries.push(Entry::Event {
            seq: healing.event_seq,
            at: healing.at,
            event: &event,
        });
        let seqs = healing.void.iter().map(|(seq, _)| *seq);
        let framed = |(seq, entry)| {
            let unfit = || std::io::Error::other("the void entry does not fit");
            Ok((seq, entry_frame(entry).ok_or_else(unfit)?))
        };
        let entries = seqs.chain([healing.event_seq]).zip(&entries).map(framed);
        Ok(Told {
            entries: entries.collect::<std::io::Result<_>>()?,
            refused,
        })
    }

    /// These entries are durable: they become leaves.
    fn tell(&self, frames: Vec<Vec<u8>>, void: Option<Void>) {
        if !frames.is_empty() && self.leaves.send(Durable { frames, void }).is_err() {
            tracing::error!("the evidence is no longer kept; nothing more will be sealed");
        }
    }

    /// Everything sealed so far is what these wait for.
    fn answer(&self, waiters: Vec<Sealed>) {
        for waiter in waiters {
            self.to_sealer(Job::Answer(waiter));
        }
    }

    fn to_sealer(&self, job: Job) {
        if self.sealer.send(job).is_err() {
            tracing::error!(
                "the sealer is gone; the journal stays until the record is opened again"
            );
        }
    }
}

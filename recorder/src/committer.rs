//! The commit thread: takes everything that waits, writes it at once, syncs once, and has all answered.
//!
//! Between two syncs it does as little as it can. Where more waits already, answering is left to a thread of its own, since waking
//! a few hundred callers takes as long as the sync did.
//!
//! A write or sync that fails poisons its file: whatever was not confirmed may or may not be on the disk, and a second sync
//! could report success over lost pages. So the file is never written or synced again. A new one begins with everything that was
//! waiting and a `void` entry that names the refused decisions, in the log's order and under one sync, and only when that
//! is durable are decisions taken again.

use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender};
use std::thread;

use crate::budget::Budget;
use crate::entry::{Entry, EntryWrite, Header, append_entry, file_head};
use crate::evidence::Durable;
use crate::journal::JournalFile;
use crate::layout::Layout;
use crate::log::Void;
use crate::queue::{
    Ack, Batch, Entering, Healed, Healing, Mode, Queue, Sealed, Settled, Work, answer,
};
use crate::sealer::Job;
use crate::spare::Spare;
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
    pub(crate) answers: SyncSender<Answers>,
    pub(crate) spare: Arc<Spare>,
    pub(crate) budget: Arc<Budget>,
    /// Hears when the last thread ended in good order.
    pub(crate) closed: Sender<Result<(), Unrecorded>>,
}

/// Who is to hear that it is done, by batch.
pub(crate) type Answers = Vec<Vec<Option<Ack>>>;

/// So many callers are woken on the commit thread itself: sooner than another thread would be.
const ANSWERED_HERE: usize = 8;

/// What tells of a fault.
#[derive(Debug)]
struct Told {
    entries: Arc<Batch>,
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
                Work::Write(batch) => self.write(&mut journal, generation, &batch),
                Work::Sync => self.sync(&mut journal, generation),
                Work::Turn => self.turn(&mut journal, generation),
                Work::Close => return self.end(generation),
                Work::Leave => return,
            };
            let Err(error) = result else { continue };
            // Before anything is taken again: what is written from here on is what must be.
            self.budget.take_up(&error, &self.queue);
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
        batch: &Batch,
    ) -> std::io::Result<()> {
        journal.append(batch.bytes())?;
        let durable = !matches!(self.queue.options.durability, Durability::Interval(_));
        if durable {
            journal.sync()?;
        }
        let Some(settled) = self.queue.confirm(generation, 1, durable) else {
            return Ok(());
        };
        self.settle(settled);
        self.look_ahead(journal);
        let used_up = journal.used() + batch.bytes().len() as u64 > journal.room();
        if used_up && self.spare.room() > journal.room() {
            self.turn(journal, generation)?;
        }
        Ok(())
    }

    /// Makes durable what was only handed over.
    fn sync(&self, journal: &mut JournalFile, generation: u64) -> std::io::Result<()> {
        journal.sync()?;
        if let Some(settled) = self.queue.confirm(generation, 0, true) {
            self.settle(settled);
        }
        Ok(())
    }

    /// Has the next file made before this one is full, and the larger the sooner it fills.
    fn look_ahead(&self, journal: &JournalFile) {
        let options = &self.queue.options;
        let fills = journal.used() > journal.room() / 2;
        let room = if fills { options.journal_room_bytes } else { 0 };
        let room = room.max(options.journal_ahead_bytes);
        // What is made ahead must not be what uses the room up.
        if self.budget.fits(room) {
            self.spare.want(room);
        }
    }

    /// Answers those for whom it is done, and has leaves made of what is durable.
    fn settle(&self, settled: Settled) {
        if settled.more && settled.answers() > ANSWERED_HERE {
            if let Err(unsent) = self.answers.send(settled.acks) {
                answer(unsent.0);
            }
        } else {
            answer(settled.acks);
        }
        self.tell(settled.durable, None);
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
            None => self.make(ahead)?,
        };
        let begins = self.queue.first_waiting();
        journal.append(&self.head(journal.number, begins)?)?;
        journal.sync()?;
        Ok(journal)
    }

    /// A file with this room.
    pub(crate) fn make(&self, room: u64) -> std::io::Result<JournalFile> {
        let step = self.queue.options.journal_ahead_bytes.min(room);
        JournalFile::prepare(
            &*self.storage,
            &self.layout,
            &self.node,
            self.queue.take_number(),
            (room, step),
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
                Err(error) => {
                    self.budget.take_up(&error, &self.queue);
                    tracing::warn!(%error, "the record still cannot be written");
                }
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
            None => self.make(self.queue.options.journal_ahead_bytes)?,
        };
        match self.rewrite(&mut journal, generation, healing, told) {
            Ok(Some(told)) => Ok(self.healed(journal, generation, healing, told)),
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

    /// Writes into a new file what was given up and what tells of it; the latter comes back.
    fn rewrite<'t>(
        &self,
        journal: &mut JournalFile,
        generation: u64,
        healing: &Healing,
        told: &'t mut Option<Told>,
    ) -> std::io::Result<Option<&'t Told>> {
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
        let Some(entries) = self.queue.take_all(generation, &told.entries) else {
            return Ok(None);
        };
        journal.append(&entries)?;
        journal.sync()?;
        Ok(Some(told))
    }

    fn healed(
        &self,
        journal: JournalFile,
        generation: u64,
        healing: &Healing,
        told: &Told,
    ) -> Option<JournalFile> {
        let healed = Healed {
            number: journal.number,
            refused: told.refused,
        };
        let (poisoned, mut settled) = self.queue.healed(generation, healed, healing.clone())?;
        answer(settled.acks);
        settled.durable.push(Arc::clone(&told.entries));
        self.tell(
            settled.durable,
            healing.void.as_ref().map(|(_, void)| void.clone()),
        );
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
        let mut entries = Batch::default();
        let mut add = |seq, entry: EntryWrite<'_, &str>| {
            entries.append(seq, Entering::Event, |bytes| append_entry(&entry, bytes))
        };
        let mut fits = true;
        if let Some((seq, void)) = &healing.void {
            fits &= add(
                *seq,
                Entry::Void {
                    seq: *seq,
                    at: void.at,
                    seqs: void.seqs.clone(),
                },
            );
        }
        let count = Some(i64::try_from(refused).unwrap_or(i64::MAX));
        let event = Event {
            count,
            text: Some(why.as_str()),
            ..Event::of(EventKind::StorageFault)
        };
        fits &= add(
            healing.event_seq,
            Entry::Event {
                seq: healing.event_seq,
                at: healing.at,
                event: &event,
            },
        );
        if !fits {
            return Err(std::io::Error::other("the void entry does not fit"));
        }
        Ok(Told {
            entries: Arc::new(entries),
            refused,
        })
    }

    /// These entries are durable: they become leaves.
    fn tell(&self, batches: Vec<Arc<Batch>>, void: Option<Void>) {
        if !batches.is_empty() && self.leaves.send(Durable { batches, void }).is_err() {
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

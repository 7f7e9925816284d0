//! What is behind the queue's mutex, and the steps that need nothing else.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{Batch, Mark, Waiting};
use super::{Ack, Sealed};
use crate::call::Standing;
use crate::log::Void;
use crate::{Durability, RecordOptions, Unrecorded};

/// Behind the mutex.
#[derive(Debug)]
pub(crate) struct State {
    /// The next place in the log.
    pub(crate) next_seq: i64,
    /// The time of the last entry.
    pub(crate) last_at: i64,
    /// The last number of a call that is not written down, below zero.
    pub(super) last_unwritten: i64,
    /// The place after the last entry that counters know of: a decision, an end, a void.
    pub(super) counted_to: i64,
    /// What the commit thread has taken and is not known to be durable, in the order in which it is written.
    pub(super) taken: VecDeque<Waiting>,
    /// How many of these batches are written, and wait only for the next sync (`Durability::Interval`).
    pub(super) written: usize,
    /// What comes after these; the last one is being filled.
    pub(super) waiting: VecDeque<Waiting>,
    /// How many entries all of these are, how many of them are written, and how many bytes.
    pub(super) entries: usize,
    pub(super) entries_written: usize,
    pub(super) bytes: usize,
    /// When the oldest of what is written was.
    pub(super) written_since: Option<Instant>,
    /// Entries ever queued, and ever made durable.
    pub(super) pushed: u64,
    pub(super) confirmed: u64,
    /// Raised when a journal file is given up: what the thread before it still does no longer counts.
    pub(super) generation: u64,
    pub(crate) mode: Mode,
    /// Admitted calls that have not ended: only these can.
    pub(super) open: HashSet<i64>,
    /// Calls that wait for an answer: only these get one.
    pub(super) held: HashSet<i64>,
    /// Refused decisions that the log has yet to name.
    pub(crate) to_void: Vec<i64>,
    /// Refused decisions that the log names, for the ledger to fetch.
    pub(super) void: Option<Void>,
    /// Decisions refused in a fault that the log has yet to tell of.
    pub(crate) refused: u64,
    /// Why decisions are refused although they could be written: there is no room for them.
    pub(super) short: Option<Unrecorded>,
    /// Decisions refused for that since it was last told.
    pub(super) short_refused: u64,
    /// Decisions refused because too much was waiting.
    pub(super) overflowed: u64,
    /// Turn to a new journal file once this many entries are confirmed.
    pub(super) turn_at: Option<u64>,
    /// Who waits for that.
    pub(super) turn_waiters: Vec<Sealed>,
    pub(crate) journal: JournalState,
    /// Number of the next journal file.
    pub(super) next_number: u64,
    /// Commit threads that hang in the file of an earlier generation.
    pub(super) stuck: usize,
    pub(super) rest: Rest,
    /// Journal files that wait to be sealed.
    pub(crate) sealing: usize,
    /// Figures for `health`.
    pub(crate) unsealed: u64,
    pub(crate) sealed: u64,
    pub(crate) seal_fault: Option<String>,
    pub(crate) syncs: u64,
}

/// What the commit thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It works, and will look at what waits.
    Awake,
    /// It sleeps until there is something to do.
    Asleep,
    /// It sleeps for a moment over entries that nobody waits for.
    Lingering,
}

/// Whether entries can be made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mode {
    Recording,
    Faulty(Unrecorded),
    Closing,
    Closed,
}

/// The journal file in use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct JournalState {
    pub(crate) number: u64,
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) since: Option<Instant>,
    /// The last place in it known to be durable.
    pub(crate) durable_to: i64,
}

/// What a new file begins with after a fault.
#[derive(Debug, Clone)]
pub(crate) struct Healing {
    /// Place of the void entry, and what it names.
    pub(crate) void: Option<(i64, Void)>,
    /// Place of the event.
    pub(crate) event_seq: i64,
    /// Time of both.
    pub(crate) at: i64,
}

/// A new file in use after a fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Healed {
    /// Its number.
    pub(crate) number: u64,
    /// How many refused decisions it tells of.
    pub(crate) refused: u64,
}

/// What an entry is to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entering {
    /// A new decision: bounded, refused in a fault, and void if it was promised to nobody.
    Decision { standing: Standing },
    /// The answer about a held call, which may go on with it: a fact.
    Answer { call_seq: i64, admits: bool },
    /// The end of an open call: a fact.
    Finish { call_seq: i64 },
    /// An event: a fact, about something that has happened.
    Event,
    /// An entry of an older file: acknowledged only once durable, whatever the durability.
    Carried,
}

impl Entering {
    /// The call, if it is one that is not written down, of which this is the answer or the end.
    pub(super) fn of_unwritten(self) -> Option<i64> {
        match self {
            Self::Answer { call_seq, .. } | Self::Finish { call_seq } => {
                Some(call_seq).filter(|seq| *seq < 0)
            }
            Self::Decision { .. } | Self::Event | Self::Carried => None,
        }
    }
}

/// What the commit thread is to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// Write these.
    Write(Arc<Batch>),
    /// Sync what is written.
    Sync,
    /// Turn to a new journal file.
    Turn,
    /// Everything is written: turn to a last file and end.
    Close,
    /// The file was given up by others: end.
    Leave,
}

impl State {
    pub(super) fn new(next_seq: i64, last_at: i64, number: u64) -> Self {
        let journal = JournalState {
            number,
            durable_to: next_seq - 1,
            ..JournalState::default()
        };
        Self {
            next_seq,
            last_unwritten: 0,
            counted_to: next_seq,
            last_at,
            taken: VecDeque::new(),
            written: 0,
            waiting: VecDeque::new(),
            entries: 0,
            entries_written: 0,
            bytes: 0,
            written_since: None,
            pushed: 0,
            confirmed: 0,
            generation: 0,
            mode: Mode::Recording,
            open: HashSet::new(),
            held: HashSet::new(),
            to_void: Vec::new(),
            void: None,
            refused: 0,
            short: None,
            short_refused: 0,
            overflowed: 0,
            turn_at: None,
            turn_waiters: Vec::new(),
            journal,
            next_number: number + 1,
            stuck: 0,
            rest: Rest::Awake,
            sealing: 0,
            unsealed: 0,
            sealed: 0,
            seal_fault: None,
            syncs: 0,
        }
    }

    /// Why there is no room for decisions, if there is none.
    pub(crate) fn short(&self) -> Option<&Unrecorded> {
        self.short.as_ref()
    }

    /// Entries waiting.
    pub(crate) fn waiting(&self) -> usize {
        self.entries
    }

    /// Entries ever made durable since the record was opened.
    pub(crate) fn durable_entries(&self) -> u64 {
        self.confirmed
    }

    pub(super) fn admit(&mut self, options: &RecordOptions) -> Result<(), Unrecorded> {
        match &self.mode {
            Mode::Recording => {}
            Mode::Faulty(why) => {
                self.refused += 1;
                return Err(self.short.as_ref().unwrap_or(why).clone());
            }
            Mode::Closing | Mode::Closed => return Err(Unrecorded::Closed),
        }
        if let Some(why) = &self.short {
            self.short_refused += 1;
            return Err(why.clone());
        }
        if self.entries >= options.queue_max || self.bytes >= options.queue_bytes_max {
            self.overflowed += 1;
            return Err(Unrecorded::QueueFull);
        }
        Ok(())
    }

    /// Facts have as much room again as decisions, and wait out a fault. An outcome or an answer that finds no room is lost, and its
    /// call not open any more.
    pub(super) fn take_fact(
        &mut self,
        kind: Entering,
        options: &RecordOptions,
    ) -> Result<(), Unrecorded> {
        if self.mode == Mode::Closed {
            return Err(Unrecorded::Closed);
        }
        let full = self.entries >= options.queue_max.saturating_mul(2)
            || self.bytes >= options.queue_bytes_max.saturating_mul(2);
        if !full {
            return Ok(());
        }
        if !self.is_possible(kind) {
            return Err(Unrecorded::NotOpen);
        }
        self.lose(kind);
        Err(Unrecorded::QueueFull)
    }

    /// What cannot be written is lost, and its call not open for ever.
    pub(super) fn lose(&mut self, kind: Entering) {
        match kind {
            Entering::Finish { call_seq } => {
                self.open.remove(&call_seq);
            }
            Entering::Answer { call_seq, .. } => {
                self.held.remove(&call_seq);
            }
            Entering::Decision { .. } | Entering::Event | Entering::Carried => {}
        }
    }

    /// Whether this may happen now: an open call ends only once, a held one is answered only once, and no other call is.
    pub(super) fn is_possible(&self, kind: Entering) -> bool {
        match kind {
            Entering::Finish { call_seq } => self.open.contains(&call_seq),
            Entering::Answer { call_seq, .. } => self.held.contains(&call_seq),
            Entering::Decision { .. } | Entering::Event | Entering::Carried => true,
        }
    }

    /// Keeps account of what is open.
    pub(super) fn enter(&mut self, kind: Entering, seq: i64) {
        match kind {
            Entering::Decision { standing } => match standing {
                Standing::Refused => {}
                Standing::Admitted => {
                    self.open.insert(seq);
                }
                Standing::Held => {
                    self.held.insert(seq);
                }
            },
            Entering::Answer { call_seq, admits } => {
                self.held.remove(&call_seq);
                if admits {
                    self.open.insert(call_seq);
                }
            }
            Entering::Finish { call_seq } => {
                self.open.remove(&call_seq);
            }
            Entering::Event | Entering::Carried => {}
        }
    }

    /// Takes a decision that is not written down; it comes back with a number that is no place in the log.
    pub(super) fn enter_unwritten(&mut self, standing: Standing, at: i64) -> i64 {
        self.last_unwritten -= 1;
        self.last_at = self.last_at.max(at);
        self.enter(Entering::Decision { standing }, self.last_unwritten);
        self.last_unwritten
    }

    /// Takes what came of a call that is not written down.
    pub(super) fn take_unwritten(&mut self, fact: Entering, at: i64) -> Result<(), Unrecorded> {
        if !self.is_possible(fact) {
            return Err(Unrecorded::NotOpen);
        }
        self.last_at = self.last_at.max(at);
        self.enter(fact, 0);
        Ok(())
    }

    /// Puts an entry behind those that wait, and gives the place of who waits for it; none if it is too large, and then nothing
    /// happened.
    pub(super) fn add(
        &mut self,
        seq: i64,
        kind: Entering,
        batch_bytes_max: usize,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> Option<&mut Option<Ack>> {
        if self.waiting.is_empty() {
            self.waiting.push_back(Waiting::like(self.taken.back()));
        }
        let last = self.waiting.back_mut()?;
        let before = last.batch.bytes().len();
        let batch = Arc::make_mut(&mut last.batch);
        if !batch.append(seq, kind, write) {
            if batch.len() == 0 {
                self.waiting.pop_back();
            }
            return None;
        }
        let after = batch.bytes().len();
        last.acks.push(None);
        if after > batch_bytes_max && last.batch.len() > 1 {
            let alone = last.split_last();
            self.waiting.push_back(alone);
        }
        self.entries += 1;
        self.bytes += after - before;
        self.pushed += 1;
        self.unsealed += 1;
        self.waiting.back_mut()?.acks.last_mut()
    }

    /// The first place that no durable entry has.
    pub(super) fn first_waiting(&self) -> i64 {
        let all = self.taken.iter().chain(&self.waiting);
        let mut marks = all.flat_map(|waiting| waiting.batch.marks());
        let first = marks.find(|mark| mark.kind != Entering::Carried);
        first.map_or(self.next_seq, |mark| mark.seq)
    }

    /// When the oldest entry came that is not written.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let oldest = self.taken.get(self.written).or(self.waiting.front());
        oldest.map(|waiting| waiting.since)
    }

    pub(super) fn take_carried(&self) -> Result<(), Unrecorded> {
        match &self.mode {
            Mode::Recording => Ok(()),
            Mode::Faulty(why) => Err(why.clone()),
            Mode::Closing | Mode::Closed => Err(Unrecorded::Closed),
        }
    }

    pub(super) fn sync_due(&self, durability: Durability) -> Option<Instant> {
        self.written_since
            .map(|since| since + sync_pause(durability))
    }

    /// Until when what waits may go on waiting, since nobody waits for it: the next decision takes it along. None where there is
    /// nothing, or somebody does.
    pub(super) fn lingers_until(&self) -> Option<Instant> {
        let next = self.waiting.front()?;
        next.nobody_waits().then(|| next.since + LINGER)
    }

    /// The next batch to be written.
    pub(super) fn take_batch(&mut self) -> Option<Work> {
        let next = self.waiting.pop_front()?;
        let batch = Arc::clone(&next.batch);
        self.taken.push_back(next);
        Some(Work::Write(batch))
    }

    /// So many batches more are written.
    pub(super) fn written(&mut self, count: usize) {
        let new = self.taken.iter().skip(self.written).take(count);
        let mut entries = 0;
        for waiting in new {
            entries += waiting.batch.len();
            self.journal.bytes += waiting.batch.bytes().len() as u64;
        }
        self.written += count;
        self.entries_written += entries;
        self.journal.entries += entries as u64;
        if count > 0 {
            self.journal.since.get_or_insert_with(Instant::now);
            self.written_since.get_or_insert_with(Instant::now);
        }
    }

    /// Whom it is enough for that the batch written last is with the system.
    pub(super) fn handed_over(&mut self) -> Vec<Option<Ack>> {
        let last = self.written.checked_sub(1);
        let last = last.and_then(|last| self.taken.get_mut(last));
        last.map(Waiting::handed_over).unwrap_or_default()
    }

    /// Everything written is durable.
    pub(super) fn durable(&mut self) -> Vec<Waiting> {
        let durable: Vec<_> = self.taken.drain(..self.written).collect();
        for waiting in &durable {
            self.bytes -= waiting.batch.bytes().len();
            let last = waiting.batch.marks().iter().map(|mark| mark.seq).max();
            self.journal.durable_to = last.max(Some(self.journal.durable_to)).unwrap_or_default();
        }
        self.confirmed += self.entries_written as u64;
        self.entries -= self.entries_written;
        self.entries_written = 0;
        self.written = 0;
        self.written_since = None;
        self.syncs += 1;
        durable
    }

    /// A journal file with so many entries is sealed.
    pub(crate) fn sealed_file(&mut self, segments: u64, entries: u64) {
        self.sealing = self.sealing.saturating_sub(1);
        self.sealed += segments;
        self.unsealed = self.unsealed.saturating_sub(entries);
    }

    /// Whether another file would be sealed soon. Else the one in use rather grows: each new one takes its room on the disk.
    pub(super) fn seals_keep_up(&self) -> bool {
        self.sealing < SEALING_MAX
    }

    pub(super) fn turn_if_full(&mut self, options: &RecordOptions) {
        let many = self.journal.entries >= options.seal_rows as u64 && self.seals_keep_up();
        let full = many || self.journal.bytes >= options.journal_bytes_max;
        if full && self.turn_at.is_none() {
            self.turn_at = Some(0);
        }
    }

    /// Takes the promise of every entry back; all of them are to be written again.
    pub(super) fn give_up(&mut self) -> Vec<Ack> {
        let mut acks = Vec::new();
        let waiting = std::mem::take(&mut self.waiting);
        let mut all: VecDeque<_> = self.taken.drain(..).chain(waiting).collect();
        for waiting in &mut all {
            for (Mark { seq, kind, .. }, ack) in waiting.give_up() {
                if matches!(kind, Entering::Decision { .. }) {
                    self.to_void.push(seq);
                    self.open.remove(&seq);
                    self.held.remove(&seq);
                }
                acks.push(ack);
            }
            waiting.drop_carried();
        }
        all.retain(|waiting| waiting.batch.len() > 0);
        self.bytes = all.iter().map(|waiting| waiting.batch.bytes().len()).sum();
        self.entries = all.iter().map(|waiting| waiting.batch.len()).sum();
        self.pushed = self.confirmed + self.entries as u64;
        self.waiting = all;
        self.written = 0;
        self.entries_written = 0;
        self.written_since = None;
        self.turn_at = None;
        self.turn_waiters.clear();
        acks
    }
}

/// Journal files that may wait to be sealed before the one in use is kept beyond its rows and age.
const SEALING_MAX: usize = 2;

/// How long an entry that nobody waits for, such as the end of a call, may wait for one that somebody does, and for its sync.
const LINGER: Duration = Duration::from_millis(5);

/// How long an entry may be written and not synced.
pub(super) fn sync_pause(durability: Durability) -> Duration {
    match durability {
        Durability::Sync | Durability::Off => Duration::ZERO,
        Durability::Interval(pause) => pause,
    }
}

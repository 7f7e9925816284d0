//! What is behind the queue's mutex, and the steps that need nothing else.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use super::{Ack, Sealed};
use crate::log::Void;
use crate::{Durability, RecordOptions, Unrecorded};

/// Behind the mutex.
#[derive(Debug)]
pub(crate) struct State {
    /// The next place in the log.
    pub(crate) next_seq: i64,
    /// The time of the last entry.
    pub(crate) last_at: i64,
    /// Entries not known to be durable, in the order in which they are written.
    pub(super) entries: VecDeque<Waiting>,
    /// Their size.
    pub(super) bytes: usize,
    /// How many of them the commit thread has taken.
    pub(super) taken: usize,
    /// How many of those are written, and wait only for the next sync (`Durability::Interval`).
    pub(super) written: usize,
    /// When the oldest of these was written.
    pub(super) written_since: Option<Instant>,
    /// Entries ever queued, and ever made durable.
    pub(super) pushed: u64,
    pub(super) confirmed: u64,
    /// Raised when a journal file is given up: what the thread before it still does no longer counts.
    pub(super) generation: u64,
    pub(crate) mode: Mode,
    /// Admitted calls that have not ended: only these can.
    pub(super) open: HashSet<i64>,
    /// Refused decisions that the log has yet to name.
    pub(crate) to_void: Vec<i64>,
    /// Refused decisions that the log names, for the ledger to fetch.
    pub(super) void: Option<Void>,
    /// Decisions refused in a fault that the log has yet to tell of.
    pub(crate) refused: u64,
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
    /// Figures for `health`.
    pub(crate) unsealed: u64,
    pub(crate) sealed: u64,
    pub(crate) seal_fault: Option<String>,
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
    /// How many of the entries that waited are in it.
    pub(crate) count: usize,
    /// How many refused decisions it tells of.
    pub(crate) refused: u64,
}

/// One entry.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) seq: i64,
    pub(super) kind: Entering,
    pub(super) frame: Vec<u8>,
    pub(super) ack: Option<Ack>,
    pub(super) since: Instant,
}

/// What an entry is to the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entering {
    /// A new decision: bounded, refused in a fault, and void if it was promised to nobody.
    Decision { admitted: bool },
    /// The end of an open call: a fact.
    Finish { call_seq: i64 },
    /// An event: a fact, about something that has happened.
    Event,
    /// An entry of an older file: acknowledged only once durable, whatever the durability.
    Carried,
}

/// What the commit thread is to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// Write these bytes, which are so many entries.
    Write { bytes: Vec<u8>, count: usize },
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
            last_at,
            entries: VecDeque::new(),
            bytes: 0,
            taken: 0,
            written: 0,
            written_since: None,
            pushed: 0,
            confirmed: 0,
            generation: 0,
            mode: Mode::Recording,
            open: HashSet::new(),
            to_void: Vec::new(),
            void: None,
            refused: 0,
            overflowed: 0,
            turn_at: None,
            turn_waiters: Vec::new(),
            journal,
            next_number: number + 1,
            stuck: 0,
            unsealed: 0,
            sealed: 0,
            seal_fault: None,
        }
    }

    /// Entries waiting.
    pub(crate) fn waiting(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn admit(&mut self, options: &RecordOptions) -> Result<(), Unrecorded> {
        match &self.mode {
            Mode::Recording => {}
            Mode::Faulty(why) => {
                self.refused += 1;
                return Err(why.clone());
            }
            Mode::Closing | Mode::Closed => return Err(Unrecorded::Closed),
        }
        if self.entries.len() >= options.queue_max || self.bytes >= options.queue_bytes_max {
            self.overflowed += 1;
            return Err(Unrecorded::QueueFull);
        }
        Ok(())
    }

    /// Facts have as much room again as decisions, and wait out a fault. An outcome that finds no room is lost, and its call not
    /// open any more.
    pub(super) fn take_fact(
        &mut self,
        kind: Entering,
        options: &RecordOptions,
    ) -> Result<(), Unrecorded> {
        if self.mode == Mode::Closed {
            return Err(Unrecorded::Closed);
        }
        let full = self.entries.len() >= options.queue_max.saturating_mul(2)
            || self.bytes >= options.queue_bytes_max.saturating_mul(2);
        if !full {
            return Ok(());
        }
        if let Entering::Finish { call_seq } = kind
            && !self.open.remove(&call_seq)
        {
            return Err(Unrecorded::NotOpen);
        }
        Err(Unrecorded::QueueFull)
    }

    /// An open call ends only once, and no other call does.
    pub(super) fn enter(&mut self, kind: Entering, seq: i64) -> Result<(), Unrecorded> {
        match kind {
            Entering::Decision { admitted: true } => {
                self.open.insert(seq);
            }
            Entering::Finish { call_seq } => {
                if !self.open.remove(&call_seq) {
                    return Err(Unrecorded::NotOpen);
                }
            }
            Entering::Decision { admitted: false } | Entering::Event | Entering::Carried => {}
        }
        Ok(())
    }

    /// The first place that no durable entry has.
    pub(super) fn first_waiting(&self) -> i64 {
        let new = |entry: &&Waiting| entry.kind != Entering::Carried;
        let first = self.entries.iter().find(new);
        first.map_or(self.next_seq, |entry| entry.seq)
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

    pub(super) fn take_batch(&mut self, bytes_max: usize) -> Work {
        let mut bytes = Vec::new();
        let mut count = 0;
        for entry in self.entries.iter().skip(self.taken) {
            if count > 0 && bytes.len() + entry.frame.len() > bytes_max {
                break;
            }
            bytes.extend_from_slice(&entry.frame);
            count += 1;
        }
        self.taken += count;
        Work::Write { bytes, count }
    }

    pub(super) fn written(&mut self, count: usize, interval: bool) -> Vec<Ack> {
        let mut acks = Vec::new();
        for entry in self.entries.iter_mut().skip(self.written).take(count) {
            if interval && entry.kind != Entering::Carried {
                acks.extend(entry.ack.take());
            }
            self.journal.bytes += entry.frame.len() as u64;
        }
        self.written += count;
        self.journal.entries += count as u64;
        if count > 0 {
            self.journal.since.get_or_insert_with(Instant::now);
            self.written_since.get_or_insert_with(Instant::now);
        }
        acks
    }

    /// Everything written is durable: who waits for it, and the frames of new entries.
    pub(super) fn durable(&mut self) -> (Vec<Ack>, Vec<Vec<u8>>) {
        let mut acks = Vec::with_capacity(self.written);
        let mut frames = Vec::with_capacity(self.written);
        for entry in self.entries.drain(..self.written.min(self.entries.len())) {
            self.bytes -= entry.frame.len();
            self.journal.durable_to = self.journal.durable_to.max(entry.seq);
            acks.extend(entry.ack);
            if entry.kind != Entering::Carried {
                frames.push(entry.frame);
            }
        }
        self.confirmed += self.written as u64;
        self.taken -= self.written;
        self.written = 0;
        self.written_since = None;
        (acks, frames)
    }

    pub(super) fn turn_if_full(&mut self, options: &RecordOptions) {
        let full = self.journal.entries >= options.seal_rows as u64
            || self.journal.bytes >= options.journal_bytes_max;
        if full && self.turn_at.is_none() {
            self.turn_at = Some(0);
        }
    }

    /// Takes the promise of every entry back; all of them are to be written again.
    pub(super) fn give_up(&mut self) -> Vec<Ack> {
        let mut acks = Vec::new();
        for entry in &mut self.entries {
            let Some(ack) = entry.ack.take() else {
                continue;
            };
            if matches!(entry.kind, Entering::Decision { .. }) {
                self.to_void.push(entry.seq);
                self.open.remove(&entry.seq);
            }
            acks.push(ack);
        }
        self.entries.retain(|entry| entry.kind != Entering::Carried);
        self.bytes = self.entries.iter().map(|entry| entry.frame.len()).sum();
        self.pushed = self.confirmed + self.entries.len() as u64;
        self.taken = 0;
        self.written = 0;
        self.written_since = None;
        self.turn_at = None;
        self.turn_waiters.clear();
        acks
    }
}

/// How long an entry may be written and not synced.
pub(super) fn sync_pause(durability: Durability) -> Duration {
    match durability {
        Durability::Sync => Duration::ZERO,
        Durability::Interval(pause) => pause,
    }
}

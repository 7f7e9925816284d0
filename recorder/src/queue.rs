//! What waits for the disk, and the state of the log: the one place that the writer, the commit thread, the pulse and the
//! sealer share. Its mutex is never held across I/O.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;

use crate::call::Standing;
use crate::entry::append_payload;
use crate::log::Void;
use crate::{Durability, RecordError, RecordOptions, Unrecorded};

mod batch;
mod state;

pub(crate) use batch::Batch;
use batch::Waiting;
pub(crate) use state::{Entering, Healed, Healing, JournalState, Mode, Work};
use state::{Rest, State, sync_pause};

/// Answer to whoever waits for an entry.
pub(crate) type Ack = oneshot::Sender<Result<(), Unrecorded>>;

/// Hears whether an entry is durable.
pub(crate) type Promise = oneshot::Receiver<Result<(), Unrecorded>>;

/// Answer to whoever waits for a seal.
pub(crate) type Sealed = std::sync::mpsc::Sender<Result<(), RecordError>>;

/// What a write or a sync has settled.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Who hears that it is.
    pub(crate) acks: Vec<Vec<Option<Ack>>>,
    /// What is durable now.
    pub(crate) durable: Vec<Arc<Batch>>,
    /// More is waiting.
    pub(crate) more: bool,
}

/// What waits for the disk.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    pub(crate) options: RecordOptions,
}

impl Queue {
    pub(crate) fn new(options: RecordOptions, next_seq: i64, last_at: i64, number: u64) -> Self {
        let state = State::new(next_seq, last_at, number);
        Self {
            state: Mutex::new(state),
            wake: Condvar::new(),
            options,
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a journal file.
    pub(crate) fn take_number(&self) -> u64 {
        let mut state = self.lock();
        state.next_number += 1;
        state.next_number - 1
    }

    /// Whether a decision would be taken; fetches what became void.
    pub(crate) fn ready(&self) -> Result<Option<Void>, Unrecorded> {
        let mut state = self.lock();
        state.admit(&self.options)?;
        Ok(state.void.take())
    }

    /// Where a journal file that is begun now goes on: the first place that no durable entry has, so that no place is skipped
    /// if nothing more is written; and the time of the last entry.
    pub(crate) fn first_waiting(&self) -> (i64, i64) {
        let state = self.lock();
        (state.first_waiting(), state.last_at)
    }

    /// The next place and time.
    pub(crate) fn stamp(&self, now: i64) -> (i64, i64) {
        let state = self.lock();
        (state.next_seq, state.last_at.max(now))
    }

    /// Queues a decision at the time that was stamped, and at the next place, which it comes back with; `write` encodes it for
    /// that. Only what no counter knows of may have come since the stamp.
    pub(crate) fn decide(
        &self,
        (stamped, at): (i64, i64),
        standing: Standing,
        write: impl FnOnce(i64, &mut Vec<u8>) -> bool,
    ) -> Result<(i64, Option<Promise>), Unrecorded> {
        let mut state = self.lock();
        state.admit(&self.options)?;
        if state.counted_to > stamped || state.last_at > at {
            return Err(Unrecorded::StaleStamp);
        }
        if self.options.durability == Durability::Off {
            return Ok((state.enter_unwritten(standing, at), None));
        }
        let seq = state.next_seq;
        let kind = Entering::Decision { standing };
        let promise = self.enter(&mut state, (seq, at), kind, |bytes| write(seq, bytes))?;
        self.wake_from(state, &[Rest::Asleep, Rest::Lingering]);
        Ok((seq, Some(promise)))
    }

    /// Queues a fact at the next place, which it comes back with; `write` encodes it for that.
    pub(crate) fn tell(
        &self,
        now: i64,
        fact: Entering,
        write: impl FnOnce(i64, i64, &mut Vec<u8>) -> bool,
    ) -> (i64, i64, Result<Option<Promise>, Unrecorded>) {
        let mut state = self.lock();
        let at = match state.last_at.max(now) {
            // The recorder itself tells of something, and of nothing else was ever told.
            i64::MIN => wall_clock(),
            at => at,
        };
        if let Some(call_seq) = fact.of_unwritten() {
            let entered = state.take_unwritten(fact, at);
            return (call_seq, at, entered.map(|()| None));
        }
        let seq = state.next_seq;
        let promise = state
            .take_fact(fact, &self.options)
            .and_then(|()| self.enter(&mut state, (seq, at), fact, |bytes| write(seq, at, bytes)));
        if promise.is_ok() {
            // Of an end mostly nobody wants to hear.
            let rests: &[Rest] = match fact {
                Entering::Finish { .. } => &[Rest::Asleep],
                Entering::Decision { .. }
                | Entering::Answer { .. }
                | Entering::Event
                | Entering::Carried => &[Rest::Asleep, Rest::Lingering],
            };
            self.wake_from(state, rests);
        }
        (seq, at, promise.map(Some))
    }

    /// Somebody waits for what was queued last.
    pub(crate) fn hurry(&self) {
        self.wake_from(self.lock(), &[Rest::Lingering]);
    }

    /// Queues an entry of an older file again, under its own place.
    pub(crate) fn carry(&self, seq: i64, payload: &[u8]) -> Result<Promise, Unrecorded> {
        let mut state = self.lock();
        state.take_carried()?;
        let place = (seq, i64::MIN);
        let promise = self.enter(&mut state, place, Entering::Carried, |bytes| {
            append_payload(payload, bytes);
            true
        })?;
        self.wake_from(state, &[Rest::Asleep, Rest::Lingering]);
        Ok(promise)
    }

    fn enter(
        &self,
        state: &mut State,
        (seq, at): (i64, i64),
        kind: Entering,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> Result<Promise, Unrecorded> {
        if !state.is_possible(kind) {
            return Err(Unrecorded::NotOpen);
        }
        let faulty = match &state.mode {
            Mode::Faulty(why) => Some(why.clone()),
            Mode::Recording | Mode::Closing | Mode::Closed => None,
        };
        let Some(place) = state.add(seq, kind, self.options.batch_bytes_max, write) else {
            state.lose(kind);
            return Err(Unrecorded::TooLarge);
        };
        let (ack, promise) = oneshot::channel();
        match faulty {
            // The fact will be written when the disk is back; nobody is kept waiting for that.
            Some(why) => drop(ack.send(Err(why))),
            None => *place = Some(ack),
        }
        if kind != Entering::Carried {
            state.enter(kind, seq);
            state.next_seq += 1;
            if kind != Entering::Event {
                state.counted_to = state.next_seq;
            }
            state.last_at = state.last_at.max(at);
        }
        Ok(promise)
    }

    /// Wakes the commit thread if it rests so.
    fn wake_from(&self, mut state: MutexGuard<'_, State>, rests: &[Rest]) {
        let wakes = rests.contains(&state.rest);
        if wakes {
            state.rest = Rest::Awake;
        }
        drop(state);
        if wakes {
            self.wake.notify_all();
        }
    }

    /// Waits for something to do in this generation.
    pub(crate) fn work(&self, generation: u64) -> Work {
        let mut state = self.lock();
        loop {
            if state.generation != generation {
                // Whether the thread that came after this one sleeps is not for this one to say.
                state.stuck = state.stuck.saturating_sub(1);
                return Work::Leave;
            }
            state.rest = Rest::Awake;
            let due = state.sync_due(self.options.durability);
            let closing = state.mode == Mode::Closing;
            let turning = state
                .turn_at
                .is_some_and(|at| state.confirmed + state.entries_written as u64 >= at);
            if state.written > 0
                && (turning || closing || due.is_some_and(|due| due <= Instant::now()))
            {
                return Work::Sync;
            }
            if turning {
                return Work::Turn;
            }
            let lingers = state.lingers_until().filter(|until| {
                state.turn_at.is_none() && !closing && *until > Instant::now()
            });
            if lingers.is_none()
                && let Some(write) = state.take_batch()
            {
                return write;
            }
            if closing {
                return Work::Close;
            }
            state.rest = if lingers.is_some() {
                Rest::Lingering
            } else {
                Rest::Asleep
            };
            let due = [due, lingers].into_iter().flatten().min();
            state = match due {
                Some(due) => {
                    let pause = due.saturating_duration_since(Instant::now());
                    self.wake
                        .wait_timeout(state, pause)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
            };
            if matches!(self.options.durability, Durability::Interval(_)) {
                // No sync gives a batch time to fill, and whoever woke this thread may wait for its core with more to write: one
                // write and one change of threads for each call, if they are not let go first.
                drop(state);
                std::thread::yield_now();
                state = self.lock();
            }
        }
    }

    /// So many batches more are written; with `durable`, everything written is. Nothing happens in another generation, and nothing
    /// comes back.
    pub(crate) fn confirm(
        &self,
        generation: u64,
        batches: usize,
        durable: bool,
    ) -> Option<Settled> {
        let mut state = self.lock();
        if state.generation != generation {
            return None;
        }
        state.written(batches);
        let mut settled = Settled::default();
        if batches > 0 && matches!(self.options.durability, Durability::Interval(_)) {
            settled.acks.push(state.handed_over());
        }
        if durable {
            settled.take(state.durable());
        }
        state.turn_if_full(&self.options);
        settled.more = !state.waiting.is_empty();
        Some(settled)
    }

    /// Gives the journal file of this generation up: what waits for it is refused. The next generation, which has to open
    /// another file, if this one was still in force.
    pub(crate) fn fault(&self, generation: u64, why: &Unrecorded) -> Option<u64> {
        let mut state = self.lock();
        if state.generation != generation || !matches!(state.mode, Mode::Recording | Mode::Closing)
        {
            return None;
        }
        let closing = state.mode == Mode::Closing;
        state.generation += 1;
        state.mode = if closing {
            Mode::Closed
        } else {
            Mode::Faulty(why.clone())
        };
        let acks = state.give_up();
        drop(state);
        refuse(acks, why);
        self.wake.notify_all();
        Some(generation + 1)
    }

    /// As [`Queue::fault`], if something has been waiting for too long, on a thread that hangs.
    pub(crate) fn fault_if_overdue(&self, tick: Duration) -> Option<u64> {
        let generation = {
            let state = self.lock();
            let limit = self.options.commit_wait_max.saturating_sub(tick);
            let oldest = state.oldest();
            let unsynced = state
                .written_since
                .map(|since| since + sync_pause(self.options.durability));
            let overdue = [oldest, unsynced]
                .into_iter()
                .flatten()
                .any(|since| since.elapsed() >= limit);
            if !overdue || state.mode != Mode::Recording {
                return None;
            }
            state.generation
        };
        let next = self.fault(generation, &Unrecorded::Overdue)?;
        self.lock().stuck += 1;
        Some(next)
    }

    /// Asks for a new journal file once everything queued so far is durable; `sealed` hears when the old one is sealed.
    pub(crate) fn turn(&self, sealed: Option<Sealed>) -> Result<(), RecordError> {
        let mut state = self.lock();
        match &state.mode {
            Mode::Recording => {}
            Mode::Faulty(why) => return Err(RecordError::Unwritable(why.to_string())),
            Mode::Closing | Mode::Closed => return Err(RecordError::Closed),
        }
        state.turn_at = Some(state.pushed.min(state.turn_at.unwrap_or(u64::MAX)));
        if let Some(sealed) = sealed {
            state.turn_at = Some(state.pushed);
            state.turn_waiters.push(sealed);
        }
        drop(state);
        self.wake.notify_all();
        Ok(())
    }

    /// Asks for a new journal file if the oldest entry of this one is old enough.
    pub(crate) fn turn_if_old(&self) {
        let age = {
            let state = self.lock();
            let since = state.journal.since.filter(|_| state.seals_keep_up());
            since.map(|since| since.elapsed())
        };
        if age.is_some_and(|age| age >= self.options.seal_age) {
            // In a fault there is nothing to turn.
            drop(self.turn(None));
        }
    }

    /// A new journal file is in use; the state of the old one, and who waits for its seal.
    pub(crate) fn turned(
        &self,
        generation: u64,
        number: u64,
    ) -> Option<(JournalState, Vec<Sealed>)> {
        let mut state = self.lock();
        if state.generation != generation {
            return None;
        }
        let next = JournalState {
            number,
            durable_to: state.journal.durable_to,
            ..JournalState::default()
        };
        let old = std::mem::replace(&mut state.journal, next);
        state.sealing += 1;
        state.turn_at = None;
        Some((old, std::mem::take(&mut state.turn_waiters)))
    }

    /// Whether the journal file in use has no entries; then who waits for a turn need not.
    pub(crate) fn untouched(&self) -> Option<Vec<Sealed>> {
        let mut state = self.lock();
        if state.journal.entries > 0 {
            return None;
        }
        state.turn_at = None;
        Some(std::mem::take(&mut state.turn_waiters))
    }

    /// The frames of everything that waits and of these entries, in the log's order, for the first write into a new file;
    /// takes all of it.
    pub(crate) fn take_all(&self, generation: u64, told: &Batch) -> Option<Vec<u8>> {
        let mut state = self.lock();
        if state.generation != generation || !matches!(state.mode, Mode::Faulty(_)) {
            return None;
        }
        let waiting = std::mem::take(&mut state.waiting);
        state.taken.extend(waiting);
        let mut bytes = Vec::with_capacity(state.bytes + told.bytes().len());
        let mut told = told.frames().peekable();
        for (mark, frame) in state.taken.iter().flat_map(|taken| taken.batch.frames()) {
            while let Some((_, before)) = told.next_if(|(before, _)| before.seq < mark.seq) {
                bytes.extend_from_slice(before);
            }
            bytes.extend_from_slice(frame);
        }
        told.for_each(|(_, frame)| bytes.extend_from_slice(frame));
        Some(bytes)
    }

    /// Places in the log for the entries with which a new file begins: the void, and the event that tells of the fault.
    pub(crate) fn take_places(&self) -> Healing {
        let mut state = self.lock();
        let seqs = std::mem::take(&mut state.to_void);
        let at = state.last_at;
        let void = (!seqs.is_empty()).then(|| {
            state.next_seq += 1;
            state.counted_to = state.next_seq;
            (state.next_seq - 1, Void { seqs, at })
        });
        let event_seq = state.next_seq;
        state.next_seq += 1;
        Healing {
            void,
            event_seq,
            at,
        }
    }

    /// The first write into a new file is durable: decisions are taken again.
    pub(crate) fn healed(
        &self,
        generation: u64,
        healed: Healed,
        healing: Healing,
    ) -> Option<(JournalState, Settled)> {
        let mut state = self.lock();
        if state.generation != generation || !matches!(state.mode, Mode::Faulty(_)) {
            return None;
        }
        let next = JournalState {
            number: healed.number,
            durable_to: state.journal.durable_to,
            ..JournalState::default()
        };
        let poisoned = std::mem::replace(&mut state.journal, next);
        state.sealing += 1;
        let all = state.taken.len();
        state.written(all);
        let mut settled = Settled::default();
        settled.take(state.durable());
        state.journal.durable_to = state.journal.durable_to.max(healing.event_seq);
        if let Some((_, void)) = healing.void {
            state.void = Some(match state.void.take() {
                Some(mut before) => {
                    before.seqs.extend(void.seqs);
                    before.at = before.at.max(void.at);
                    before
                }
                None => void,
            });
        }
        // Those refused since that was written are told of with the next fault.
        state.refused = state.refused.saturating_sub(healed.refused);
        state.mode = Mode::Recording;
        state.journal.entries += 1;
        state.journal.since.get_or_insert_with(Instant::now);
        Some((poisoned, settled))
    }

    /// Sleeps before the next attempt; false if there is none to make any more.
    pub(crate) fn pause(&self, generation: u64) -> bool {
        let mut state = self.lock();
        let until = Instant::now() + self.options.retry_pause;
        loop {
            if state.generation != generation || !matches!(state.mode, Mode::Faulty(_)) {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() && state.stuck < STUCK_MAX {
                return true;
            }
            let left = left.max(self.options.retry_pause.min(Duration::from_millis(50)));
            state = self
                .wake
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Decisions refused because too much was waiting, since this was last asked; only once there is room again.
    pub(crate) fn take_overflowed(&self) -> Option<u64> {
        let mut state = self.lock();
        let quiet = state.mode == Mode::Recording && state.entries * 2 < self.options.queue_max;
        (quiet && state.overflowed > 0).then(|| std::mem::take(&mut state.overflowed))
    }

    /// Takes no decisions for want of room, or takes them again. If that is a change: how many were refused, and how it was before.
    pub(crate) fn set_short(&self, short: Option<Unrecorded>) -> Option<(u64, Option<Unrecorded>)> {
        let mut state = self.lock();
        if state.short == short {
            return None;
        }
        let before = std::mem::replace(&mut state.short, short);
        Some((std::mem::take(&mut state.short_refused), before))
    }

    /// Why there is no room for what could as well be left out, if there is none.
    pub(crate) fn short(&self) -> Option<Unrecorded> {
        self.lock().short().cloned()
    }

    /// Takes no more decisions; what waits is still written.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.lock();
        let open = state.mode == Mode::Recording;
        state.mode = if open { Mode::Closing } else { Mode::Closed };
        drop(state);
        self.wake.notify_all();
        open
    }

    /// Whether the record is closed or about to be.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.lock().mode, Mode::Closing | Mode::Closed)
    }

    /// Takes nothing any more; whatever waits is refused.
    pub(crate) fn shut(&self) {
        let mut state = self.lock();
        state.mode = Mode::Closed;
        let acks = state.give_up();
        drop(state);
        refuse(acks, &Unrecorded::Closed);
        self.wake.notify_all();
    }
}

/// Commit threads that may hang in given-up files before no further file is begun.
const STUCK_MAX: usize = 8;

impl Settled {
    fn take(&mut self, durable: Vec<Waiting>) {
        for waiting in durable {
            self.acks.push(waiting.acks);
            self.durable.push(waiting.batch);
        }
    }

    /// How many wait for an answer.
    pub(crate) fn answers(&self) -> usize {
        self.acks.iter().map(Vec::len).sum()
    }
}

/// Tells all of these that it is done.
pub(crate) fn answer(acks: Vec<Vec<Option<Ack>>>) {
    for ack in acks.into_iter().flatten().flatten() {
        // Nobody may be waiting any more; the entry is durable all the same.
        drop(ack.send(Ok(())));
    }
}

fn refuse(acks: Vec<Ack>, why: &Unrecorded) {
    for ack in acks {
        drop(ack.send(Err(why.clone())));
    }
}

/// Microseconds since the epoch.
fn wall_clock() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
    })
}

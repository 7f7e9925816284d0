//! The single writer: places, times, and what goes into the journal.

use std::sync::Arc;

use serde::Serialize;

use crate::entry::{Entry, EntryWrite, append_entry};
use crate::queue::{Entering, Queue};
use crate::{Answer, Call, Commit, Event, EventKind, Finish, Unrecorded, Verdict};

/// The single writer of a record. It lives under the ledger's one mutex; every method only queues, and none waits for
/// the disk.
///
/// The step of one decision, under that mutex: [`Log::ready`] → give back what is void → [`Log::stamp`] → consume
/// counters at `stamp.decided_at` → [`Log::decide`]. Then, outside of it, [`Commit::wait`]. An [`Unrecorded`] from `wait` means
/// that the call is refused; its reservation comes back with the next [`Void`], and only there: every decision between the
/// two is void as well, so that replay, for which void decisions never consumed, meets the counters as they were.
#[derive(Debug)]
pub struct Log {
    queue: Arc<Queue>,
}

/// The next place in the log and its time. [`Log::decide`] takes it.
#[derive(Debug)]
pub struct Stamp {
    /// The place.
    pub seq: i64,
    /// The time, in microseconds since the epoch: never before that of any earlier entry, also across restarts.
    pub decided_at: i64,
}

/// Decisions that were refused because they could not be made durable, once the log itself says so.
///
/// They consumed counters when they were decided; give all of these back, at `at`, before the next decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Void {
    /// The refused decisions.
    pub seqs: Vec<i64>,
    /// When they stopped to count, in microseconds since the epoch.
    pub at: i64,
}

impl Log {
    pub(crate) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// Whether a decision would be taken at this moment; and, once after each storage fault, what became void.
    ///
    /// Nothing but the commit thread makes room, so a decision that follows under the same mutex is taken too, unless the
    /// disk fails in between.
    pub fn ready(&mut self) -> Result<Option<Void>, Unrecorded> {
        self.queue.ready()
    }

    /// The next place in the log; `now` in microseconds since the epoch. Takes nothing by itself: a stamp that is not used
    /// leaves no gap, and one that is used after another decision, an end or a void is refused. An event of the recorder's own,
    /// which may come at any moment, moves the decision one place on: its place is [`Commit::seq`].
    pub fn stamp(&mut self, now: i64) -> Stamp {
        let (seq, decided_at) = self.queue.stamp(now);
        Stamp { seq, decided_at }
    }

    /// Writes a decision down.
    #[must_use = "a call may only be forwarded with the permit that `Commit::wait` gives"]
    #[expect(clippy::needless_pass_by_value, reason = "a stamp is used once")]
    pub fn decide<S: AsRef<str> + Serialize>(&mut self, stamp: Stamp, call: &Call<S>) -> Commit {
        let Stamp {
            seq,
            decided_at: at,
        } = stamp;
        if call
            .approval
            .as_ref()
            .is_some_and(|a| a.answer_seq.is_some())
        {
            return Commit::refuse(seq, at, Unrecorded::Answered);
        }
        let standing = call.standing();
        let write = |seq, bytes: &mut Vec<u8>| {
            let entry: EntryWrite<'_, S> = Entry::Decided { seq, at, call };
            append_entry(&entry, bytes)
        };
        match self.queue.decide((seq, at), standing, write) {
            Ok((seq, durable)) => Commit::decision(seq, at, call.verdict, call.call_id, durable),
            Err(why) => Commit::refuse(seq, at, why),
        }
    }

    /// Writes down what came of a held call, once; for any other call it is refused. The permit of a call that may pass comes from
    /// this commit, and only once it is durable. An answer that was queued is written even where its commit fails: then the call was
    /// approved and not forwarded, and [`Log::finish`] says so.
    pub fn answer<S: AsRef<str> + Serialize>(
        &mut self,
        now: i64,
        (call_seq, call_id): (i64, [u8; 16]),
        answer: &Answer<S>,
    ) -> Commit {
        let admits = answer.verdict == Verdict::Allow;
        let fact = Entering::Answer { call_seq, admits };
        let told = self.queue.tell(now, fact, |seq, at, bytes| {
            let entry: EntryWrite<'_, S> = Entry::Answered {
                seq,
                at,
                call_seq,
                answer,
            };
            append_entry(&entry, bytes)
        });
        match told {
            (seq, at, Ok(durable)) if admits => {
                Commit::answer((seq, at), (call_seq, call_id), durable)
            }
            (seq, at, Ok(durable)) => Commit::entry(seq, at, durable),
            (seq, at, Err(why)) => Commit::refuse(seq, at, why),
        }
    }

    /// Somebody will wait for what was written last, where mostly nobody does: else an end waits for the next decision, if one comes
    /// within a few milliseconds, and for its sync.
    pub fn hurry(&mut self) {
        self.queue.hurry();
    }

    /// Writes down how an admitted call ended, once; for any other call it is refused. Waiting for the commit is optional. If too
    /// much is waiting ([`Unrecorded::QueueFull`]) or it is [`Unrecorded::TooLarge`], the outcome is lost, and the call will be
    /// `unknown`.
    pub fn finish<S: AsRef<str> + Serialize>(
        &mut self,
        now: i64,
        call_seq: i64,
        finish: &Finish<S>,
    ) -> Commit {
        let fact = Entering::Finish { call_seq };
        self.fact(now, fact, |seq, at, bytes| {
            let entry: EntryWrite<'_, S> = Entry::Finished {
                seq,
                at,
                call_seq,
                finish,
            };
            append_entry(&entry, bytes)
        })
    }

    /// Writes an event down. Waiting for the commit is optional.
    pub fn event<S: AsRef<str> + Serialize>(&mut self, now: i64, event: &Event<S>) -> Commit {
        // What strangers can cause as often as they like must not use up what is kept for the end of calls.
        let can_wait = matches!(
            event.kind,
            EventKind::Unauthenticated | EventKind::Suppressed
        );
        if let Some(why) = self.queue.short().filter(|_| can_wait) {
            let (seq, at) = self.queue.stamp(now);
            return Commit::refuse(seq, at, why);
        }
        self.fact(now, Entering::Event, |seq, at, bytes| {
            let entry: EntryWrite<'_, S> = Entry::Event { seq, at, event };
            append_entry(&entry, bytes)
        })
    }

    fn fact(
        &mut self,
        now: i64,
        fact: Entering,
        write: impl FnOnce(i64, i64, &mut Vec<u8>) -> bool,
    ) -> Commit {
        match self.queue.tell(now, fact, write) {
            (seq, at, Ok(durable)) => Commit::entry(seq, at, durable),
            (seq, at, Err(why)) => Commit::refuse(seq, at, why),
        }
    }
}

//! The single writer: places, times, and what goes into the journal.

use serde::Serialize;

use crate::{Call, Commit, Event, Finish, Unrecorded};

/// The next place in the log and its time. [`Log::decide`] takes it.
#[derive(Debug)]
pub struct Stamp {
    /// The place.
    pub seq: i64,
    /// The time: never before that of any earlier entry, also across restarts.
    pub decided_at: i64,
}

/// Decisions that were refused because they could not be made durable, once the log says so itself.
///
/// They consumed counters when they were decided; give all of these back, at `at`, before the next decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Void {
    /// The refused decisions.
    pub seqs: Vec<i64>,
    /// When they stopped to count, in microseconds since the epoch.
    pub at: i64,
}

/// The single writer of a record. It lives under the ledger's one mutex; every method only queues, and none waits for
/// the disk.
///
/// The step of one decision, under that mutex: [`Log::ready`] → give back what is void → [`Log::stamp`] → consume
/// counters at `stamp.decided_at` → [`Log::decide`]. Then, outside of it, [`Commit::wait`]. An `Unrecorded` from `wait` means
/// that the call is refused; its reservation comes back with the next [`Void`].
#[derive(Debug)]
pub struct Log(());

impl Log {
    /// Whether a decision would be taken at this moment; and, once after each storage fault, what became void.
    pub fn ready(&mut self) -> Result<Option<Void>, Unrecorded> {
        Err(Unrecorded::Closed)
    }

    /// The next place in the log; `now` in microseconds since the epoch. Takes nothing by itself: a stamp that is not used
    /// leaves no gap.
    pub fn stamp(&mut self, now: i64) -> Stamp {
        Stamp {
            seq: 0,
            decided_at: now,
        }
    }

    /// Writes a decision down.
    #[must_use = "a call may only be forwarded with the permit that `Commit::wait` gives"]
    pub fn decide<S: AsRef<str> + Serialize>(&mut self, stamp: Stamp, call: &Call<S>) -> Commit {
        let _ = call;
        Commit::refuse(stamp.seq, stamp.decided_at, Unrecorded::Closed)
    }

    /// Writes down how the call with this place ended. Waiting for the commit is optional.
    pub fn finish<S: AsRef<str> + Serialize>(
        &mut self,
        now: i64,
        call_seq: i64,
        finish: &Finish<S>,
    ) -> Commit {
        let _ = finish;
        Commit::refuse(call_seq, now, Unrecorded::Closed)
    }

    /// Writes an event down. Waiting for the commit is optional.
    pub fn event<S: AsRef<str> + Serialize>(&mut self, now: i64, event: &Event<S>) -> Commit {
        let _ = event;
        Commit::refuse(0, now, Unrecorded::Closed)
    }
}

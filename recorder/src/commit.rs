//! Waiting for a decision to become durable, and the leave to forward that only this gives.

use tokio::sync::oneshot;

use crate::Verdict;
use crate::queue::Promise;

/// Leave to forward one call: its decision is `allow`, or a person's answer is, and it is durable.
///
/// Nothing but [`Commit::wait`] makes one, it cannot be copied, and forwarding takes it by value: no call is forwarded
/// without a record, and none twice on one record (invariant I2). Under [`Durability::Off`](crate::Durability::Off) the operator has
/// said that there is to be no record, and it stands for the decision alone.
///
/// ```compile_fail
/// let forged = weir_recorder::Permit { seq: 1, call_id: [0; 16] };
/// ```
///
/// ```compile_fail
/// fn twice(permit: weir_recorder::Permit) -> (weir_recorder::Permit, weir_recorder::Permit) {
///     (permit.clone(), permit)
/// }
/// ```
#[derive(Debug)]
#[must_use = "a permit is leave to forward one call"]
pub struct Permit {
    seq: i64,
    call_id: [u8; 16],
}

impl Permit {
    /// The call's place in the log; its outcome is written with it.
    pub fn seq(&self) -> i64 {
        self.seq
    }

    /// The call's UUIDv7.
    pub fn call_id(&self) -> [u8; 16] {
        self.call_id
    }
}

/// An entry on its way to the disk.
#[derive(Debug)]
pub struct Commit {
    seq: i64,
    at: i64,
    permit: Option<Permit>,
    durable: Durable,
}

#[derive(Debug)]
enum Durable {
    Pending(oneshot::Receiver<Result<(), Unrecorded>>),
    Refused(Unrecorded),
    /// Recording is off, so there is nothing to wait for.
    Unwritten,
}

impl Commit {
    /// The entry's place in the log; below zero if recording is off, where it has none.
    pub fn seq(&self) -> i64 {
        self.seq
    }

    /// The entry's time, in microseconds since the epoch: for a finish, when a give-back takes effect.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// Waits until the entry is durable; a permit comes back only for a decision or an answer whose verdict is `allow`.
    ///
    /// Takes at most `commit_wait_max`: what is not durable by then is refused and will be void.
    pub async fn wait(self) -> Result<Option<Permit>, Unrecorded> {
        match self.durable {
            Durable::Pending(receiver) => receiver.await.unwrap_or(Err(Unrecorded::Closed))?,
            Durable::Refused(why) => return Err(why),
            Durable::Unwritten => {}
        }
        Ok(self.permit)
    }

    /// As [`Commit::wait`], for threads outside of an async runtime (inside one it panics).
    pub fn wait_blocking(self) -> Result<Option<Permit>, Unrecorded> {
        match self.durable {
            Durable::Pending(receiver) => receiver
                .blocking_recv()
                .unwrap_or(Err(Unrecorded::Closed))?,
            Durable::Refused(why) => return Err(why),
            Durable::Unwritten => {}
        }
        Ok(self.permit)
    }

    /// Why the entry was refused without being queued, if it was.
    pub fn refused(&self) -> Option<&Unrecorded> {
        match &self.durable {
            Durable::Pending(_) | Durable::Unwritten => None,
            Durable::Refused(why) => Some(why),
        }
    }

    pub(crate) fn decision(
        seq: i64,
        at: i64,
        verdict: Verdict,
        call_id: [u8; 16],
        promise: Option<Promise>,
    ) -> Self {
        let permit = (verdict == Verdict::Allow).then_some(Permit { seq, call_id });
        Self {
            seq,
            at,
            permit,
            durable: promise.map_or(Durable::Unwritten, Durable::Pending),
        }
    }

    /// The answer by which a held call may pass.
    pub(crate) fn answer(
        (seq, at): (i64, i64),
        (call_seq, call_id): (i64, [u8; 16]),
        promise: Option<Promise>,
    ) -> Self {
        Self {
            seq,
            at,
            permit: Some(Permit {
                seq: call_seq,
                call_id,
            }),
            durable: promise.map_or(Durable::Unwritten, Durable::Pending),
        }
    }

    pub(crate) fn entry(seq: i64, at: i64, promise: Option<Promise>) -> Self {
        Self {
            seq,
            at,
            permit: None,
            durable: promise.map_or(Durable::Unwritten, Durable::Pending),
        }
    }

    pub(crate) fn refuse(seq: i64, at: i64, why: Unrecorded) -> Self {
        Self {
            seq,
            at,
            permit: None,
            durable: Durable::Refused(why),
        }
    }
}

/// A decision is not durable: the call must be refused, and nothing of it forwarded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unrecorded {
    /// Writing or syncing failed.
    #[error("the record cannot be written: {0}")]
    Storage(String),
    /// The disk did not confirm within `commit_wait_max`.
    #[error("the disk did not confirm in time")]
    Overdue,
    /// More waits for the disk than may.
    #[error("too much is waiting for the disk")]
    QueueFull,
    /// The record's disk is full, and its reserve given up.
    #[error("the disk of the record is full")]
    DiskFull,
    /// The record's files have all the bytes that they may have.
    #[error("the record has used up its {bytes_max} bytes")]
    BudgetUsedUp {
        /// How many that are.
        bytes_max: u64,
    },
    /// Another decision, an end or a void came between the stamp and the decision.
    #[error("the log went on since the decision was stamped")]
    StaleStamp,
    /// The outcome or the answer is of no open call: it was refused, has ended or been answered, or was never decided here.
    #[error("the call is not open")]
    NotOpen,
    /// The approval names an answer, which only an entry of its own can give.
    #[error("an answer is an entry of its own")]
    Answered,
    /// The entry is larger than a journal entry may be.
    #[error("the entry is too large for the journal")]
    TooLarge,
    /// The record is closed.
    #[error("the record is closed")]
    Closed,
}

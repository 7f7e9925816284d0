//! The other end of a question: whoever waits for its answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_policy::Decision;

use super::{Answered, Ending, Place, Question};
use crate::gate::Gate;

/// Waits for the answer. Dropped before, it takes the question back: nobody would hear of it.
pub(crate) struct Waiter {
    gate: Arc<Gate>,
    id: String,
    seq: i64,
    answer: oneshot::Receiver<Answered>,
    deadline: Instant,
    /// The grant opens nothing any more.
    revoked: CancellationToken,
    done: bool,
}

impl Waiter {
    /// Puts a call into the book, and waits for so long.
    pub(crate) fn new(
        gate: &Arc<Gate>,
        asked: (Arc<Question>, Decision),
        request: (Arc<str>, String),
        (place, wait): (Place, Duration),
        revoked: CancellationToken,
    ) -> Self {
        let (id, seq) = (asked.0.id.clone(), asked.0.seq);
        Self {
            seq,
            answer: gate.approvals.hold(asked, request, place),
            gate: Arc::clone(gate),
            id,
            deadline: Instant::now() + wait,
            revoked,
            done: false,
        }
    }

    /// The answer, and whether it is in the record.
    pub(crate) async fn wait(mut self) -> Answered {
        let ending = tokio::select! {
            biased;
            answered = &mut self.answer => {
                self.done = true;
                return answered.unwrap_or_else(|_| self.lost());
            }
            () = self.gate.stopping.cancelled() => Ending::Stopped,
            () = self.revoked.cancelled() => Ending::Withdrawn("the grant opens nothing any more"),
            () = tokio::time::sleep_until(self.deadline) => Ending::Timeout,
        };
        if let Ok(given) = self.gate.answer(&self.id, None, &ending) {
            self.done = true;
            return given.durable().await.0;
        }
        // Somebody was just before, and the answer is on its way.
        let answered = (&mut self.answer).await;
        self.done = true;
        answered.unwrap_or_else(|_| self.lost())
    }

    /// Whoever answered went away with the runtime.
    fn lost(&self) -> Answered {
        tracing::warn!(id = self.id, "the answer about a held call was lost");
        Answered {
            seq: self.seq,
            decision: crate::ledger::unrecorded(None),
            durable: Err(weir_recorder::Unrecorded::Closed),
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let left = Ending::Withdrawn("the caller left");
        if self.gate.answer(&self.id, None, &left).is_err() {
            // It was answered; what was said already is heard here, what is said from now on by whoever says it.
            self.answer.close();
            if let Ok(answered) = self.answer.try_recv() {
                self.gate.let_lie(&answered);
            }
        }
    }
}

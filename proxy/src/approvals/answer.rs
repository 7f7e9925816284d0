//! What comes of a question: an entry of the log, and word to whoever waits.

use std::sync::Arc;

use tokio::sync::oneshot;
use weir_policy::{Decision, Reason};
use weir_recorder::{Commit, Finish, Outcome, Permit, Unrecorded};

use super::{Held, Unanswerable};
use crate::gate::Gate;

/// An answer, and why there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// A person said yes.
    Approved { by: String, why: Option<String> },
    /// A person said no.
    Denied { by: String, why: Option<String> },
    /// Nobody answered in time.
    Timeout,
    /// The caller does not wait any more.
    Withdrawn(&'static str),
    /// The proxy stops.
    Stopped,
}

/// What whoever waits is told.
#[derive(Debug)]
pub(crate) struct Answered {
    /// Where the call stands in the log.
    pub(crate) seq: i64,
    pub(crate) decision: Decision,
    /// Whether that is in the record; of an approved call, the leave to forward it.
    pub(crate) durable: Result<Option<Permit>, Unrecorded>,
}

/// An answer that is in the log, and on its way to the disk.
pub(super) struct Given {
    seq: i64,
    decision: Decision,
    commit: Commit,
    /// Who waits for it.
    reply: oneshot::Sender<Answered>,
}

impl Given {
    pub(super) async fn durable(self) -> (Answered, oneshot::Sender<Answered>) {
        let answered = Answered {
            seq: self.seq,
            decision: self.decision,
            durable: self.commit.wait().await,
        };
        (answered, self.reply)
    }
}

impl Gate {
    /// Answers a question that waits, if nobody did before: the answer is in the log, in its place, and on its way to the disk.
    pub(super) fn answer(
        &self,
        id: &str,
        digest: Option<&str>,
        ending: &Ending,
    ) -> Result<Given, Unanswerable> {
        let Held {
            question,
            decision,
            reply,
            since,
            ..
        } = self
            .approvals
            .take(id, digest, ending, self.ledger.clock().now())?;
        let decision = ending.of(&decision);
        let by = ending.by();
        let call = (question.seq, question.call_id);
        let commit = self
            .ledger
            .answer(call, &decision, (by, &ending.to_string()));
        self.telemetry
            .answered(decision.reason.as_str(), since.elapsed());
        tracing::info!(server = %question.server, grant = %question.grant, tool = %question.tool, answer = decision.reason.as_str(), by, "a held call was answered");
        Ok(Given {
            seq: call.0,
            decision,
            commit,
            reply,
        })
    }

    /// As a person answers, or a client that takes its request back: who waits hears of it once it is durable. The task goes on
    /// without whoever asked for it.
    pub(crate) async fn answer_for(
        self: &Arc<Self>,
        id: &str,
        digest: Option<&str>,
        ending: &Ending,
    ) -> Result<(Decision, Result<(), Unrecorded>), Unanswerable> {
        let given = self.answer(id, digest, ending)?;
        let (gate, decision) = (Arc::clone(self), given.decision.clone());
        let telling = tokio::spawn(async move {
            let (answered, reply) = given.durable().await;
            let said = match &answered.durable {
                Ok(_) => Ok(()),
                Err(why) => Err(why.clone()),
            };
            if let Err(unheard) = reply.send(answered) {
                gate.let_lie(&unheard);
            }
            said
        });
        let said = telling.await.unwrap_or(Err(Unrecorded::Closed));
        Ok((decision, said))
    }

    /// A call that was approved, and whose caller had left by then: it is over, nothing was forwarded, and what it took comes back.
    pub(crate) fn let_lie(&self, answered: &Answered) {
        if answered.decision.is_allow() {
            let finish = Finish {
                outcome: Outcome::Cancelled,
                given_back: true,
                ..Finish::default()
            };
            drop(self.ledger.finish(answered.seq, &finish));
        }
    }
}

impl Ending {
    /// The decision on a call of which the policy said this.
    fn of(&self, pending: &Decision) -> Decision {
        let text = match self {
            Self::Approved { .. } => return pending.approved(),
            Self::Denied { why: None, .. } => "A person said no.",
            Self::Denied { why: Some(why), .. } => &format!("A person said no: {why}"),
            Self::Timeout => "Nobody answered in time.",
            Self::Withdrawn(_) => "The request was taken back.",
            Self::Stopped => "The proxy stopped before anybody answered.",
        };
        pending.unapproved(self.reason(), text)
    }

    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Approved { .. } => Reason::Approved,
            Self::Denied { .. } => Reason::ApprovalDenied,
            Self::Timeout => Reason::ApprovalTimeout,
            Self::Withdrawn(_) => Reason::ApprovalWithdrawn,
            Self::Stopped => Reason::ApprovalStopped,
        }
    }

    pub(super) fn by(&self) -> Option<&str> {
        match self {
            Self::Approved { by, .. } | Self::Denied { by, .. } => Some(by),
            Self::Timeout | Self::Withdrawn(_) | Self::Stopped => None,
        }
    }
}

/// The column `approval.answer`.
impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (word, why) = match self {
            Self::Approved { why, .. } => ("approved", why.as_deref()),
            Self::Denied { why, .. } => ("denied", why.as_deref()),
            Self::Timeout => ("timeout", None),
            Self::Withdrawn(why) => ("withdrawn", Some(*why)),
            Self::Stopped => ("stopped", None),
        };
        f.write_str(word)?;
        why.map_or(Ok(()), |why| write!(f, ": {why}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_answered_is_told_in_one_line() {
        let by = "anna".to_owned();
        let why = Some("not tonight".to_owned());
        let said = Ending::Denied { by, why };
        assert_eq!(said.to_string(), "denied: not tonight");
        assert_eq!(Ending::Timeout.to_string(), "timeout");
    }
}

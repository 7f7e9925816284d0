//! A call that was recorded and has not ended.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use tokio::sync::oneshot;
use weir_recorder::{Commit, Durability, Finish, Outcome, Unrecorded};

use super::Caller;
use super::cancel::Cancel;
use super::outcome::Ending;
use crate::gate::Gate;
use crate::keeping::AuditLevel;
use crate::traces::Span;

/// A call that was recorded and has not ended. Dropped, it ends as cancelled: no row is left open by accident.
pub(super) struct OpenCall {
    gate: Arc<Gate>,
    caller: Arc<Caller>,
    method: Arc<str>,
    seq: i64,
    pub(super) call_id: [u8; 16],
    began: Instant,
    /// When it went on its way to the server; before that it has provably not reached it.
    forwarded: Option<Instant>,
    commit_us: Option<i32>,
    level: AuditLevel,
    /// Where its client may cancel it by a message.
    cancel: Option<Cancel>,
    ended: bool,
    span: Span,
}

impl OpenCall {
    pub(super) fn new(
        gate: &Arc<Gate>,
        caller: &Arc<Caller>,
        method: &str,
        seq: i64,
        call_id: [u8; 16],
        began: Instant,
    ) -> Self {
        Self {
            gate: Arc::clone(gate),
            caller: Arc::clone(caller),
            method: Arc::from(method),
            seq,
            call_id,
            began,
            forwarded: None,
            commit_us: None,
            // What no policy judges is recorded without arguments and results.
            level: AuditLevel::Metadata,
            cancel: None,
            ended: false,
            span: Span::default(),
        }
    }

    /// How much the record keeps of it.
    pub(super) fn at_level(mut self, level: AuditLevel) -> Self {
        if self.gate.recorder.durability() != Durability::Off {
            self.level = level;
        }
        self
    }

    /// The decision became durable, so long after `since`.
    pub(super) fn committed(&mut self, since: Instant) {
        self.commit_us = i32::try_from(since.elapsed().as_micros()).ok();
    }

    /// It goes on its way to the server; its span ends when it does.
    pub(super) fn forwarded(&mut self, span: Span) {
        self.forwarded = Some(Instant::now());
        self.span = span;
    }

    /// Its client may cancel it by a message that names this request.
    pub(super) fn cancelled_by(&mut self, caller: &Arc<str>, id: &Arc<str>) {
        self.cancel = Some(Cancel::new(&self.gate, caller, id));
    }

    /// Done when its client has cancelled it so: the server owes no answer any more.
    pub(super) async fn cancelled(&self) {
        match &self.cancel {
            Some(cancel) => cancel.done().await,
            None => std::future::pending().await,
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(Cancel::is_done)
    }

    /// The decision did not become durable: the log voids the row, and there is nothing to end.
    pub(super) fn void(mut self) {
        self.ended = true;
    }

    pub(super) fn end(mut self, ending: &Ending, status: Option<StatusCode>, given_back: bool) {
        // The reply does not wait for its outcome to be durable: a crash leaves `unknown` (DESIGN 6.4).
        self.write(ending, status, given_back, None);
    }

    /// As [`OpenCall::end`], for an answer on its way to the client: false if it is to be withheld, because outcomes are strict and
    /// this one is not in the record.
    pub(super) async fn answered(mut self, ending: &Ending, status: StatusCode) -> bool {
        if !self.gate.strict_outcomes {
            self.write(ending, Some(status), false, None);
            return true;
        }
        let (queued, written) = oneshot::channel();
        self.write(ending, Some(status), false, Some(queued));
        let durable = match written.await {
            Ok(commit) => commit.wait().await.map(drop),
            // The task that keeps a long result went with its runtime.
            Err(_) => Err(Unrecorded::Closed),
        };
        if let Err(why) = &durable {
            tracing::warn!(server = %self.caller.server.name, grant = %self.caller.grant.name, %why, "an answer was withheld: its outcome could not be recorded");
        }
        durable.is_ok()
    }

    /// Writes down how it ended; `queued` gets the commit.
    fn write(
        &mut self,
        ending: &Ending,
        status: Option<StatusCode>,
        given_back: bool,
        queued: Option<oneshot::Sender<Commit>>,
    ) {
        self.ended = true;
        self.span.ends(ending.outcome);
        let result = ending.result.clone();
        let end = End {
            gate: Arc::clone(&self.gate),
            caller: Arc::clone(&self.caller),
            seq: self.seq,
            outcome: ending.outcome,
            status,
            result_bytes: ending.result_bytes,
            result_digest: ending.result_digest,
            given_back,
            commit_us: self.commit_us,
            upstream_us: self
                .forwarded
                .and_then(|since| i64::try_from(since.elapsed().as_micros()).ok()),
            queued,
        };
        match result.filter(|_| self.level == AuditLevel::Result) {
            Some(result) => end.write_with(result),
            None => end.write(None),
        }
        self.gate
            .note_finished(&self.caller, &self.method, ending.outcome, self.began);
    }
}

/// How a call ended, on its way into the journal.
pub(super) struct End {
    pub(super) gate: Arc<Gate>,
    pub(super) caller: Arc<Caller>,
    seq: i64,
    outcome: Outcome,
    status: Option<StatusCode>,
    result_bytes: Option<i64>,
    result_digest: Option<[u8; 16]>,
    given_back: bool,
    commit_us: Option<i32>,
    upstream_us: Option<i64>,
    /// Who waits until it is durable; mostly nobody.
    queued: Option<oneshot::Sender<Commit>>,
}

impl End {
    /// Writes it down, with what is kept of the result.
    pub(super) fn write(self, result: Option<&str>) {
        let finish = Finish {
            outcome: self.outcome,
            status: self
                .status
                .and_then(|status| i16::try_from(status.as_u16()).ok()),
            result_bytes: self.result_bytes,
            result_digest: self.result_digest,
            result,
            given_back: self.given_back,
            commit_us: self.commit_us,
            upstream_us: self.upstream_us,
        };
        let commit = self.gate.ledger.finish(self.seq, &finish);
        if let Some(queued) = self.queued {
            self.gate.ledger.hurry();
            drop(queued.send(commit));
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if !self.ended {
            let ending = Ending {
                outcome: Outcome::Cancelled,
                ..Ending::default()
            };
            // A client that left while its decision was on its way to the disk: nothing was forwarded.
            self.write(&ending, None, self.forwarded.is_none(), None);
        }
    }
}

/// Ends a call whose answer nobody saw.
pub(super) fn end(
    open: Option<OpenCall>,
    outcome: Outcome,
    status: Option<StatusCode>,
    given_back: bool,
) {
    if let Some(open) = open {
        // Nor is there one to a call that was cancelled.
        let is_silent = matches!(outcome, Outcome::Unknown | Outcome::Timeout);
        let outcome = if is_silent && open.is_cancelled() {
            Outcome::Cancelled
        } else {
            outcome
        };
        open.end(
            &Ending {
                outcome,
                ..Ending::default()
            },
            status,
            given_back,
        );
    }
}

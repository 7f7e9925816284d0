//! A call that was recorded and has not ended.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use weir_recorder::{Finish, Outcome};

use super::Caller;
use super::outcome::Ending;
use crate::gate::Gate;

/// A call that was recorded and has not ended. Dropped, it ends as cancelled: no row is left open by accident.
pub(super) struct OpenCall {
    gate: Arc<Gate>,
    caller: Caller,
    method: Arc<str>,
    seq: i64,
    pub(super) call_id: [u8; 16],
    began: Instant,
    /// When it went on its way to the server; before that it has provably not reached it.
    forwarded: Option<Instant>,
    commit_us: Option<i32>,
    ended: bool,
}

impl OpenCall {
    pub(super) fn new(
        gate: &Arc<Gate>,
        caller: &Caller,
        method: &str,
        seq: i64,
        call_id: [u8; 16],
        began: Instant,
    ) -> Self {
        Self {
            gate: Arc::clone(gate),
            caller: caller.clone(),
            method: Arc::from(method),
            seq,
            call_id,
            began,
            forwarded: None,
            commit_us: None,
            ended: false,
        }
    }

    /// The decision became durable, so long after `since`.
    pub(super) fn committed(&mut self, since: Instant) {
        self.commit_us = i32::try_from(since.elapsed().as_micros()).ok();
    }

    /// It goes on its way to the server.
    pub(super) fn forwarded(&mut self) {
        self.forwarded = Some(Instant::now());
    }

    /// The decision did not become durable: the log voids the row, and there is nothing to end.
    pub(super) fn void(mut self) {
        self.ended = true;
    }

    pub(super) fn end(mut self, ending: Ending, status: Option<StatusCode>, given_back: bool) {
        self.write(ending, status, given_back);
    }

    fn write(&mut self, ending: Ending, status: Option<StatusCode>, given_back: bool) {
        self.ended = true;
        let finish = Finish {
            outcome: ending.outcome,
            status: status.and_then(|status| i16::try_from(status.as_u16()).ok()),
            result_bytes: ending.result_bytes,
            result_digest: ending.result_digest,
            result: None,
            given_back,
            commit_us: self.commit_us,
            upstream_us: self
                .forwarded
                .and_then(|since| i64::try_from(since.elapsed().as_micros()).ok()),
        };
        // The reply does not wait for its outcome to be durable: a crash leaves `unknown` (DESIGN 6.4).
        drop(self.gate.ledger.finish(self.seq, &finish));
        self.gate
            .note_finished(&self.caller, &self.method, ending.outcome, self.began);
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
            self.write(ending, None, self.forwarded.is_none());
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
        open.end(
            Ending {
                outcome,
                ..Ending::default()
            },
            status,
            given_back,
        );
    }
}

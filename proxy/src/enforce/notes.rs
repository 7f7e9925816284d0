//! What metrics and the log hear of a call.

use std::time::Instant;

use weir_policy::Decision;
use weir_recorder::{Outcome, Unrecorded};

use super::Caller;
use crate::bounds::Full;
use crate::gate::Gate;
use crate::ledger::Opinion;
use crate::telemetry::CallDecided;

impl Gate {
    /// Counts that a bound was reached, by whom if that is known.
    pub(crate) fn note_full(&self, full: &Full, grant: Option<&str>) {
        self.telemetry.full(full, grant);
        tracing::debug!(
            limit = full.resource.as_str(),
            most = full.most,
            of_grant = full.of_grant,
            grant,
            "a bound is reached"
        );
    }

    pub(super) fn note_decided(&self, caller: &Caller, tool: &str, decision: &Decision) {
        self.telemetry.decided(&CallDecided {
            server: &caller.server.name,
            grant: &caller.grant.name,
            tool,
            verdict: decision.verdict.as_str(),
            reason: decision.reason.as_str(),
        });
    }

    pub(super) fn note_opinions(&self, caller: &Caller, opinions: &[Opinion]) {
        for opinion in opinions {
            self.telemetry
                .shadow(&caller.grant.name, &opinion.name, opinion.class);
        }
    }

    pub(super) fn note_unrecorded(&self, caller: &Caller, why: &Unrecorded) {
        self.telemetry.unrecorded(&caller.server.name);
        tracing::warn!(server = %caller.server.name, grant = %caller.grant.name, %why, "a call was refused: its decision could not be recorded");
    }

    pub(super) fn note_finished(
        &self,
        caller: &Caller,
        method: &str,
        outcome: Outcome,
        began: Instant,
    ) {
        self.telemetry.finished(
            &caller.server.name,
            method,
            outcome.as_str(),
            began.elapsed(),
        );
    }
}

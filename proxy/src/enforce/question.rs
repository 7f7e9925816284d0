//! What a person is shown of a call: everything it carries, but for what is redacted.

use std::sync::Arc;
use std::time::Duration;

use weir_policy::{Ask, Decision, Micros};

use super::Caller;
use super::envelope::Envelope;
use super::kept::Kept;
use crate::approvals::Question;
use crate::gate::Gate;
use crate::keeping::AuditLevel;
use crate::sessions::Session;

/// Where a question comes from.
pub(super) struct Matter<'a> {
    pub(super) gate: &'a Gate,
    pub(super) caller: &'a Caller,
    pub(super) envelope: &'a Envelope<'a>,
    pub(super) session: &'a Session,
    pub(super) ask: &'a Ask<'a>,
    pub(super) risk: &'static str,
    /// The effective tool.
    pub(super) tool: &'a str,
    pub(super) effective_arguments: Option<&'a str>,
    pub(super) call_id: [u8; 16],
}

impl Matter<'_> {
    /// The question about the call that was decided so, at this place and time.
    ///
    /// An audit level that keeps no arguments keeps them from the record, not from the person who has to judge them; what is
    /// redacted is kept from both, and shown as its digest.
    pub(super) fn question(&self, (seq, asked_at): (i64, i64), pending: &Decision) -> Question {
        let (gate, came) = (self.gate, self.envelope.arguments());
        let (keeping, key) = (&self.caller.server.keeping, &gate.digest_key);
        let kept = Kept::of(keeping, AuditLevel::Request, self.ask, came, key);
        let shown = kept.unresolved(came);
        let wait = self.wait(pending);
        let wait_micros = i64::try_from(wait.as_micros()).unwrap_or(i64::MAX);
        let client = &self.session.client;
        let client = [client.name.as_deref(), client.version.as_deref()];
        let client: Vec<&str> = client.into_iter().flatten().collect();
        Question {
            id: uuid::Uuid::new_v4().simple().to_string(),
            call_id: self.call_id,
            seq,
            asked_at: Micros(asked_at),
            expires_at: Micros(asked_at.saturating_add(wait_micros)),
            wait,
            server: Arc::clone(&self.caller.server.name),
            grant: Arc::clone(&self.caller.grant.name),
            session: Arc::clone(&self.session.id),
            client: client.join(" "),
            address: Arc::clone(&self.caller.peer.address_text),
            tool: self.tool.to_owned(),
            wire_tool: kept.name(self.ask).to_owned(),
            risk: self.risk,
            rule: pending.rule.to_string(),
            message: pending.message.to_string(),
            arguments: shown.arguments.map(str::to_owned),
            effective_arguments: self.effective_arguments.map(str::to_owned),
            redacted: shown.redacted.iter().map(ToString::to_string).collect(),
            digest: hex::encode(key.digest(came.unwrap_or_default().as_bytes())),
        }
    }

    /// As long as the rule that asks says, within what the configuration allows.
    fn wait(&self, pending: &Decision) -> Duration {
        let wait_max = self.gate.approvals.config.wait_max;
        let policy = self.caller.grant.policy.as_ref();
        let wait = policy.map(|policy| policy.approval_wait(&pending.rule));
        wait.map_or(wait_max, |wait| wait.min(wait_max))
    }
}

//! A call on its way into the record: the columns that are known before it is decided.

use std::borrow::Cow;

use bytes::Bytes;
use weir_policy::{Arguments, Ask, Micros, Resolution};
use weir_recorder::{Call, DigestKey, Direction};

use super::Caller;
use super::envelope::Envelope;
use super::kept::Written;
use crate::sessions::Session;

/// Where the columns of one call come from.
pub(super) struct Draft<'a> {
    pub(super) trace_id: Option<[u8; 16]>,
    pub(super) key: &'a DigestKey,
    pub(super) call_id: [u8; 16],
    pub(super) received_at: Micros,
    pub(super) caller: &'a Caller,
    pub(super) envelope: &'a Envelope<'a>,
    pub(super) session: &'a Session,
    pub(super) body: &'a Bytes,
    /// The digest of what the server said the tool is.
    pub(super) definition: Option<&'a str>,
}

impl<'a> Draft<'a> {
    /// A message that no policy judges: who, when and what method.
    pub(super) fn passing(&self) -> Call<&'a str> {
        let client = &self.session.client;
        Call {
            direction: Direction::Client,
            call_id: self.call_id,
            received_at: self.received_at.0,
            server: Some(&self.caller.server.name),
            grant: Some(&self.caller.grant.name),
            session: Some(&self.session.id),
            principal: self.caller.identity.principal.as_deref(),
            client_name: client.name.as_deref(),
            client_version: client.version.as_deref(),
            client_address: Some(&self.caller.peer.address_text),
            protocol: client.protocol.as_deref(),
            trace_id: self.trace_id,
            method: Some(self.envelope.method()).filter(|method| !method.is_empty()),
            request_id: self.envelope.id().map(|id| id.raw),
            request_bytes: i64::try_from(self.body.len()).ok(),
            ..Call::default()
        }
    }

    /// A call that policy is asked about, by its wire name.
    pub(super) fn asked(&self, ask: &'a Ask<'_>, written: &Written<'a>) -> Call<&'a str> {
        let name = written.name.unwrap_or(&ask.wire_tool);
        let came = self.envelope.arguments();
        Call {
            wire_tool: Some(name),
            tool: Some(name),
            tool_definition_digest: self.definition,
            arguments: written.arguments,
            redacted: written.redacted.clone(),
            arguments_digest: came.map(|text| self.key.digest(text.as_bytes())),
            ..self.passing()
        }
    }

    /// A call whose effective tool is known.
    pub(super) fn resolved(
        &self,
        ask: &'a Ask<'_>,
        resolution: &'a Resolution<'_>,
        written: &Written<'a>,
    ) -> Call<&'a str> {
        let effective = resolution.readings.last();
        let effective = effective.map(|reading| reading.tool.as_ref());
        Call {
            tool: written.name.or(effective),
            risk: Some(resolution.risk().as_str()),
            via: resolution.via.iter().map(Cow::as_ref).collect(),
            ..self.asked(ask, written)
        }
    }
}

/// The arguments that policy judged, where resolution changed them.
pub(super) fn effective_arguments(
    resolution: &Resolution<'_>,
    written: &Written<'_>,
) -> Option<String> {
    if written.is_withheld() {
        return None;
    }
    match &written.resolution {
        Some(kept) => built(kept),
        None => built(resolution),
    }
}

fn built(resolution: &Resolution<'_>) -> Option<String> {
    let last = resolution.readings.last()?;
    let changed = resolution.readings.len() > 1 || matches!(last.arguments, Arguments::Built(_));
    changed.then(|| last.arguments.to_json())
}

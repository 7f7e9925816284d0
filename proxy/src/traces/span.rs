//! One message as a trace has it: begun when it was parsed, sent when it is dropped, whichever way it went.

use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_policy::{AskKind, Decision, Verdict};
use weir_recorder::Outcome;

use super::Collector;
use super::parent::Traceparent;

/// A name that a caller chose is no longer than this in a span.
const NAME_CHARS_MAX: usize = 128;

/// What is known of a message when it was parsed.
pub(crate) struct Message<'m> {
    pub(crate) parent: Option<Traceparent>,
    pub(crate) method: &'m str,
    pub(crate) request_id: Option<&'m str>,
    /// The protocol's own, where it has one.
    pub(crate) session_id: Option<&'m str>,
    pub(crate) protocol: Option<&'m str>,
    pub(crate) address: &'m str,
    pub(crate) server: &'m str,
    pub(crate) grant: &'m str,
    pub(crate) call_id: [u8; 16],
}

/// A message under way; it records nothing where nobody collects.
#[derive(Default)]
pub(crate) struct Span(Option<Box<Open>>);

struct Open {
    collector: Collector,
    method: String,
    tool: Option<String>,
    here: Traceparent,
    parent: Option<[u8; 8]>,
    /// The id of the way to the server, which the server hears of.
    way: [u8; 8],
    began: (SystemTime, Instant),
    forwarded: Option<Duration>,
    server: String,
    attributes: Vec<Attribute>,
    error: Option<&'static str>,
}

/// A name of the conventions, and its value.
pub(super) type Attribute = (&'static str, Cow<'static, str>);

/// A span that is over.
pub(super) struct Finished {
    pub(super) trace_id: [u8; 16],
    pub(super) id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) name: String,
    pub(super) side: Side,
    /// Nanoseconds since 1970.
    pub(super) began: u128,
    pub(super) ended: u128,
    pub(super) attributes: Vec<Attribute>,
    pub(super) error: Option<&'static str>,
}

/// Which end of an exchange Weir is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Server,
    Client,
}

impl Span {
    pub(super) fn begin(collector: Collector, message: &Message<'_>) -> Self {
        let here = Traceparent {
            trace_id: message.parent.map_or_else(
                || uuid::Uuid::new_v4().into_bytes(),
                |parent| parent.trace_id,
            ),
            span_id: fresh_id(),
            is_sampled: true,
        };
        let is_pipe = message.address == "stdio";
        let transport = if is_pipe { "pipe" } else { "tcp" };
        let call_id = uuid::Uuid::from_bytes(message.call_id).to_string();
        let mut attributes: Vec<Attribute> = vec![
            ("mcp.method.name", short(message.method).into()),
            ("network.transport", transport.into()),
            ("weir.grant", message.grant.to_owned().into()),
            ("weir.server", message.server.to_owned().into()),
            ("weir.call", call_id.into()),
        ];
        let known = [
            ("client.address", (!is_pipe).then_some(message.address)),
            ("jsonrpc.request.id", message.request_id),
            ("mcp.session.id", message.session_id),
            ("mcp.protocol.version", message.protocol),
        ];
        let known = known
            .into_iter()
            .filter_map(|(name, value)| Some((name, short(value?).into())));
        attributes.extend(known);
        Self(Some(Box::new(Open {
            collector,
            method: short(message.method),
            tool: None,
            here,
            parent: message.parent.map(|parent| parent.span_id),
            way: fresh_id(),
            began: (SystemTime::now(), Instant::now()),
            forwarded: None,
            server: message.server.to_owned(),
            attributes,
            error: None,
        })))
    }

    /// The trace that it belongs to, if it is recorded.
    pub(crate) fn trace_id(&self) -> Option<[u8; 16]> {
        self.0.as_ref().map(|open| open.here.trace_id)
    }

    /// What was decided, of what, by which policy. The tool is what telemetry may name.
    pub(crate) fn decided(
        &mut self,
        kind: AskKind,
        tool: &str,
        decision: &Decision,
        policy: Option<&str>,
    ) {
        let Some(open) = &mut self.0 else { return };
        if kind == AskKind::ToolCall {
            let tool = short(tool);
            open.attributes.extend([
                ("gen_ai.operation.name", "execute_tool".into()),
                ("gen_ai.tool.name", tool.clone().into()),
            ]);
            open.tool = Some(tool);
        }
        let is_denied = decision.verdict == Verdict::Deny;
        let action = if is_denied { "block" } else { "allow" };
        open.attributes.extend([
            (
                "gen_ai.security.verdict.type",
                decision.verdict.as_str().into(),
            ),
            ("gen_ai.security.action.type", action.into()),
        ]);
        let policy = policy.map(|digest| ("gen_ai.security.policy.id", digest.to_owned().into()));
        open.attributes.extend(policy);
        if is_denied {
            let rule = decision.rule.as_str().to_owned();
            open.attributes
                .push(("gen_ai.security.policy.rule.id", rule.into()));
            open.error = Some(decision.reason.as_str());
        }
    }

    /// It goes on its way to the server: the place in the trace that the server is told.
    pub(crate) fn forwards(&mut self) -> Option<Traceparent> {
        let open = self.0.as_mut()?;
        open.forwarded = Some(open.began.1.elapsed());
        Some(Traceparent {
            span_id: open.way,
            ..open.here
        })
    }

    /// How it ended.
    pub(crate) fn ends(&mut self, outcome: Outcome) {
        if let Some(open) = &mut self.0
            && outcome != Outcome::Ok
        {
            open.error = Some(outcome.as_str());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            let collector = open.collector.clone();
            collector.take(open.finished());
        }
    }
}

impl Open {
    /// The message, and its way to the server if it went there.
    fn finished(self) -> impl Iterator<Item = Finished> {
        let since = self
            .began
            .0
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        let ended = since + self.began.1.elapsed().as_nanos();
        let name = match &self.tool {
            Some(tool) => format!("{} {tool}", self.method),
            None => self.method.clone(),
        };
        let way = self.forwarded.map(|after| {
            let mut attributes: Vec<Attribute> = vec![
                ("mcp.method.name", self.method.into()),
                ("weir.server", self.server.into()),
            ];
            attributes.extend(self.tool.map(|tool| ("gen_ai.tool.name", tool.into())));
            Finished {
                trace_id: self.here.trace_id,
                id: self.way,
                parent: Some(self.here.span_id),
                name: name.clone(),
                side: Side::Client,
                began: since + after.as_nanos(),
                ended,
                attributes,
                error: self.error,
            }
        });
        let message = Finished {
            trace_id: self.here.trace_id,
            id: self.here.span_id,
            parent: self.parent,
            name,
            side: Side::Server,
            began: since,
            ended,
            attributes: self.attributes,
            error: self.error,
        };
        [Some(message), way].into_iter().flatten()
    }
}

/// Random, and never zero: the version of a UUID stands in it.
fn fresh_id() -> [u8; 8] {
    let mut id = [0; 8];
    let random = uuid::Uuid::new_v4().into_bytes();
    id.iter_mut().zip(random).for_each(|(to, from)| *to = from);
    id
}

fn short(text: &str) -> String {
    text.chars().take(NAME_CHARS_MAX).collect()
}

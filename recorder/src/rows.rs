//! Entries as columns: the one place where rows of both tables are made.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, FixedSizeBinaryBuilder, Int16Builder, Int32Builder, Int64Builder,
    RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;

use crate::schema::{calls_schema, dictionary};
use crate::{Call, Finish, Outcome, RecordError, Verdict};

mod events;
mod nested;
mod word;

pub(crate) use events::EventsBuilder;
use nested::{ApprovalBuilder, LimitCountsBuilder, Offsets, ShadowBuilder};
use word::Word;

/// What a voided decision says instead of its own reason and rule.
pub(crate) const VOID_REASON: &str = "unrecorded";
pub(crate) const VOID_RULE: &str = "(unrecorded)";

/// How far a call has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End<'a> {
    /// Not ended yet; only in the journal.
    Open,
    /// Nobody will know any more.
    Unknown,
    /// Ended, with the entry's place and time.
    Finished {
        seq: i64,
        at: i64,
        finish: Finish<&'a str>,
    },
    /// Refused because it was not durable in time; when that was said.
    Voided { at: i64 },
}

/// Columns of `calls` in the making.
pub(crate) struct CallsBuilder {
    node: Arc<str>,
    seq: Int64Builder,
    finish_seq: Int64Builder,
    nodes: Word,
    direction: Word,
    call_id: FixedSizeBinaryBuilder,
    decided_at: TimestampMicrosecondBuilder,
    received_at: TimestampMicrosecondBuilder,
    finished_at: TimestampMicrosecondBuilder,
    server: Word,
    grant: Word,
    session: Word,
    principal: Word,
    client_name: Word,
    client_version: Word,
    client_address: Word,
    protocol: Word,
    trace_id: FixedSizeBinaryBuilder,
    method: Word,
    wire_tool: Word,
    tool: Word,
    risk: Word,
    request_id: StringBuilder,
    request_bytes: Int64Builder,
    arguments: StringBuilder,
    effective_arguments: StringBuilder,
    arguments_digest: FixedSizeBinaryBuilder,
    redacted: (Offsets, StringBuilder),
    verdict: Word,
    reason: Word,
    rule: Word,
    message: Word,
    via: (Offsets, Word),
    policy_digest: Word,
    resolver_digest: Word,
    engine: Word,
    tool_definition_digest: Word,
    shadow: ShadowBuilder,
    approval: ApprovalBuilder,
    given_back: BooleanBuilder,
    limit_counts: LimitCountsBuilder,
    decide_ns: Int32Builder,
    commit_us: Int32Builder,
    upstream_us: Int64Builder,
    outcome: Word,
    status: Int16Builder,
    result_bytes: Int64Builder,
    result_digest: FixedSizeBinaryBuilder,
    result: StringBuilder,
}

impl CallsBuilder {
    pub(crate) fn new(node: &Arc<str>) -> Self {
        Self {
            node: Arc::clone(node),
            seq: Int64Builder::new(),
            finish_seq: Int64Builder::new(),
            nodes: Word::new(),
            direction: Word::new(),
            call_id: digests(),
            decided_at: times(),
            received_at: times(),
            finished_at: times(),
            server: Word::new(),
            grant: Word::new(),
            session: Word::new(),
            principal: Word::new(),
            client_name: Word::new(),
            client_version: Word::new(),
            client_address: Word::new(),
            protocol: Word::new(),
            trace_id: digests(),
            method: Word::new(),
            wire_tool: Word::new(),
            tool: Word::new(),
            risk: Word::new(),
            request_id: StringBuilder::new(),
            request_bytes: Int64Builder::new(),
            arguments: StringBuilder::new(),
            effective_arguments: StringBuilder::new(),
            arguments_digest: digests(),
            redacted: (Offsets::default(), StringBuilder::new()),
            verdict: Word::new(),
            reason: Word::new(),
            rule: Word::new(),
            message: Word::new(),
            via: (Offsets::default(), Word::new()),
            policy_digest: Word::new(),
            resolver_digest: Word::new(),
            engine: Word::new(),
            tool_definition_digest: Word::new(),
            shadow: ShadowBuilder::default(),
            approval: ApprovalBuilder::default(),
            given_back: BooleanBuilder::new(),
            limit_counts: LimitCountsBuilder::default(),
            decide_ns: Int32Builder::new(),
            commit_us: Int32Builder::new(),
            upstream_us: Int64Builder::new(),
            outcome: Word::new(),
            status: Int16Builder::new(),
            result_bytes: Int64Builder::new(),
            result_digest: digests(),
            result: StringBuilder::new(),
        }
    }

    /// Adds a row. A voided decision reads as denied, whatever it was.
    pub(crate) fn push(
        &mut self,
        seq: i64,
        at: i64,
        call: &Call<&str>,
        end: &End<'_>,
    ) -> Result<(), RecordError> {
        let void = matches!(end, End::Voided { .. });
        self.seq.append_value(seq);
        self.nodes.append(&self.node)?;
        self.direction.append(call.direction.as_str())?;
        self.call_id.append_value(call.call_id)?;
        self.decided_at.append_value(at);
        self.received_at.append_value(call.received_at);
        word(&mut self.server, call.server)?;
        word(&mut self.grant, call.grant)?;
        word(&mut self.session, call.session)?;
        word(&mut self.principal, call.principal)?;
        word(&mut self.client_name, call.client_name)?;
        word(&mut self.client_version, call.client_version)?;
        word(&mut self.client_address, call.client_address)?;
        word(&mut self.protocol, call.protocol)?;
        digest(&mut self.trace_id, call.trace_id)?;
        word(&mut self.method, call.method)?;
        word(&mut self.wire_tool, call.wire_tool)?;
        word(&mut self.tool, call.tool)?;
        word(&mut self.risk, call.risk)?;
        self.request_id.append_option(call.request_id);
        self.request_bytes.append_option(call.request_bytes);
        self.arguments.append_option(call.arguments);
        self.effective_arguments
            .append_option(call.effective_arguments);
        digest(&mut self.arguments_digest, call.arguments_digest)?;
        call.redacted
            .iter()
            .for_each(|pointer| self.redacted.1.append_value(pointer));
        self.redacted.0.push(call.redacted.len());
        self.verdict
            .append(if void { Verdict::Deny } else { call.verdict }.as_str())?;
        word(
            &mut self.reason,
            if void { Some(VOID_REASON) } else { call.reason },
        )?;
        word(
            &mut self.rule,
            if void { Some(VOID_RULE) } else { call.rule },
        )?;
        word(&mut self.message, call.message)?;
        call.via
            .iter()
            .try_for_each(|step| self.via.1.append(step))?;
        self.via.0.push(call.via.len());
        word(&mut self.policy_digest, call.policy_digest)?;
        word(&mut self.resolver_digest, call.resolver_digest)?;
        word(&mut self.engine, call.engine)?;
        word(
            &mut self.tool_definition_digest,
            call.tool_definition_digest,
        )?;
        self.shadow.push(call)?;
        self.approval.push(call)?;
        self.limit_counts.push(call);
        self.decide_ns.append_option(call.decide_ns);
        self.push_end(at, call, end)
    }

    fn push_end(
        &mut self,
        decided_at: i64,
        call: &Call<&str>,
        end: &End<'_>,
    ) -> Result<(), RecordError> {
        let (seq, at, outcome, finish) = match end {
            End::Finished { seq, at, finish } => {
                (Some(*seq), Some(*at), Some(finish.outcome), Some(finish))
            }
            End::Voided { at } => (None, Some(*at), Some(Outcome::Refused), None),
            End::Open | End::Unknown if call.verdict == Verdict::Deny => {
                (None, Some(decided_at), Some(Outcome::Refused), None)
            }
            End::Unknown => (None, None, Some(Outcome::Unknown), None),
            End::Open => (None, None, None, None),
        };
        self.finish_seq.append_option(seq);
        self.finished_at.append_option(at);
        word(&mut self.outcome, outcome.map(Outcome::as_str))?;
        self.given_back.append_option(finish.map(|f| f.given_back));
        self.commit_us
            .append_option(finish.and_then(|f| f.commit_us));
        self.upstream_us
            .append_option(finish.and_then(|f| f.upstream_us));
        self.status.append_option(finish.and_then(|f| f.status));
        self.result_bytes
            .append_option(finish.and_then(|f| f.result_bytes));
        digest(
            &mut self.result_digest,
            finish.and_then(|f| f.result_digest),
        )?;
        self.result.append_option(finish.and_then(|f| f.result));
        Ok(())
    }

    /// The rows pushed since the last batch.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, RecordError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.seq.finish()),
            Arc::new(self.finish_seq.finish()),
            self.nodes.finish()?,
            self.direction.finish()?,
            Arc::new(self.call_id.finish()),
            Arc::new(self.decided_at.finish()),
            Arc::new(self.received_at.finish()),
            Arc::new(self.finished_at.finish()),
            self.server.finish()?,
            self.grant.finish()?,
            self.session.finish()?,
            self.principal.finish()?,
            self.client_name.finish()?,
            self.client_version.finish()?,
            self.client_address.finish()?,
            self.protocol.finish()?,
            Arc::new(self.trace_id.finish()),
            self.method.finish()?,
            self.wire_tool.finish()?,
            self.tool.finish()?,
            self.risk.finish()?,
            Arc::new(self.request_id.finish()),
            Arc::new(self.request_bytes.finish()),
            Arc::new(self.arguments.finish()),
            Arc::new(self.effective_arguments.finish()),
            Arc::new(self.arguments_digest.finish()),
            self.redacted
                .0
                .list(DataType::Utf8, Arc::new(self.redacted.1.finish()))?,
            self.verdict.finish()?,
            self.reason.finish()?,
            self.rule.finish()?,
            self.message.finish()?,
            self.via.0.list(dictionary(), self.via.1.finish()?)?,
            self.policy_digest.finish()?,
            self.resolver_digest.finish()?,
            self.engine.finish()?,
            self.tool_definition_digest.finish()?,
            self.shadow.finish()?,
            self.approval.finish()?,
            Arc::new(self.given_back.finish()),
            self.limit_counts.finish()?,
            Arc::new(self.decide_ns.finish()),
            Arc::new(self.commit_us.finish()),
            Arc::new(self.upstream_us.finish()),
            self.outcome.finish()?,
            Arc::new(self.status.finish()),
            Arc::new(self.result_bytes.finish()),
            Arc::new(self.result_digest.finish()),
            Arc::new(self.result.finish()),
        ];
        Ok(RecordBatch::try_new(calls_schema(), columns)?)
    }
}

fn digests() -> FixedSizeBinaryBuilder {
    FixedSizeBinaryBuilder::new(16)
}

fn times() -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::new().with_timezone("UTC")
}

fn word(column: &mut Word, value: Option<&str>) -> Result<(), RecordError> {
    match value {
        Some(value) => column.append(value),
        None => column.append_null(),
    }
}

fn digest(column: &mut FixedSizeBinaryBuilder, value: Option<[u8; 16]>) -> Result<(), RecordError> {
    match value {
        Some(value) => column.append_value(value)?,
        None => column.append_null(),
    }
    Ok(())
}

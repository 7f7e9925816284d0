//! Entries as columns: the one place where rows of both tables are made.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BooleanBuilder, FixedSizeBinaryBuilder, Int16Builder, Int32Builder,
    Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};
use arrow::datatypes::DataType;

use crate::schema::{calls_schema, dictionary};
use crate::{Answer, Direction, Finish, Outcome, Verdict};

mod events;
mod group;
mod nested;
mod wire;
mod word;

pub(crate) use events::EventsBuilder;
use group::Group;
use nested::{ApprovalBuilder, LimitCountsBuilder, Offsets, ShadowBuilder};
use wire::Wire;
pub(crate) use wire::{Unreadable, finish, standing};
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

/// What came of a held call, with the entry's place and time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answered<'a> {
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) answer: Answer<&'a str>,
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
    /// `principal`, `client_name`, `client_version`, `client_address`, `protocol`.
    client: Group<5>,
    trace_id: FixedSizeBinaryBuilder,
    /// `method`, `wire_tool`.
    wire: Group<2>,
    tool: Word,
    risk: Word,
    request_id: StringBuilder,
    request_bytes: Int64Builder,
    arguments: StringBuilder,
    effective_arguments: StringBuilder,
    arguments_digest: FixedSizeBinaryBuilder,
    redacted: (Offsets, StringBuilder),
    verdict: Word,
    /// `reason`, `rule`, `message`.
    said: Group<3>,
    via: (Offsets, Word),
    /// `policy_digest`, `resolver_digest`, `engine`, `tool_definition_digest`.
    judged_by: Group<4>,
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
            nodes: Word::default(),
            direction: Word::default(),
            call_id: digests(),
            decided_at: times(),
            received_at: times(),
            finished_at: times(),
            server: Word::default(),
            grant: Word::default(),
            session: Word::default(),
            client: Group::default(),
            trace_id: digests(),
            wire: Group::default(),
            tool: Word::default(),
            risk: Word::default(),
            request_id: StringBuilder::new(),
            request_bytes: Int64Builder::new(),
            arguments: StringBuilder::new(),
            effective_arguments: StringBuilder::new(),
            arguments_digest: digests(),
            redacted: (Offsets::default(), StringBuilder::new()),
            verdict: Word::default(),
            said: Group::default(),
            via: (Offsets::default(), Word::default()),
            judged_by: Group::default(),
            shadow: ShadowBuilder::default(),
            approval: ApprovalBuilder::default(),
            given_back: BooleanBuilder::new(),
            limit_counts: LimitCountsBuilder::default(),
            decide_ns: Int32Builder::new(),
            commit_us: Int32Builder::new(),
            upstream_us: Int64Builder::new(),
            outcome: Word::default(),
            status: Int16Builder::new(),
            result_bytes: Int64Builder::new(),
            result_digest: digests(),
            result: StringBuilder::new(),
        }
    }

    /// Adds the row of an entry that decided a call. A voided decision reads as denied, whatever it was, and a denied call ended
    /// when it was decided, whatever came after. Of a held call the answer says what became of it: one that may not pass ended
    /// with it, and one that nobody answered stays denied, with no such time.
    pub(crate) fn push(
        &mut self,
        (seq, at): (i64, i64),
        payload: &[u8],
        answered: Option<&Answered<'_>>,
        end: &End<'_>,
    ) -> Result<(), Unreadable> {
        let void = matches!(end, End::Voided { .. });
        let answered = answered.filter(|_| !void);
        let mut wire = Wire::of_call(payload)?;
        let call = &mut wire;
        self.seq.append_value(seq);
        let direction = call.variant(Direction::ALL)?;
        self.direction.append(direction.as_str().as_bytes())?;
        self.call_id.append_value(call.digest()?)?;
        self.decided_at.append_value(at);
        self.received_at.append_value(call.int()?);
        self.server.append_option(call.maybe_text()?)?;
        self.grant.append_option(call.maybe_text()?)?;
        self.session.append_option(call.maybe_text()?)?;
        self.client.push(call)?;
        digest(&mut self.trace_id, call.maybe(Wire::digest)?)?;
        self.wire.push(call)?;
        self.tool.append_option(call.maybe_text()?)?;
        self.risk.append_option(call.maybe_text()?)?;
        text(&mut self.request_id, call.maybe_text()?)?;
        self.request_bytes.append_option(call.maybe(Wire::int)?);
        text(&mut self.arguments, call.maybe_text()?)?;
        text(&mut self.effective_arguments, call.maybe_text()?)?;
        digest(&mut self.arguments_digest, call.maybe(Wire::digest)?)?;
        let pointers = &mut self.redacted.1;
        let count = call.each(|call| text(pointers, Some(call.text()?)))?;
        self.redacted.0.push(count);
        let said = call.variant(Verdict::ALL)?;
        let held = !void && call.goes_on_held(said)?;
        let verdict = match answered {
            _ if void => Verdict::Deny,
            Some(answered) => answered.answer.verdict,
            None => said,
        };
        self.verdict.append(verdict.as_str().as_bytes())?;
        if void {
            let instead = [Some(VOID_REASON), Some(VOID_RULE), None];
            self.said.push_instead(call, instead)?;
        } else if let Some(Answered { answer, .. }) = answered {
            let instead = [answer.reason, None, answer.message];
            self.said.push_instead(call, instead)?;
        } else {
            self.said.push(call)?;
        }
        let steps = &mut self.via.1;
        let count = call.each(|call| steps.append(call.text()?))?;
        self.via.0.push(count);
        self.judged_by.push(call)?;
        self.shadow.push(call)?;
        self.approval.push(call, answered)?;
        self.limit_counts.push(call)?;
        self.decide_ns.append_option(call.maybe(Wire::short)?);
        wire.end()?;
        let refused = Finish {
            outcome: Outcome::Refused,
            given_back: answered.is_some_and(|answered| answered.answer.given_back),
            ..Finish::default()
        };
        let refused_at = |at| (None, Some(at), Some(Outcome::Refused), None);
        self.push_end(match (answered, end) {
            (_, End::Voided { at }) => refused_at(*at),
            (Some(Answered { seq, at, .. }), _) if verdict == Verdict::Deny => (
                Some(*seq),
                Some(*at),
                Some(Outcome::Refused),
                Some(&refused),
            ),
            (None, End::Open) if held => (None, None, None, None),
            (None, _) if held => (None, None, Some(Outcome::Refused), None),
            _ if verdict == Verdict::Deny => refused_at(at),
            (_, End::Finished { seq, at, finish }) => {
                (Some(*seq), Some(*at), Some(finish.outcome), Some(finish))
            }
            (_, End::Unknown) => (None, None, Some(Outcome::Unknown), None),
            (_, End::Open) => (None, None, None, None),
        })
    }

    fn push_end(&mut self, (seq, at, outcome, finish): Ending<'_>) -> Result<(), Unreadable> {
        self.finish_seq.append_option(seq);
        self.finished_at.append_option(at);
        self.outcome
            .append_option(outcome.map(|outcome| outcome.as_str().as_bytes()))?;
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

    /// How many rows there are since the last batch.
    pub(crate) fn len(&self) -> usize {
        self.seq.len()
    }

    /// The rows pushed since the last batch.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, Unreadable> {
        if let Some(others) = self.len().checked_sub(1) {
            self.nodes.append(self.node.as_bytes())?;
            self.nodes.repeat(others);
        }
        let mut columns: Vec<ArrayRef> = vec![
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
        ];
        columns.extend(self.client.finish()?);
        columns.push(Arc::new(self.trace_id.finish()));
        columns.extend(self.wire.finish()?);
        columns.extend([
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
        ]);
        columns.extend(self.said.finish()?);
        columns.push(self.via.0.list(dictionary(), self.via.1.finish()?)?);
        columns.extend(self.judged_by.finish()?);
        columns.extend([
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
        ]);
        Ok(RecordBatch::try_new(calls_schema(), columns)?)
    }
}

fn digests() -> FixedSizeBinaryBuilder {
    FixedSizeBinaryBuilder::new(16)
}

/// How a call ended: the place and the time of that, its outcome, and all that was told of it.
type Ending<'f> = (
    Option<i64>,
    Option<i64>,
    Option<Outcome>,
    Option<&'f Finish<&'f str>>,
);

fn times() -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::new().with_timezone("UTC")
}

fn text(column: &mut StringBuilder, value: Option<&[u8]>) -> Result<(), Unreadable> {
    match value {
        Some(value) => column.append_value(std::str::from_utf8(value).map_err(|_| Unreadable)?),
        None => column.append_null(),
    }
    Ok(())
}

fn digest(column: &mut FixedSizeBinaryBuilder, value: Option<[u8; 16]>) -> Result<(), Unreadable> {
    match value {
        Some(value) => column.append_value(value)?,
        None => column.append_null(),
    }
    Ok(())
}

//! Leaves from rows: what a table says of an entry, read back as the entry.
//!
//! Columns that are in no leaf follow from others. A row in which they do not is no row that Weir wrote.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, GenericListArray, Int16Array,
    Int32Array, Int64Array, PrimitiveArray, RecordBatch, StructArray,
};
use arrow::datatypes::TimestampMicrosecondType;

use crate::reader::row::{Word, number, typed};
use crate::rows::Answered;
use crate::{
    Answer, Approval, Call, Direction, Finish, LimitCount, Outcome, PENDING, RecordError, Shadow,
    Verdict,
};

/// What a row of `calls` says.
#[derive(Debug)]
pub(crate) struct CallFacts<'a> {
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) node: &'a str,
    pub(crate) call: Call<&'a str>,
    /// When nothing more could come of it, if it was refused.
    pub(crate) refused_at: Option<i64>,
    /// What was answered of it, if it was held.
    pub(crate) answered: Option<Answered<'a>>,
    /// Place and time of its end.
    pub(crate) end: Option<Ended<'a>>,
}

/// Place, time and contents of the end of a call.
pub(crate) type Ended<'a> = (i64, i64, Finish<&'a str>);

/// Why a row is none that Weir wrote.
pub(crate) type Untrue = &'static str;

/// Every column of a batch of `calls`.
#[derive(Debug)]
pub(crate) struct CallColumns<'a> {
    seq: &'a Int64Array,
    finish_seq: &'a Int64Array,
    node: Word<'a>,
    direction: Word<'a>,
    call_id: &'a FixedSizeBinaryArray,
    decided_at: Times<'a>,
    received_at: Times<'a>,
    finished_at: Times<'a>,
    server: Word<'a>,
    grant: Word<'a>,
    session: Word<'a>,
    principal: Word<'a>,
    client_name: Word<'a>,
    client_version: Word<'a>,
    client_address: Word<'a>,
    protocol: Word<'a>,
    trace_id: &'a FixedSizeBinaryArray,
    method: Word<'a>,
    wire_tool: Word<'a>,
    tool: Word<'a>,
    risk: Word<'a>,
    request_id: Word<'a>,
    request_bytes: &'a Int64Array,
    arguments: Word<'a>,
    effective_arguments: Word<'a>,
    arguments_digest: &'a FixedSizeBinaryArray,
    redacted: Lists<'a>,
    verdict: Word<'a>,
    reason: Word<'a>,
    rule: Word<'a>,
    message: Word<'a>,
    via: Lists<'a>,
    policy_digest: Word<'a>,
    resolver_digest: Word<'a>,
    engine: Word<'a>,
    tool_definition_digest: Word<'a>,
    shadow: Lists<'a>,
    approval: &'a StructArray,
    given_back: &'a BooleanArray,
    limit_counts: Lists<'a>,
    decide_ns: &'a Int32Array,
    commit_us: &'a Int32Array,
    upstream_us: &'a Int64Array,
    outcome: Word<'a>,
    status: &'a Int16Array,
    result_bytes: &'a Int64Array,
    result_digest: &'a FixedSizeBinaryArray,
    result: Word<'a>,
}

pub(super) type Times<'a> = &'a PrimitiveArray<TimestampMicrosecondType>;

impl<'a> CallColumns<'a> {
    /// Looks at a batch, which has every column.
    pub(crate) fn new(batch: &'a RecordBatch) -> Result<Self, RecordError> {
        let word = |name| typed(batch, name, Word::of);
        let int = |name| typed(batch, name, |a| a.as_primitive_opt());
        let time = |name| typed(batch, name, |a| a.as_primitive_opt());
        let digest = |name| typed(batch, name, digests);
        let list = |name| typed(batch, name, Lists::of);
        let structs = |name, fields: &[&str]| {
            typed(batch, name, |a| {
                Lists::of(a).filter(|lists| lists.hold_structs_of(fields))
            })
        };
        Ok(Self {
            seq: int("seq")?,
            finish_seq: int("finish_seq")?,
            node: word("node")?,
            direction: word("direction")?,
            call_id: digest("call_id")?,
            decided_at: time("decided_at")?,
            received_at: time("received_at")?,
            finished_at: time("finished_at")?,
            server: word("server")?,
            grant: word("grant")?,
            session: word("session")?,
            principal: word("principal")?,
            client_name: word("client_name")?,
            client_version: word("client_version")?,
            client_address: word("client_address")?,
            protocol: word("protocol")?,
            trace_id: digest("trace_id")?,
            method: word("method")?,
            wire_tool: word("wire_tool")?,
            tool: word("tool")?,
            risk: word("risk")?,
            request_id: word("request_id")?,
            request_bytes: int("request_bytes")?,
            arguments: word("arguments")?,
            effective_arguments: word("effective_arguments")?,
            arguments_digest: digest("arguments_digest")?,
            redacted: list("redacted")?,
            verdict: word("verdict")?,
            reason: word("reason")?,
            rule: word("rule")?,
            message: word("message")?,
            via: list("via")?,
            policy_digest: word("policy_digest")?,
            resolver_digest: word("resolver_digest")?,
            engine: word("engine")?,
            tool_definition_digest: word("tool_definition_digest")?,
            shadow: structs("shadow", &["verdict", "rule", "policy_digest"])?,
            approval: typed(batch, "approval", |a| {
                let names = ["asked_at", "answered_at", "answer_seq", "by", "answer"];
                a.as_struct_opt().filter(|a| a.column_names() == names)
            })?,
            given_back: typed(batch, "given_back", |a| a.as_boolean_opt())?,
            limit_counts: structs("limit_counts", &["counter", "value"])?,
            decide_ns: typed(batch, "decide_ns", |a| a.as_primitive_opt())?,
            commit_us: typed(batch, "commit_us", |a| a.as_primitive_opt())?,
            upstream_us: int("upstream_us")?,
            outcome: word("outcome")?,
            status: typed(batch, "status", |a| a.as_primitive_opt())?,
            result_bytes: int("result_bytes")?,
            result_digest: digest("result_digest")?,
            result: word("result")?,
        })
    }

    /// Reads a row; `sealed` rows have an outcome.
    pub(crate) fn read(&self, i: usize, sealed: bool) -> Result<CallFacts<'a>, Untrue> {
        let (seq, at, call) = (
            number(self.seq, i).ok_or("it has no `seq`")?,
            number(self.decided_at, i).ok_or("it has no `decided_at`")?,
            self.call(i)?,
        );
        let answered = self.answered(i, &call)?;
        let end = match &answered {
            Some(answered) if answered.answer.verdict == Verdict::Deny => {
                self.ended_with(i, answered)?;
                None
            }
            Some(_) | None => self.end(i)?,
        };
        let outcome = self.outcome.at(i);
        let finished_at = number(self.finished_at, i);
        let refused_at = match (&end, finished_at) {
            (Some(_), _) if call.verdict == Verdict::Deny => {
                return Err("a denied call has an outcome of its own");
            }
            (Some(_), _) => None,
            // It ended with the answer.
            (None, _) if answered.is_some() && call.verdict == Verdict::Deny => None,
            (None, refused_at) => {
                let held = call.is_held();
                let follows = match (call.verdict, refused_at) {
                    (Verdict::Deny, None) if held && !sealed => outcome.is_none(),
                    (Verdict::Deny, None) if held => outcome == Some(Outcome::Refused.as_str()),
                    (Verdict::Deny, Some(_)) => !held && outcome == Some(Outcome::Refused.as_str()),
                    (Verdict::Allow, None) if sealed => outcome == Some(Outcome::Unknown.as_str()),
                    (Verdict::Allow, None) => outcome.is_none(),
                    (Verdict::Deny, None) | (Verdict::Allow, Some(_)) => false,
                };
                if !follows || !self.is_without_end(i) {
                    return Err("its outcome does not follow from its decision");
                }
                refused_at
            }
        };
        let node = self.node.at(i).ok_or("it has no `node`")?;
        Ok(CallFacts {
            seq,
            at,
            node,
            call,
            refused_at,
            answered,
            end,
        })
    }

    /// What was answered of a held call.
    fn answered(&self, i: usize, call: &Call<&'a str>) -> Result<Option<Answered<'a>>, Untrue> {
        let approval = call.approval.as_ref();
        let Some((approval, seq)) = approval.and_then(|a| Some((a, a.answer_seq?))) else {
            return Ok(None);
        };
        if call.reason == Some(PENDING) {
            return Err("it was answered and waits for an answer");
        }
        let given_back = match call.verdict {
            Verdict::Allow => false,
            Verdict::Deny if self.given_back.is_valid(i) => self.given_back.value(i),
            Verdict::Deny => return Err("it does not say whether its reservation was returned"),
        };
        let at = approval.answered_at.ok_or("its answer has no time")?;
        let answer = Answer {
            verdict: call.verdict,
            reason: call.reason,
            message: call.message,
            by: approval.by,
            answer: approval.answer,
            given_back,
        };
        Ok(Some(Answered { seq, at, answer }))
    }

    /// A call that may not pass ended with the answer, and tells of no other end.
    fn ended_with(&self, i: usize, answered: &Answered<'_>) -> Result<(), Untrue> {
        let place = (number(self.finish_seq, i), number(self.finished_at, i));
        let follows = place == (Some(answered.seq), Some(answered.at))
            && self.outcome.at(i) == Some(Outcome::Refused.as_str())
            && self.status.is_null(i)
            && self.result_bytes.is_null(i)
            && self.result_digest.is_null(i)
            && self.result.at(i).is_none()
            && self.commit_us.is_null(i)
            && self.upstream_us.is_null(i);
        if follows {
            Ok(())
        } else {
            Err("its outcome does not follow from its answer")
        }
    }

    fn call(&self, i: usize) -> Result<Call<&'a str>, Untrue> {
        let direction = self.direction.at(i).and_then(Direction::parse);
        let verdict = self.verdict.at(i).and_then(Verdict::parse);
        Ok(Call {
            direction: direction.ok_or("its `direction` is none")?,
            call_id: digest(self.call_id, i).ok_or("it has no `call_id`")?,
            received_at: number(self.received_at, i).ok_or("it has no `received_at`")?,
            server: self.server.at(i),
            grant: self.grant.at(i),
            session: self.session.at(i),
            principal: self.principal.at(i),
            client_name: self.client_name.at(i),
            client_version: self.client_version.at(i),
            client_address: self.client_address.at(i),
            protocol: self.protocol.at(i),
            trace_id: digest(self.trace_id, i),
            method: self.method.at(i),
            wire_tool: self.wire_tool.at(i),
            tool: self.tool.at(i),
            risk: self.risk.at(i),
            request_id: self.request_id.at(i),
            request_bytes: number(self.request_bytes, i),
            arguments: self.arguments.at(i),
            effective_arguments: self.effective_arguments.at(i),
            arguments_digest: digest(self.arguments_digest, i),
            redacted: self.redacted.words(i)?,
            verdict: verdict.ok_or("its `verdict` is none")?,
            reason: self.reason.at(i),
            rule: self.rule.at(i),
            message: self.message.at(i),
            via: self.via.words(i)?,
            policy_digest: self.policy_digest.at(i),
            resolver_digest: self.resolver_digest.at(i),
            engine: self.engine.at(i),
            tool_definition_digest: self.tool_definition_digest.at(i),
            shadow: self.shadow(i)?,
            approval: self.approval(i)?,
            limit_counts: self.limit_counts(i)?,
            decide_ns: number(self.decide_ns, i),
        })
    }

    fn end(&self, i: usize) -> Result<Option<Ended<'a>>, Untrue> {
        let Some(seq) = number(self.finish_seq, i) else {
            return Ok(None);
        };
        let incomplete = "it has a `finish_seq` and not all that belongs to it";
        let finish = Finish {
            outcome: self
                .outcome
                .at(i)
                .and_then(Outcome::parse)
                .ok_or(incomplete)?,
            status: number(self.status, i),
            result_bytes: number(self.result_bytes, i),
            result_digest: digest(self.result_digest, i),
            result: self.result.at(i),
            given_back: self
                .given_back
                .is_valid(i)
                .then(|| self.given_back.value(i))
                .ok_or(incomplete)?,
            commit_us: number(self.commit_us, i),
            upstream_us: number(self.upstream_us, i),
        };
        Ok(Some((
            seq,
            number(self.finished_at, i).ok_or(incomplete)?,
            finish,
        )))
    }

    /// Whether what only an end can tell is not told.
    fn is_without_end(&self, i: usize) -> bool {
        self.status.is_null(i)
            && self.result_bytes.is_null(i)
            && self.result_digest.is_null(i)
            && self.result.at(i).is_none()
            && self.given_back.is_null(i)
            && self.commit_us.is_null(i)
            && self.upstream_us.is_null(i)
    }

    fn shadow(&self, i: usize) -> Result<Vec<Shadow<&'a str>>, Untrue> {
        let Some((items, range)) = self.shadow.structs(i)? else {
            return Ok(Vec::new());
        };
        let wrong = "a candidate in `shadow` is incomplete";
        let [verdict, rule, digest] = columns(items, wrong)?;
        let (verdict, rule, digest) = (word(verdict)?, word(rule)?, word(digest)?);
        let shadow = |i| {
            Ok(Shadow {
                verdict: verdict.at(i).and_then(Verdict::parse).ok_or(wrong)?,
                rule: rule.at(i).ok_or(wrong)?,
                policy_digest: digest.at(i).ok_or(wrong)?,
            })
        };
        range.map(shadow).collect()
    }

    fn limit_counts(&self, i: usize) -> Result<Vec<LimitCount<&'a str>>, Untrue> {
        let Some((items, range)) = self.limit_counts.structs(i)? else {
            return Ok(Vec::new());
        };
        let wrong = "a counter in `limit_counts` is incomplete";
        let [counter, value] = columns(items, wrong)?;
        let counter = word(counter)?;
        let value: &Int64Array = value.as_primitive_opt().ok_or(wrong)?;
        let count = |i| {
            Ok(LimitCount {
                counter: counter.at(i).ok_or(wrong)?,
                value: number(value, i).ok_or(wrong)?,
            })
        };
        range.map(count).collect()
    }

    fn approval(&self, i: usize) -> Result<Option<Approval<&'a str>>, Untrue> {
        if self.approval.is_null(i) {
            return Ok(None);
        }
        let wrong = "its `approval` is incomplete";
        let [asked_at, answered_at, answer_seq, by, answer] = columns(self.approval, wrong)?;
        let time = |column: &'a ArrayRef| {
            let times: Option<Times<'a>> = column.as_primitive_opt();
            times.map(|times| number(times, i)).ok_or(wrong)
        };
        let seqs: &Int64Array = answer_seq.as_primitive_opt().ok_or(wrong)?;
        Ok(Some(Approval {
            asked_at: time(asked_at)?.ok_or(wrong)?,
            answered_at: time(answered_at)?,
            answer_seq: number(seqs, i),
            by: word(by)?.at(i),
            answer: word(answer)?.at(i),
        }))
    }
}

/// A column of lists.
#[derive(Debug, Clone, Copy)]
struct Lists<'a>(&'a GenericListArray<i32>);

impl<'a> Lists<'a> {
    fn of(array: &'a ArrayRef) -> Option<Self> {
        array.as_list_opt().map(Self)
    }

    fn hold_structs_of(self, fields: &[&str]) -> bool {
        let items = self.0.values().as_struct_opt();
        items.is_some_and(|items| items.column_names() == fields)
    }

    fn range(self, i: usize) -> Option<std::ops::Range<usize>> {
        if self.0.is_null(i) {
            return None;
        }
        let offsets = self.0.value_offsets();
        let (from, to) = (offsets.get(i)?, offsets.get(i + 1)?);
        Some(*from as usize..*to as usize)
    }

    fn words(self, i: usize) -> Result<Vec<&'a str>, Untrue> {
        let Some(range) = self.range(i) else {
            return Ok(Vec::new());
        };
        let words = word(self.0.values())?;
        range
            .map(|i| words.at(i).ok_or("a list has an element that is null"))
            .collect()
    }

    fn structs(
        self,
        i: usize,
    ) -> Result<Option<(&'a StructArray, std::ops::Range<usize>)>, Untrue> {
        let Some(range) = self.range(i) else {
            return Ok(None);
        };
        let items = self.0.values().as_struct_opt();
        Ok(Some((items.ok_or("a list is of another type")?, range)))
    }
}

fn columns<const N: usize>(items: &StructArray, wrong: Untrue) -> Result<&[ArrayRef; N], Untrue> {
    items.columns().first_chunk::<N>().ok_or(wrong)
}

fn word(array: &ArrayRef) -> Result<Word<'_>, Untrue> {
    Word::of(array).ok_or("a column is of another type")
}

fn digests(array: &ArrayRef) -> Option<&FixedSizeBinaryArray> {
    array
        .as_fixed_size_binary_opt()
        .filter(|array| array.value_length() == 16)
}

fn digest(array: &FixedSizeBinaryArray, i: usize) -> Option<[u8; 16]> {
    array.is_valid(i).then(|| array.value(i).try_into().ok())?
}

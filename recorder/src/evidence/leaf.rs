//! The leaves: what an entry of the log is, as bytes that do not depend on the journal's format nor on Parquet's.
//!
//! # Format, version 1
//!
//! A leaf is the four bytes `weir`, the version as one byte (1), the kind as one byte, and fields. A field is its tag (one byte),
//! the length of its value in bytes (four bytes, big-endian), and the value. Fields stand in ascending order of their tags,
//! each at most once; **a field whose value is null is left out**, as is an empty list, since a row does not tell the two apart.
//! So columns that a later schema adds leave the leaves of older rows as they were.
//!
//! The **tag is the position of the column** in its table (`calls` for kinds 1 to 3, `events` for kind 4), counted from zero; within
//! a struct, the position in the struct. Values, by the column's type:
//!
//! | Type | Value |
//! |---|---|
//! | integers and booleans | eight bytes, two's complement, big-endian; a boolean is 0 or 1 |
//! | timestamps | microseconds since the epoch, as an integer |
//! | text, also in a dictionary | its UTF-8 bytes |
//! | fixed bytes | the bytes |
//! | struct | its fields, as above |
//! | list | its elements, each as its length (four bytes, big-endian) and its value |
//!
//! | Kind | Entry | Index of the leaf | Columns |
//! |---|---|---|---|
//! | 0 | nothing: a place that the log gave and never filled | | `seq` of table `calls` (tag 0): the place |
//! | 1 | a call was decided | `seq` | every column of `calls` but `node`, and but those of kinds 2 and 3 |
//! | 2 | a held call was answered | `approval.answer_seq` | `seq`, `verdict`, `reason`, `message`; of `approval`: all but `asked_at`; `given_back` where the verdict is `deny` |
//! | 3 | a call ended | `finish_seq` | `seq`, `finish_seq`, `finished_at`, `given_back`, `commit_us`, `upstream_us`, `outcome`, `status`, `result_bytes`, `result_digest`, `result` |
//! | 4 | an event, voids included | `seq` | every column of `events` but `node` |
//!
//! * `node` is in no leaf: the origin of the checkpoints names it, once for the whole log.
//! * `finished_at` of a row without `finish_seq` belongs to its leaf of kind 1: a refused call ended when it was decided, or when
//!   the log said that it is void. Its `outcome` is no part of the leaf, since it follows: `refused` where there is such a time,
//!   else `unknown` (or null, while the call is open).
//! * A call that the log declares void has the values that its row shows: `deny`, `unrecorded`, `(unrecorded)`. No checkpoint was ever
//!   made between its decision and its void, so there is no other leaf at its place. Its outcome, if one was queued, is in no
//!   row, and its place is of kind 0.
//! * `approval` stands whole in kind 1 as long as `answer_seq` is null; else only its `asked_at` does, and the rest in kind 2.
//! * A held call is denied until it is answered: its leaf of kind 1 says `deny`, `approval_pending`, its rule, no message, and no
//!   `finished_at`, and goes on saying so when its row says what the answer made of it. One that may not pass ended with the answer:
//!   its `finish_seq` and `finished_at` are those of the answer, its `outcome` is `refused`, and it has no leaf of kind 3.
//! * A void is the event of kind `void` whose `text` names the places (`3-5, 8`) and whose `count` is their number.

use crate::rows::Answered;
use crate::{Answer, Call, Event, Finish, PENDING, Verdict};

/// Kinds of leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing = 0,
    Decided = 1,
    Answered = 2,
    Finished = 3,
    Event = 4,
}

/// What a leaf about a call says of itself: the bytes of somebody's proof, not yet known to be a leaf of any log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About<'l> {
    /// This call was decided, at this place.
    Decided { seq: i64, call_id: &'l [u8] },
    /// More became of the call that was decided at `call_seq`: at this place.
    Later { seq: i64, call_seq: i64 },
}

impl<'l> About<'l> {
    /// Reads a leaf; none if it is about no call.
    pub(crate) fn read(leaf: &'l [u8]) -> Option<Self> {
        let (kind, fields) = leaf.strip_prefix(b"weir\x01")?.split_first()?;
        let int = |tag| field(fields, tag)?.try_into().ok().map(i64::from_be_bytes);
        let later = |seq: i64| {
            Some(Self::Later {
                seq,
                call_seq: int(0)?,
            })
        };
        if *kind == Kind::Decided as u8 {
            return Some(Self::Decided {
                seq: int(0)?,
                call_id: field(fields, 4)?,
            });
        }
        if *kind == Kind::Finished as u8 {
            return later(int(1)?);
        }
        if *kind == Kind::Answered as u8 {
            let place = field(field(fields, 37)?, 2)?;
            return later(i64::from_be_bytes(place.try_into().ok()?));
        }
        None
    }
}

/// The value of a field; none if there is none, or if these are no fields in the order of their tags.
fn field(mut fields: &[u8], tag: u8) -> Option<&[u8]> {
    let (mut found, mut before) = (None, None);
    while let Some((this, rest)) = fields.split_first() {
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        if before.is_some_and(|before| before >= *this) {
            return None;
        }
        if *this == tag {
            found = Some(value);
        }
        before = Some(*this);
        fields = rest;
    }
    found
}

/// A leaf in the making; one buffer serves many.
#[derive(Debug, Default)]
pub(crate) struct Leaf(Vec<u8>);

impl Leaf {
    /// A place that was never filled.
    pub(crate) fn nothing(&mut self, seq: i64) -> &[u8] {
        self.begin(Kind::Nothing).int(0, seq);
        &self.0
    }

    /// A call was decided; `refused_at` if nothing more will come of it. Of one that was answered since, what it said before.
    pub(crate) fn decided<S: AsRef<str>>(
        &mut self,
        (seq, at): (i64, i64),
        call: &Call<S>,
        refused_at: Option<i64>,
    ) -> &[u8] {
        let answer_seq = call.approval.as_ref().and_then(|a| a.answer_seq);
        if answer_seq.is_some() {
            let words = [
                Some(Verdict::Deny.as_str()),
                Some(PENDING),
                text(call.rule.as_ref()),
            ];
            return self.decided_as((seq, at), call, None, words);
        }
        self.decided_as(
            (seq, at),
            call,
            refused_at,
            [
                Some(call.verdict.as_str()),
                text(call.reason.as_ref()),
                text(call.rule.as_ref()),
            ],
        )
    }

    /// A decision that the log declared void at this time.
    pub(crate) fn voided<S: AsRef<str>>(
        &mut self,
        (seq, at): (i64, i64),
        call: &Call<S>,
        void_at: i64,
    ) -> &[u8] {
        let words = [
            Some(Verdict::Deny.as_str()),
            Some(crate::rows::VOID_REASON),
            Some(crate::rows::VOID_RULE),
        ];
        self.decided_as((seq, at), call, Some(void_at), words)
    }

    fn decided_as<S: AsRef<str>>(
        &mut self,
        (seq, at): (i64, i64),
        call: &Call<S>,
        refused_at: Option<i64>,
        [verdict, reason, rule]: [Option<&str>; 3],
    ) -> &[u8] {
        let mut fields = self.begin(Kind::Decided);
        fields.int(0, seq);
        fields.bytes(3, call.direction.as_str().as_bytes());
        fields.bytes(4, &call.call_id);
        fields.int(5, at);
        fields.int(6, call.received_at);
        fields.maybe_int(7, refused_at);
        fields.text(8, call.server.as_ref());
        fields.text(9, call.grant.as_ref());
        fields.text(10, call.session.as_ref());
        fields.text(11, call.principal.as_ref());
        fields.text(12, call.client_name.as_ref());
        fields.text(13, call.client_version.as_ref());
        fields.text(14, call.client_address.as_ref());
        fields.text(15, call.protocol.as_ref());
        fields.maybe_bytes(16, call.trace_id.as_ref());
        fields.text(17, call.method.as_ref());
        fields.text(18, call.wire_tool.as_ref());
        fields.text(19, call.tool.as_ref());
        fields.text(20, call.risk.as_ref());
        fields.text(21, call.request_id.as_ref());
        fields.maybe_int(22, call.request_bytes);
        fields.text(23, call.arguments.as_ref());
        fields.text(24, call.effective_arguments.as_ref());
        fields.maybe_bytes(25, call.arguments_digest.as_ref());
        fields.texts(26, &call.redacted);
        fields.text(27, verdict.as_ref());
        fields.text(28, reason.as_ref());
        fields.text(29, rule.as_ref());
        let answered = call
            .approval
            .as_ref()
            .is_some_and(|a| a.answer_seq.is_some());
        fields.text(30, call.message.as_ref().filter(|_| !answered));
        fields.texts(31, &call.via);
        fields.text(32, call.policy_digest.as_ref());
        fields.text(33, call.resolver_digest.as_ref());
        fields.text(34, call.engine.as_ref());
        fields.text(35, call.tool_definition_digest.as_ref());
        fields.list(36, &call.shadow, |fields, shadow| {
            fields.bytes(0, shadow.verdict.as_str().as_bytes());
            fields.bytes(1, shadow.rule.as_ref().as_bytes());
            fields.bytes(2, shadow.policy_digest.as_ref().as_bytes());
        });
        if let Some(approval) = &call.approval {
            fields.nested(37, |fields| {
                fields.int(0, approval.asked_at);
                if !answered {
                    fields.maybe_int(1, approval.answered_at);
                    fields.text(3, approval.by.as_ref());
                    fields.text(4, approval.answer.as_ref());
                }
            });
        }
        fields.list(39, &call.limit_counts, |fields, count| {
            fields.bytes(0, count.counter.as_ref().as_bytes());
            fields.int(1, count.value);
        });
        fields.maybe_int(40, call.decide_ns.map(i64::from));
        &self.0
    }

    /// Whether a held call may pass was answered.
    pub(crate) fn answered(&mut self, call_seq: i64, answered: &Answered<'_>) -> &[u8] {
        let Answered { seq, at, answer } = answered;
        let Answer {
            verdict,
            reason,
            message,
            by,
            answer,
            given_back,
        } = answer;
        let mut fields = self.begin(Kind::Answered);
        fields.int(0, call_seq);
        fields.bytes(27, verdict.as_str().as_bytes());
        fields.text(28, reason.as_ref());
        fields.text(30, message.as_ref());
        fields.nested(37, |fields| {
            fields.int(1, *at);
            fields.int(2, *seq);
            fields.text(3, by.as_ref());
            fields.text(4, answer.as_ref());
        });
        if *verdict == Verdict::Deny {
            fields.int(38, i64::from(*given_back));
        }
        &self.0
    }

    /// A call ended.
    pub(crate) fn finished<S: AsRef<str>>(
        &mut self,
        call_seq: i64,
        (seq, at): (i64, i64),
        finish: &Finish<S>,
    ) -> &[u8] {
        let mut fields = self.begin(Kind::Finished);
        fields.int(0, call_seq);
        fields.int(1, seq);
        fields.int(7, at);
        fields.int(38, i64::from(finish.given_back));
        fields.maybe_int(41, finish.commit_us.map(i64::from));
        fields.maybe_int(42, finish.upstream_us);
        fields.bytes(43, finish.outcome.as_str().as_bytes());
        fields.maybe_int(44, finish.status.map(i64::from));
        fields.maybe_int(45, finish.result_bytes);
        fields.maybe_bytes(46, finish.result_digest.as_ref());
        fields.text(47, finish.result.as_ref());
        &self.0
    }

    /// Something else happened.
    pub(crate) fn event<S: AsRef<str>>(
        &mut self,
        (seq, at): (i64, i64),
        event: &Event<S>,
    ) -> &[u8] {
        let mut fields = self.begin(Kind::Event);
        fields.int(0, seq);
        fields.int(2, at);
        fields.bytes(3, event.kind.as_str().as_bytes());
        fields.text(4, event.digest.as_ref());
        fields.text(5, event.server.as_ref());
        fields.text(6, event.grant.as_ref());
        fields.text(7, event.tool.as_ref());
        fields.text(8, event.address.as_ref());
        fields.maybe_int(9, event.count);
        fields.text(10, event.text.as_ref());
        fields.text(11, event.detail.as_ref());
        &self.0
    }

    fn begin(&mut self, kind: Kind) -> Fields<'_> {
        self.0.clear();
        self.0.extend_from_slice(b"weir\x01");
        self.0.push(kind as u8);
        Fields(&mut self.0)
    }
}

fn text<S: AsRef<str>>(value: Option<&S>) -> Option<&str> {
    value.map(AsRef::as_ref)
}

/// Fields in the making.
struct Fields<'l>(&'l mut Vec<u8>);

impl Fields<'_> {
    fn bytes(&mut self, tag: u8, value: &[u8]) {
        let [a, b, c, d] = (value.len() as u32).to_be_bytes();
        self.0.reserve(5 + value.len());
        self.0.extend_from_slice(&[tag, a, b, c, d]);
        self.0.extend_from_slice(value);
    }

    fn maybe_bytes(&mut self, tag: u8, value: Option<&[u8; 16]>) {
        if let Some(value) = value {
            self.bytes(tag, value);
        }
    }

    fn int(&mut self, tag: u8, value: i64) {
        let mut field = [0; 13];
        field[0] = tag;
        field[4] = 8;
        field[5..].copy_from_slice(&value.to_be_bytes());
        self.0.extend_from_slice(&field);
    }

    fn maybe_int(&mut self, tag: u8, value: Option<i64>) {
        if let Some(value) = value {
            self.int(tag, value);
        }
    }

    fn text<S: AsRef<str>>(&mut self, tag: u8, value: Option<&S>) {
        if let Some(value) = value {
            self.bytes(tag, value.as_ref().as_bytes());
        }
    }

    fn texts<S: AsRef<str>>(&mut self, tag: u8, values: &[S]) {
        self.list(tag, values, |fields, value| {
            fields.0.extend_from_slice(value.as_ref().as_bytes());
        });
    }

    fn nested(&mut self, tag: u8, fill: impl FnOnce(&mut Fields<'_>)) {
        self.0.push(tag);
        self.counted(fill);
    }

    fn list<T>(&mut self, tag: u8, values: &[T], element: impl Fn(&mut Fields<'_>, &T)) {
        if values.is_empty() {
            return;
        }
        self.nested(tag, |fields| {
            for value in values {
                fields.counted(|fields| element(fields, value));
            }
        });
    }

    /// A length, and as many bytes.
    fn counted(&mut self, fill: impl FnOnce(&mut Fields<'_>)) {
        let at = self.0.len();
        self.0.extend_from_slice(&[0; 4]);
        fill(&mut Fields(self.0));
        let length = (self.0.len() - at - 4) as u32;
        if let Some(place) = self.0.get_mut(at..at + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventKind, Outcome, calls_schema, events_schema};

    /// Written out by hand from the format above.
    #[test]
    fn a_finish_has_the_documented_bytes() {
        let finish = Finish {
            outcome: Outcome::Ok,
            status: Some(200),
            ..Finish::<&str>::default()
        };
        let mut leaf = Leaf::default();
        let expected = concat!(
            "77656972",
            "01",
            "03",
            "00",
            "00000008",
            "0000000000000007",
            "01",
            "00000008",
            "0000000000000009",
            "07",
            "00000008",
            "0000000000000064",
            "26",
            "00000008",
            "0000000000000000",
            "2b",
            "00000002",
            "6f6b",
            "2c",
            "00000008",
            "00000000000000c8",
        );
        assert_eq!(hex::encode(leaf.finished(7, (9, 100), &finish)), expected);
    }

    #[test]
    fn a_leaf_says_which_call_it_is_about_and_where() {
        let call = Call {
            call_id: [3; 16],
            ..Call::<&str>::default()
        };
        let answered = Answered {
            seq: 8,
            at: 3,
            answer: Answer::default(),
        };
        let mut leaf = Leaf::default();
        let decided = About::Decided {
            seq: 7,
            call_id: &[3; 16],
        };
        let later = |seq| Some(About::Later { seq, call_seq: 7 });
        assert_eq!(
            About::read(leaf.decided((7, 1), &call, None)),
            Some(decided)
        );
        assert_eq!(About::read(leaf.voided((7, 1), &call, 2)), Some(decided));
        assert_eq!(About::read(leaf.answered(7, &answered)), later(8));
        let finished = leaf.finished(7, (9, 100), &Finish::<&str>::default());
        assert_eq!(About::read(finished), later(9));
        for length in 0..finished.len() {
            let cut = finished.get(..length).and_then(About::read);
            assert!(cut.is_none() || cut == later(9), "{length}");
        }
        assert_eq!(About::read(leaf.nothing(7)), None);
        let event = Event::<&str>::of(EventKind::Start);
        assert_eq!(About::read(leaf.event((7, 2), &event)), None);
    }

    #[test]
    fn null_and_empty_are_not_the_same_and_neighbours_do_not_run_together() {
        let mut leaf = Leaf::default();
        let mut of = |call: &Call<&str>| leaf.decided((1, 2), call, None).to_vec();
        let none = of(&Call::default());
        let empty = of(&Call {
            server: Some(""),
            ..Call::default()
        });
        let (ab, a_b) = (
            of(&Call {
                redacted: vec!["ab"],
                ..Call::default()
            }),
            of(&Call {
                redacted: vec!["a", "b"],
                ..Call::default()
            }),
        );
        let left = of(&Call {
            server: Some("xy"),
            grant: Some(""),
            ..Call::default()
        });
        let right = of(&Call {
            server: Some("x"),
            grant: Some("y"),
            ..Call::default()
        });
        assert!(none != empty && ab != a_b && left != right);
    }

    #[test]
    fn tags_are_the_columns_positions() {
        let calls = calls_schema();
        for (tag, column) in [
            (0, "seq"),
            (1, "finish_seq"),
            (3, "direction"),
            (7, "finished_at"),
            (16, "trace_id"),
            (26, "redacted"),
            (31, "via"),
            (37, "approval"),
            (38, "given_back"),
            (39, "limit_counts"),
            (40, "decide_ns"),
            (47, "result"),
        ] {
            assert_eq!(calls.index_of(column).ok(), Some(tag));
        }
        assert_eq!(events_schema().index_of("detail").ok(), Some(11));
    }

    #[test]
    fn an_event_and_a_call_at_the_same_place_differ() {
        let mut leaf = Leaf::default();
        let event = leaf
            .event((1, 2), &Event::<&str>::of(EventKind::Start))
            .to_vec();
        assert_ne!(event, leaf.nothing(1));
    }
}

//! What is written is what is read: every column, through the journal and through Parquet.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type, TimestampMicrosecondType};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use weir_recorder::{
    Approval, Call, Direction, Event, EventKind, Finish, LimitCount, Outcome, Shadow, State,
    Verdict, VerifyOptions, verify,
};

use crate::support::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_read_as_they_were_written_from_the_journal_and_from_segments(
        calls in vec((any_call(), option::of(any_finish())), 1..40),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (recorder, mut log, _) = open(folder.path());
        let mut expected = Vec::new();
        for (number, (call, finish)) in calls.iter().enumerate() {
            let at = NOON + number as i64;
            let seq = decide(&mut log, at, call);
            let finish = finish.as_ref().filter(|_| call.verdict == Verdict::Allow);
            let ended = finish.map(|finish| {
                let commit = log.finish(at, seq.seq(), finish);
                (commit.seq(), commit.at(), finish.clone())
            });
            expected.push((seq.seq(), seq.at(), call.clone(), ended));
        }
        log.event(NOON, &Event::<&str>::of(EventKind::Stop)).wait_blocking().unwrap();
        prop_assert_eq!(&rows(&all_columns(&recorder.reader()), None), &expected);
        recorder.seal_now().unwrap();
        prop_assert_eq!(&rows(&all_columns(&recorder.reader()), None), &expected);
        recorder.close().unwrap();
        prop_assert_eq!(&rows(&all_columns(&recorder.reader()), Some("unknown")), &expected);
        prop_assert_eq!(recorder.reader().live().unwrap().num_rows(), 0);

        // The leaves were made of the journal's entries, and verifying makes them of the rows.
        let options = VerifyOptions { keys: vec![recorder.public_key()], ..VerifyOptions::default() };
        let verified = verify(folder.path(), &options).unwrap();
        prop_assert_eq!(verified.state, State::NotAnchored, "{}", verified);
        prop_assert_eq!(verified.logs[0].entries, seq_after(&expected) + 1);
    }
}

/// The place behind these rows; the event at the end has it.
fn seq_after(rows: &[Row]) -> u64 {
    let last = |row: &Row| row.3.as_ref().map_or(row.0, |(seq, _, _)| *seq);
    rows.iter().map(last).max().map_or(0, |seq| seq as u64 + 1)
}

pub type Row = (i64, i64, Call<String>, Option<(i64, i64, Finish<String>)>);

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,6}",
        any::<String>(),
        Just(String::new()),
        Just("{\"id\":7,\"ü\":\"\u{1F6D1}\"}".to_owned())
    ]
}

fn any_call() -> impl Strategy<Value = Call<String>> {
    let words = vec(option::of(text()), 26);
    let digests = (
        any::<[u8; 16]>(),
        option::of(any::<[u8; 16]>()),
        option::of(any::<[u8; 16]>()),
    );
    let lists = (
        vec(text(), 0..3),
        vec(text(), 0..3),
        vec(any_shadow(), 0..3),
        vec((text(), any::<i64>()), 0..3),
    );
    let rest = (
        any::<bool>(),
        any::<bool>(),
        any::<i64>(),
        option::of(any::<i64>()),
        option::of(any::<i32>()),
    );
    (words, digests, lists, rest, option::of(any_approval())).prop_map(
        |(words, digests, lists, rest, approval)| {
            let mut words = words.into_iter();
            let mut word = || words.next().flatten();
            Call {
                direction: if rest.0 {
                    Direction::Client
                } else {
                    Direction::Server
                },
                call_id: digests.0,
                received_at: rest.2,
                server: word(),
                grant: word(),
                session: word(),
                principal: word(),
                client_name: word(),
                client_version: word(),
                client_address: word(),
                protocol: word(),
                trace_id: digests.1,
                method: word(),
                wire_tool: word(),
                tool: word(),
                risk: word(),
                request_id: word(),
                request_bytes: rest.3,
                arguments: word(),
                effective_arguments: word(),
                arguments_digest: digests.2,
                redacted: lists.0,
                verdict: if rest.1 {
                    Verdict::Allow
                } else {
                    Verdict::Deny
                },
                reason: word(),
                rule: word(),
                message: word(),
                via: lists.1,
                policy_digest: word(),
                resolver_digest: word(),
                engine: word(),
                tool_definition_digest: word(),
                shadow: lists.2,
                approval,
                limit_counts: lists
                    .3
                    .into_iter()
                    .map(|(counter, value)| LimitCount { counter, value })
                    .collect(),
                decide_ns: rest.4,
            }
        },
    )
}

fn any_shadow() -> impl Strategy<Value = Shadow<String>> {
    (any::<bool>(), text(), text()).prop_map(|(allow, rule, policy_digest)| Shadow {
        verdict: if allow { Verdict::Allow } else { Verdict::Deny },
        rule,
        policy_digest,
    })
}

fn any_approval() -> impl Strategy<Value = Approval<String>> {
    let rest = (
        option::of(any::<i64>()),
        option::of(text()),
        option::of(text()),
    );
    // Where an answer stands, only an entry of its own can tell.
    (any::<i64>(), rest).prop_map(|(asked_at, (answered_at, by, answer))| Approval {
        asked_at,
        answered_at,
        answer_seq: None,
        by,
        answer,
    })
}

fn any_finish() -> impl Strategy<Value = Finish<String>> {
    let numbers = (
        option::of(any::<i16>()),
        option::of(any::<i64>()),
        option::of(any::<i32>()),
        option::of(any::<i64>()),
    );
    let rest = (
        option::of(any::<[u8; 16]>()),
        option::of(text()),
        any::<bool>(),
    );
    (0..Outcome::ALL.len(), numbers, rest).prop_map(|(outcome, numbers, rest)| Finish {
        outcome: Outcome::ALL[outcome],
        status: numbers.0,
        result_bytes: numbers.1,
        result_digest: rest.0,
        result: rest.1,
        given_back: rest.2,
        commit_us: numbers.2,
        upstream_us: numbers.3,
    })
}

/// The rows of a batch; those without an end must have this outcome.
pub fn rows(batch: &RecordBatch, without_end: Option<&str>) -> Vec<Row> {
    (0..batch.num_rows())
        .map(|i| row(&Cells { batch, i }, without_end))
        .collect()
}

fn row(cells: &Cells<'_>, without_end: Option<&str>) -> Row {
    let seq = cells.int("seq").unwrap();
    let at = cells.time("decided_at").unwrap();
    let verdict = Verdict::parse(&cells.text("verdict").unwrap()).unwrap();
    assert_eq!(cells.text("node").as_deref(), Some("n1"));
    let ended = cells.int("finish_seq").map(|finish_seq| {
        let finish = Finish {
            outcome: Outcome::parse(&cells.text("outcome").unwrap()).unwrap(),
            status: cells.small("status"),
            result_bytes: cells.int("result_bytes"),
            result_digest: cells.digest("result_digest"),
            result: cells.text("result"),
            given_back: cells.column("given_back").as_boolean().value(cells.i),
            commit_us: cells.short("commit_us"),
            upstream_us: cells.int("upstream_us"),
        };
        (finish_seq, cells.time("finished_at").unwrap(), finish)
    });
    if ended.is_none() {
        let refused = verdict == Verdict::Deny;
        assert_eq!(
            cells.text("outcome").as_deref(),
            if refused {
                Some("refused")
            } else {
                without_end
            }
        );
        assert_eq!(cells.time("finished_at"), refused.then_some(at));
    }
    let call = Call {
        direction: Direction::parse(&cells.text("direction").unwrap()).unwrap(),
        call_id: cells.digest("call_id").unwrap(),
        received_at: cells.time("received_at").unwrap(),
        server: cells.text("server"),
        grant: cells.text("grant"),
        session: cells.text("session"),
        principal: cells.text("principal"),
        client_name: cells.text("client_name"),
        client_version: cells.text("client_version"),
        client_address: cells.text("client_address"),
        protocol: cells.text("protocol"),
        trace_id: cells.digest("trace_id"),
        method: cells.text("method"),
        wire_tool: cells.text("wire_tool"),
        tool: cells.text("tool"),
        risk: cells.text("risk"),
        request_id: cells.text("request_id"),
        request_bytes: cells.int("request_bytes"),
        arguments: cells.text("arguments"),
        effective_arguments: cells.text("effective_arguments"),
        arguments_digest: cells.digest("arguments_digest"),
        redacted: cells
            .list("redacted")
            .map(|list| texts_in(&list))
            .unwrap_or_default(),
        verdict,
        reason: cells.text("reason"),
        rule: cells.text("rule"),
        message: cells.text("message"),
        via: cells
            .list("via")
            .map(|list| texts_in(&list))
            .unwrap_or_default(),
        policy_digest: cells.text("policy_digest"),
        resolver_digest: cells.text("resolver_digest"),
        engine: cells.text("engine"),
        tool_definition_digest: cells.text("tool_definition_digest"),
        shadow: cells.structs("shadow").iter().map(shadow).collect(),
        approval: cells.approval(),
        limit_counts: cells
            .structs("limit_counts")
            .iter()
            .map(limit_count)
            .collect(),
        decide_ns: cells.short("decide_ns"),
    };
    (seq, at, call, ended)
}

fn shadow(one: &StructArray) -> Shadow<String> {
    let text = |name| texts_in(one.column_by_name(name).unwrap()).remove(0);
    Shadow {
        verdict: Verdict::parse(&text("verdict")).unwrap(),
        rule: text("rule"),
        policy_digest: text("policy_digest"),
    }
}

fn limit_count(one: &StructArray) -> LimitCount<String> {
    let value = one
        .column_by_name("value")
        .unwrap()
        .as_primitive::<Int64Type>()
        .value(0);
    LimitCount {
        counter: texts_in(one.column_by_name("counter").unwrap()).remove(0),
        value,
    }
}

fn texts_in(values: &ArrayRef) -> Vec<String> {
    let values = cast(values, &DataType::Utf8).unwrap();
    values
        .as_string::<i32>()
        .iter()
        .map(|value| value.unwrap().to_owned())
        .collect()
}

/// One row of a batch.
struct Cells<'a> {
    batch: &'a RecordBatch,
    i: usize,
}

impl Cells<'_> {
    fn column(&self, name: &str) -> &ArrayRef {
        self.batch.column_by_name(name).unwrap()
    }

    fn some<T>(&self, name: &str, value: impl Fn(&ArrayRef) -> T) -> Option<T> {
        let column = self.column(name);
        column.is_valid(self.i).then(|| value(column))
    }

    fn text(&self, name: &str) -> Option<String> {
        self.some(name, |column| texts_in(&column.slice(self.i, 1)).remove(0))
    }

    fn int(&self, name: &str) -> Option<i64> {
        self.some(name, |column| {
            column.as_primitive::<Int64Type>().value(self.i)
        })
    }

    fn short(&self, name: &str) -> Option<i32> {
        self.some(name, |column| {
            column.as_primitive::<Int32Type>().value(self.i)
        })
    }

    fn small(&self, name: &str) -> Option<i16> {
        self.some(name, |column| {
            column.as_primitive::<Int16Type>().value(self.i)
        })
    }

    fn time(&self, name: &str) -> Option<i64> {
        self.some(name, |column| {
            column
                .as_primitive::<TimestampMicrosecondType>()
                .value(self.i)
        })
    }

    fn digest(&self, name: &str) -> Option<[u8; 16]> {
        self.some(name, |column| {
            column
                .as_fixed_size_binary()
                .value(self.i)
                .try_into()
                .unwrap()
        })
    }

    fn list(&self, name: &str) -> Option<ArrayRef> {
        self.some(name, |column| column.as_list::<i32>().value(self.i))
    }

    fn structs(&self, name: &str) -> Vec<StructArray> {
        let Some(list) = self.list(name) else {
            return Vec::new();
        };
        (0..list.len())
            .map(|at| list.as_struct().slice(at, 1))
            .collect()
    }

    fn approval(&self) -> Option<Approval<String>> {
        let whole = self.some("approval", |column| column.as_struct().slice(self.i, 1))?;
        let schema = arrow::datatypes::Schema::new(whole.fields().clone());
        let batch = RecordBatch::try_new(schema.into(), whole.columns().to_vec()).unwrap();
        let cells = Cells {
            batch: &batch,
            i: 0,
        };
        Some(Approval {
            asked_at: cells.time("asked_at").unwrap(),
            answered_at: cells.time("answered_at"),
            answer_seq: cells.int("answer_seq"),
            by: cells.text("by"),
            answer: cells.text("answer"),
        })
    }
}

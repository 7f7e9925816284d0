//! Schema version 1, frozen: a small record that was written once, and that every later version must read.
//!
//! `tests/golden/v1` is what [`write`] made when the version was frozen; the private key was thrown away. To make it anew (only
//! before a release, never to make a test pass): `cargo test -p weir-recorder --test recorder -- --ignored golden`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_recorder::{
    Approval, Call, Direction, Disk, Event, EventKind, Finish, LimitCount, Log, Outcome,
    RecordOptions, RecordReader, Recorder, SCHEMA_VERSION, Shadow, State, Verdict, VerifyOptions,
    VerifyingKey, verify,
};

use crate::support::*;
use crate::written::{Row, rows};

const POLICY: &str = "sha256:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9";
const RESOLVER: &str = "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
}

#[test]
fn every_row_and_value_of_version_1_is_read() {
    let reader = RecordReader::open(golden()).unwrap();
    assert_eq!(reader.segments().unwrap().len(), 2);
    let read = rows(&all_columns(&reader), None);
    let mut expected = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &mut expected);
    assert_eq!(read, expected);
    assert_eq!(reader.live().unwrap().num_rows(), 2);
    assert_eq!(reader.events().unwrap(), events_of(folder.path()));
    assert_eq!(reader.policy(POLICY).unwrap(), b"0");
    assert_eq!(reader.resolver(RESOLVER).unwrap(), b"1");
}

#[test]
fn the_evidence_of_version_1_holds_by_its_public_key() {
    let key = fs::read_to_string(golden().join("record.pub")).unwrap();
    let options = VerifyOptions {
        keys: vec![VerifyingKey::parse(key.trim()).unwrap()],
        ..VerifyOptions::default()
    };
    let verified = verify(golden(), &options).unwrap();
    assert_eq!(verified.state, State::NotAnchored, "{verified}");
    let log = &verified.logs[0];
    assert_eq!((log.entries, log.unsigned), (20, 4), "{verified}");
}

#[test]
fn what_is_written_today_has_the_schema_of_version_1() {
    assert_eq!(
        SCHEMA_VERSION, "1",
        "freeze the new version beside this one"
    );
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &mut Vec::new());
    for table in ["calls", "events"] {
        let (frozen, today) = (schema(&golden(), table), schema(folder.path(), table));
        assert_eq!(frozen.0, today.0, "{table}");
        assert_eq!(frozen.1, today.1, "{table}");
    }
}

#[test]
#[ignore = "writes the golden files anew"]
fn golden_files_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let record = folder.path().join("record");
    // What a closed record leaves has no journal, so this is a copy of an open one.
    let (recorder, _) = write_open(&record, &mut Vec::new());
    copy(&record, &golden());
    for secret in ["signing.key", "signing.pub", "digest.key", "lock"] {
        drop(fs::remove_file(golden().join(secret)));
    }
    fs::write(
        golden().join("record.pub"),
        recorder.public_key().to_string(),
    )
    .unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Arrow's schema and Parquet's own of a table's first segment.
fn schema(record: &Path, table: &str) -> (SchemaRef, String) {
    let day = record.join(table).join("date=2026-11-22");
    let mut files: Vec<_> = fs::read_dir(day)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    let file = ParquetRecordBatchReaderBuilder::try_new(File::open(&files[0]).unwrap()).unwrap();
    let mut message = Vec::new();
    parquet::schema::printer::print_schema(&mut message, file.parquet_schema().root_schema());
    (
        Arc::clone(file.schema()),
        String::from_utf8(message).unwrap(),
    )
}

fn events_of(record: &Path) -> RecordBatch {
    RecordReader::open(record).unwrap().events().unwrap()
}

fn write(folder: &Path, expected: &mut Vec<Row>) {
    let (recorder, _) = write_open(folder, expected);
    drop(recorder);
}

/// A record with everything that version 1 can say: two segments of calls, one of events, and rows of both in the journal.
fn write_open(folder: &Path, expected: &mut Vec<Row>) -> (Recorder, Log) {
    let options = RecordOptions {
        checkpoint_age: std::time::Duration::from_hours(1),
        ..options(folder)
    };
    let (recorder, mut log, _) = Recorder::open(options, Arc::new(Disk)).unwrap();
    recorder.keep_policy(POLICY, b"0").unwrap();
    recorder.keep_resolver(RESOLVER, b"1").unwrap();
    let mut add = |log: &mut Log, call: Call<String>, finish: Option<Finish<String>>| {
        let at = NOON + 1000 * expected.len() as i64;
        let seq = decide(log, at, &call);
        let end = finish.map(|finish| {
            let end = log.finish(at + 300, seq.seq(), &finish);
            let place = (end.seq(), end.at());
            end.wait_blocking().unwrap();
            (place.0, place.1, finish)
        });
        expected.push((seq.seq(), seq.at(), call, end));
        seq.wait_blocking().unwrap();
    };
    for (number, outcome) in Outcome::ALL
        .iter()
        .enumerate()
        .filter(|(_, o)| !matches!(o, Outcome::Refused | Outcome::Unknown))
    {
        add(&mut log, full(number as i64), Some(answer(*outcome)));
    }
    for kind in [EventKind::Start, EventKind::ToolDefinition] {
        log.event(NOON, &event(kind)).wait_blocking().unwrap();
    }
    add(
        &mut log,
        Call {
            verdict: Verdict::Deny,
            ..full(20)
        },
        None,
    );
    add(&mut log, empty(21), None);
    recorder.seal_now().unwrap();
    add(&mut log, full(30), Some(answer(Outcome::Ok)));
    recorder.seal_now().unwrap();
    add(
        &mut log,
        Call {
            verdict: Verdict::Deny,
            ..full(40)
        },
        None,
    );
    add(&mut log, full(41), Some(answer(Outcome::Ok)));
    log.event(NOON, &event(EventKind::Stop))
        .wait_blocking()
        .unwrap();
    (recorder, log)
}

fn event(kind: EventKind) -> Event<&'static str> {
    Event {
        digest: Some(POLICY),
        server: Some("truenas"),
        grant: Some("ops"),
        tool: Some("vm_stop"),
        address: Some("127.0.0.1"),
        count: Some(3),
        text: Some("a sentence, with ü"),
        detail: Some("{\"a\":1}"),
        ..Event::of(kind)
    }
}

/// A denied call in which nothing that may be left out is said.
fn empty(number: i64) -> Call<String> {
    let Call {
        call_id,
        received_at,
        ..
    } = call(number);
    Call {
        call_id,
        received_at,
        ..Call::default()
    }
}

/// A call in which everything is said.
fn full(number: i64) -> Call<String> {
    let text = |text: &str| Some(text.to_owned());
    Call {
        direction: if number % 2 == 0 {
            Direction::Client
        } else {
            Direction::Server
        },
        server: text("truenas"),
        principal: text("CN=ops"),
        client_name: text("claude-code"),
        client_version: text("2.1.0"),
        client_address: text("::1"),
        protocol: text("2025-11-25"),
        trace_id: Some([0xfe; 16]),
        method: text("tools/call"),
        wire_tool: text("truenas"),
        risk: text("destructive"),
        request_id: Some(format!("\"r-{number}\"")),
        request_bytes: Some(i64::MAX),
        effective_arguments: text("{\"id\":7,\"ü\":\"\u{1F6D1}\"}"),
        arguments_digest: Some([number as u8; 16]),
        redacted: vec!["/params/password".into(), String::new()],
        reason: text("allowed"),
        message: text("[POLICY DENIED]"),
        via: vec!["truenas".into(), "vm_stop".into()],
        policy_digest: text(POLICY),
        resolver_digest: text(RESOLVER),
        engine: text("1"),
        tool_definition_digest: text(POLICY),
        shadow: vec![
            Shadow {
                verdict: Verdict::Deny,
                rule: "(default deny)".into(),
                policy_digest: POLICY.into(),
            },
            Shadow {
                verdict: Verdict::Allow,
                rule: String::new(),
                policy_digest: POLICY.into(),
            },
        ],
        approval: Some(Approval {
            asked_at: NOON,
            answered_at: Some(NOON + 5),
            answer_seq: None,
            by: text("root"),
            answer: text("yes"),
        }),
        limit_counts: vec![
            LimitCount {
                counter: "truenas/grant/ops/vm_stop/vm_stop_rate/60".into(),
                value: 1,
            },
            LimitCount {
                counter: "node".into(),
                value: -1,
            },
        ],
        decide_ns: Some(i32::MAX),
        ..call(number)
    }
}

fn answer(outcome: Outcome) -> Finish<String> {
    Finish {
        result_bytes: Some(17),
        result_digest: Some([9; 16]),
        result: Some("{\"state\":\"STOPPED\"}".into()),
        given_back: outcome == Outcome::Unreachable,
        commit_us: Some(i32::MIN),
        upstream_us: Some(i64::MIN),
        ..finish(outcome)
    }
}

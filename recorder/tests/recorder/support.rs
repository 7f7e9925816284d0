//! What the tests share: small options, calls, and rows read back as plain values.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use weir_recorder::{
    Answer, Approval, Call, CallRow, CallRows, Commit, Disk, Finish, Log, Outcome, PENDING, Permit,
    RecordError, RecordOptions, RecordReader, Recorder, Recovered, Storage, Unrecorded, Verdict,
    VerifyOptions, VerifyingKey, calls_schema, verify_files_on, verify_on,
};

use crate::memory::{Memory, Shared};

/// Noon of 22 November 2026.
pub const NOON: i64 = 1_795_348_800_000_000;

/// Options with small files, and seals only when asked for.
pub fn options(path: impl AsRef<Path>) -> RecordOptions {
    RecordOptions {
        node: Some("n1".into()),
        seal_age: Duration::from_hours(1),
        journal_ahead_bytes: 4096,
        journal_room_bytes: 4096,
        reserve_bytes: 4096,
        commit_wait_max: Duration::from_secs(5),
        retry_pause: Duration::from_millis(2),
        tidy_grace: Duration::ZERO,
        signing_key: Some(path.as_ref().join("signing.key")),
        ..RecordOptions::new(path.as_ref())
    }
}

pub fn open(path: impl AsRef<Path>) -> (Recorder, Log, Recovered) {
    Recorder::open(options(path), Arc::new(Disk)).unwrap()
}

pub fn open_on(storage: &Arc<Memory>) -> Result<(Recorder, Log, Recovered), RecordError> {
    Recorder::open(options("/record"), shared(storage))
}

fn shared(storage: &Arc<Memory>) -> Arc<dyn Storage> {
    Arc::new(Shared(Arc::clone(storage)))
}

/// An admitted call that carries this number.
pub fn call(number: i64) -> Call<String> {
    let mut call_id = [0; 16];
    call_id[8..].copy_from_slice(&number.to_be_bytes());
    Call {
        call_id,
        received_at: NOON + number,
        verdict: Verdict::Allow,
        tool: Some("vm_stop".into()),
        grant: Some(format!("grant-{}", number % 3)),
        session: Some(format!("session-{}", number % 7)),
        arguments: Some(format!("{{\"id\":{number}}}")),
        rule: Some(String::new()),
        ..Call::default()
    }
}

pub fn denied(number: i64) -> Call<String> {
    Call {
        verdict: Verdict::Deny,
        rule: Some("(default deny)".into()),
        ..call(number)
    }
}

/// One that waits for a person.
pub fn held(number: i64) -> Call<String> {
    Call {
        verdict: Verdict::Deny,
        reason: Some(PENDING.into()),
        rule: Some("/tools/vm_stop/approve_if/always".into()),
        approval: Some(Approval {
            asked_at: NOON,
            ..Approval::default()
        }),
        ..call(number)
    }
}

/// Yes or no.
pub fn answer(approves: bool) -> Answer<String> {
    let text = |text: &str| Some(text.to_owned());
    if approves {
        return Answer {
            verdict: Verdict::Allow,
            reason: text("approved"),
            by: text("anna"),
            answer: text("approved: ticket 4711"),
            ..Answer::default()
        };
    }
    Answer {
        verdict: Verdict::Deny,
        reason: text("approval_denied"),
        message: text("A person said no."),
        by: text("anna"),
        answer: text("denied"),
        given_back: true,
    }
}

pub fn decide(log: &mut Log, now: i64, call: &Call<String>) -> Commit {
    let stamp = log.stamp(now);
    log.decide(stamp, call)
}

/// Decides and waits.
pub fn record(log: &mut Log, now: i64, call: &Call<String>) -> Result<Option<Permit>, Unrecorded> {
    decide(log, now, call).wait_blocking()
}

/// Waits until decisions are taken again; the refused ones that the log then names.
pub fn healed(log: &mut Log) -> Vec<i64> {
    healed_within(log, Duration::from_secs(20)).expect("never heals")
}

/// As [`healed`]; none if that takes longer.
pub fn healed_within(log: &mut Log, bound: Duration) -> Option<Vec<i64>> {
    let begun = Instant::now();
    loop {
        match log.ready() {
            Ok(void) => return Some(void.map(|void| void.seqs).unwrap_or_default()),
            Err(_) if begun.elapsed() > bound => return None,
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// Decides, waits, ends well, and gives the call's place.
pub fn whole(log: &mut Log, now: i64, number: i64) -> i64 {
    let permit = record(log, now, &call(number)).unwrap().expect("allowed");
    log.finish(now, permit.seq(), &finish(Outcome::Ok))
        .wait_blocking()
        .unwrap();
    permit.seq()
}

pub fn finish(outcome: Outcome) -> Finish<String> {
    Finish {
        outcome,
        status: Some(200),
        ..Finish::default()
    }
}

pub fn reader(storage: &Arc<Memory>) -> RecordReader {
    RecordReader::open_with("/record", shared(storage)).unwrap()
}

/// Verifies a record in memory: nothing is wrong with it, whatever it is doing.
pub fn assert_clean(storage: &Arc<Memory>, key: &VerifyingKey) {
    let options = VerifyOptions {
        keys: vec![key.clone()],
        ..VerifyOptions::default()
    };
    let verified = verify_on(&*shared(storage), Path::new("/record"), &options).unwrap();
    assert_eq!(verified.findings, [], "{verified}");
    let files = verify_files_on(&*shared(storage), Path::new("/record"), &options).unwrap();
    assert_eq!(files.findings, [], "{verified}");
}

/// `seq` of every row, as read.
pub fn seqs(reader: &RecordReader) -> Vec<i64> {
    let batches = reader.calls(&["seq"]).unwrap().map(Result::unwrap);
    batches
        .flat_map(|batch| {
            batch
                .column(0)
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        })
        .collect()
}

/// One column of every row as text.
pub fn texts(reader: &RecordReader, column: &str) -> Vec<Option<String>> {
    let batches = reader.calls(&[column]).unwrap().map(Result::unwrap);
    batches.flat_map(|batch| texts_of(&batch, column)).collect()
}

pub fn texts_of(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let column = arrow::compute::cast(
        batch.column_by_name(column).unwrap(),
        &arrow::datatypes::DataType::Utf8,
    )
    .unwrap();
    let column = column.as_string::<i32>();
    (0..column.len())
        .map(|i| column.is_valid(i).then(|| column.value(i).to_owned()))
        .collect()
}

/// One column of numbers.
pub fn numbers_of(batch: &RecordBatch, column: &str) -> Vec<i64> {
    let column = batch.column_by_name(column).unwrap();
    column.as_primitive::<Int64Type>().values().to_vec()
}

/// Every row with every column.
pub fn all_columns(reader: &RecordReader) -> RecordBatch {
    let schema = calls_schema();
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let batches: Vec<_> = reader.calls(&names).unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}

/// Visits every row.
pub fn each(reader: &RecordReader, mut visit: impl FnMut(CallRow<'_>)) {
    for batch in reader.calls(CallRows::COLUMNS).unwrap() {
        CallRows::new(&batch.unwrap())
            .unwrap()
            .iter()
            .for_each(&mut visit);
    }
}

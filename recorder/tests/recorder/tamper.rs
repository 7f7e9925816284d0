//! Tampering. With an anchor nothing goes unnoticed; without one, only what DESIGN 6.5 names, each with a test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{cast, concat_batches, take};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_recorder::{
    Call, Finish, Outcome, State, Verdict, Verification, VerifyOptions, calls_schema, verify,
};

use crate::evidence::{Place, copy_folder, lived, names};
use crate::support::*;
use crate::tally::{Tally, is_noticed};

mod forks;
mod journal;

impl Place {
    pub fn segments(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for table in ["calls", "events"] {
            let day = self.record().join(table).join("date=2026-11-22");
            if day.exists() {
                found.extend(names(&day).into_iter().map(|name| day.join(name)));
            }
        }
        found
    }

    pub fn notes(&self) -> Vec<PathBuf> {
        let folder = self.record().join("checkpoints");
        names(&folder)
            .into_iter()
            .map(|name| folder.join(name))
            .collect()
    }

    fn rows_only(&self) -> Verification {
        let options = VerifyOptions {
            keys: vec![self.key()],
            rows_only: true,
            ..VerifyOptions::default()
        };
        verify(self.record(), &options).unwrap()
    }
}

fn read(path: &Path) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let schema = Arc::clone(builder.schema());
    let batches: Vec<_> = builder.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// The values of all columns, as the columns of these rows have them: names and types inside a column of nulls hold nothing.
fn values_as(rows: &RecordBatch, like: &RecordBatch) -> Vec<ArrayRef> {
    let columns = rows.columns().iter().zip(like.columns());
    columns
        .map(|(column, like)| cast(column, like.data_type()).unwrap())
        .collect()
}

fn write(path: &Path, rows: &RecordBatch) {
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
}

fn rows(of: &RecordBatch, which: &[u32]) -> RecordBatch {
    let which = UInt32Array::from(which.to_vec());
    let columns = of
        .columns()
        .iter()
        .map(|column| take(column, &which, None).unwrap());
    RecordBatch::try_new(of.schema(), columns.collect()).unwrap()
}

#[test]
fn a_byte_flipped_anywhere_in_a_segment_is_noticed() {
    let mut tally = Tally::of("byte flipped in a segment");
    let place = lived();
    let of = |table: &str| {
        let mut segments = place.segments().into_iter();
        segments.find(|path| path.starts_with(place.record().join(table)))
    };
    for path in [of("calls"), of("events")].map(Option::unwrap) {
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, bad).unwrap();
            let state = place.verify(false).state;
            assert_eq!(state, State::Altered, "byte {at}");
            tally.count(state);
        }
        fs::write(&path, good).unwrap();
    }
    assert_eq!(place.verify(true).state, State::Valid);
}

/// The same for who judges rows only: whatever a flipped byte makes of the file, no other row is taken for a signed one.
#[test]
fn no_flipped_byte_makes_another_row_pass() {
    let place = lived();
    let path = place.segments().remove(0);
    let (good, original) = (fs::read(&path).unwrap(), read(&path));
    let mut tally = Tally::of("byte flipped in a segment of which only the rows count");
    let mut noticed = 0;
    for at in (0..good.len()).step_by(31) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, bad).unwrap();
        let state = place.rows_only().state;
        tally.count(state);
        match state {
            State::NotAnchored => {
                let read = values_as(&read(&path), &original);
                assert_eq!(read, original.columns(), "byte {at}");
            }
            State::Altered | State::Missing => noticed += 1,
            state @ (State::Valid | State::Truncated | State::UnsignedTail | State::Unread) => {
                panic!("byte {at}: {state}")
            }
        }
    }
    assert!(noticed > 50);
}

#[test]
fn a_dropped_segment_is_missing() {
    for (nth, path) in lived().segments().iter().enumerate() {
        let place = lived();
        let path = place
            .segments()
            .remove(nth)
            .with_file_name(path.file_name().unwrap());
        fs::remove_file(&path).unwrap();
        let verified = place.verify(false);
        assert_eq!(verified.state, State::Missing, "{verified}");
        assert_eq!(place.verify(true).state, State::Missing);
    }
}

#[test]
fn a_cut_segment_is_altered() {
    let place = lived();
    let path = place.segments().remove(0);
    let good = fs::read(&path).unwrap();
    for length in [0, 1, good.len() / 2, good.len() - 1] {
        fs::write(&path, &good[..length]).unwrap();
        assert_eq!(place.verify(false).state, State::Altered, "{length} bytes");
        assert_eq!(place.rows_only().state, State::Altered, "{length} bytes");
    }
}

#[test]
fn a_doubled_file_is_altered_whatever_it_is_called_and_wherever_it_lies() {
    for name in [
        "date=2026-11-22/n1-000000000020-000000000030.parquet",
        "date=2026-11-22/copy.parquet",
        "date=2026-11-21/n1-000000000000-000000000004.parquet",
        "date=2026-11-22/n1-000000000000-000000000003.parquet",
        "n1.parquet",
    ] {
        let place = lived();
        let path = place.segments().remove(0);
        let copy = place.record().join("calls").join(name);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(path, &copy).unwrap();
        assert_eq!(place.verify(false).state, State::Altered, "{name}");
        assert_eq!(place.rows_only().state, State::Altered, "{name}");
    }
}

#[test]
fn rows_dropped_doubled_or_swapped_are_noticed_by_the_rows_alone() {
    let place = lived();
    let path = place.segments().remove(0);
    let good = read(&path);
    assert_eq!(good.num_rows(), 2);
    write(&path, &good);
    assert_eq!(
        place.verify(false).state,
        State::Altered,
        "a file that Weir did not write"
    );
    assert_eq!(
        place.rows_only().state,
        State::NotAnchored,
        "its rows are all there"
    );
    for (which, expected) in [
        (&[0][..], State::Altered),
        (&[1][..], State::Altered),
        (&[][..], State::Altered),
        (&[0, 0, 1][..], State::Altered),
        (&[0, 1, 1][..], State::Altered),
        (&[1, 0][..], State::Altered),
    ] {
        write(&path, &rows(&good, which));
        assert_eq!(place.rows_only().state, expected, "{which:?}");
        assert_eq!(place.verify(true).state, State::Altered, "{which:?}");
    }
}

/// A call with every column filled, so that each of them can be changed.
fn full() -> (Call<String>, Finish<String>) {
    let call = Call {
        server: Some("nas".into()),
        principal: Some("CN=ops".into()),
        client_name: Some("agent".into()),
        client_version: Some("1".into()),
        client_address: Some("::1".into()),
        protocol: Some("2025-06-18".into()),
        trace_id: Some([3; 16]),
        method: Some("tools/call".into()),
        wire_tool: Some("truenas".into()),
        risk: Some("write".into()),
        request_id: Some("7".into()),
        request_bytes: Some(120),
        effective_arguments: Some("{}".into()),
        arguments_digest: Some([4; 16]),
        redacted: vec!["/password".into()],
        reason: Some("allowed".into()),
        message: Some("fine".into()),
        via: vec!["dispatch".into()],
        policy_digest: Some("p".into()),
        resolver_digest: Some("r".into()),
        engine: Some("1".into()),
        tool_definition_digest: Some("d".into()),
        shadow: vec![weir_recorder::Shadow {
            verdict: Verdict::Deny,
            rule: "/x".into(),
            policy_digest: "q".into(),
        }],
        approval: Some(weir_recorder::Approval {
            asked_at: NOON,
            ..weir_recorder::Approval::default()
        }),
        limit_counts: vec![weir_recorder::LimitCount {
            counter: "c".into(),
            value: 3,
        }],
        decide_ns: Some(900),
        ..call(1)
    };
    let finish = Finish {
        outcome: Outcome::Ok,
        status: Some(200),
        result_bytes: Some(10),
        result_digest: Some([5; 16]),
        result: Some("done".into()),
        given_back: true,
        commit_us: Some(200),
        upstream_us: Some(3000),
    };
    (call, finish)
}

#[test]
fn a_value_changed_in_any_column_is_noticed_by_the_rows_alone() {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    let (call, finish) = full();
    let permit = record(&mut log, NOON, &call).unwrap().unwrap();
    log.finish(NOON + 5, permit.seq(), &finish)
        .wait_blocking()
        .unwrap();
    // A second row that differs in every column lends its values.
    let other = Call {
        call_id: [9; 16],
        direction: weir_recorder::Direction::Server,
        received_at: 1,
        ..Call::default()
    };
    record(&mut log, NOON + 7, &other).unwrap();
    recorder.close().unwrap();
    let path = place.segments().remove(0);
    let good = read(&path);
    for (at, field) in calls_schema().fields().iter().enumerate() {
        let column = good.column(at);
        let swapped = take(column, &UInt32Array::from(vec![1, 0]), None).unwrap();
        let mut changed: Vec<(ArrayRef, &str)> = vec![(swapped, "swapped")];
        if field.is_nullable() {
            changed.push((new_null_array(column.data_type(), 2), "null"));
        }
        for (column, how) in changed {
            let mut columns = good.columns().to_vec();
            columns[at] = column;
            let rows = RecordBatch::try_new(good.schema(), columns).unwrap();
            if rows == good {
                assert_eq!(field.name(), "node", "only that is the same in both rows");
                continue;
            }
            write(&path, &rows);
            let state = place.rows_only().state;
            assert!(
                matches!(state, State::Altered | State::Missing),
                "{how} {}: {state}",
                field.name()
            );
        }
    }
    write(&path, &good);
    assert_eq!(place.rows_only().state, State::NotAnchored);
}

#[test]
fn a_byte_flipped_anywhere_in_a_checkpoint_is_noticed() {
    let mut tally = Tally::of("byte flipped in, or cut of, a checkpoint");
    let place = lived();
    for path in [place.notes().remove(0), place.notes().pop().unwrap()] {
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 5);
            fs::write(&path, bad).unwrap();
            tally.noticed(place.verify(false).state, &format!("byte {at}"));
        }
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).unwrap();
            tally.noticed(place.verify(false).state, &format!("cut to {length}"));
        }
        fs::write(&path, good).unwrap();
    }
    assert_eq!(place.verify(true).state, State::Valid);
}

#[test]
fn a_dropped_checkpoint_is_noticed() {
    let count = lived().notes().len();
    assert_eq!(count, 3);
    for nth in 0..count {
        let place = lived();
        fs::remove_file(place.notes().remove(nth)).unwrap();
        let alone = place.verify(false);
        let found: Vec<_> = alone.findings.iter().map(|f| f.state).collect();
        // The last file also holds a call that was signed before, and nothing vouches for that file any more.
        let expected = if nth + 1 == count {
            [State::Missing, State::UnsignedTail]
        } else {
            [State::Altered; 2]
        };
        assert_eq!(alone.state, expected[0], "checkpoint {nth}: {alone}");
        assert_eq!(found, expected[..found.len()], "checkpoint {nth}: {alone}");
        assert!(is_noticed(place.verify(true).state));
    }
    let place = lived();
    fs::remove_dir_all(place.record().join("checkpoints")).unwrap();
    assert_eq!(place.verify(false).state, State::UnsignedTail);
    assert_eq!(place.verify(true).state, State::Missing);
}

#[test]
fn an_old_checkpoint_under_a_new_name_is_altered() {
    let place = lived();
    let notes = place.notes();
    fs::copy(&notes[0], &notes[2]).unwrap();
    assert_eq!(place.verify(false).state, State::Altered);
    let place = lived();
    let beyond = notes[2].with_file_name("n1-000000000099.note");
    fs::copy(
        place.notes().pop().unwrap(),
        place
            .record()
            .join("checkpoints")
            .join(beyond.file_name().unwrap()),
    )
    .unwrap();
    assert_eq!(place.verify(false).state, State::Altered);
}

/// A record as it was after its first seal, put in place of what it became: old rows, old checkpoints.
fn rolled_back() -> Place {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    whole(&mut log, NOON, 1);
    recorder.close().unwrap();
    let before = tempfile::tempdir().unwrap();
    copy_folder(&place.record(), before.path());
    let (recorder, mut log) = place.open();
    whole(&mut log, NOON, 2);
    recorder.close().unwrap();
    fs::remove_dir_all(place.record()).unwrap();
    copy_folder(before.path(), &place.record());
    place
}

#[test]
fn a_cut_tail_is_truncated_against_an_anchor() {
    let verified = rolled_back().verify(true);
    assert_eq!(verified.state, State::Truncated, "{verified}");
    assert_eq!(verified.state.exit_code(), 4);
}

/// Exception one: nobody can notice from the folder alone that its end, with the checkpoints over it, was cut off.
#[test]
fn without_an_anchor_a_cut_tail_goes_unnoticed_and_verify_says_so() {
    let verified = rolled_back().verify(false);
    assert_eq!(verified.state, State::NotAnchored);
    assert!(
        verified
            .to_string()
            .contains("later removal cannot be excluded")
    );
}

#[test]
fn rows_beside_the_record_are_an_unsigned_tail() {
    let place = lived();
    let day = place.record().join("calls/date=2026-11-22");
    let forged = Place::new();
    let (recorder, mut log) = forged.open();
    for number in 0..20 {
        whole(&mut log, NOON, number);
    }
    recorder.close().unwrap();
    let good = read(&forged.segments()[0]);
    let late: Vec<u32> = (10..20).collect();
    write(
        &day.join("n1-000000000020-000000000038.parquet"),
        &rows(&good, &late),
    );
    assert_eq!(place.verify(false).state, State::UnsignedTail);
    assert_eq!(place.verify(true).state, State::UnsignedTail);
    assert_eq!(place.rows_only().state, State::UnsignedTail);
    // They hide nothing else: everything before them is still looked at.
    let verified = place.verify(true);
    assert_eq!(verified.logs[0].entries, 11, "{verified}");
    fs::remove_file(place.segments().remove(0)).unwrap();
    assert_eq!(place.verify(false).state, State::Missing);
    assert_eq!(place.verify(true).state, State::Missing);
}

#[test]
fn rows_beside_the_record_do_not_hide_a_cut_tail() {
    let (place, other) = (rolled_back(), lived());
    let day = place.record().join("calls/date=2026-11-22");
    let late = day.join("n1-000000000020-000000000038.parquet");
    fs::copy(other.segments().remove(0), late).unwrap();
    assert_eq!(place.verify(true).state, State::Truncated);
}

#[test]
fn a_key_that_is_not_the_logs_believes_nothing() {
    let place = lived();
    let verified = place.verify_with(lived().key(), false);
    assert_eq!(verified.state, State::UnsignedTail, "{verified}");
    assert_eq!(verified.logs[0].entries, 0);
}

#[test]
fn a_policy_that_rows_name_must_be_kept_as_it_was() {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    let document = b"{}";
    let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    recorder.keep_policy(digest, document).unwrap();
    let call = Call {
        policy_digest: Some(digest.into()),
        ..call(1)
    };
    record(&mut log, NOON, &call).unwrap();
    recorder.close().unwrap();
    assert_eq!(place.verify(true).state, State::Valid);
    let folder = place.record().join("policies");
    let path = folder.join(&names(&folder)[0]);
    fs::write(&path, b"{ }").unwrap();
    assert_eq!(place.verify(true).state, State::Altered);
    fs::remove_file(&path).unwrap();
    assert_eq!(place.verify(true).state, State::Missing);
}

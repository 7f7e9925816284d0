//! Encryption: what calls carry is in no byte of a sealed file, whoever has the key reads all of it, everybody else the rest, and
//! nobody is told that something was checked that was not.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_recorder::{
    Call, Disk, Finish, KeyFault, LimitCount, Log, Outcome, ProofError, RecordError, RecordKeys,
    RecordOptions, RecordReader, Recorder, State, Verdict, Verification, VerifyOptions, prove,
    spilled, verify,
};

use crate::compaction::{DAY, two_days};
use crate::evidence::{Place, copy_folder, names};
use crate::support::*;
use crate::tally::Tally;

/// Everything that may not be read without a key begins so.
const CANARY: &[u8] = b"canary-";

const ENCRYPTED: [&str; 6] = [
    "arguments",
    "effective_arguments",
    "arguments_digest",
    "limit_counts",
    "result_digest",
    "result",
];

/// A new key.
fn key(id: &str) -> RecordKeys {
    RecordKeys::parse(&RecordKeys::new_line(id).unwrap()).unwrap()
}

/// The key `k1`, the key `k2`, and both with the latter in use.
fn rotated() -> (RecordKeys, RecordKeys, RecordKeys) {
    let lines = ["k1", "k2"].map(|id| RecordKeys::new_line(id).unwrap());
    let [old, new] = lines
        .each_ref()
        .map(|line| RecordKeys::parse(line).unwrap());
    (old, new, RecordKeys::parse(&lines.concat()).unwrap())
}

fn open(place: &Place, keys: &RecordKeys) -> Result<(Recorder, Log), RecordError> {
    let options = RecordOptions {
        keys: keys.clone(),
        ..place.options()
    };
    let (recorder, log, _) = Recorder::open(options, Arc::new(Disk))?;
    Ok((recorder, log))
}

/// A call that carries a canary wherever it can, and its end.
fn carrying(log: &mut Log, now: i64, number: i64, result: &str) {
    let call = Call {
        arguments: Some(format!("{{\"vm\":\"canary-argument-{number}\"}}")),
        effective_arguments: Some(format!("{{\"vm\":\"canary-effective-{number}\"}}")),
        arguments_digest: Some(*b"canary-digest-16"),
        limit_counts: vec![LimitCount {
            counter: format!("stops/vm=canary-counter-{number}"),
            value: number,
        }],
        ..call(number)
    };
    let permit = record(log, now, &call).unwrap().unwrap();
    let finish = Finish {
        result: Some(result.to_owned()),
        result_bytes: Some(result.len() as i64),
        result_digest: Some(*b"canary-result-16"),
        ..finish(Outcome::Ok)
    };
    log.finish(now, permit.seq(), &finish)
        .wait_blocking()
        .unwrap();
}

/// Two files of calls, a denied one among them, and a result in a file of its own.
fn written(keys: &RecordKeys) -> Place {
    let place = Place::new();
    let (recorder, mut log) = open(&place, keys).unwrap();
    carrying(&mut log, NOON, 1, "{\"text\":\"canary-result-1\"}");
    record(&mut log, NOON + 1, &denied(2)).unwrap();
    recorder.seal_now().unwrap();
    let spilled = recorder.keep_result(b"{\"text\":\"canary-long\"}").unwrap();
    carrying(&mut log, NOON + 2, 3, &spilled);
    recorder.close().unwrap();
    place
}

fn reader(place: &Place, keys: &RecordKeys) -> RecordReader {
    RecordReader::open(place.record())
        .unwrap()
        .with_keys(keys.clone())
}

fn verified(place: &Place, keys: &RecordKeys) -> Verification {
    verify(place.record(), &verifying(place, keys)).unwrap()
}

fn verifying(place: &Place, keys: &RecordKeys) -> VerifyOptions<'static> {
    VerifyOptions {
        keys: vec![place.key()],
        anchor: Some(place.anchor()),
        record_keys: keys.clone(),
        ..VerifyOptions::default()
    }
}

fn calls(place: &Place) -> Vec<PathBuf> {
    let table = place.record().join("calls");
    let days = names(&table).into_iter().map(|day| table.join(day));
    days.flat_map(|day| names(&day).into_iter().map(move |name| day.join(name)))
        .collect()
}

/// Whether the canary is in any byte below this folder, and in which file.
fn canary_below(folder: &Path) -> Option<PathBuf> {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let found = if path.is_dir() {
            canary_below(&path)
        } else {
            let bytes = fs::read(&path).unwrap();
            bytes
                .windows(CANARY.len())
                .any(|at| at == CANARY)
                .then_some(path)
        };
        if found.is_some() {
            return found;
        }
    }
    None
}

/// What anybody reads of a file with the Parquet reader alone.
fn read_by_anybody(path: &Path, column: &str) -> Result<RecordBatch, String> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let place = builder.schema().index_of(column).unwrap();
    let mask = parquet::arrow::ProjectionMask::roots(builder.parquet_schema(), [place]);
    let mut reader = builder
        .with_projection(mask)
        .build()
        .map_err(|e| e.to_string())?;
    reader.next().unwrap().map_err(|e| e.to_string())
}

#[test]
fn no_byte_of_a_sealed_encrypted_record_holds_what_a_call_carried() {
    let place = written(&key("k1"));
    assert_eq!(canary_below(&place.record()), None);
    // The same calls without a key, where the pages are small enough for zstd to leave the text as it is.
    let twin = written(&RecordKeys::default());
    for folder in ["calls", "results"] {
        assert!(
            canary_below(&twin.record().join(folder)).is_some(),
            "{folder}"
        );
    }
}

#[test]
fn who_has_the_key_reads_what_the_unencrypted_twin_holds() {
    let keys = key("k1");
    let (place, twin) = (written(&keys), written(&RecordKeys::default()));
    let (ours, theirs) = (reader(&place, &keys), reader(&twin, &RecordKeys::default()));
    for column in ["arguments", "effective_arguments", "tool", "verdict"] {
        assert_eq!(texts(&ours, column), texts(&theirs, column), "{column}");
    }
    let counts =
        |reader: &RecordReader| all_columns(reader).column_by_name("limit_counts").cloned();
    assert_eq!(counts(&ours), counts(&theirs));
    let named = texts(&ours, "result").pop().unwrap().unwrap();
    assert!(named.contains(r#""key":"k1""#), "{named}");
    for reader in [&ours, &theirs] {
        let named = texts(reader, "result").pop().unwrap().unwrap();
        assert_eq!(
            reader.result(&named).unwrap().unwrap(),
            b"{\"text\":\"canary-long\"}"
        );
    }
}

#[test]
fn without_the_key_every_other_column_is_read_by_anybody() {
    let place = written(&key("k1"));
    let without = reader(&place, &RecordKeys::default());
    let schema = weir_recorder::calls_schema();
    for field in schema.fields() {
        let column = field.name().as_str();
        let read: Result<Vec<_>, _> = without.calls(&[column]).unwrap().collect();
        let is_encrypted = ENCRYPTED.contains(&column);
        match read {
            Ok(batches) => {
                assert!(!is_encrypted, "{column}");
                assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
            }
            Err(error) => {
                assert!(is_encrypted, "{column}: {error}");
                let told = error.to_string();
                assert!(
                    told.contains(column) && told.contains("`k1` is missing"),
                    "{told}"
                );
                assert!(error.lacks_keys());
            }
        }
        for path in calls(&place) {
            assert_eq!(
                read_by_anybody(&path, column).is_err(),
                is_encrypted,
                "{column}"
            );
        }
    }
}

#[test]
fn a_new_key_encrypts_what_comes_and_older_files_stay_readable_with_theirs() {
    let (old, new, both) = rotated();
    let place = written(&old);
    let (recorder, mut log) = open(&place, &both).unwrap();
    carrying(&mut log, NOON + 5, 5, "{}");
    recorder.close().unwrap();
    assert_eq!(texts(&reader(&place, &both), "arguments").len(), 4);
    assert_eq!(verified(&place, &both).state, State::Valid);
    for (keys, lacks) in [(&old, "k2"), (&new, "k1")] {
        let read: Result<Vec<_>, _> = reader(&place, keys)
            .calls(&["arguments"])
            .unwrap()
            .collect();
        let Err(RecordError::Encrypted { fault, .. }) = read else {
            panic!("read without `{lacks}`");
        };
        assert_eq!(fault, KeyFault::Missing(lacks.into()));
        let verified = verified(&place, keys);
        assert_eq!(verified.state, State::Unread, "{verified}");
        assert!(
            verified
                .to_string()
                .contains(&format!("`{lacks}` is missing")),
            "{verified}"
        );
    }
}

#[test]
fn joined_files_are_encrypted_with_the_key_in_use_and_keep_their_rows() {
    let (old, new, both) = rotated();
    let place = Place::new();
    let (recorder, mut log) = open(&place, &old).unwrap();
    two_days(&recorder, &mut log);
    carrying(
        &mut log,
        NOON + DAY + 10,
        50,
        "{\"text\":\"canary-result\"}",
    );
    recorder.close().unwrap();
    let rows = all_columns(&reader(&place, &both));
    // Who lacks the old key joins nothing, and changes nothing.
    let (recorder, _log) = open(&place, &new).unwrap();
    let done = recorder.compact(|_| ()).unwrap();
    assert!(
        done.days.iter().all(|day| day.table == "events"),
        "{done:?}"
    );
    assert_eq!(done.left.len(), 2);
    assert!(done.left[0].contains("`k1` is missing"), "{done:?}");
    recorder.close().unwrap();
    let (recorder, _log) = open(&place, &both).unwrap();
    assert_eq!(recorder.compact(|_| ()).unwrap().days.len(), 2);
    recorder.close().unwrap();
    assert_eq!(calls(&place).len(), 2);
    assert_eq!(canary_below(&place.record()), None);
    assert_eq!(all_columns(&reader(&place, &new)), rows);
    assert_eq!(verified(&place, &both).state, State::Valid);
}

#[test]
fn without_the_key_verify_says_what_it_checked_and_never_valid() {
    let keys = key("k1");
    let place = written(&keys);
    let with = verified(&place, &keys);
    assert_eq!(with.state, State::Valid, "{with}");
    let without = verified(&place, &RecordKeys::default());
    assert_eq!(without.state, State::Unread, "{without}");
    assert_eq!(without.state.exit_code(), 7);
    let log = &without.logs[0];
    assert_eq!((log.unread, log.calls), (3, 3));
    // What the newest checkpoint signs is told, and that the anchor has it.
    assert_eq!(
        (&log.root, log.entries),
        (&with.logs[0].root, with.logs[0].entries)
    );
    assert_eq!(log.anchored, with.logs[0].anchored);
    let told = without.to_string();
    assert!(told.contains("the record key `k1` is missing"), "{told}");
    assert!(
        !told.contains("valid") && !told.contains("complete"),
        "{told}"
    );
    assert_eq!(without.findings.len(), 1, "{told}");
}

#[test]
fn another_key_of_the_same_name_is_told_and_accuses_nobody() {
    let place = written(&key("k1"));
    let other = key("k1");
    let read: Result<Vec<_>, _> = reader(&place, &other)
        .calls(&["arguments"])
        .unwrap()
        .collect();
    let told = read.unwrap_err().to_string();
    assert!(told.contains("given as `k1` is not the one"), "{told}");
    let verified = verified(&place, &other);
    assert_eq!(verified.state, State::Unread, "{verified}");
    assert!(
        verified
            .to_string()
            .contains("given as `k1` is not the one"),
        "{verified}"
    );
}

#[test]
fn without_the_key_what_is_changed_gone_or_forked_is_still_found() {
    let ours = key("k1");
    let place = written(&ours);
    let none = RecordKeys::default();
    let judged = |change: &dyn Fn(&Place)| {
        let copy = Place::new();
        copy_folder(place.folder.path(), copy.folder.path());
        change(&copy);
        verified(&copy, &none)
    };
    let state = |change: &dyn Fn(&Place)| judged(change).state;
    assert_eq!(state(&|_| ()), State::Unread);
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    assert_eq!(state(&|copy| flip(&calls(copy)[0])), State::Altered);
    let result = |copy: &Place| {
        let folder = copy.record().join("results");
        folder.join(names(&folder).remove(0))
    };
    assert_eq!(state(&|copy| flip(&result(copy))), State::Altered);
    let newest = |copy: &Place| {
        let folder = copy.record().join("checkpoints");
        folder.join(names(&folder).pop().unwrap())
    };
    assert_eq!(
        state(&|copy| fs::remove_file(newest(copy)).unwrap()),
        State::Missing
    );
    // A file that is gone leaves places without a row; without the key that is told and not judged.
    let gone = judged(&|copy| fs::remove_file(&calls(copy)[1]).unwrap());
    assert!(gone.to_string().contains("have no row"), "{gone}");
    assert_ne!(gone.state, State::Valid);
}

#[test]
fn no_flipped_byte_of_an_encrypted_file_is_read_as_another_row() {
    let keys = key("k1");
    let place = written(&keys);
    let rows = all_columns(&reader(&place, &keys));
    let path = calls(&place).remove(0);
    let good = fs::read(&path).unwrap();
    let mut tally = Tally::of("byte flipped in an encrypted segment");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&path, &bad).unwrap();
        let state = verified(&place, &keys).state;
        assert_eq!(state, State::Altered, "byte {at}");
        tally.count(state);
        if at % 37 == 0 {
            let options = VerifyOptions {
                rows_only: true,
                ..verifying(&place, &keys)
            };
            let state = verify(place.record(), &options).unwrap().state;
            let is_told = !matches!(state, State::Valid | State::NotAnchored);
            assert!(
                is_told || all_columns(&reader(&place, &keys)) == rows,
                "byte {at}: {state}"
            );
        }
    }
}

/// The ciphertext of a column of one file in the place of the same column's of another, of the same length and key.
#[test]
fn a_column_moved_from_another_file_is_an_error() {
    let keys = key("k1");
    let (one, other) = (written(&keys), written(&keys));
    let (path, from) = (calls(&one).remove(0), calls(&other).remove(0));
    let (to, source) = (pages_of(&path, "arguments"), pages_of(&from, "arguments"));
    assert_eq!(to.len(), source.len());
    let (mut bytes, moved) = (fs::read(&path).unwrap(), fs::read(&from).unwrap());
    bytes[to].copy_from_slice(&moved[source]);
    fs::write(&path, bytes).unwrap();
    let read: Result<Vec<_>, _> = reader(&one, &keys).calls(&["arguments"]).unwrap().collect();
    assert!(
        matches!(read, Err(RecordError::Parquet(_) | RecordError::Arrow(_))),
        "{read:?}"
    );
    let tool: Result<Vec<_>, _> = reader(&one, &keys).calls(&["tool"]).unwrap().collect();
    assert!(tool.is_ok());
    assert_eq!(verified(&one, &keys).state, State::Altered);
    let options = VerifyOptions {
        rows_only: true,
        ..verifying(&one, &keys)
    };
    assert_eq!(
        verify(one.record(), &options).unwrap().state,
        State::Altered
    );
}

/// Where the pages of a column are in a file.
fn pages_of(path: &Path, column: &str) -> std::ops::Range<usize> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
    let columns = builder.metadata().row_group(0).columns();
    let chunk = columns
        .iter()
        .find(|chunk| chunk.column_path().string() == column);
    let (start, length) = chunk.unwrap().byte_range();
    start as usize..(start + length) as usize
}

#[test]
fn an_encrypted_record_is_not_gone_on_with_in_the_clear_unless_told_to() {
    let keys = key("k1");
    let place = written(&keys);
    let refused = open(&place, &RecordKeys::default()).unwrap_err();
    assert!(
        matches!(&refused, RecordError::KeysWanted { key_id, .. } if key_id == "k1"),
        "{refused}"
    );
    let options = RecordOptions {
        seal_in_the_clear: true,
        ..place.options()
    };
    let (recorder, mut log, _) = Recorder::open(options, Arc::new(Disk)).unwrap();
    carrying(&mut log, NOON + 5, 5, "{}");
    recorder.close().unwrap();
    assert!(canary_below(&place.record().join("calls")).is_some());
    assert_eq!(verified(&place, &keys).state, State::Valid);
    // And now it is one that is in the clear.
    open(&place, &RecordKeys::default())
        .unwrap()
        .0
        .close()
        .unwrap();
}

#[test]
fn a_call_is_proved_with_the_key_and_not_without() {
    let keys = key("k1");
    let place = written(&keys);
    let id = call(3).call_id;
    prove(place.record(), id, &verifying(&place, &keys)).unwrap();
    let none = verifying(&place, &RecordKeys::default());
    match prove(place.record(), id, &none) {
        Err(ProofError::Record(error)) => assert!(error.lacks_keys(), "{error}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn calls_still_in_the_journal_are_read_and_verified_without_a_key() {
    let keys = key("k1");
    let place = Place::new();
    let (recorder, mut log) = open(&place, &keys).unwrap();
    carrying(&mut log, NOON, 1, "{}");
    // Not sealed yet, and in the clear: what docs/record.md says of the journal.
    assert!(canary_below(&place.record().join("journal")).is_some());
    let without = reader(&place, &RecordKeys::default());
    assert_eq!(texts(&without, "arguments").len(), 1);
    recorder.close().unwrap();
    assert_eq!(canary_below(&place.record()), None);
}

#[test]
fn an_unknown_call_recovered_after_a_crash_is_encrypted_too() {
    let keys = key("k1");
    let place = Place::new();
    let (recorder, mut log) = open(&place, &keys).unwrap();
    let unfinished = Call {
        arguments: Some("{\"vm\":\"canary-unfinished\"}".to_owned()),
        verdict: Verdict::Allow,
        ..call(9)
    };
    record(&mut log, NOON, &unfinished).unwrap();
    let crashed = Place::new();
    copy_folder(place.folder.path(), crashed.folder.path());
    recorder.close().unwrap();
    assert!(canary_below(&crashed.record()).is_some());
    open(&crashed, &keys).unwrap().0.close().unwrap();
    assert_eq!(canary_below(&crashed.record()), None);
    assert_eq!(verified(&crashed, &keys).state, State::Valid);
    let read = texts(&reader(&crashed, &keys), "arguments");
    assert_eq!(read, [unfinished.arguments]);
    assert!(spilled("{}").is_none());
}

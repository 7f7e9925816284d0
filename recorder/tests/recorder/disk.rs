//! The record on a real folder.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use sha2::{Digest, Sha256};
use weir_recorder::{
    Disk, Event, EventKind, Outcome, RecordError, RecordReader, Recorder, Verdict,
};

use crate::support::*;

#[test]
fn an_admitted_call_gets_a_permit_and_a_denied_one_none() {
    let folder = tempfile::tempdir().unwrap();
    let (_recorder, mut log, _) = open(folder.path());
    assert_eq!(
        record(&mut log, NOON, &call(1)).unwrap().map(|p| p.seq()),
        Some(0)
    );
    assert!(record(&mut log, NOON, &denied(2)).unwrap().is_none());
}

#[test]
fn a_decision_is_readable_before_it_ends_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let (_recorder, mut log, _) = open(folder.path());
    let permit = record(&mut log, NOON, &call(1)).unwrap().unwrap();
    let reader = RecordReader::open(folder.path()).unwrap();
    assert_eq!(texts(&reader, "outcome"), [None]);
    log.finish(NOON + 5, permit.seq(), &finish(Outcome::ToolError))
        .wait_blocking()
        .unwrap();
    assert_eq!(texts(&reader, "outcome"), [Some("tool_error".into())]);
    each(&reader, |row| {
        assert_eq!((row.finish_seq, row.finished_at), (Some(1), Some(NOON + 5)))
    });
}

#[test]
fn sealing_moves_rows_from_the_journal_to_a_segment_and_changes_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, mut log, _) = open(folder.path());
    for n in 0..10 {
        whole(&mut log, NOON + n, n);
    }
    record(&mut log, NOON, &denied(10)).unwrap();
    let reader = recorder.reader();
    let before = all_columns(&reader);
    recorder.seal_now().unwrap();
    assert_eq!(reader.segments().unwrap().len(), 1);
    assert_eq!(reader.live().unwrap().num_rows(), 0);
    assert_eq!(before, all_columns(&reader));
    assert_eq!(seqs(&reader).len(), 11);
}

#[test]
fn a_call_still_open_is_carried_over_a_seal_and_sealed_once_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, mut log, _) = open(folder.path());
    let open = record(&mut log, NOON, &call(1)).unwrap().unwrap();
    whole(&mut log, NOON, 2);
    recorder.seal_now().unwrap();
    let reader = recorder.reader();
    assert_eq!(
        reader.live().unwrap().num_rows(),
        1,
        "the open call stays in the journal"
    );
    assert_eq!(seqs(&reader), [0, 1]);
    recorder.seal_now().unwrap();
    assert_eq!(seqs(&reader), [0, 1]);
    log.finish(NOON + 9, open.seq(), &finish(Outcome::Ok))
        .wait_blocking()
        .unwrap();
    recorder.seal_now().unwrap();
    assert_eq!(reader.live().unwrap().num_rows(), 0);
    assert_eq!(seqs(&reader), [0, 1]);
    assert_eq!(
        texts(&reader, "outcome"),
        [Some("ok".into()), Some("ok".into())]
    );
}

#[test]
fn closing_seals_everything_and_calls_without_an_outcome_become_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, mut log, _) = open(folder.path());
    record(&mut log, NOON, &call(1)).unwrap();
    record(&mut log, NOON, &denied(2)).unwrap();
    recorder.close().unwrap();
    assert!(record(&mut log, NOON, &call(3)).is_err());
    let reader = RecordReader::open(folder.path()).unwrap();
    assert_eq!(reader.live().unwrap().num_rows(), 0);
    assert_eq!(
        texts(&reader, "outcome"),
        [Some("unknown".into()), Some("refused".into())]
    );
}

#[test]
fn a_restart_goes_on_behind_the_last_place_and_never_back_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, mut log, first) = open(folder.path());
    assert_eq!((first.last_seq, first.last_decided_at), (None, None));
    whole(&mut log, NOON, 1);
    log.event(NOON + 7, &Event::<&str>::of(EventKind::Stop))
        .wait_blocking()
        .unwrap();
    recorder.close().unwrap();
    drop((recorder, log));
    let (_recorder, mut log, second) = open(folder.path());
    assert_eq!(
        (second.last_seq, second.last_decided_at),
        (Some(2), Some(NOON + 7))
    );
    let stamp = log.stamp(NOON - 1_000_000);
    assert_eq!((stamp.seq, stamp.decided_at), (3, NOON + 7));
}

#[test]
fn the_place_in_the_log_survives_the_loss_of_the_journal_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, mut log, _) = open(folder.path());
    whole(&mut log, NOON, 1);
    recorder.close().unwrap();
    drop((recorder, log));
    std::fs::remove_dir_all(folder.path().join("journal")).unwrap();
    let (_recorder, mut log, _) = open(folder.path());
    assert_eq!(log.stamp(NOON).seq, 2);
}

#[test]
fn two_processes_cannot_share_a_record() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, _log, _) = open(folder.path());
    let second = Recorder::open(options(folder.path()), Arc::new(Disk));
    assert!(matches!(second.map(drop), Err(RecordError::Locked { .. })));
    recorder.close().unwrap();
    assert!(Recorder::open(options(folder.path()), Arc::new(Disk)).is_ok());
}

#[test]
fn a_folder_that_cannot_be_made_is_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Recorder::open(options(file.join("record")), Arc::new(Disk))
        .map(drop)
        .unwrap_err();
    let line = error.to_string();
    assert!(
        line.starts_with("cannot create `") && line.contains("file/record") && !line.contains('\n'),
        "{line}"
    );
}

#[test]
fn a_folder_without_a_record_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        RecordReader::open(folder.path()).map(drop),
        Err(RecordError::NotARecord { .. })
    ));
}

#[test]
fn a_record_keeps_its_node_unless_another_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, log, _) = open(folder.path());
    drop((recorder, log));
    let options = |node: Option<&str>| weir_recorder::RecordOptions {
        node: node.map(Into::into),
        ..options(folder.path())
    };
    assert_eq!(
        Recorder::open(options(None), Arc::new(Disk))
            .unwrap()
            .0
            .node(),
        "n1"
    );
    let other = Recorder::open(options(Some("n2")), Arc::new(Disk)).map(drop);
    assert!(matches!(other, Err(RecordError::OtherNode { .. })));
    let bad = Recorder::open(options(Some("../n2")), Arc::new(Disk)).map(drop);
    assert!(bad.is_err());
}

#[test]
fn a_file_is_split_at_midnight_of_the_decision() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, mut log, _) = open(folder.path());
    let midnight = NOON + 12 * 3_600_000_000;
    whole(&mut log, midnight - 1, 1);
    whole(&mut log, midnight, 2);
    recorder.close().unwrap();
    let reader = RecordReader::open(folder.path()).unwrap();
    let dates: Vec<_> = reader
        .segments()
        .unwrap()
        .into_iter()
        .map(|s| (s.date, s.first_seq, s.last_seq))
        .collect();
    assert_eq!(
        dates,
        [("2026-11-22".into(), 0, 0), ("2026-11-23".into(), 2, 2)]
    );
    assert_eq!(seqs(&reader), [0, 2]);
    let of_second_day = reader
        .calls_between(&["seq"], Some(midnight), None)
        .unwrap();
    assert_eq!(
        of_second_day
            .map(|batch| batch.unwrap().num_rows())
            .sum::<usize>(),
        1
    );
    let of_first_day = reader
        .calls_between(&["seq"], None, Some(midnight))
        .unwrap();
    assert_eq!(
        of_first_day
            .map(|batch| batch.unwrap().num_rows())
            .sum::<usize>(),
        1
    );
}

#[test]
fn events_are_a_table_of_their_own_in_the_same_log() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, mut log, _) = open(folder.path());
    log.event(
        NOON,
        &Event {
            digest: Some("sha256:00"),
            ..Event::of(EventKind::Policy)
        },
    )
    .wait_blocking()
    .unwrap();
    whole(&mut log, NOON, 1);
    recorder.seal_now().unwrap();
    log.event(
        NOON,
        &Event {
            server: Some("nas"),
            text: Some("x"),
            ..Event::of(EventKind::ToolDefinition)
        },
    )
    .wait_blocking()
    .unwrap();
    let events = recorder.reader().events().unwrap();
    assert_eq!(
        texts_of(&events, "kind"),
        [Some("policy".into()), Some("tool_definition".into())]
    );
    assert_eq!(
        events
            .column_by_name("seq")
            .unwrap()
            .as_primitive::<Int64Type>()
            .values()
            .to_vec(),
        [0, 3]
    );
    assert_eq!(seqs(&recorder.reader()), [1]);
}

#[test]
fn documents_are_kept_under_their_own_digest_and_under_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, _log, _) = open(folder.path());
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(b"{}")));
    recorder.keep_policy(&digest, b"{}").unwrap();
    recorder.keep_policy(&digest, b"{}").unwrap();
    recorder.keep_resolver(&digest, b"{}").unwrap();
    assert_eq!(recorder.reader().policy(&digest).unwrap(), b"{}");
    assert_eq!(recorder.reader().resolver(&digest).unwrap(), b"{}");
    assert!(matches!(
        recorder.keep_policy(&digest, b"{ }"),
        Err(RecordError::DigestMismatch(_))
    ));
    assert!(matches!(
        recorder.keep_policy("sha256:../../x", b""),
        Err(RecordError::Digest(_))
    ));
    assert!(matches!(
        recorder.reader().policy(&"0".repeat(64)),
        Err(RecordError::NoDocument(_))
    ));
    let file = folder
        .path()
        .join("policies")
        .join(format!("{}.json", &digest[7..]));
    std::fs::write(file, "{\"version\":\"1\"}").unwrap();
    assert!(matches!(
        recorder.reader().policy(&digest),
        Err(RecordError::Damaged { .. })
    ));
}

#[test]
fn the_digest_key_is_kept_for_the_owner_alone_and_stays_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, log, _) = open(folder.path());
    let digest = recorder.digest_key().digest(b"secret");
    let mode = std::fs::metadata(folder.path().join("digest.key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    drop((recorder, log));
    assert_eq!(open(folder.path()).0.digest_key().digest(b"secret"), digest);
}

#[test]
fn a_stamp_after_which_counters_changed_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, mut log, _) = open(folder.path());
    let (first, second) = (log.stamp(NOON), log.stamp(NOON));
    assert!(log.decide(second, &call(1)).wait_blocking().is_ok());
    assert!(log.decide(first, &call(2)).refused().is_some());
    let third = log.stamp(NOON);
    let end = log.finish(NOON, 0, &finish(Outcome::Ok));
    assert_eq!(end.refused(), None);
    assert!(log.decide(third, &call(3)).refused().is_some());
    assert_eq!(seqs(&recorder.reader()), [0]);
}

/// As that the disk is full, or that a day is removed, which other threads of the recorder tell of at any moment.
#[test]
fn an_event_of_the_recorders_own_moves_the_decision_that_was_being_taken_one_place_on() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, mut log, _) = open(folder.path());
    whole(&mut log, NOON, 1);
    let stamp = log.stamp(NOON);
    assert_eq!(stamp.seq, 2);
    let event = Event::<&str>::of(EventKind::StorageFault);
    log.event(i64::MIN, &event).wait_blocking().unwrap();
    let commit = log.decide(stamp, &call(2));
    assert_eq!((commit.seq(), commit.at()), (3, NOON));
    let permit = commit.wait_blocking().unwrap().unwrap();
    assert_eq!(permit.seq(), 3);
    let end = log.finish(NOON, 3, &finish(Outcome::Ok));
    assert!(end.wait_blocking().unwrap().is_none());
    assert_eq!(seqs(&recorder.reader()), [0, 3]);
    recorder.close().unwrap();
    assert_eq!(seqs(&RecordReader::open(folder.path()).unwrap()), [0, 3]);
}

/// A disk that is full from the first moment on.
#[test]
fn an_event_of_the_recorders_own_before_everything_has_the_time_of_the_day() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, mut log, _) = open(folder.path());
    let event = Event::<&str>::of(EventKind::StorageFault);
    let told = log.event(i64::MIN, &event);
    assert!(told.at() > 1_700_000_000_000_000, "{}", told.at());
    told.wait_blocking().unwrap();
    recorder.close().unwrap();
    let events = RecordReader::open(folder.path()).unwrap().events();
    assert_eq!(events.unwrap().num_rows(), 1);
}

#[test]
fn a_reader_during_seals_sees_every_row_exactly_once() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, mut log, _) = open(folder.path());
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let sealing = {
        let (recorder, stop) = (recorder.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut seals = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                recorder.seal_now().unwrap();
                seals += 1;
            }
            seals
        })
    };
    // Two calls are always open, so that every seal carries some over.
    let (mut open, mut expected) = (std::collections::VecDeque::new(), Vec::new());
    let reader = recorder.reader();
    for round in 0..60 {
        for n in 0..20 {
            let permit = record(&mut log, NOON + round, &call(round * 20 + n))
                .unwrap()
                .unwrap();
            expected.push(permit.seq());
            open.push_back(permit.seq());
            if open.len() > 2 {
                drop(log.finish(
                    NOON + round,
                    open.pop_front().unwrap(),
                    &finish(Outcome::Ok),
                ));
            }
        }
        assert_eq!(seqs(&reader), expected, "round {round}");
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(sealing.join().unwrap() > 3);
    recorder.close().unwrap();
    assert_eq!(seqs(&RecordReader::open(folder.path()).unwrap()), expected);
}

#[test]
fn rows_walk_as_values_for_the_fold_of_counters() {
    let folder = tempfile::tempdir().unwrap();
    let (recorder, mut log, _) = open(folder.path());
    whole(&mut log, NOON, 1);
    let permit = record(&mut log, NOON + 60, &call(2)).unwrap().unwrap();
    let back = weir_recorder::Finish {
        given_back: true,
        ..finish(Outcome::Unreachable)
    };
    log.finish(NOON + 70, permit.seq(), &back)
        .wait_blocking()
        .unwrap();
    recorder.close().unwrap();
    drop((recorder, log));
    let (_recorder, _log, recovered) = open(folder.path());
    let mut rows = Vec::new();
    for batch in recovered
        .calls_since(NOON + 60, weir_recorder::CallRows::COLUMNS)
        .unwrap()
    {
        let batch = batch.unwrap();
        for row in weir_recorder::CallRows::new(&batch).unwrap().iter() {
            rows.push((
                row.seq,
                row.finished_at,
                row.given_back,
                row.verdict,
                row.grant.map(str::to_owned),
            ));
        }
    }
    assert_eq!(
        rows,
        [(
            2,
            Some(NOON + 70),
            true,
            Verdict::Allow,
            Some("grant-2".into())
        )]
    );
}

#[test]
fn the_last_silence_is_found_however_far_back() {
    const MINUTE: i64 = 60_000_000;
    let folder = tempfile::tempdir().unwrap();
    let (recorder, mut log, _) = open(folder.path());
    let silent = |now: i64| recorder.reader().silent_until(MINUTE, now).unwrap();
    assert_eq!(silent(NOON), Some(NOON), "nothing was ever decided");
    // Calls every half minute for an hour, after a silence of a minute; and one long before.
    whole(&mut log, NOON - 61 * MINUTE, 1);
    for half in 0..120 {
        record(&mut log, NOON + half * MINUTE / 2, &denied(half)).unwrap();
    }
    let last = NOON + 119 * MINUTE / 2;
    assert_eq!(silent(last + 1), Some(NOON));
    assert_eq!(silent(last + MINUTE - 1), Some(NOON));
    assert_eq!(
        silent(last + MINUTE),
        Some(last + MINUTE),
        "it is silent now"
    );
    let reader = recorder.reader();
    assert_eq!(
        reader.silent_until(2 * 61 * MINUTE, last).unwrap(),
        Some(NOON - 61 * MINUTE)
    );
    recorder.close().unwrap();
}

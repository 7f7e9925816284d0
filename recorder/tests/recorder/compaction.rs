//! Joining files: no row is changed, lost or doubled, for whoever reads at that moment and wherever it is cut short.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use weir_recorder::{
    Disk, Event, EventKind, Outcome, RecordError, RecordOptions, RecordReader, Recorder, State,
};

use crate::evidence::{Place, names};
use crate::memory::{Faults, Loss, Memory};
use crate::support::*;

pub const DAY: i64 = 86_400_000_000;

/// Two days with three seals each, and a call that ends on the second day.
pub fn two_days(recorder: &Recorder, log: &mut weir_recorder::Log) {
    let slow = record(log, NOON, &call(100)).unwrap().unwrap();
    for number in 0..6 {
        let now = NOON + number / 3 * DAY + number;
        whole(log, now, number);
        record(log, now, &denied(number + 10)).unwrap();
        log.event(now, &Event::<&str>::of(EventKind::Policy))
            .wait_blocking()
            .unwrap();
        recorder.seal_now().unwrap();
    }
    log.finish(NOON + DAY + 9, slow.seq(), &finish(Outcome::Timeout))
        .wait_blocking()
        .unwrap();
    recorder.seal_now().unwrap();
}

fn files(record: &Path, table: &str) -> Vec<Vec<String>> {
    let table = record.join(table);
    let days = names(&table).into_iter();
    days.map(|day| names(&table.join(day))).collect()
}

#[test]
fn a_compacted_record_has_one_file_a_day_the_same_rows_and_is_valid() {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    two_days(&recorder, &mut log);
    let reader = recorder.reader();
    let (rows, events) = (all_columns(&reader), reader.events().unwrap());
    assert_eq!(files(&place.record(), "calls")[0].len(), 4);
    let mut told = Vec::new();
    let done = recorder.compact(|day| told.push(day.clone())).unwrap();
    assert_eq!(done.days, told);
    let joined: Vec<_> = done
        .days
        .iter()
        .map(|day| (day.table, day.files, day.rows))
        .collect();
    assert_eq!(
        joined,
        [
            ("calls", 4, 7),
            ("calls", 3, 6),
            ("events", 3, 3),
            ("events", 3, 3)
        ]
    );
    for table in ["calls", "events"] {
        assert!(
            files(&place.record(), table)
                .iter()
                .all(|day| day.len() == 1)
        );
    }
    assert_eq!(all_columns(&reader), rows);
    assert_eq!(reader.events().unwrap(), events);
    assert_eq!(recorder.compact(|_| ()).unwrap().days, []);
    whole(&mut log, NOON + DAY + 20, 7);
    recorder.close().unwrap();
    let verified = place.verify(true);
    assert_eq!(verified.state, State::Valid, "{verified}");
    assert!(place.prove(100).is_ok());
    let (recorder, _log) = place.open();
    recorder.compact(|_| ()).unwrap();
    recorder.close().unwrap();
    assert_eq!(place.verify(true).state, State::Valid);
    assert_eq!(seqs(&RecordReader::open(place.record()).unwrap()).len(), 14);
}

#[test]
fn an_old_file_beside_the_one_that_replaced_it_is_noticed() {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    two_days(&recorder, &mut log);
    let day = place.record().join("calls/date=2026-11-22");
    let name = names(&day).remove(0);
    let old = std::fs::read(day.join(&name)).unwrap();
    recorder.compact(|_| ()).unwrap();
    recorder.close().unwrap();
    std::fs::write(day.join(&name), old).unwrap();
    assert_eq!(place.verify(true).state, State::Altered);
}

#[test]
fn who_is_reading_when_files_are_joined_gets_the_rest_of_the_same_rows() {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    two_days(&recorder, &mut log);
    record(&mut log, NOON + DAY + 10, &call(50)).unwrap();
    let expected = seqs(&recorder.reader());
    for taken in 0..expected.len() {
        let mut calls = recorder.reader().calls(&["seq"]).unwrap();
        let mut found = Vec::new();
        let mut push = |batch: arrow::array::RecordBatch| {
            use arrow::array::AsArray;
            let seqs = batch
                .column(0)
                .as_primitive::<arrow::datatypes::Int64Type>();
            found.extend(seqs.values().to_vec());
        };
        for batch in calls.by_ref().take(taken) {
            push(batch.unwrap());
        }
        // Rows that came later are not of the moment that this answer is of.
        whole(&mut log, NOON + DAY + 11, 60 + taken as i64);
        recorder.seal_now().unwrap();
        recorder.compact(|_| ()).unwrap();
        for batch in calls {
            push(batch.unwrap());
        }
        let before: Vec<_> = found
            .iter()
            .copied()
            .filter(|s| expected.contains(s))
            .collect();
        assert_eq!(before, expected, "after {taken} batches");
        let distinct: BTreeSet<_> = found.iter().collect();
        assert_eq!(distinct.len(), found.len());
    }
}

#[test]
fn readers_and_verify_see_each_row_once_while_days_are_exchanged() {
    let place = Place::new();
    let options = RecordOptions {
        tidy_grace: Duration::from_millis(20),
        ..place.options()
    };
    let (recorder, log, _) = Recorder::open(options, Arc::new(Disk)).unwrap();
    let log = std::sync::Mutex::new(log);
    let (done, joined) = (AtomicBool::new(false), AtomicBool::new(false));
    let promised = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let writer = || {
            for number in 0.. {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                let now = NOON + number / 40 * DAY;
                let seq = whole(&mut log.lock().unwrap(), now, number);
                promised.lock().unwrap().push(seq);
            }
        };
        scope.spawn(writer);
        scope.spawn(|| {
            for _ in 0..25 {
                recorder.seal_now().unwrap();
                recorder.seal_now().unwrap();
                recorder.compact(|_| ()).unwrap();
            }
            joined.store(true, Ordering::Relaxed);
        });
        let verifier = scope.spawn(|| {
            while !joined.load(Ordering::Relaxed) {
                let verified = place.verify(true);
                assert_eq!(verified.findings, [], "{verified}");
            }
        });
        while !verifier.is_finished() {
            let before = promised.lock().unwrap().clone();
            let found = seqs(&recorder.reader());
            assert!(found.is_sorted_by(|a, b| a < b), "a row is doubled");
            let found: BTreeSet<_> = found.into_iter().collect();
            let lost = before.iter().filter(|seq| !found.contains(seq)).count();
            assert_eq!(lost, 0);
            recorder.reader().events().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    recorder.close().unwrap();
    assert_eq!(place.verify(true).state, State::Valid);
}

#[test]
fn a_compaction_cut_short_at_any_change_leaves_the_old_day_or_the_new() {
    let storage = Memory::new();
    let (recorder, mut log, _) = open_on(&storage).unwrap();
    two_days(&recorder, &mut log);
    let (key, expected) = (recorder.public_key(), seqs(&recorder.reader()));
    recorder.close().unwrap();
    drop(log);
    let mut changes = 0;
    loop {
        let cut = storage.after(Loss::Process);
        let (recorder, log, _) = open_on(&cut).unwrap();
        cut.cut_power_after(changes);
        let whole = recorder.compact(|_| ()).is_ok();
        cut.cut_power();
        drop((recorder, log));
        for loss in [Loss::Process, Loss::Unsynced, Loss::Half] {
            let what = format!("cut after {changes} changes, {loss:?}");
            let after = cut.after(loss);
            assert_eq!(seqs(&reader(&after)), expected, "{what}");
            assert_clean(&after, &key);
            let (recorder, _log, _) = open_on(&after).unwrap();
            assert_eq!(seqs(&recorder.reader()), expected, "{what}");
            assert!(
                !after.paths().iter().any(|p| p.starts_with("/record/aside")),
                "{what}"
            );
            recorder.compact(|_| ()).unwrap();
            assert_eq!(seqs(&recorder.reader()), expected, "{what}");
            assert_clean(&after, &key);
        }
        if whole {
            break;
        }
        changes += 1;
    }
    assert!(changes > 40, "compaction does something");
}

#[test]
fn where_folders_cannot_be_exchanged_the_record_stays_as_it_is_and_says_so() {
    let storage = Memory::new();
    let (recorder, mut log, _) = open_on(&storage).unwrap();
    two_days(&recorder, &mut log);
    let expected = seqs(&recorder.reader());
    storage.set(Faults {
        no_exchange: true,
        ..Faults::default()
    });
    let refused = recorder.compact(|_| ());
    assert!(
        matches!(refused, Err(RecordError::NoExchange { .. })),
        "{refused:?}"
    );
    assert_eq!(seqs(&recorder.reader()), expected);
    assert_clean(&storage, &recorder.public_key());
}

#[test]
fn what_is_sealed_while_a_day_is_built_is_in_the_new_one() {
    let storage = Memory::new();
    let (recorder, mut log, _) = open_on(&storage).unwrap();
    two_days(&recorder, &mut log);
    whole(&mut log, NOON + DAY + 30, 30);
    let expected = seqs(&recorder.reader());
    storage.set(Faults {
        hang_checkpoint: true,
        ..Faults::default()
    });
    std::thread::scope(|scope| {
        // Both wait to sign what they wrote.
        let compacting = scope.spawn(|| recorder.compact(|_| ()).unwrap());
        storage.wait_for_hanging(1);
        let sealing = scope.spawn(|| recorder.seal_now().unwrap());
        storage.set(Faults::default());
        assert!(!compacting.join().unwrap().days.is_empty());
        sealing.join().unwrap();
    });
    assert_eq!(seqs(&recorder.reader()), expected);
    assert_clean(&storage, &recorder.public_key());
}

#[test]
fn small_files_are_joined_in_the_background() {
    let place = Place::new();
    let options = RecordOptions {
        compact_segments: 4,
        tidy_pause: Duration::from_millis(2),
        ..place.options()
    };
    let (recorder, mut log, _) = Recorder::open(options, Arc::new(Disk)).unwrap();
    for number in 0..12 {
        whole(&mut log, NOON, number);
        recorder.seal_now().unwrap();
    }
    let begun = Instant::now();
    while recorder.reader().segments().unwrap().len() >= 4 {
        assert!(begun.elapsed().as_secs() < 20, "nothing is joined");
        std::thread::yield_now();
    }
    assert_eq!(seqs(&recorder.reader()).len(), 12);
    recorder.close().unwrap();
    assert_eq!(place.verify(true).state, State::Valid);
}

//! Retention: what is removed is told in a signed event before, what stays is proved as before, and nothing else may be missing.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};
use weir_recorder::{
    Disk, Event, EventKind, Finish, Log, Outcome, ProofError, RecordOptions, Recorder, Retain,
    State, VerifyOptions, verify,
};

use crate::compaction::DAY;
use crate::evidence::{Place, copy_folder, names};
use crate::memory::{Loss, Memory, Shared};
use crate::support::*;

const TWO_DAYS: Retain = Retain {
    age: Some(Duration::from_hours(48)),
    bytes: None,
    window: Duration::ZERO,
};

fn options(of: RecordOptions, retain: Retain) -> RecordOptions {
    RecordOptions { retain, ..of }
}

fn open(place: &Place, retain: Retain) -> (Recorder, Log) {
    let options = options(place.options(), retain);
    let (recorder, log, _) = Recorder::open(options, Arc::new(Disk)).unwrap();
    (recorder, log)
}

/// Five days of two seals each; call 100 begins on the first and ends on the third.
fn five_days(recorder: &Recorder, log: &mut Log) {
    let slow = record(log, NOON, &call(100)).unwrap().unwrap();
    for day in 0..5 {
        let now = NOON + day * DAY;
        for number in 0..2 {
            whole(log, now, day * 10 + number);
            record(log, now, &denied(day * 10 + number + 5)).unwrap();
            log.event(now, &Event::<&str>::of(EventKind::Policy))
                .wait_blocking()
                .unwrap();
            recorder.seal_now().unwrap();
        }
        if day == 2 {
            log.finish(now, slow.seq(), &finish(Outcome::Ok))
                .wait_blocking()
                .unwrap();
        }
    }
}

/// The first two days are gone, the others are one file each.
pub fn pruned() -> Place {
    let place = Place::new();
    let (recorder, mut log) = open(&place, TWO_DAYS);
    five_days(&recorder, &mut log);
    assert_eq!(recorder.retain().unwrap().len(), 2);
    recorder.compact(|_| ()).unwrap();
    recorder.close().unwrap();
    place
}

fn is_noticed(state: State) -> bool {
    !matches!(state, State::Valid | State::NotAnchored)
}

#[test]
fn old_days_are_removed_and_what_remains_is_valid_and_says_what_went() {
    let place = Place::new();
    let (recorder, mut log) = open(&place, TWO_DAYS);
    five_days(&recorder, &mut log);
    let reader = recorder.reader();
    let before = seqs(&reader);
    let removed = recorder.retain().unwrap();
    let days: Vec<_> = removed
        .iter()
        .map(|day| (day.date.as_str(), day.calls))
        .collect();
    assert_eq!(days, [("2026-11-22", 5), ("2026-11-23", 4)]);
    assert_eq!(seqs(&reader), before[9..]);
    assert_eq!(recorder.retain().unwrap(), []);
    // Midnight of the first day that is whole.
    assert_eq!(reader.complete_from().unwrap(), Some(NOON + DAY + DAY / 2));
    whole(&mut log, NOON + 4 * DAY, 90);
    recorder.close().unwrap();
    let verified = place.verify(true);
    assert_eq!(verified.state, State::Valid, "{verified}");
    assert_eq!(verified.logs[0].removed.len(), 2);
    let text = verified.to_string();
    let told = format!(
        "4 calls of 2026-11-23 removed by retention on 2026-11-26, by event at place {}",
        removed[1].event
    );
    assert!(text.contains(&told), "{text}");
    for number in [20, 25, 40, 90] {
        assert!(place.prove(number).is_ok(), "call {number}");
    }
    assert!(matches!(place.prove(10), Err(ProofError::NoCall(_))));

    let copy = tempfile::tempdir().unwrap();
    copy_folder(&place.record(), copy.path());
    let options = VerifyOptions {
        keys: vec![place.key()],
        anchor: Some(place.anchor()),
        ..VerifyOptions::default()
    };
    assert_eq!(verify(copy.path(), &options).unwrap().state, State::Valid);

    // It goes on, is joined, and pruned again.
    let (recorder, mut log) = open(&place, TWO_DAYS);
    recorder.compact(|_| ()).unwrap();
    whole(&mut log, NOON + 6 * DAY, 91);
    recorder.seal_now().unwrap();
    assert_eq!(recorder.retain().unwrap().len(), 2);
    recorder.close().unwrap();
    let verified = place.verify(true);
    assert_eq!(verified.state, State::Valid, "{verified}");
    assert_eq!(verified.logs[0].removed.len(), 4);
    assert!(place.prove(40).is_ok());
}

#[test]
fn a_call_that_is_still_open_outlives_its_day() {
    let place = Place::new();
    let (recorder, mut log) = open(&place, TWO_DAYS);
    let slow = record(&mut log, NOON, &call(200)).unwrap().unwrap();
    five_days(&recorder, &mut log);
    recorder.retain().unwrap();
    assert!(seqs(&recorder.reader()).contains(&slow.seq()));
    log.finish(NOON + 4 * DAY, slow.seq(), &finish(Outcome::Ok))
        .wait_blocking()
        .unwrap();
    recorder.seal_now().unwrap();
    let verified = place.verify(true);
    assert_eq!(verified.findings, [], "{verified}");
    assert!(place.prove(200).is_ok());
    // Then that row is old too.
    assert_eq!(recorder.retain().unwrap().len(), 1);
    recorder.close().unwrap();
    let verified = place.verify(true);
    assert_eq!(verified.state, State::Valid, "{verified}");
}

#[test]
fn the_oldest_days_go_while_there_is_too_much_but_never_the_last_two() {
    let place = Place::new();
    let most = Retain {
        bytes: Some(1),
        ..Retain::default()
    };
    let (recorder, mut log) = open(&place, most);
    five_days(&recorder, &mut log);
    assert_eq!(recorder.retain().unwrap().len(), 3);
    recorder.close().unwrap();
    assert_eq!(place.verify(true).state, State::Valid);
    let place = Place::new();
    let all = Retain {
        bytes: Some(1 << 30),
        ..Retain::default()
    };
    let (recorder, mut log) = open(&place, all);
    five_days(&recorder, &mut log);
    assert_eq!(recorder.retain().unwrap(), []);
}

#[test]
fn what_counters_are_rebuilt_from_is_kept() {
    let place = Place::new();
    let retain = Retain {
        age: Some(Duration::from_hours(24)),
        bytes: Some(1),
        window: Duration::from_hours(72),
    };
    let (recorder, mut log) = open(&place, retain);
    five_days(&recorder, &mut log);
    // Three days back from noon of the last reaches into the second.
    let removed = recorder.retain().unwrap();
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0].date, "2026-11-22");
}

#[test]
fn a_day_that_no_event_names_is_missing() {
    let day = |place: &Place, date: &str| place.record().join("calls").join(date);
    let place = Place::new();
    let (recorder, mut log) = open(&place, Retain::default());
    five_days(&recorder, &mut log);
    recorder.close().unwrap();
    fs::remove_dir_all(day(&place, "date=2026-11-22")).unwrap();
    assert_eq!(place.verify(true).state, State::Missing);
    // More than the event names.
    let place = pruned();
    assert_eq!(place.verify(true).state, State::Valid);
    fs::remove_dir_all(day(&place, "date=2026-11-24")).unwrap();
    assert_eq!(place.verify(true).state, State::Missing);
}

#[test]
fn what_is_left_of_removed_calls_cannot_be_dropped_changed_or_made_up() {
    let removed = |place: &Place| -> Vec<PathBuf> {
        let folder = place.record().join("removed");
        names(&folder)
            .into_iter()
            .map(|name| folder.join(name))
            .collect()
    };
    for nth in 0..2 {
        let place = pruned();
        fs::remove_file(&removed(&place)[nth]).unwrap();
        assert_eq!(place.verify(true).state, State::Missing);
        let place = pruned();
        let path = &removed(&place)[nth];
        let good = fs::read(path).unwrap();
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(path, bad).unwrap();
            assert!(is_noticed(place.verify(false).state), "byte {at}");
        }
    }
    // One that no event names is nothing, whatever it says.
    let more = Place::new();
    let (recorder, mut log) = open(&more, TWO_DAYS);
    five_days(&recorder, &mut log);
    whole(&mut log, NOON + 6 * DAY, 91);
    recorder.retain().unwrap();
    recorder.close().unwrap();
    assert_eq!(removed(&more).len(), 4);
    let place = pruned();
    for path in removed(&more) {
        let to = place
            .record()
            .join("removed")
            .join(path.file_name().unwrap());
        fs::copy(path, to).unwrap();
    }
    assert_eq!(place.verify(true).state, State::Valid);
    fs::remove_dir_all(place.record().join("calls/date=2026-11-24")).unwrap();
    assert_eq!(place.verify(true).state, State::Missing);
}

#[test]
fn tampering_with_a_joined_and_pruned_record_is_noticed() {
    let files = |place: &Place| -> Vec<PathBuf> {
        let mut found = Vec::new();
        for table in ["calls", "events"] {
            let table = place.record().join(table);
            for day in names(&table) {
                let day = table.join(day);
                found.extend(names(&day).into_iter().map(|name| day.join(name)));
            }
        }
        let notes = place.record().join("checkpoints");
        found.extend(names(&notes).into_iter().map(|name| notes.join(name)));
        found
    };
    let place = pruned();
    assert_eq!(place.verify(true).state, State::Valid);
    for (nth, path) in files(&place).into_iter().enumerate() {
        let good = fs::read(&path).unwrap();
        for at in (nth % 97..good.len()).step_by(97) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 5);
            fs::write(&path, bad).unwrap();
            let state = place.verify(true).state;
            assert!(is_noticed(state), "{}: byte {at}: {state}", path.display());
        }
        fs::remove_file(&path).unwrap();
        let state = place.verify(true).state;
        assert!(is_noticed(state), "{} dropped: {state}", path.display());
        fs::write(&path, good).unwrap();
    }
    assert_eq!(place.verify(true).state, State::Valid);
}

/// The one exception that joining adds: what such a checkpoint signs, the later ones sign too, and no file needs it any more.
#[test]
fn without_an_anchor_a_checkpoint_may_go_whose_files_were_all_replaced() {
    let place = pruned();
    let notes = place.record().join("checkpoints");
    fs::remove_file(notes.join(&names(&notes)[0])).unwrap();
    assert_eq!(place.verify(false).state, State::NotAnchored);
    assert_eq!(place.verify(true).state, State::Missing);
}

#[test]
fn retention_cut_short_at_any_change_leaves_days_whole_or_gone_and_a_record_that_is_clean() {
    let storage = Memory::new();
    let open = |storage: &Arc<Memory>| {
        let options = options(crate::support::options("/record"), TWO_DAYS);
        Recorder::open(options, Arc::new(Shared(Arc::clone(storage))))
    };
    let (recorder, mut log, _) = open(&storage).unwrap();
    five_days(&recorder, &mut log);
    let (key, all) = (recorder.public_key(), seqs(&recorder.reader()));
    recorder.close().unwrap();
    drop(log);
    let allowed = [&all[..], &all[5..], &all[9..]];
    let mut changes = 0;
    loop {
        let cut = storage.after(Loss::Process);
        let (recorder, log, _) = open(&cut).unwrap();
        cut.cut_power_after(changes);
        let whole = recorder.retain().is_ok();
        cut.cut_power();
        drop((recorder, log));
        for loss in [Loss::Process, Loss::Unsynced, Loss::Half] {
            let what = format!("cut after {changes} changes, {loss:?}");
            let after = cut.after(loss);
            let left = seqs(&reader(&after));
            assert!(allowed.contains(&&left[..]), "{what}: {left:?}");
            assert_clean(&after, &key);
            let (recorder, _log, _) = open(&after).unwrap();
            recorder.retain().unwrap();
            assert_eq!(seqs(&recorder.reader()), all[9..], "{what}");
            assert_clean(&after, &key);
        }
        if whole {
            break;
        }
        changes += 1;
    }
    assert!(changes > 30, "retention does something");
}

/// A call that ends with this long result.
fn with_result(recorder: &Recorder, log: &mut Log, now: i64, number: i64, result: &str) {
    let permit = record(log, now, &call(number)).unwrap().unwrap();
    let name = recorder.keep_result(result.as_bytes()).unwrap();
    let end = Finish {
        result: Some(name),
        ..finish(Outcome::Ok)
    };
    log.finish(now, permit.seq(), &end).wait_blocking().unwrap();
}

/// Five days, of which the first names `one` and `both`, the second `both` and `kept`, and the last `kept` and `last`.
fn five_days_with_results(recorder: &Recorder, log: &mut Log) {
    let days: [&[&str]; 5] = [
        &["one", "both"],
        &["both", "kept"],
        &[],
        &[],
        &["kept", "last"],
    ];
    for (day, results) in days.into_iter().enumerate() {
        let day = day as i64;
        for (nth, result) in results.iter().enumerate() {
            with_result(
                recorder,
                log,
                NOON + day * DAY,
                day * 10 + nth as i64,
                result,
            );
        }
        whole(log, NOON + day * DAY, day * 10 + 5);
        recorder.seal_now().unwrap();
    }
}

fn result_files(results: &[&str]) -> BTreeSet<String> {
    let name = |it: &&str| format!("{}.json", hex::encode(Sha256::digest(it)));
    results.iter().map(name).collect()
}

fn results_of(place: &Place) -> BTreeSet<String> {
    names(&place.record().join("results")).into_iter().collect()
}

#[test]
fn long_results_go_with_the_last_day_that_names_them() {
    let place = Place::new();
    let (recorder, mut log) = open(&place, TWO_DAYS);
    five_days_with_results(&recorder, &mut log);
    // What was kept within the hour stays, since a row may be about to name it: not so what another process kept.
    recorder.close().unwrap();
    let (recorder, _log) = open(&place, TWO_DAYS);
    let removed = recorder.retain().unwrap();
    let results: Vec<_> = removed.iter().map(|day| day.results).collect();
    assert_eq!(results, [1, 1]);
    assert_eq!(results_of(&place), result_files(&["kept", "last"]));
    recorder.close().unwrap();
    let verified = place.verify(true);
    assert_eq!(verified.state, State::Valid, "{verified}");
    assert_eq!(verified.logs[0].removed[1].results, 1);
    let told = "3 calls of 2026-11-23 and 1 long results removed by retention";
    assert!(verified.to_string().contains(told), "{verified}");
    // What a row that stays names may not go, whatever was removed besides.
    for name in results_of(&place) {
        let path = place.record().join("results").join(name);
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(place.verify(true).state, State::Missing);
        fs::write(&path, "other").unwrap();
        assert_eq!(place.verify(true).state, State::Altered);
        fs::write(&path, good).unwrap();
    }
    assert_eq!(place.verify(true).state, State::Valid);
}

#[test]
fn a_result_that_a_row_in_the_journal_names_or_is_about_to_name_stays() {
    let place = Place::new();
    let (recorder, mut log) = open(&place, TWO_DAYS);
    five_days_with_results(&recorder, &mut log);
    with_result(&recorder, &mut log, NOON + 4 * DAY, 60, "one");
    let named = recorder.keep_result(b"both").unwrap();
    let removed = recorder.retain().unwrap();
    assert_eq!(removed.len(), 2);
    assert_eq!(
        results_of(&place),
        result_files(&["one", "both", "kept", "last"])
    );
    let permit = record(&mut log, NOON + 4 * DAY, &call(61))
        .unwrap()
        .unwrap();
    let end = Finish {
        result: Some(named),
        ..finish(Outcome::Ok)
    };
    log.finish(NOON + 4 * DAY, permit.seq(), &end)
        .wait_blocking()
        .unwrap();
    recorder.close().unwrap();
    assert_eq!(place.verify(true).state, State::Valid);
}

/// Whoever verifies a record while a day goes read rows of which the results are gone when they are looked for.
#[test]
fn a_record_that_is_verified_while_results_are_removed_is_not_accused() {
    let place = Place::new();
    let (recorder, mut log) = open(&place, TWO_DAYS);
    for day in 0..30 {
        for nth in 0..3 {
            let (number, now) = (day * 10 + nth, NOON + day * DAY);
            with_result(&recorder, &mut log, now, number, &format!("{number}"));
        }
        recorder.seal_now().unwrap();
    }
    recorder.close().unwrap();
    let (recorder, _log) = open(&place, TWO_DAYS);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let verifier = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let verified = place.verify(true);
                assert_eq!(verified.findings, [], "{verified}");
            }
        });
        assert_eq!(recorder.retain().unwrap().len(), 27);
        done.store(true, Ordering::Relaxed);
        verifier.join().unwrap();
    });
    assert_eq!(results_of(&place).len(), 9);
}

#[test]
fn a_removal_of_results_cut_short_at_any_change_is_gone_on_with() {
    let storage = Memory::new();
    let open = |storage: &Arc<Memory>| {
        let options = options(crate::support::options("/record"), TWO_DAYS);
        Recorder::open(options, Arc::new(Shared(Arc::clone(storage))))
    };
    let (recorder, mut log, _) = open(&storage).unwrap();
    five_days_with_results(&recorder, &mut log);
    let key = recorder.public_key();
    recorder.close().unwrap();
    drop(log);
    let left = |storage: &Memory| -> BTreeSet<String> {
        let paths = storage.paths().into_iter();
        let results = paths.filter(|path| path.starts_with("/record/results"));
        results
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    let (mut changes, mut between) = (0, 0);
    loop {
        let cut = storage.after(Loss::Process);
        let (recorder, log, _) = open(&cut).unwrap();
        cut.cut_power_after(changes);
        let whole = recorder.retain().is_ok();
        cut.cut_power();
        drop((recorder, log));
        for loss in [Loss::Process, Loss::Unsynced, Loss::Half] {
            let what = format!("cut after {changes} changes, {loss:?}");
            let after = cut.after(loss);
            assert_clean(&after, &key);
            let (recorder, _log, _) = open(&after).unwrap();
            let is_gone = seqs(&recorder.reader()).len() < 11;
            between += usize::from(is_gone && left(&after).is_superset(&result_files(&["one"])));
            recorder.retain().unwrap();
            assert_eq!(left(&after), result_files(&["kept", "last"]), "{what}");
            assert_clean(&after, &key);
        }
        if whole {
            break;
        }
        changes += 1;
    }
    assert!(between > 3, "cut between a day and its results: {between}");
}

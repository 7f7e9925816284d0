//! A slow disk, too many calls, too large entries: what waits is bounded, and nothing of it is lost or doubled.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use weir_recorder::{Durability, Finish, Outcome, RecordOptions, Recorder, Unrecorded};

use crate::memory::{Faults, Loss, Memory, Shared};
use crate::support::*;

fn open_with(
    storage: &Arc<Memory>,
    change: impl FnOnce(&mut RecordOptions),
) -> (Recorder, weir_recorder::Log) {
    let mut options = options("/record");
    change(&mut options);
    let (recorder, log, _) =
        Recorder::open(options, Arc::new(Shared(Arc::clone(storage)))).unwrap();
    (recorder, log)
}

#[test]
fn a_slow_disk_makes_calls_wait_or_be_refused_and_loses_and_doubles_none() {
    const QUEUE: usize = 64;
    let storage = Memory::new();
    let (recorder, log) = open_with(&storage, |options| options.queue_max = QUEUE);
    let log = Mutex::new(log);
    let (most, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let done = AtomicBool::new(false);
    let promised = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        // The disk answers only now and then.
        let disk = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                storage.set(Faults {
                    hang_sync: true,
                    ..Faults::default()
                });
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_millis(3) {
                    std::thread::yield_now();
                }
                storage.set(Faults::default());
                std::thread::yield_now();
            }
        });
        let callers: Vec<_> = (0..4)
            .map(|worker| {
                let (log, most, refused, promised, recorder) =
                    (&log, &most, &refused, &promised, &recorder);
                scope.spawn(move || {
                    // Nobody waits for one call before making the next: far more than the disk takes.
                    let mut commits = Vec::new();
                    for number in 0..1500 {
                        let commit = decide(
                            &mut log.lock().unwrap(),
                            NOON,
                            &call(worker * 2000 + number),
                        );
                        most.fetch_max(recorder.health().waiting, Ordering::Relaxed);
                        match commit.refused() {
                            None => commits.push(commit),
                            Some(why) => {
                                assert_eq!(*why, Unrecorded::QueueFull);
                                refused.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                    for commit in commits {
                        let permit = commit.wait_blocking().unwrap().unwrap();
                        promised.lock().unwrap().push(permit.seq());
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.join().unwrap();
        }
        done.store(true, Ordering::Relaxed);
        disk.join().unwrap();
    });
    assert!(most.into_inner() <= QUEUE, "what waits grows");
    assert!(refused.into_inner() > 0, "nothing was ever refused");
    let mut promised = promised.into_inner().unwrap();
    promised.sort_unstable();
    assert_eq!(seqs(&reader(&storage.after(Loss::Unsynced))), promised);
    recorder.close().unwrap();
    assert_eq!(seqs(&reader(&storage)), promised);
    assert_clean(&storage, &recorder.public_key());
}

#[test]
fn a_disk_that_hangs_holds_none_of_many_callers_longer_than_the_bound() {
    let storage = Memory::new();
    let bound = Duration::from_millis(400);
    let (recorder, log) = open_with(&storage, |options| options.commit_wait_max = bound);
    let log = Mutex::new(log);
    storage.set(Faults {
        hang: true,
        ..Faults::default()
    });
    let longest = Mutex::new(Duration::ZERO);
    std::thread::scope(|scope| {
        for number in 0..32 {
            let (log, longest) = (&log, &longest);
            scope.spawn(move || {
                let begun = Instant::now();
                let commit = decide(&mut log.lock().unwrap(), NOON, &call(number));
                assert!(commit.wait_blocking().is_err());
                let mut longest = longest.lock().unwrap();
                *longest = begun.elapsed().max(*longest);
            });
        }
    });
    // A loaded machine wakes threads late; without the bound they would wait for ever.
    assert!(longest.into_inner().unwrap() < bound + Duration::from_secs(10));
    storage.set(Faults::default());
    let mut log = log.into_inner().unwrap();
    let voided = healed(&mut log);
    let next = whole(&mut log, NOON, 99);
    assert_eq!(
        seqs(&recorder.reader()),
        voided.into_iter().chain([next]).collect::<Vec<_>>()
    );
    recorder.close().unwrap();
    assert_clean(&storage, &recorder.public_key());
}

#[test]
fn an_outcome_too_large_to_be_written_leaves_its_call_unknown() {
    let storage = Memory::new();
    let (recorder, mut log) = open_with(&storage, |_| {});
    let open = record(&mut log, NOON, &call(0)).unwrap().unwrap().seq();
    let large = Finish {
        result: Some("x".repeat(65 << 20)),
        ..finish(Outcome::Ok)
    };
    let mut end = |finish| log.finish(NOON, open, finish).refused().cloned();
    assert_eq!(end(&large), Some(Unrecorded::TooLarge));
    assert_eq!(end(&finish(Outcome::Ok)), Some(Unrecorded::NotOpen));
    drop(large);
    let next = whole(&mut log, NOON, 1);
    assert_eq!(next, 1, "it took no place");
    recorder.close().unwrap();
    let outcomes = texts(&reader(&storage), "outcome");
    assert_eq!(outcomes, [Some("unknown".into()), Some("ok".into())]);
    assert_clean(&storage, &recorder.public_key());
}

#[test]
fn a_decision_too_large_to_be_written_takes_no_place() {
    let storage = Memory::new();
    let (recorder, mut log) = open_with(&storage, |_| {});
    let mut large = call(0);
    large.arguments = Some("x".repeat(65 << 20));
    let refused = decide(&mut log, NOON, &large);
    assert_eq!(refused.refused(), Some(&Unrecorded::TooLarge));
    drop(large);
    assert_eq!(whole(&mut log, NOON, 1), 0);
    recorder.close().unwrap();
    assert_eq!(seqs(&reader(&storage)), [0]);
}

/// Found by a soak on a full machine: files were begun faster than they could be sealed, each with its zeros, until the disk
/// was full.
#[test]
fn while_sealing_does_not_keep_up_no_more_files_are_begun() {
    let storage = Memory::new();
    let (recorder, mut log) = open_with(&storage, |options| options.seal_rows = 4);
    storage.set(Faults {
        seal: true,
        ..Faults::default()
    });
    for number in 0..200 {
        whole(&mut log, NOON, number);
    }
    let logs = storage.paths();
    let logs = logs
        .iter()
        .filter(|path| path.starts_with("/record/journal"));
    assert!(logs.count() <= 5, "the one in use, two to seal, a spare");
    storage.set(Faults::default());
    recorder.close().unwrap();
    assert_eq!(seqs(&reader(&storage)).len(), 200);
    assert_clean(&storage, &recorder.public_key());
}

#[test]
fn under_interval_a_power_cut_loses_what_was_not_synced_and_accuses_nobody() {
    for loss in [Loss::Process, Loss::Unsynced, Loss::Half] {
        let storage = Memory::new();
        let (recorder, mut log) = open_with(&storage, |options| {
            options.durability = Durability::Interval(Duration::from_hours(1));
            options.checkpoint_age = Duration::from_millis(1);
        });
        for number in 0..5 {
            whole(&mut log, NOON, number);
        }
        // Sealing syncs; what comes after it is at risk.
        recorder.seal_now().unwrap();
        let mut promised: Vec<_> = (5..9)
            .map(|number| {
                record(&mut log, NOON, &call(number))
                    .unwrap()
                    .unwrap()
                    .seq()
            })
            .collect();
        let after = storage.after(loss);
        let key = recorder.public_key();
        drop((recorder, log));
        assert_clean(&after, &key);
        let (recorder, mut log, recovered) = open_on(&after).unwrap();
        let there = seqs(&recovered.reader);
        let kept = there.len() - 5;
        promised.truncate(kept);
        assert_eq!(there[5..], promised, "{loss:?}: a prefix survives");
        assert_eq!(
            (kept, recovered.unfinished),
            match loss {
                Loss::Process => (4, 4),
                Loss::Unsynced => (0, 0),
                Loss::Half => (kept, kept as u64),
            }
        );
        let next = whole(&mut log, NOON, 10);
        assert_eq!(Some(next), recovered.last_seq.map(|last| last + 1));
        recorder.close().unwrap();
        assert_clean(&after, &recorder.public_key());
    }
}

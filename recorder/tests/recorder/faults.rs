//! The disk fails, fills up, and hangs, and comes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_recorder::{
    Durability, Event, EventKind, Log, Outcome, RecordOptions, Recorder, Storage, Unrecorded,
};

use crate::memory::{Faults, Loss, Memory, Shared};
use crate::support::*;

fn open_with(storage: &Arc<Memory>, change: impl FnOnce(&mut RecordOptions)) -> (Recorder, Log) {
    let mut options = options("/record");
    change(&mut options);
    let storage: Arc<dyn Storage> = Arc::new(Shared(Arc::clone(storage)));
    let (recorder, log, _) = Recorder::open(options, storage).unwrap();
    (recorder, log)
}

/// One call before the fault, one refused by it, one after it: the same story for every kind of fault.
fn refused_and_recovered(faults: Faults) {
    let storage = Memory::new();
    let (recorder, mut log) = open_with(&storage, |_| {});
    let before = whole(&mut log, NOON, 1);
    let open = record(&mut log, NOON, &call(2)).unwrap().unwrap().seq();
    storage.set(faults);
    let refused = decide(&mut log, NOON, &call(3));
    let refused_seq = refused.seq();
    assert!(matches!(
        refused.wait_blocking(),
        Err(Unrecorded::Storage(_))
    ));
    assert!(!recorder.health().recording);
    assert!(recorder.health().fault.is_some());
    assert!(
        record(&mut log, NOON, &call(4)).is_err(),
        "refused while the disk is away"
    );
    // How a call that had been forwarded ends is not lost.
    assert!(
        log.finish(NOON, open, &finish(Outcome::ToolError))
            .wait_blocking()
            .is_err()
    );
    storage.set(Faults::default());
    assert_eq!(healed(&mut log), [refused_seq]);
    assert!(recorder.health().recording);
    let after = whole(&mut log, NOON, 5);
    assert!(after > refused_seq);

    let story = |storage: &Arc<Memory>| {
        let reader = reader(storage);
        assert_eq!(seqs(&reader), [before, open, refused_seq, after]);
        each(&reader, |row| {
            let void = row.seq == refused_seq;
            assert_eq!(row.rule, Some(if void { "(unrecorded)" } else { "" }));
            assert_eq!(row.verdict == weir_recorder::Verdict::Deny, void);
        });
        let outcomes = texts(&reader, "outcome")
            .into_iter()
            .flatten()
            .collect::<Vec<_>>();
        assert_eq!(outcomes, ["ok", "tool_error", "refused", "ok"]);
        let events = reader.events().unwrap();
        assert_eq!(
            texts_of(&events, "kind"),
            [Some("void".into()), Some("storage_fault".into())]
        );
        assert_eq!(texts_of(&events, "text")[0], Some(refused_seq.to_string()));
    };
    story(&storage);
    recorder.seal_now().unwrap();
    story(&storage);
    // As the next start finds it, whether the power failed or only the process.
    for loss in [Loss::Process, Loss::Unsynced, Loss::Half] {
        let later = storage.after(loss);
        let (recorder, log) = open_with(&later, |_| {});
        story(&later);
        drop((recorder, log));
        story(&later);
    }
    recorder.close().unwrap();
    story(&storage);
}

#[test]
fn a_failed_sync_refuses_its_calls_and_the_log_says_so_when_the_disk_is_back() {
    refused_and_recovered(Faults {
        sync: true,
        ..Faults::default()
    });
}

#[test]
fn a_failed_write_refuses_its_calls_and_the_log_says_so_when_the_disk_is_back() {
    refused_and_recovered(Faults {
        write: true,
        ..Faults::default()
    });
}

#[test]
fn a_short_write_refuses_its_calls_and_the_log_says_so_when_the_disk_is_back() {
    refused_and_recovered(Faults {
        short_write: true,
        ..Faults::default()
    });
}

#[test]
fn a_full_disk_refuses_its_calls_and_the_log_says_so_when_there_is_room() {
    refused_and_recovered(Faults {
        write: true,
        create: true,
        ..Faults::default()
    });
}

#[test]
fn a_poisoned_file_is_never_synced_again() {
    let storage = Memory::new();
    let (_recorder, mut log) = open_with(&storage, |_| {});
    storage.set(Faults {
        sync: true,
        ..Faults::default()
    });
    let refused = decide(&mut log, NOON, &call(1));
    let seq = refused.seq();
    assert!(refused.wait_blocking().is_err());
    storage.set(Faults::default());
    assert_eq!(healed(&mut log), [seq]);
    let permit = record(&mut log, NOON, &call(2)).unwrap().unwrap();
    let rows = seqs(&reader(&storage.after(Loss::Unsynced)));
    assert!(rows.contains(&permit.seq()));
}

#[test]
fn a_hanging_disk_holds_a_caller_no_longer_than_the_bound() {
    let storage = Memory::new();
    let bound = Duration::from_millis(400);
    let (recorder, mut log) = open_with(&storage, |options| options.commit_wait_max = bound);
    storage.set(Faults {
        hang_sync: true,
        ..Faults::default()
    });
    let begun = Instant::now();
    let commit = decide(&mut log, NOON, &call(1));
    let seq = commit.seq();
    assert_eq!(commit.wait_blocking().unwrap_err(), Unrecorded::Overdue);
    // A loaded machine wakes threads late; without the bound this would wait for ever.
    assert!(begun.elapsed() < bound * 10);
    let begun = Instant::now();
    assert!(record(&mut log, NOON, &call(2)).is_err());
    assert!(
        begun.elapsed() < bound,
        "while it hangs, refusals are immediate"
    );
    assert!(!recorder.health().recording);
    storage.set(Faults::default());
    assert_eq!(healed(&mut log), [seq]);
    let next = whole(&mut log, NOON, 3);
    assert_eq!(seqs(&reader(&storage)), [seq, next]);
    each(&reader(&storage), |row| {
        assert_eq!(
            row.rule,
            Some(if row.seq == seq { "(unrecorded)" } else { "" })
        )
    });
    recorder.close().unwrap();
}

#[test]
fn what_waits_for_a_slow_disk_is_bounded_and_facts_have_room_of_their_own() {
    let storage = Memory::new();
    let (recorder, mut log) = open_with(&storage, |options| options.queue_max = 4);
    let open = record(&mut log, NOON, &call(0)).unwrap().unwrap().seq();
    storage.set(Faults {
        hang_sync: true,
        ..Faults::default()
    });
    let mut waiting = vec![decide(&mut log, NOON, &call(1))];
    storage.wait_for_hanging(1);
    waiting.extend((2..5).map(|n| decide(&mut log, NOON, &call(n))));
    assert_eq!(log.ready().unwrap_err(), Unrecorded::QueueFull);
    assert_eq!(
        decide(&mut log, NOON, &call(5)).refused(),
        Some(&Unrecorded::QueueFull)
    );
    let end = log.finish(NOON, open, &finish(Outcome::Ok));
    assert!(end.refused().is_none());
    storage.set(Faults::default());
    let seqs_given: Vec<_> = waiting
        .into_iter()
        .map(|commit| commit.wait_blocking().unwrap().unwrap().seq())
        .collect();
    end.wait_blocking().unwrap();
    assert_eq!(seqs_given, [1, 2, 3, 4]);
    assert_eq!(seqs(&recorder.reader()), [0, 1, 2, 3, 4]);
}

#[test]
fn under_interval_a_permit_does_not_wait_for_the_sync_and_the_sync_comes() {
    let storage = Memory::new();
    let interval = |options: &mut RecordOptions| {
        options.durability = Durability::Interval(Duration::from_millis(20))
    };
    let (recorder, mut log) = open_with(&storage, interval);
    storage.set(Faults {
        hang_sync: true,
        ..Faults::default()
    });
    let permit = record(&mut log, NOON, &call(1)).unwrap().unwrap();
    assert!(
        seqs(&reader(&storage.after(Loss::Unsynced))).is_empty(),
        "not durable yet"
    );
    assert_eq!(
        seqs(&reader(&storage.after(Loss::Process))),
        [permit.seq()],
        "but handed over"
    );
    storage.wait_for_hanging(1);
    storage.set(Faults::default());
    recorder.close().unwrap();
    assert_eq!(
        seqs(&reader(&storage.after(Loss::Unsynced))),
        [permit.seq()]
    );
}

#[test]
fn under_interval_a_failed_sync_does_not_void_what_was_promised() {
    let storage = Memory::new();
    let interval = |options: &mut RecordOptions| {
        options.durability = Durability::Interval(Duration::from_millis(1))
    };
    let (recorder, mut log) = open_with(&storage, interval);
    storage.set(Faults {
        sync: true,
        ..Faults::default()
    });
    let permit = record(&mut log, NOON, &call(1)).unwrap().unwrap();
    let begun = Instant::now();
    while recorder.health().recording {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the failed sync is noticed"
        );
        std::thread::yield_now();
    }
    storage.set(Faults::default());
    assert_eq!(healed(&mut log), Vec::<i64>::new());
    recorder.close().unwrap();
    let reader = reader(&storage.after(Loss::Unsynced));
    assert_eq!(seqs(&reader), [permit.seq()]);
    each(&reader, |row| {
        assert_eq!(row.verdict, weir_recorder::Verdict::Allow)
    });
}

#[test]
fn a_seal_that_fails_is_said_and_loses_nothing() {
    let storage = Memory::new();
    let (recorder, mut log) = open_with(&storage, |_| {});
    let first = whole(&mut log, NOON, 1);
    storage.set(Faults {
        seal: true,
        ..Faults::default()
    });
    assert!(recorder.seal_now().is_err());
    assert!(recorder.health().recording, "decisions are still taken");
    assert!(recorder.health().fault.is_some());
    let second = whole(&mut log, NOON, 2);
    assert_eq!(seqs(&reader(&storage)), [first, second]);
    storage.set(Faults::default());
    recorder.close().unwrap();
    assert_eq!(seqs(&reader(&storage)), [first, second]);
    assert_eq!(reader(&storage).live().unwrap().num_rows(), 0);
}

#[test]
fn a_checkpoint_that_hangs_holds_up_neither_calls_nor_health() {
    let storage = Memory::new();
    let (recorder, mut log) = open_with(&storage, |_| {});
    whole(&mut log, NOON, 1);
    storage.set(Faults {
        hang_checkpoint: true,
        ..Faults::default()
    });
    let sealer = recorder.clone();
    let sealer = std::thread::spawn(move || sealer.seal_now());
    storage.wait_for_hanging(1);
    let (told, answer) = std::sync::mpsc::channel();
    let asked = recorder.clone();
    std::thread::spawn(move || {
        let health = asked.health();
        whole(&mut log, NOON, 2);
        drop(told.send(health));
    });
    let health = answer.recv_timeout(Duration::from_secs(20));
    storage.set(Faults::default());
    assert!(health.expect("waits for the checkpoint").recording);
    sealer.join().unwrap().unwrap();
    recorder.close().unwrap();
}

/// Files that could be neither finished nor removed hold the same entries as the one that was: a place has one entry.
#[test]
fn what_tells_of_a_fault_is_the_same_in_every_file_that_it_was_written_to() {
    let storage = Memory::new();
    let (recorder, mut log) = open_with(&storage, |_| {});
    whole(&mut log, NOON, 1);
    let logs = || {
        storage
            .paths()
            .iter()
            .filter(|p| p.starts_with("/record/journal"))
            .count()
    };
    storage.set(Faults {
        sync_entries: true,
        keep: Some(".log"),
        ..Faults::default()
    });
    assert!(record(&mut log, NOON, &call(2)).is_err());
    let begun = Instant::now();
    for refused in 3..6 {
        let before = logs();
        assert!(record(&mut log, NOON, &call(refused)).is_err());
        while logs() < before + 2 {
            assert!(begun.elapsed() < Duration::from_secs(20), "gives up");
            std::thread::yield_now();
        }
    }
    storage.set(Faults::default());
    assert_eq!(healed(&mut log), [2]);
    whole(&mut log, NOON, 6);
    recorder.seal_now().unwrap();
    assert!(logs() > 2, "files stay behind");
    assert_clean(&storage, &recorder.public_key());
    drop((recorder, log));
    let (recorder, log, _) = open_on(&storage).unwrap();
    assert_clean(&storage, &recorder.public_key());
    drop((recorder, log));
}

/// Whatever fails when keys are changed, what signs afterwards is what the next start believes.
#[test]
fn a_change_of_keys_that_fails_half_way_leaves_one_key_that_signs() {
    let not_named = |name| Faults {
        name: Some(name),
        ..Faults::default()
    };
    for (faults, is_changed) in [
        // The key put aside, the checkpoint, the checkpoint's folder, the new public key, the new private one.
        (not_named(".next"), false),
        (not_named(".note"), false),
        (
            Faults {
                names_of: Some("checkpoints"),
                ..Faults::default()
            },
            true,
        ),
        (not_named(".pub"), true),
        (not_named("signing.key"), true),
    ] {
        for is_killed in [true, false] {
            let storage = Memory::new();
            let (recorder, mut log, _) = open_on(&storage).unwrap();
            whole(&mut log, NOON, 1);
            let old = recorder.public_key();
            storage.set(faults);
            assert!(recorder.rotate_key().is_err(), "{faults:?}");
            storage.set(Faults::default());
            assert_eq!(recorder.public_key() != old, is_changed, "{faults:?}");
            whole(&mut log, NOON, 2);
            recorder.seal_now().unwrap();
            assert_clean(&storage, &old);
            let storage = if is_killed {
                storage.after(Loss::Unsynced)
            } else {
                // Another change completes the one that failed.
                recorder.rotate_key().unwrap();
                whole(&mut log, NOON, 3);
                recorder.close().unwrap();
                storage
            };
            let last = recorder.public_key();
            let (recorder, mut log, _) = open_on(&storage).unwrap();
            assert_eq!(recorder.public_key(), last, "{faults:?}");
            whole(&mut log, NOON, 4);
            recorder.close().unwrap();
            assert_clean(&storage, &old);
        }
    }
}

/// The end of a call is carried on again whenever sealing is tried again: a copy of it may outlast the call's own entry.
#[test]
fn the_end_of_a_sealed_call_left_in_the_journal_accuses_nobody() {
    let storage = Memory::new();
    let (recorder, mut log, _) = open_on(&storage).unwrap();
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
            std::thread::yield_now();
        }
    };
    // The first file holds a call that is open, the second its end, the third both.
    whole(&mut log, NOON, 1);
    let slow = record(&mut log, NOON, &call(2)).unwrap().unwrap();
    storage.set(Faults {
        seal: true,
        ..Faults::default()
    });
    assert!(recorder.seal_now().is_err());
    log.finish(NOON, slow.seq(), &finish(Outcome::Ok))
        .wait_blocking()
        .unwrap();
    assert!(recorder.seal_now().is_err());
    let second = "-0000000002.log";
    storage.set(Faults {
        keep: Some(second),
        ..Faults::default()
    });
    until("the first is sealed, and the second not removed", &|| {
        let fault = recorder.health().fault;
        fault.is_some_and(|fault| fault.contains(second))
    });
    // While that is tried again and again, a fourth file gets a copy of the end too.
    assert!(recorder.seal_now().is_err());
    let before = recorder.health().unsealed;
    until("it is carried", &|| recorder.health().unsealed > before + 2);
    storage.set(Faults::default());
    let third = std::path::Path::new("/record/journal/n1-0000000003.log");
    until("the third is sealed", &|| {
        !storage.paths().iter().any(|path| path == third)
    });
    let outcomes = texts(&reader(&storage), "outcome");
    assert_eq!(outcomes, [Some("ok".into()), Some("ok".into())]);
    assert_clean(&storage, &recorder.public_key());
    recorder.close().unwrap();
    assert_clean(&storage, &recorder.public_key());
}

#[test]
fn an_outcome_that_finds_no_room_leaves_its_call_unknown() {
    let storage = Memory::new();
    let (recorder, mut log) = open_with(&storage, |options| options.queue_max = 2);
    let open = record(&mut log, NOON, &call(0)).unwrap().unwrap().seq();
    storage.set(Faults {
        hang_sync: true,
        ..Faults::default()
    });
    let mut waiting = vec![decide(&mut log, NOON, &call(1))];
    storage.wait_for_hanging(1);
    waiting.push(decide(&mut log, NOON, &call(2)));
    let event = Event::<&str>::of(EventKind::Policy);
    let events = [(); 2].map(|()| log.event(NOON, &event));
    let mut end = || {
        log.finish(NOON, open, &finish(Outcome::Ok))
            .refused()
            .cloned()
    };
    assert_eq!(end(), Some(Unrecorded::QueueFull));
    assert_eq!(end(), Some(Unrecorded::NotOpen));
    storage.set(Faults::default());
    for commit in waiting.into_iter().chain(events) {
        commit.wait_blocking().unwrap();
    }
    assert_eq!(end(), Some(Unrecorded::NotOpen));
    recorder.close().unwrap();
    assert_eq!(
        texts(&reader(&storage), "outcome")[0],
        Some("unknown".into())
    );
}

#[test]
fn a_full_anchor_is_not_littered_and_gets_the_checkpoint_when_there_is_room() {
    let storage = Memory::new();
    let (recorder, mut log) =
        open_with(&storage, |options| options.anchor = Some("/anchor".into()));
    let there = || {
        storage
            .paths()
            .iter()
            .filter(|path| path.starts_with("/anchor"))
            .count()
    };
    let until = |what: &str, done: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
            std::thread::yield_now();
        }
    };
    for (size, full) in [(2, "write"), (4, "sync")] {
        let before = there();
        storage.set(Faults {
            anchor_write: full == "write",
            anchor_sync: full == "sync",
            ..Faults::default()
        });
        whole(&mut log, NOON, size);
        recorder.seal_now().unwrap();
        until("it fails", &|| recorder.health().fault.is_some());
        assert_eq!(there(), before, "{full}");
        storage.set(Faults::default());
        until("it has room", &|| recorder.health().fault.is_none());
        assert_eq!(there(), before + 1);
        let name = format!("/anchor/n1-{size:012}.note");
        assert!(storage.paths().contains(&name.into()));
    }
    recorder.close().unwrap();
}

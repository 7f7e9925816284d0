//! The fail-closed matrix of DESIGN 6.4, as far as it is the record's: each row with each way in which a disk can fail.
//! `cargo test -p weir-recorder matrix -- --nocapture` prints it.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use weir_recorder::{Outcome, RecordOptions, Recorder, Unrecorded};

use crate::memory::{Faults, Loss, Memory, Shared};
use crate::support::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Error,
    ShortWrite,
    Hang,
    FullDisk,
    ReadOnly,
}

impl Fault {
    const ALL: [Self; 5] = [
        Self::Error,
        Self::ShortWrite,
        Self::Hang,
        Self::FullDisk,
        Self::ReadOnly,
    ];

    fn faults(self) -> Faults {
        let none = Faults::default();
        match self {
            Self::Error => Faults { sync: true, ..none },
            Self::ShortWrite => Faults {
                short_write: true,
                ..none
            },
            Self::Hang => Faults { hang: true, ..none },
            Self::FullDisk => Faults { full: true, ..none },
            Self::ReadOnly => Faults {
                read_only: true,
                ..none
            },
        }
    }
}

/// One row of the matrix: what must be true of it, whatever the fault.
fn each_fault(row: &str, holds: impl Fn(Fault) -> &'static str) {
    for fault in Fault::ALL {
        let result = holds(fault);
        println!("{row:<22} | {:<10} | {result}", format!("{fault:?}"));
    }
}

/// Longest that a caller may be held in these tests, and how far a loaded machine may be behind with it.
const BOUND: Duration = Duration::from_millis(300);
const LATE: Duration = Duration::from_secs(10);

fn open_bounded(storage: &std::sync::Arc<Memory>) -> (Recorder, weir_recorder::Log) {
    let options = RecordOptions {
        commit_wait_max: BOUND,
        ..options("/record")
    };
    let storage = std::sync::Arc::new(Shared(std::sync::Arc::clone(storage)));
    let (recorder, log, _) = Recorder::open(options, storage).unwrap();
    (recorder, log)
}

#[test]
fn a_record_that_cannot_be_opened_at_start_is_refused() {
    each_fault("open the record", |fault| {
        let storage = Memory::new();
        let (recorder, mut log, _) = open_on(&storage).unwrap();
        let before = whole(&mut log, NOON, 1);
        recorder.close().unwrap();
        drop((recorder, log));
        storage.set(fault.faults());
        let result = if fault == Fault::Hang {
            let (opened, answer) = mpsc::channel();
            let hanging = std::sync::Arc::clone(&storage);
            let starting = std::thread::spawn(move || {
                let result = open_on(&hanging).map(drop);
                opened.send(()).unwrap();
                result
            });
            storage.wait_for_hanging(1);
            assert!(answer.try_recv().is_err(), "opened on a disk that hangs");
            storage.set(Faults::default());
            starting.join().unwrap().unwrap();
            "does not start until the disk answers"
        } else {
            assert!(open_on(&storage).is_err(), "{fault:?}");
            storage.set(Faults::default());
            "refuses to start"
        };
        let (recorder, mut log, _) = open_on(&storage).unwrap();
        let after = whole(&mut log, NOON, 2);
        assert_eq!(seqs(&recorder.reader()), [before, after], "{fault:?}");
        recorder.close().unwrap();
        assert_clean(&storage, &recorder.public_key());
        result
    });
}

#[test]
fn a_decision_that_cannot_be_written_is_refused_until_the_disk_is_back() {
    each_fault("write a decision", |fault| {
        let storage = Memory::new();
        let (recorder, mut log) = open_bounded(&storage);
        let before = whole(&mut log, NOON, 1);
        storage.set(fault.faults());
        let begun = Instant::now();
        let refused = decide(&mut log, NOON, &call(2));
        let refused_seq = refused.seq();
        let why = refused.wait_blocking().unwrap_err();
        assert!(begun.elapsed() < BOUND + LATE, "{fault:?}");
        assert_eq!(why == Unrecorded::Overdue, fault == Fault::Hang, "{why}");
        let health = recorder.health();
        assert!(!health.recording && health.fault.is_some(), "{fault:?}");
        assert!(record(&mut log, NOON, &call(3)).is_err(), "{fault:?}");
        storage.set(Faults::default());
        assert_eq!(healed(&mut log), [refused_seq], "{fault:?}");
        assert!(recorder.health().recording);
        let after = whole(&mut log, NOON, 4);
        for storage in [
            std::sync::Arc::clone(&storage),
            storage.after(Loss::Unsynced),
        ] {
            let reader = reader(&storage);
            assert_eq!(seqs(&reader), [before, refused_seq, after], "{fault:?}");
            let rules = texts(&reader, "rule");
            assert_eq!(rules[1].as_deref(), Some("(unrecorded)"), "{fault:?}");
        }
        recorder.close().unwrap();
        assert_clean(&storage, &recorder.public_key());
        "refused, health red; writes again by itself"
    });
}

#[test]
fn an_outcome_that_cannot_be_written_holds_up_nobody_and_is_unknown_or_kept() {
    each_fault("write an outcome", |fault| {
        let storage = Memory::new();
        let (recorder, mut log) = open_bounded(&storage);
        let open = record(&mut log, NOON, &call(1)).unwrap().unwrap().seq();
        storage.set(fault.faults());
        // Queueing it waits for nothing; who does wait, as `outcome = "strict"` has it, is told within the bound.
        let begun = Instant::now();
        let end = log.finish(NOON, open, &finish(Outcome::Ok));
        assert_eq!(end.refused(), None, "{fault:?}");
        assert!(end.wait_blocking().is_err(), "{fault:?}");
        assert!(begun.elapsed() < BOUND + LATE, "{fault:?}");
        assert!(!recorder.health().recording, "{fault:?}");
        // If the machine stops now, how the call ended is not known.
        let stopped = storage.after(Loss::Unsynced);
        let (later, _log, recovered) = open_on(&stopped).unwrap();
        assert_eq!(recovered.unfinished, 1, "{fault:?}");
        assert_eq!(
            texts(&later.reader(), "outcome"),
            [Some("unknown".into())],
            "{fault:?}"
        );
        assert_clean(&stopped, &later.public_key());
        // If the disk comes back, nothing is lost.
        storage.set(Faults::default());
        assert_eq!(healed(&mut log), Vec::<i64>::new(), "{fault:?}");
        recorder.close().unwrap();
        assert_eq!(
            texts(&reader(&storage), "outcome"),
            [Some("ok".into())],
            "{fault:?}"
        );
        assert_clean(&storage, &recorder.public_key());
        "nobody waits; unknown after a stop, kept once the disk is back"
    });
}

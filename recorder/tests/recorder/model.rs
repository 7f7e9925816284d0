//! The recorder against a map: generated lives with faults, crashes and restarts must leave what the map says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use weir_recorder::{Event, EventKind, Log, Outcome, Recorder, Verdict};

use crate::memory::{Faults, Loss, Memory};
use crate::support::*;

#[derive(Debug, Clone, Copy)]
enum Action {
    Allow,
    Deny,
    /// The call so many back from the latest ends.
    End(usize),
    Event,
    Seal,
    /// A call meets a disk that fails in this way; then the disk is back.
    Fault(Faults),
    /// The record is closed and opened again.
    Restart,
    /// The process or the machine stops, and starts again.
    Crash(Loss),
}

fn any_action() -> impl Strategy<Value = Action> {
    let fault = prop_oneof![
        Just(Faults {
            sync: true,
            ..Faults::default()
        }),
        Just(Faults {
            write: true,
            ..Faults::default()
        }),
        Just(Faults {
            short_write: true,
            create: true,
            ..Faults::default()
        }),
    ];
    let loss = prop_oneof![Just(Loss::Process), Just(Loss::Unsynced), Just(Loss::Half)];
    prop_oneof![
        6 => Just(Action::Allow),
        2 => Just(Action::Deny),
        5 => (0..4_usize).prop_map(Action::End),
        1 => Just(Action::Event),
        2 => Just(Action::Seal),
        1 => fault.prop_map(Action::Fault),
        1 => Just(Action::Restart),
        1 => loss.prop_map(Action::Crash),
    ]
}

/// What the record must say of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Open,
    Unknown,
    Denied,
    Voided,
    Ended,
}

struct World {
    storage: Arc<Memory>,
    recorder: Recorder,
    log: Log,
    calls: BTreeMap<i64, Expected>,
    events: usize,
    number: i64,
}

impl World {
    fn begin() -> Self {
        let storage = Memory::new();
        let (recorder, log, _) = open_on(&storage).unwrap();
        Self {
            storage,
            recorder,
            log,
            calls: BTreeMap::new(),
            events: 0,
            number: 0,
        }
    }

    fn act(&mut self, action: Action) {
        self.number += 1;
        match action {
            Action::Allow => {
                let permit = record(&mut self.log, NOON, &call(self.number))
                    .unwrap()
                    .unwrap();
                self.new_call(permit.seq(), Expected::Open);
            }
            Action::Deny => {
                let commit = decide(&mut self.log, NOON, &denied(self.number));
                let seq = commit.seq();
                assert!(commit.wait_blocking().unwrap().is_none());
                self.new_call(seq, Expected::Denied);
            }
            Action::End(back) => {
                let open = self
                    .calls
                    .iter()
                    .rev()
                    .filter(|(_, is)| **is == Expected::Open)
                    .nth(back);
                if let Some(seq) = open.map(|(seq, _)| *seq) {
                    self.log
                        .finish(NOON, seq, &finish(Outcome::Ok))
                        .wait_blocking()
                        .unwrap();
                    self.calls.insert(seq, Expected::Ended);
                }
            }
            Action::Event => {
                self.log
                    .event(NOON, &Event::<&str>::of(EventKind::Policy))
                    .wait_blocking()
                    .unwrap();
                self.events += 1;
            }
            Action::Seal => self.recorder.seal_now().unwrap(),
            Action::Fault(faults) => self.fault(faults),
            Action::Restart => {
                self.recorder.close().unwrap();
                self.reopen(Loss::Unsynced);
            }
            Action::Crash(loss) => {
                self.storage.cut_power();
                self.reopen(loss);
            }
        }
    }

    fn new_call(&mut self, seq: i64, expected: Expected) {
        let last = self.calls.last_key_value().map_or(-1, |(seq, _)| *seq);
        assert!(seq > last, "places go up");
        self.calls.insert(seq, expected);
    }

    fn fault(&mut self, faults: Faults) {
        self.storage.set(faults);
        let commit = decide(&mut self.log, NOON, &call(self.number));
        let seq = commit.seq();
        assert!(commit.wait_blocking().is_err());
        self.storage.set(Faults::default());
        let begun = Instant::now();
        let void = loop {
            match self.log.ready() {
                Ok(void) => break void.unwrap(),
                Err(_) => assert!(begun.elapsed() < Duration::from_secs(20), "never heals"),
            }
            std::thread::yield_now();
        };
        assert_eq!(void.seqs, [seq]);
        self.new_call(seq, Expected::Voided);
        self.events += 2;
    }

    fn reopen(&mut self, loss: Loss) {
        self.storage = self.storage.after(loss);
        let (recorder, log, recovered) = open_on(&self.storage).unwrap();
        (self.recorder, self.log) = (recorder, log);
        for expected in self.calls.values_mut().filter(|is| **is == Expected::Open) {
            *expected = Expected::Unknown;
        }
        assert!(recovered.last_seq >= self.calls.last_key_value().map(|(seq, _)| *seq));
    }

    fn check(&self) {
        let mut rows = BTreeMap::new();
        let reader = reader(&self.storage);
        let outcomes = texts(&reader, "outcome");
        let mut at = 0;
        each(&reader, |row| {
            let found = match (row.verdict, row.rule, outcomes[at].as_deref()) {
                (Verdict::Deny, Some("(unrecorded)"), Some("refused")) => Expected::Voided,
                (Verdict::Deny, _, Some("refused")) => Expected::Denied,
                (Verdict::Allow, _, None) => Expected::Open,
                (Verdict::Allow, _, Some("unknown")) => Expected::Unknown,
                (Verdict::Allow, _, Some("ok")) => Expected::Ended,
                other => panic!("{other:?}"),
            };
            at += 1;
            assert!(
                rows.insert(row.seq, found).is_none(),
                "{} is doubled",
                row.seq
            );
        });
        assert_eq!(rows, self.calls);
        assert_eq!(reader.events().unwrap().num_rows(), self.events);
        assert_clean(&self.storage, &self.recorder.public_key());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_life_leaves_what_the_model_says(actions in vec(any_action(), 1..40)) {
        let mut world = World::begin();
        for action in actions {
            world.act(action);
            if matches!(action, Action::Seal | Action::Fault(_) | Action::Restart | Action::Crash(_)) {
                world.check();
            }
        }
        world.check();
        world.recorder.close().unwrap();
    }
}

/// Found by the property: a file given up in a fault was still being sealed when the record closed, and the calls open in
/// it could not be carried any more.
#[test]
fn closing_right_after_a_fault_seals_the_given_up_file_too() {
    for _ in 0..20 {
        let mut world = World::begin();
        let fault = Faults {
            sync: true,
            ..Faults::default()
        };
        for action in [
            Action::Allow,
            Action::Allow,
            Action::Deny,
            Action::Fault(fault),
            Action::Restart,
            Action::Allow,
        ] {
            world.act(action);
        }
        world.check();
    }
}

//! The recorder against a map: generated lives with faults, crashes at any write, torn tails, clocks that go back, seals and
//! restarts must leave what the map says, in everything that can be seen of a record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use weir_recorder::{Event, EventKind, Log, Outcome, Recorder, Storage, Verdict};

use crate::memory::{Faults, Loss, Memory, Shared};
use crate::support::*;

#[derive(Debug, Clone)]
enum Action {
    Allow,
    Deny,
    /// The call so many back from the latest that is open ends.
    End(usize),
    Event,
    Seal,
    /// The wall clock is set to so many microseconds after noon.
    Clock(i64),
    /// A call meets a disk that fails in this way; then the disk is back.
    Fault(Faults),
    /// The record is closed and opened again.
    Restart,
    /// The process or the machine stops, and starts again.
    Crash(Loss),
    /// The same at the change of this number from now, in the middle of calls, ends and a seal.
    CrashDuring(usize, Loss),
    /// The process stops while writing: these bytes are behind the last entry.
    Torn(Vec<u8>),
}

fn any_action() -> impl Strategy<Value = Action> {
    let none = Faults::default();
    let fault = prop_oneof![
        Just(Faults { sync: true, ..none }),
        Just(Faults {
            write: true,
            ..none
        }),
        Just(Faults {
            short_write: true,
            create: true,
            ..none
        }),
        Just(Faults { full: true, ..none }),
    ];
    let loss = prop_oneof![Just(Loss::Process), Just(Loss::Unsynced), Just(Loss::Half)];
    let garbage = vec(1..=255_u8, 1..40);
    prop_oneof![
        6 => Just(Action::Allow),
        2 => Just(Action::Deny),
        5 => (0..4_usize).prop_map(Action::End),
        1 => Just(Action::Event),
        2 => Just(Action::Seal),
        1 => (-100..100_i64).prop_map(Action::Clock),
        1 => fault.prop_map(Action::Fault),
        1 => Just(Action::Restart),
        1 => loss.clone().prop_map(Action::Crash),
        2 => (0..60_usize, loss).prop_map(|(changes, loss)| Action::CrashDuring(changes, loss)),
        1 => garbage.prop_map(Action::Torn),
    ]
}

/// What the record must say of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Unknown,
    Denied,
    Voided,
    /// Place and time of its end.
    Ended(i64, i64),
}

/// One row as it must be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    number: i64,
    at: i64,
    state: State,
}

/// What was asked for when the power went and never answered: it may have happened or not.
#[derive(Debug, Default)]
struct Unsure {
    calls: BTreeSet<i64>,
    /// By the call's place.
    ends: BTreeSet<i64>,
    events: usize,
}

struct World {
    storage: Arc<Memory>,
    recorder: Recorder,
    log: Log,
    rows: BTreeMap<i64, Row>,
    events: usize,
    number: i64,
    now: i64,
    last_at: i64,
}

impl World {
    fn begin() -> Self {
        let storage = Memory::new();
        let (recorder, log, _) = open_on(&storage).unwrap();
        Self {
            storage,
            recorder,
            log,
            rows: BTreeMap::new(),
            events: 0,
            number: 0,
            now: NOON,
            last_at: i64::MIN,
        }
    }

    fn live(actions: impl IntoIterator<Item = Action>) {
        let mut world = Self::begin();
        for action in actions {
            let stops = matches!(
                action,
                Action::Seal
                    | Action::Fault(_)
                    | Action::Restart
                    | Action::Crash(_)
                    | Action::CrashDuring(..)
                    | Action::Torn(_)
            );
            world.act(action);
            if stops {
                world.check();
            }
        }
        world.check();
        world.recorder.close().unwrap();
        world.settle_open();
        world.check();
    }

    fn act(&mut self, action: Action) {
        self.number += 1;
        match action {
            Action::Allow => assert!(self.decide(Verdict::Allow)),
            Action::Deny => assert!(self.decide(Verdict::Deny)),
            Action::End(back) => {
                if let Some(seq) = self.open(back) {
                    assert!(self.end(seq));
                }
            }
            Action::Event => assert!(self.event()),
            Action::Seal => self.recorder.seal_now().unwrap(),
            Action::Clock(at) => self.now = NOON + at,
            Action::Fault(faults) => self.fault(faults),
            Action::Restart => {
                self.recorder.close().unwrap();
                self.settle_open();
                self.reopen(Loss::Unsynced, &Unsure::default(), false);
            }
            Action::Crash(loss) => {
                self.storage.cut_power();
                self.reopen(loss, &Unsure::default(), false);
            }
            Action::CrashDuring(changes, loss) => {
                self.storage.cut_power_after(changes);
                let unsure = self.until_the_power_goes();
                self.storage.cut_power();
                self.reopen(loss, &unsure, false);
            }
            Action::Torn(garbage) => {
                self.storage.cut_power();
                self.storage = self.storage.after(Loss::Process);
                tear(&self.storage, &garbage);
                self.reopen(Loss::Process, &Unsure::default(), true);
            }
        }
    }

    /// The time that the next entry must get.
    fn next_at(&self) -> i64 {
        self.last_at.max(self.now)
    }

    /// One more call; whether its decision is durable.
    fn decide(&mut self, verdict: Verdict) -> bool {
        let asked = match verdict {
            Verdict::Allow => call(self.number),
            Verdict::Deny => denied(self.number),
        };
        let stamp = self.log.stamp(self.now);
        let (seq, at) = (stamp.seq, stamp.decided_at);
        assert_eq!(at, self.next_at(), "time goes on, and not back");
        let Ok(permit) = self.log.decide(stamp, &asked).wait_blocking() else {
            return false;
        };
        assert_eq!(permit.is_some(), verdict == Verdict::Allow);
        assert!(permit.is_none_or(|permit| permit.seq() == seq));
        let state = match verdict {
            Verdict::Allow => State::Open,
            Verdict::Deny => State::Denied,
        };
        self.new_row(seq, at, state);
        true
    }

    fn new_row(&mut self, seq: i64, at: i64, state: State) {
        let last = self.rows.last_key_value().map_or(-1, |(seq, _)| *seq);
        assert!(seq > last, "places go up");
        let number = self.number;
        self.rows.insert(seq, Row { number, at, state });
        self.last_at = self.last_at.max(at);
    }

    fn open(&self, back: usize) -> Option<i64> {
        let mut open = self
            .rows
            .iter()
            .rev()
            .filter(|(_, row)| row.state == State::Open);
        open.nth(back).map(|(seq, _)| *seq)
    }

    fn end(&mut self, seq: i64) -> bool {
        let at = self.next_at();
        let commit = self.log.finish(self.now, seq, &finish(Outcome::Ok));
        let place = commit.seq();
        assert_eq!(commit.at(), at);
        let durable = commit.wait_blocking().is_ok();
        if durable {
            self.rows.get_mut(&seq).unwrap().state = State::Ended(place, at);
            self.last_at = at;
        }
        durable
    }

    fn event(&mut self) -> bool {
        let commit = self
            .log
            .event(self.now, &Event::<&str>::of(EventKind::Policy));
        let at = commit.at();
        assert_eq!(at, self.next_at());
        let durable = commit.wait_blocking().is_ok();
        if durable {
            self.events += 1;
            self.last_at = at;
        }
        durable
    }

    /// Calls, ends, events and a seal, as far as they come.
    fn until_the_power_goes(&mut self) -> Unsure {
        let mut unsure = Unsure::default();
        for round in 0..6 {
            self.number += 1;
            if !self.decide(Verdict::Allow) {
                unsure.calls.insert(self.number);
            }
            if let Some(seq) = self.open(round % 3).filter(|_| round % 2 == 0)
                && !self.end(seq)
            {
                unsure.ends.insert(seq);
            }
            if round == 2 {
                drop(self.recorder.seal_now());
            }
            if round == 3 && !self.event() {
                unsure.events += 1;
            }
        }
        unsure
    }

    fn fault(&mut self, faults: Faults) {
        self.storage.set(faults);
        let stamp = self.log.stamp(self.now);
        let (seq, at) = (stamp.seq, stamp.decided_at);
        let commit = self.log.decide(stamp, &call(self.number));
        assert!(commit.wait_blocking().is_err());
        self.storage.set(Faults::default());
        assert_eq!(healed(&mut self.log), [seq]);
        self.new_row(seq, at, State::Voided);
        self.events += 2;
        if faults.full {
            // That it is full, and that there is room again.
            self.events += 2;
            let begun = std::time::Instant::now();
            while reader(&self.storage).events().unwrap().num_rows() < self.events {
                assert!(
                    begun.elapsed().as_secs() < 20,
                    "the log does not tell of it"
                );
                std::thread::yield_now();
            }
        }
    }

    /// Nobody can tell any more how what is open ended.
    fn settle_open(&mut self) -> u64 {
        let mut settled = 0;
        for row in self.rows.values_mut() {
            if row.state == State::Open {
                row.state = State::Unknown;
                settled += 1;
            }
        }
        settled
    }

    fn reopen(&mut self, loss: Loss, unsure: &Unsure, torn: bool) {
        self.storage = self.storage.after(loss);
        let (recorder, log, recovered) = open_on(&self.storage).unwrap();
        (self.recorder, self.log) = (recorder, log);
        assert!(recovered.torn || !torn, "a torn tail is said");
        let unfinished = self.settle_open();
        self.reconcile(unsure);
        if unsure.calls.is_empty() && unsure.ends.is_empty() {
            assert_eq!(recovered.unfinished, unfinished);
        }
        assert!(recovered.last_seq >= self.rows.last_key_value().map(|(seq, _)| *seq));
        let last_at = recovered.last_decided_at.unwrap_or(i64::MIN);
        assert!(
            last_at >= self.last_at,
            "time went back with what is durable"
        );
        self.last_at = last_at;
    }

    /// Learns what became of what nobody was told of.
    fn reconcile(&mut self, unsure: &Unsure) {
        let found = self.read();
        for (seq, row) in found {
            match self.rows.get_mut(&seq) {
                Some(known) if unsure.ends.contains(&seq) => {
                    assert!(matches!(row.state, State::Unknown | State::Ended(..)));
                    known.state = row.state;
                }
                Some(_) => {}
                None => {
                    assert!(
                        unsure.calls.contains(&row.number),
                        "nobody asked for {row:?}"
                    );
                    self.rows.insert(seq, row);
                }
            }
        }
        let events = self.recorder.reader().events().unwrap().num_rows();
        assert!((self.events..=self.events + unsure.events).contains(&events));
        self.events = events;
    }

    fn read(&self) -> BTreeMap<i64, Row> {
        let reader = reader(&self.storage);
        let outcomes = texts(&reader, "outcome");
        let (mut rows, mut at, mut last) = (BTreeMap::new(), 0, -1);
        each(&reader, |row| {
            let end = (row.finish_seq, row.finished_at);
            let state = match (row.verdict, row.rule, outcomes[at].as_deref(), end) {
                (Verdict::Deny, Some("(unrecorded)"), Some("refused"), _) => State::Voided,
                (Verdict::Deny, _, Some("refused"), _) => State::Denied,
                (Verdict::Allow, _, None, (None, None)) => State::Open,
                (Verdict::Allow, _, Some("unknown"), (None, None)) => State::Unknown,
                (Verdict::Allow, _, Some("ok"), (Some(seq), Some(at))) => State::Ended(seq, at),
                other => panic!("{other:?}"),
            };
            at += 1;
            assert!(row.seq > last, "{} is doubled or out of order", row.seq);
            last = row.seq;
            let number = row.arguments.unwrap();
            let number = number.trim_start_matches("{\"id\":").trim_end_matches('}');
            let row_read = Row {
                number: number.parse().unwrap(),
                at: row.decided_at,
                state,
            };
            rows.insert(row.seq, row_read);
        });
        rows
    }

    fn check(&mut self) {
        let rows = self.read();
        assert_eq!(rows, self.rows);
        let events = reader(&self.storage).events().unwrap();
        assert_eq!(events.num_rows(), self.events);
        // Every place is that of a decision, an end or an event: none is skipped, and none is taken twice.
        let mut places: Vec<i64> = rows.keys().copied().collect();
        places.extend(rows.values().filter_map(|row| match row.state {
            State::Ended(seq, _) => Some(seq),
            State::Open | State::Unknown | State::Denied | State::Voided => None,
        }));
        places.extend(numbers_of(&events, "seq"));
        places.sort_unstable();
        let next = self.log.stamp(self.now).seq;
        assert_eq!(places, (0..next).collect::<Vec<_>>());
        // What the log says is void is what the rows say.
        let voided = rows.values().filter(|row| row.state == State::Voided);
        let told = texts_of(&events, "kind");
        let told = told.iter().filter(|kind| kind.as_deref() == Some("void"));
        assert_eq!(voided.count(), told.count());
        assert_clean(&self.storage, &self.recorder.public_key());
    }
}

/// Writes garbage behind the last whole entry of the journal file in use.
fn tear(storage: &Arc<Memory>, garbage: &[u8]) {
    let shared = Shared(Arc::clone(storage));
    let logs = storage.paths();
    let logs = logs
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "log"));
    let begun = logs.filter(|path| shared.read(path).unwrap().starts_with(b"weirjrnl"));
    let path = begun.max().unwrap();
    let mut bytes = shared.read(path).unwrap();
    let mut end = 12;
    while let Some(size) = bytes.get(end..end + 4) {
        let size = u32::from_le_bytes(size.try_into().unwrap()) as usize;
        if size == 0 {
            break;
        }
        end += 8 + size;
    }
    bytes.truncate(end);
    bytes.extend_from_slice(garbage);
    storage.overwrite(path, bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn any_life_leaves_what_the_model_says(actions in vec(any_action(), 1..40)) {
        World::live(actions);
    }
}

/// Found by the property: a file given up in a fault was still being sealed when the record closed, and the calls open in
/// it could not be carried any more.
#[test]
fn closing_right_after_a_fault_seals_the_given_up_file_too() {
    for _ in 0..20 {
        let fault = Faults {
            sync: true,
            ..Faults::default()
        };
        World::live([
            Action::Allow,
            Action::Allow,
            Action::Deny,
            Action::Fault(fault),
            Action::Restart,
            Action::Allow,
        ]);
    }
}

/// Throughout a burst of calls, ends and a seal, with each kind of loss, and once more right after.
#[test]
fn a_crash_at_a_change_of_a_busy_record_leaves_what_the_model_says() {
    for changes in (0..60).step_by(7) {
        for loss in [Loss::Process, Loss::Unsynced, Loss::Half] {
            World::live([
                Action::Allow,
                Action::Clock(50),
                Action::End(0),
                Action::Clock(-50),
                Action::CrashDuring(changes, loss),
                Action::CrashDuring(60 - changes, loss),
                Action::Allow,
                Action::Torn(vec![9; 20]),
                Action::End(0),
            ]);
        }
    }
}

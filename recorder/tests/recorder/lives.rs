//! Generated lives of records on a disk: while clean none is accused, and whatever is then done to one is noticed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use weir_recorder::{
    Disk, Durability, Event, EventKind, Log, Outcome, RecordOptions, Recorder, State,
    VerifyOptions, verify,
};

use crate::evidence::{Place, copy_folder, copy_killed, names};
use crate::support::*;
use crate::tally::{Tally, is_noticed};

const HOUR: i64 = 3_600_000_000;

/// Numbers that one seed gives again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        (!from.is_empty()).then(|| &from[self.below(from.len())])
    }
}

/// A record that lives: written, sealed, closed, killed, over several days.
struct Life {
    dice: Dice,
    place: Place,
    options: RecordOptions,
    open: Option<(Recorder, Log)>,
    /// Calls that may still end.
    calls: Vec<i64>,
    /// Calls that wait for an answer, by place and number.
    held: Vec<(i64, i64)>,
    /// Calls are held and answered too.
    asks: bool,
    now: i64,
    number: i64,
    /// Copies of the record's folder as it was in between.
    past: Vec<tempfile::TempDir>,
}

impl Life {
    fn lived(seed: u64, node: &str, steps: usize) -> Self {
        let (mut dice, place) = (Dice(seed), Place::new());
        let interval = dice.below(3) == 0;
        let options = RecordOptions {
            node: Some(node.into()),
            checkpoint_age: Duration::from_millis(if dice.below(2) == 0 { 1 } else { 5000 }),
            durability: if interval {
                Durability::Interval(Duration::from_millis(3))
            } else {
                Durability::Sync
            },
            ..place.options()
        };
        let mut life = Self {
            dice,
            place,
            options,
            open: None,
            calls: Vec::new(),
            held: Vec::new(),
            asks: false,
            now: NOON,
            number: 0,
            past: Vec::new(),
        };
        life.start();
        for _ in 0..steps {
            life.step();
        }
        // There is always a past to go back to, and something behind it.
        life.remember();
        life.start();
        life.call();
        life.seal();
        life.stop();
        life
    }

    fn start(&mut self) {
        if self.open.is_none() {
            let (recorder, log, _) = Recorder::open(self.options.clone(), Arc::new(Disk)).unwrap();
            self.open = Some((recorder, log));
        }
    }

    fn stop(&mut self) {
        if let Some((recorder, _)) = self.open.take() {
            recorder.close().unwrap();
            self.calls.clear();
            self.held.clear();
        }
    }

    /// The process is killed: what it had written is there, and goes on elsewhere.
    fn kill(&mut self) {
        let killed = Place::new();
        copy_killed(self.place.folder.path(), killed.folder.path());
        self.options.path = killed.record();
        self.options.anchor = Some(killed.anchor());
        self.calls.clear();
        self.held.clear();
        self.open = None;
        self.place = killed;
    }

    fn remember(&mut self) {
        self.stop();
        let past = tempfile::tempdir().unwrap();
        copy_folder(&self.place.record(), past.path());
        self.past.push(past);
    }

    fn call(&mut self) {
        self.number += 1;
        let (_, log) = self.open.as_mut().unwrap();
        let permit = record(log, self.now, &call(self.number)).unwrap().unwrap();
        self.calls.push(permit.seq());
    }

    fn hold(&mut self) {
        self.number += 1;
        let (_, log) = self.open.as_mut().unwrap();
        let commit = decide(log, self.now, &held(self.number));
        self.held.push((commit.seq(), self.number));
        assert!(commit.wait_blocking().unwrap().is_none());
    }

    fn answer(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let (seq, number) = self.held.remove(self.dice.below(self.held.len()));
        let approves = self.dice.below(2) == 0;
        let (_, log) = self.open.as_mut().unwrap();
        let id = (seq, call(number).call_id);
        let permit = log.answer(self.now, id, &answer(approves)).wait_blocking();
        match permit.unwrap() {
            Some(permit) => self.calls.push(permit.seq()),
            None => assert!(!approves),
        }
    }

    fn seal(&mut self) {
        self.open.as_ref().unwrap().0.seal_now().unwrap();
    }

    fn step(&mut self) {
        self.start();
        self.now += 1000;
        let what = self.dice.below(if self.asks { 25 } else { 20 });
        let (_, log) = self.open.as_mut().unwrap();
        match what {
            // Only where people are asked.
            20..23 => self.hold(),
            23..25 => self.answer(),
            0..6 => self.call(),
            6..8 => {
                self.number += 1;
                assert!(
                    record(log, self.now, &denied(self.number))
                        .unwrap()
                        .is_none()
                );
            }
            8..12 => {
                if !self.calls.is_empty() {
                    let seq = self.calls.remove(self.dice.below(self.calls.len()));
                    log.finish(self.now, seq, &finish(Outcome::Ok))
                        .wait_blocking()
                        .unwrap();
                }
            }
            12 => {
                let event = Event::<&str>::of(EventKind::Policy);
                log.event(self.now, &event).wait_blocking().unwrap();
            }
            13..16 => self.seal(),
            16 => self.now += 7 * HOUR,
            17 => self.remember(),
            18 => self.stop(),
            _ => self.kill(),
        }
    }

    /// The files of the record that evidence is about.
    fn files(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for folder in ["calls", "events", "checkpoints"] {
            walk(&self.place.record().join(folder), &mut found);
        }
        found
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    if !folder.exists() {
        return;
    }
    for name in names(folder) {
        let path = folder.join(name);
        if path.is_dir() {
            walk(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn contents(files: &[PathBuf]) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: &PathBuf| (path.clone(), fs::read(path).unwrap());
    files.iter().map(read).collect()
}

#[test]
fn no_clean_record_is_accused_however_it_lived() {
    let mut tally = Tally::of("clean record looked at");
    for seed in 0..10 {
        let mut life = Life::lived(seed, "n1", 0);
        life.asks = seed % 2 == 0;
        for step in 0..24 {
            life.step();
            let verified = life.place.verify(life.place.anchor().exists());
            assert_eq!(
                verified.findings,
                [],
                "seed {seed}, step {step}: {verified}"
            );
            tally.count_as("not accused");
        }
        life.start();
        life.stop();
        let verified = life.place.verify(true);
        assert_eq!(verified.state, State::Valid, "seed {seed}: {verified}");
        tally.count_as("valid once closed");
    }
}

#[test]
fn records_of_several_nodes_in_one_folder_are_not_accused_and_each_is_looked_at() {
    let (one, two) = (Life::lived(70, "n1", 12), Life::lived(71, "n2", 12));
    for folder in [
        "record/calls",
        "record/events",
        "record/checkpoints",
        "anchor",
    ] {
        let (from, to) = (two.place.folder.path(), one.place.folder.path());
        if from.join(folder).exists() {
            copy_folder(&from.join(folder), &to.join(folder));
        }
    }
    let both = || {
        let options = VerifyOptions {
            keys: vec![one.place.key(), two.place.key()],
            anchor: Some(one.place.anchor()),
            ..VerifyOptions::default()
        };
        verify(one.place.record(), &options).unwrap()
    };
    let verified = both();
    assert_eq!(verified.state, State::Valid, "{verified}");
    assert_eq!(verified.logs.len(), 2);
    for path in one.files() {
        let good = fs::read(&path).unwrap();
        fs::write(&path, &good[..good.len() / 2]).unwrap();
        assert!(is_noticed(both().state), "{}", path.display());
        fs::write(&path, good).unwrap();
    }
}

/// One thing done to a record, and what undoes it.
enum Attack {
    Flip,
    Truncate,
    Extend,
    Remove,
    Swap,
    Overwrite,
    AddUnderAnotherName,
    /// An older checkpoint in place of the newest.
    ReplayCheckpoint,
    /// All of the record as it was before.
    RollBack,
}

impl Attack {
    const ALL: [Self; 9] = [
        Self::Flip,
        Self::Truncate,
        Self::Extend,
        Self::Remove,
        Self::Swap,
        Self::Overwrite,
        Self::AddUnderAnotherName,
        Self::ReplayCheckpoint,
        Self::RollBack,
    ];

    fn name(&self) -> &'static str {
        match self {
            Self::Flip => "a bit flipped",
            Self::Truncate => "a file truncated",
            Self::Extend => "a file extended",
            Self::Remove => "a file removed",
            Self::Swap => "two files swapped",
            Self::Overwrite => "a file put in place of another",
            Self::AddUnderAnotherName => "a file doubled",
            Self::ReplayCheckpoint => "an old checkpoint replayed",
            Self::RollBack => "the record rolled back",
        }
    }

    /// Does it; false if there is nothing to do it to.
    fn attempt(&self, life: &mut Life) -> bool {
        let files = life.files();
        let Some(path) = life.dice.pick(&files).cloned() else {
            return false;
        };
        let mut bytes = fs::read(&path).unwrap();
        let alike: Vec<PathBuf> = files
            .iter()
            .filter(|other| {
                other.extension() == path.extension() && fs::read(other).unwrap() != bytes
            })
            .cloned()
            .collect();
        match self {
            Self::Flip => {
                let at = life.dice.below(bytes.len());
                bytes[at] ^= 1 << life.dice.below(8);
            }
            Self::Truncate => bytes.truncate(life.dice.below(bytes.len())),
            Self::Extend => bytes.push(b'\n'),
            Self::Remove => {
                fs::remove_file(&path).unwrap();
                return true;
            }
            Self::Swap | Self::Overwrite => {
                let Some(other) = life.dice.pick(&alike) else {
                    return false;
                };
                let theirs = fs::read(other).unwrap();
                if matches!(self, Self::Swap) {
                    fs::write(other, &bytes).unwrap();
                }
                bytes = theirs;
            }
            Self::AddUnderAnotherName => {
                let number = life.dice.below(100);
                let name = if path.extension().is_some_and(|e| e == "note") {
                    format!("n1-{number:012}.note")
                } else {
                    format!(
                        "n1-{number:012}-{:012}.parquet",
                        number + life.dice.below(9)
                    )
                };
                let copy = path.with_file_name(name);
                if copy.exists() {
                    return false;
                }
                fs::write(copy, bytes).unwrap();
                return true;
            }
            Self::ReplayCheckpoint => {
                let notes: Vec<_> = files
                    .iter()
                    .filter(|file| file.extension().is_some_and(|e| e == "note"))
                    .collect();
                let [older @ .., newest] = &notes[..] else {
                    return false;
                };
                let Some(old) = life.dice.pick(older) else {
                    return false;
                };
                fs::copy(old, newest).unwrap();
                return true;
            }
            Self::RollBack => {
                let past = life.dice.pick(&life.past).unwrap();
                let record = life.place.record();
                fs::remove_dir_all(&record).unwrap();
                copy_folder(past.path(), &record);
                return true;
            }
        }
        fs::write(path, bytes).unwrap();
        true
    }
}

#[test]
fn with_an_anchor_nothing_done_to_a_record_goes_unnoticed_and_without_one_only_a_cut_end() {
    let mut anchored = Attack::ALL.map(|attack| Tally::of(attack.name()));
    let mut alone = Tally::of("any of these without an anchor");
    for seed in 100..116 {
        let mut life = Life::lived(seed, "n1", 25);
        assert_eq!(life.place.verify(true).state, State::Valid, "seed {seed}");
        let clean = tempfile::tempdir().unwrap();
        copy_folder(&life.place.record(), clean.path());
        for round in 0..36 {
            let which = round % Attack::ALL.len();
            let attack = &Attack::ALL[which];
            let before = contents(&life.files());
            if !attack.attempt(&mut life) || contents(&life.files()) == before {
                continue;
            }
            let how = || format!("seed {seed}, round {round}: {}", attack.name());
            let verified = life.place.verify(true);
            anchored[which].noticed(verified.state, &format!("{}: {verified}", how()));
            let state = life.place.verify(false).state;
            assert!(
                is_noticed(state) || matches!(attack, Attack::RollBack),
                "{}: {state}",
                how()
            );
            alone.count(state);

            fs::remove_dir_all(life.place.record()).unwrap();
            copy_folder(clean.path(), &life.place.record());
        }
        assert_eq!(life.place.verify(true).state, State::Valid, "seed {seed}");
    }
    assert!(anchored.iter().all(|tally| tally.total() > 0));
}

//! Evidence from outside: what is signed while a record lives, and what verifying says of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use weir_recorder::{
    CallProof, Disk, Event, EventKind, FilesVerification, Log, Outcome, ProofError, RecordError,
    RecordOptions, Recorder, State, Verification, VerifyOptions, VerifyingKey, prove, verify,
    verify_files, verify_proof,
};

use crate::support::*;

pub struct Place {
    pub folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn record(&self) -> PathBuf {
        self.folder.path().join("record")
    }

    pub fn anchor(&self) -> PathBuf {
        self.folder.path().join("anchor")
    }

    pub fn options(&self) -> RecordOptions {
        RecordOptions {
            signing_key: None,
            anchor: Some(self.anchor()),
            ..options(self.record())
        }
    }

    pub fn open(&self) -> (Recorder, Log) {
        let (recorder, log, _) = Recorder::open(self.options(), Arc::new(Disk)).unwrap();
        (recorder, log)
    }

    pub fn key(&self) -> VerifyingKey {
        let text = std::fs::read_to_string(self.folder.path().join("record.pub")).unwrap();
        VerifyingKey::parse(text.trim_end()).unwrap()
    }

    pub fn verify(&self, anchor: bool) -> Verification {
        self.verify_with(self.key(), anchor)
    }

    pub fn verify_with(&self, key: VerifyingKey, anchor: bool) -> Verification {
        let options = VerifyOptions {
            keys: vec![key],
            anchor: anchor.then(|| self.anchor()),
            ..VerifyOptions::default()
        };
        let verified = verify(self.record(), &options).unwrap();
        if verified.findings.is_empty() {
            // What is proved row by row is not accused by who looks at files alone.
            let files = verify_files(self.record(), &options).unwrap();
            assert_eq!(files.findings, [], "{verified}");
        }
        verified
    }

    /// What is found without reading the rows.
    pub fn verify_files(&self, anchor: bool) -> FilesVerification {
        let options = VerifyOptions {
            keys: vec![self.key()],
            anchor: anchor.then(|| self.anchor()),
            ..VerifyOptions::default()
        };
        verify_files(self.record(), &options).unwrap()
    }

    pub fn prove(&self, number: i64) -> Result<CallProof, ProofError> {
        let options = VerifyOptions {
            keys: vec![self.key()],
            ..VerifyOptions::default()
        };
        prove(self.record(), call(number).call_id, &options)
    }
}

/// Names in a folder.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Three seals, with a denied call, an event, and one call that ends only behind the second seal.
pub fn lived() -> Place {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    whole(&mut log, NOON, 1);
    let slow = record(&mut log, NOON, &call(2)).unwrap().unwrap();
    record(&mut log, NOON, &denied(3)).unwrap();
    recorder.seal_now().unwrap();
    log.event(NOON + 5, &Event::<&str>::of(EventKind::Policy))
        .wait_blocking()
        .unwrap();
    whole(&mut log, NOON + 6, 4);
    recorder.seal_now().unwrap();
    log.finish(NOON + 9, slow.seq(), &finish(Outcome::Timeout))
        .wait_blocking()
        .unwrap();
    whole(&mut log, NOON + 10, 5);
    record(&mut log, NOON + 11, &call(6)).unwrap();
    recorder.close().unwrap();
    place
}

#[test]
fn a_record_closed_in_good_order_is_valid_and_anchored() {
    let place = lived();
    let verified = place.verify(true);
    assert_eq!(verified.state, State::Valid, "{verified}");
    assert_eq!(verified.state.exit_code(), 0);
    let log = &verified.logs[0];
    assert_eq!(
        (log.entries, log.calls, log.events, log.unsigned),
        (11, 6, 1, 0)
    );
    assert_eq!(log.anchored, Some(11));
}

#[test]
fn without_an_anchor_later_removal_cannot_be_excluded() {
    let verified = lived().verify(false);
    assert_eq!(verified.state, State::NotAnchored);
    let text = verified.to_string();
    assert!(
        text.contains("complete up to checkpoint 11 at 2026-11-22T12:00:00.000011Z; later removal cannot be excluded"),
        "{text}"
    );
}

#[test]
fn a_copy_is_verified_with_the_public_key_alone() {
    let place = lived();
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&place.record(), copy.path());
    let options = VerifyOptions {
        keys: vec![place.key()],
        ..VerifyOptions::default()
    };
    assert_eq!(
        verify(copy.path(), &options).unwrap().state,
        State::NotAnchored
    );
}

pub fn copy_folder(from: &Path, to: &Path) {
    try_copy(from, to).unwrap();
}

/// What kill -9 leaves of a folder: what it held at one moment. The threads that write there cannot be stopped for the copy, so it
/// is made again until nothing changed meanwhile.
pub fn copy_killed(from: &Path, to: &Path) {
    let started = Instant::now();
    loop {
        let before = listing(from);
        if try_copy(from, to).is_ok() && before.is_ok() && before.ok() == listing(from).ok() {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_mins(1),
            "`{}` never holds still",
            from.display()
        );
        std::fs::remove_dir_all(to).unwrap();
    }
}

fn try_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let from = entry?.path();
        let to = to.join(from.file_name().unwrap());
        if from.is_dir() {
            try_copy(&from, &to)?;
        } else {
            std::fs::copy(from, to)?;
        }
    }
    Ok(())
}

/// Every file below a folder, with its length and when it was written.
fn listing(folder: &Path) -> std::io::Result<BTreeMap<PathBuf, (u64, SystemTime)>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let file = std::fs::metadata(&path)?;
        if file.is_dir() {
            found.extend(listing(&path)?);
        } else {
            found.insert(path, (file.len(), file.modified()?));
        }
    }
    Ok(found)
}

#[test]
fn a_live_record_is_never_accused() {
    let place = Place::new();
    let (recorder, log) = place.open();
    let log = std::sync::Mutex::new(log);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let (log, done) = (&log, &done);
            scope.spawn(move || {
                let mut number = worker * 1_000_000;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    number += 1;
                    let commit = decide(&mut log.lock().unwrap(), NOON + number, &call(number));
                    let permit = commit.wait_blocking().unwrap().unwrap();
                    if number % 3 > 0 {
                        drop(log.lock().unwrap().finish(
                            NOON + number,
                            permit.seq(),
                            &finish(Outcome::Ok),
                        ));
                    }
                }
            });
        }
        let sealer = scope.spawn(|| {
            for _ in 0..30 {
                recorder.seal_now().unwrap();
            }
        });
        while !sealer.is_finished() {
            let verified = place.verify(true);
            assert_eq!(verified.findings, [], "{verified}");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    recorder.close().unwrap();
    assert_eq!(place.verify(true).state, State::Valid);
}

#[test]
fn what_is_only_in_the_journal_gets_a_checkpoint_under_load_and_the_one_before_it_goes() {
    let place = Place::new();
    let options = RecordOptions {
        checkpoint_age: Duration::from_millis(1),
        ..place.options()
    };
    let (recorder, mut log, _) = Recorder::open(options, Arc::new(Disk)).unwrap();
    for number in 0..3 {
        let seq = whole(&mut log, NOON, number);
        let begun = Instant::now();
        while place.verify(false).logs[0].entries < seq as u64 + 2 {
            assert!(begun.elapsed().as_secs() < 20, "no checkpoint is written");
            std::thread::yield_now();
        }
    }
    recorder.close().unwrap();
    // Only the one of the seal at the end stays.
    assert_eq!(names(&place.record().join("checkpoints")).len(), 1);
}

#[test]
fn one_call_is_proved_to_a_stranger() {
    let place = lived();
    for number in 1..=6 {
        let proof = place.prove(number).unwrap();
        let facts = if [3, 6].contains(&number) { 1 } else { 2 };
        assert_eq!(proof.entries.len(), facts, "call {number}");
        let text = serde_json::to_string(&proof).unwrap();
        let read: CallProof = serde_json::from_str(&text).unwrap();
        assert_eq!(verify_proof(&read, &[place.key()]).unwrap(), 11);

        let mut other = read.clone();
        other.entries[0].index += 1;
        assert!(verify_proof(&other, &[place.key()]).is_err());
        assert!(verify_proof(&read, &[]).is_err());

        // Leaves of the log that are not those of this call.
        let holds = |proof: &CallProof| verify_proof(proof, &[place.key()]).is_ok();
        let mut other = read.clone();
        other.call_id = hex::encode(call(99).call_id);
        assert!(!holds(&other), "the name of another call");
        let neighbour = place.prove(if number == 4 { 5 } else { 4 }).unwrap();
        for theirs in neighbour.entries {
            let mut other = read.clone();
            other.entries.push(theirs);
            assert!(!holds(&other), "an entry of another call");
        }
        let mut other = read.clone();
        other.entries.remove(0);
        assert!(!holds(&other), "no decision");
        let mut other = read.clone();
        other.entries.push(read.entries[0].clone());
        assert!(!holds(&other), "two decisions");
    }
    assert!(matches!(place.prove(99), Err(ProofError::NoCall(_))));
}

#[test]
fn who_believes_the_old_key_believes_the_one_it_hands_over_to() {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    whole(&mut log, NOON, 1);
    let old = recorder.public_key();
    let new = recorder.rotate_key().unwrap();
    assert_ne!(old, new);
    whole(&mut log, NOON + 1, 2);
    recorder.close().unwrap();
    assert_eq!(place.key(), new);
    assert_eq!(place.verify_with(old.clone(), true).state, State::Valid);
    let (recorder, mut log) = place.open();
    assert_eq!(recorder.public_key(), new);
    whole(&mut log, NOON + 2, 3);
    recorder.close().unwrap();
    assert_eq!(place.verify_with(old, true).state, State::Valid);
    assert_eq!(place.verify_with(new, true).state, State::Valid);
}

#[test]
fn the_private_key_is_for_its_owner_only_and_outside_of_the_record() {
    use std::os::unix::fs::PermissionsExt;
    let place = lived();
    let key = place.folder.path().join("record.key");
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for mode in [0o640, 0o604, 0o644] {
        std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
        let opened = Recorder::open(place.options(), Arc::new(Disk));
        let why = opened.unwrap_err().to_string();
        assert!(why.contains("chmod 600"), "{why}");
    }
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o400)).unwrap();
    place.open().0.close().unwrap();
}

#[test]
fn the_private_key_is_not_where_the_public_one_goes() {
    for name in ["weir.pub", "weir.tmp"] {
        let place = Place::new();
        let options = RecordOptions {
            signing_key: Some(place.folder.path().join(name)),
            ..place.options()
        };
        let opened = Recorder::open(options, Arc::new(Disk));
        assert!(
            matches!(opened, Err(RecordError::Evidence(_))),
            "{opened:?}"
        );
    }
}

#[test]
fn a_record_without_its_checkpoints_or_key_is_not_signed_anew() {
    let refused = |place: &Place| {
        let opened = Recorder::open(place.options(), Arc::new(Disk));
        assert!(
            matches!(opened, Err(RecordError::Evidence(_))),
            "{opened:?}"
        );
    };
    let place = lived();
    std::fs::remove_dir_all(place.record().join("checkpoints")).unwrap();
    refused(&place);
    let key = |place: &Place| place.folder.path().join("record.key");
    let place = lived();
    std::fs::remove_file(key(&place)).unwrap();
    refused(&place);
    // Without either, as one would be that was made before there was evidence; also if it has only got a journal.
    let place = lived();
    for folder in ["record/checkpoints", "anchor"] {
        std::fs::remove_dir_all(place.folder.path().join(folder)).unwrap();
    }
    std::fs::remove_file(key(&place)).unwrap();
    refused(&place);
    for table in ["record/calls", "record/events"] {
        std::fs::remove_dir_all(place.folder.path().join(table)).unwrap();
    }
    refused(&place);
    assert!(!key(&place).exists(), "no key is made");
    std::fs::copy(key(&lived()), key(&place)).unwrap();
    refused(&place);
}

#[test]
fn a_record_of_which_the_anchor_has_seen_more_is_not_opened() {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    whole(&mut log, NOON, 1);
    recorder.close().unwrap();
    let before = tempfile::tempdir().unwrap();
    copy_folder(&place.record(), before.path());
    let (recorder, mut log) = place.open();
    whole(&mut log, NOON, 2);
    recorder.close().unwrap();
    std::fs::remove_dir_all(place.record()).unwrap();
    copy_folder(before.path(), &place.record());
    let opened = Recorder::open(place.options(), Arc::new(Disk));
    assert!(
        matches!(opened, Err(RecordError::Evidence(_))),
        "{opened:?}"
    );
}

#[test]
fn a_checkpoint_that_names_files_is_never_written_over() {
    let place = Place::new();
    let options = RecordOptions {
        checkpoint_age: Duration::from_millis(1),
        ..place.options()
    };
    let (recorder, mut log, _) = Recorder::open(options, Arc::new(Disk)).unwrap();
    whole(&mut log, NOON, 1);
    record(&mut log, NOON, &call(2)).unwrap();
    let checkpoints = place.record().join("checkpoints");
    let begun = Instant::now();
    while names(&checkpoints) != ["n1-000000000003.note"] {
        assert!(begun.elapsed().as_secs() < 20, "no checkpoint is written");
        std::thread::yield_now();
    }
    // Of the same size, it names a file, and makes the one before superfluous.
    recorder.seal_now().unwrap();
    assert_eq!(names(&checkpoints), ["n1-000000000003.2.note"]);
    // The process is killed; the next start seals the open call, at the same size again.
    let killed = Place::new();
    copy_killed(place.folder.path(), killed.folder.path());
    killed.open().0.close().unwrap();
    assert_eq!(killed.verify(true).state, State::Valid);
    recorder.close().unwrap();
}

/// The log cannot go on from an older checkpoint: what it would sign at the places of sealed rows is not what is there.
#[test]
fn a_record_whose_newest_checkpoint_is_gone_is_not_opened() {
    let refused = |place: &Place| {
        let checkpoints = place.record().join("checkpoints");
        let newest = names(&checkpoints).pop().unwrap();
        std::fs::remove_file(checkpoints.join(newest)).unwrap();
        let options = RecordOptions {
            anchor: None,
            ..place.options()
        };
        match Recorder::open(options, Arc::new(Disk)) {
            Err(RecordError::Evidence(why)) => assert!(why.contains("checkpoint is gone"), "{why}"),
            opened => panic!("{opened:?}"),
        }
    };
    refused(&lived());
    // The same where the file's rows begin before that checkpoint, and only an outcome is behind it.
    let place = Place::new();
    let (recorder, mut log) = place.open();
    whole(&mut log, NOON, 1);
    let slow = record(&mut log, NOON, &call(2)).unwrap().unwrap();
    recorder.seal_now().unwrap();
    log.finish(NOON + 9, slow.seq(), &finish(Outcome::Ok))
        .wait_blocking()
        .unwrap();
    recorder.close().unwrap();
    refused(&place);
}

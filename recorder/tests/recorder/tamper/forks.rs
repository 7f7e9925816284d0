//! Other histories under the same key, and anchors that were tampered with.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use weir_recorder::{Disk, Recorder, State};

use crate::evidence::{Place, copy_folder, lived, names};
use crate::support::*;
use crate::tally::Tally;

/// Two histories that begin alike, up to the first seal, under one key. The second is the longer one; both with the first one's anchor.
fn forked_late() -> (Place, Place) {
    let (one, other) = (Place::new(), Place::new());
    let (recorder, mut log) = one.open();
    whole(&mut log, NOON, 1);
    recorder.close().unwrap();
    copy_folder(one.folder.path(), other.folder.path());
    fs::remove_dir_all(other.anchor()).unwrap();
    for (place, numbers) in [(&one, 2..5), (&other, 12..19)] {
        let (recorder, mut log) = place.open();
        for number in numbers {
            whole(&mut log, NOON, number);
        }
        recorder.close().unwrap();
    }
    fs::remove_dir_all(other.anchor()).unwrap();
    copy_folder(&one.anchor(), &other.anchor());
    (one, other)
}

#[test]
fn a_log_forked_late_and_grown_longer_is_altered_against_an_anchor() {
    let (_, other) = forked_late();
    let verified = other.verify(true);
    assert_eq!(verified.state, State::Altered, "{verified}");
    assert_eq!(other.verify(false).state, State::NotAnchored);
}

#[test]
fn two_histories_in_one_folder_are_altered_also_without_an_anchor() {
    let (one, other) = forked_late();
    let foreign: Vec<PathBuf> = one
        .notes()
        .into_iter()
        .filter(|note| {
            let here = other
                .record()
                .join("checkpoints")
                .join(note.file_name().unwrap());
            fs::read(here).ok() != fs::read(note).ok()
        })
        .collect();
    assert!(!foreign.is_empty());
    for note in foreign {
        let here = other
            .record()
            .join("checkpoints")
            .join(note.file_name().unwrap());
        let before = fs::read(&here).ok();
        fs::copy(note, &here).unwrap();
        assert_eq!(other.verify(false).state, State::Altered);
        match before {
            Some(bytes) => fs::write(here, bytes).unwrap(),
            None => fs::remove_file(here).unwrap(),
        }
    }
}

/// What the anchor has is held against the record, and never believed unseen: whatever is done to it, the record is not called
/// valid for it if it did not see the newest checkpoint whole.
#[test]
fn an_anchor_that_was_tampered_with_vouches_for_nothing() {
    let mut tally = Tally::of("anchor tampered with");
    let place = lived();
    let notes: Vec<PathBuf> = names(&place.anchor())
        .iter()
        .map(|name| place.anchor().join(name))
        .collect();
    let newest = notes.last().unwrap();
    let good = fs::read(newest).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 5);
        fs::write(newest, bad).unwrap();
        let state = place.verify(true).state;
        assert_ne!(state, State::Valid, "byte {at}");
        tally.count(state);
    }
    fs::remove_file(newest).unwrap();
    let verified = place.verify(true);
    assert_eq!(verified.state, State::NotAnchored, "{verified}");
    tally.count(verified.state);
    // The checkpoint of another log under that name.
    let foreign = lived();
    fs::copy(foreign.notes().pop().unwrap(), newest).unwrap();
    let state = place.verify(true).state;
    assert_ne!(state, State::Valid);
    tally.count(state);
    fs::write(newest, good).unwrap();
    assert_eq!(place.verify(true).state, State::Valid);
}

/// A history of another kind under the same node name and key, with the first one's anchor.
fn forked() -> Place {
    let (place, other) = (lived(), Place::new());
    for name in ["record.key", "record.pub"] {
        fs::copy(
            place.folder.path().join(name),
            other.folder.path().join(name),
        )
        .unwrap();
    }
    let options = weir_recorder::RecordOptions {
        anchor: None,
        ..other.options()
    };
    let (recorder, mut log, _) = Recorder::open(options, Arc::new(Disk)).unwrap();
    for number in 10..20 {
        whole(&mut log, NOON, number);
    }
    recorder.close().unwrap();
    copy_folder(&place.anchor(), &other.anchor());
    other
}

#[test]
fn a_forked_log_is_altered_against_an_anchor() {
    let verified = forked().verify(true);
    assert_eq!(verified.state, State::Altered, "{verified}");
}

/// Exception two: who holds the key can write another history, and the folder alone does not tell.
#[test]
fn without_an_anchor_a_rewrite_by_who_holds_the_key_goes_unnoticed() {
    assert_eq!(forked().verify(false).state, State::NotAnchored);
}

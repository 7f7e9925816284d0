//! Verifying without reading rows: what it notices, and what only the rows tell.

use std::fs;

use weir_recorder::State;

use crate::compaction::two_days;
use crate::evidence::{Place, lived};
use crate::retention::pruned;
use crate::support::*;
use crate::tally::Tally;

/// The worst that is said of the files.
fn worst(place: &Place, anchor: bool) -> Option<State> {
    let found = place.verify_files(anchor).findings;
    found.first().map(|finding| finding.state)
}

#[test]
fn a_clean_record_is_vouched_for_file_by_file() {
    let place = lived();
    let found = place.verify_files(true);
    assert_eq!(found.findings, []);
    assert_eq!(found.vouched.into_iter().collect::<Vec<_>>(), {
        let mut all = place.segments();
        all.sort();
        all
    });
    assert!((found.entries, found.anchored) == (11, true));
    assert!(!place.verify_files(false).anchored);
}

#[test]
fn a_byte_flipped_anywhere_in_a_file_or_a_checkpoint_is_noticed_without_its_rows() {
    let mut tally = Tally::of("byte flipped, files alone");
    let place = lived();
    let notes = place.notes();
    for path in place.segments().iter().chain(&notes) {
        let good = fs::read(path).unwrap();
        for at in (0..good.len()).step_by(7) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 5);
            fs::write(path, bad).unwrap();
            let said = worst(&place, false).unwrap_or(State::Valid);
            tally.noticed(said, &format!("byte {at} of {}", path.display()));
        }
        fs::write(path, good).unwrap();
    }
    assert_eq!(worst(&place, true), None);
}

#[test]
fn a_file_that_is_gone_and_one_that_nobody_signed_are_noticed_without_rows() {
    let count = lived().segments().len();
    for nth in 0..count {
        let place = lived();
        fs::remove_file(place.segments().remove(nth)).unwrap();
        // What a file with a call that was open for long spans is taken to hold: its name alone does not tell (0130).
        let is_spanned = nth == 2;
        let expected = (!is_spanned).then_some(State::Missing);
        assert_eq!(worst(&place, false), expected, "file {nth}");
    }
    for name in [
        "date=2026-11-22/n1-000000000020-000000000030.parquet",
        "date=2026-11-22/copy.parquet",
        "date=2026-11-21/n1-000000000000-000000000004.parquet",
    ] {
        let place = lived();
        let copy = place.record().join("calls").join(name);
        fs::create_dir_all(copy.parent().unwrap()).unwrap();
        fs::copy(place.segments().remove(0), &copy).unwrap();
        let said = worst(&place, false);
        assert!(
            matches!(said, Some(State::Altered | State::UnsignedTail)),
            "{name}: {said:?}"
        );
    }
}

#[test]
fn joined_files_and_removed_days_are_not_missed_and_what_became_of_them_is() {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    two_days(&recorder, &mut log);
    recorder.compact(|_| ()).unwrap();
    recorder.close().unwrap();
    assert_eq!(worst(&place, true), None);
    for path in place.segments() {
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(
            worst(&place, true),
            Some(State::Missing),
            "{}",
            path.display()
        );
        fs::write(&path, good).unwrap();
    }

    let place = pruned();
    assert_eq!(worst(&place, true), None);
    for day in fs::read_dir(place.record().join("calls")).unwrap() {
        let day = day.unwrap().path();
        let aside = place.folder.path().join("aside");
        fs::rename(&day, &aside).unwrap();
        assert_eq!(
            worst(&place, true),
            Some(State::Missing),
            "{}",
            day.display()
        );
        fs::rename(&aside, &day).unwrap();
    }
}

#[test]
fn older_files_under_a_newer_checkpoint_are_missed_without_rows() {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    for number in 0..3 {
        whole(&mut log, NOON + number, number);
    }
    recorder.seal_now().unwrap();
    record(&mut log, NOON + 9, &call(9)).unwrap();
    let copy = tempfile::tempdir().unwrap();
    crate::evidence::copy_folder(&place.record(), &copy.path().join("record"));
    recorder.close().unwrap();
    // The newer checkpoint beside the older files.
    fs::remove_dir_all(place.record().join("calls")).unwrap();
    fs::rename(
        copy.path().join("record/calls"),
        place.record().join("calls"),
    )
    .unwrap();
    let said: Vec<_> = place
        .verify_files(true)
        .findings
        .into_iter()
        .map(|finding| finding.state)
        .collect();
    assert!(said.contains(&State::Missing), "{said:?}");
}

#[test]
fn a_record_rolled_back_as_a_whole_is_truncated_for_who_has_an_anchor() {
    let place = Place::new();
    let (recorder, mut log) = place.open();
    whole(&mut log, NOON, 1);
    recorder.close().unwrap();
    let copy = tempfile::tempdir().unwrap();
    crate::evidence::copy_folder(&place.record(), &copy.path().join("record"));
    let (recorder, mut log) = place.open();
    whole(&mut log, NOON + 5, 2);
    recorder.close().unwrap();
    fs::remove_dir_all(place.record()).unwrap();
    fs::rename(copy.path().join("record"), place.record()).unwrap();
    let found = place.verify_files(true).findings;
    let is_truncated = found.iter().any(|f| f.state == State::Truncated);
    assert!(is_truncated, "{found:?}");
    assert_eq!(
        worst(&place, false),
        None,
        "nobody can tell from the folder"
    );
}

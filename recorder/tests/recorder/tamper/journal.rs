//! Tampering with what is signed and only in the journal yet.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use weir_recorder::{Disk, RecordError, RecordReader, Recorder, State, VerifyOptions, verify};

use crate::evidence::{Place, copy_killed, names};
use crate::support::*;
use crate::tally::Tally;

/// Where the frames of a journal file end.
fn frame_ends(journal: &[u8]) -> Vec<usize> {
    let mut ends = vec![12];
    loop {
        let at = *ends.last().unwrap();
        let length = u32::from_le_bytes(journal[at..at + 4].try_into().unwrap());
        if length == 0 {
            return ends;
        }
        ends.push(at + 8 + length as usize);
    }
}

/// A record whose eight entries are only in its journal, and signed; and that journal file.
fn only_in_the_journal() -> (Place, PathBuf) {
    let place = Place::new();
    let options = weir_recorder::RecordOptions {
        checkpoint_age: std::time::Duration::from_millis(1),
        ..place.options()
    };
    let (recorder, mut log, _) = Recorder::open(options, Arc::new(Disk)).unwrap();
    for number in 0..4 {
        whole(&mut log, NOON, number);
    }
    while place.verify(false).logs[0].entries < 8 {
        std::thread::yield_now();
    }
    let copy = Place::new();
    copy_killed(place.folder.path(), copy.folder.path());
    recorder.close().unwrap();
    let journals = copy.record().join("journal");
    let journal = names(&journals)
        .into_iter()
        .map(|name| journals.join(name))
        .find(|path| fs::read(path).unwrap().iter().any(|byte| *byte != 0))
        .unwrap();
    (copy, journal)
}

#[test]
fn a_byte_flipped_anywhere_in_a_signed_journal_is_noticed() {
    let mut tally = Tally::of("byte flipped in a signed journal");
    let (place, journal) = only_in_the_journal();
    let good = fs::read(&journal).unwrap();
    for at in 0..*frame_ends(&good).last().unwrap() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        fs::write(&journal, bad).unwrap();
        let options = VerifyOptions {
            keys: vec![place.key()],
            ..VerifyOptions::default()
        };
        match verify(place.record(), &options) {
            Ok(verified) => tally.noticed(verified.state, &format!("byte {at}")),
            // The number of a later format: `weir verify` ends with 2.
            Err(RecordError::Version { .. }) => tally.count_as("refused as of a later format"),
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    fs::remove_file(&journal).unwrap();
    tally.noticed(place.verify(false).state, "removed");
}

/// Entries are named by their places: one that is there twice, or behind a later one, is the same one.
#[test]
fn entries_of_a_journal_doubled_or_swapped_change_nothing_that_is_read() {
    let (place, journal) = only_in_the_journal();
    let good = fs::read(&journal).unwrap();
    let ends = frame_ends(&good);
    let before = all_columns(&RecordReader::open(place.record()).unwrap());
    let frames: Vec<&[u8]> = ends.windows(2).map(|w| &good[w[0]..w[1]]).collect();
    for at in 1..frames.len() - 1 {
        let mut doubled = frames.clone();
        doubled.insert(at, frames[at]);
        let mut swapped = frames.clone();
        swapped.swap(at, at + 1);
        let mut dropped = frames.clone();
        dropped.remove(at);
        for (frames, is_whole) in [(doubled, true), (swapped, true), (dropped, false)] {
            let mut bytes = good[..12].to_vec();
            bytes.extend(frames.concat());
            bytes.resize(good.len() + 4096, 0);
            fs::write(&journal, bytes).unwrap();
            if is_whole {
                assert_eq!(place.verify(false).findings, []);
                let reader = RecordReader::open(place.record()).unwrap();
                assert_eq!(all_columns(&reader), before);
            } else {
                assert_eq!(place.verify(false).state, State::Missing);
            }
        }
    }
}

#[test]
fn a_journal_with_a_torn_tail_is_not_accused_and_a_cut_one_is_missing_what_was_signed() {
    let (copy, journal) = only_in_the_journal();
    let good = fs::read(&journal).unwrap();
    let ends = frame_ends(&good);
    let used = *ends.last().unwrap();
    let mut torn = good.clone();
    torn[used..used + 20].fill(7);
    fs::write(&journal, torn).unwrap();
    assert_eq!(copy.verify(false).findings, []);
    let mut cut = good.clone();
    cut[ends[ends.len() - 2]..].fill(0);
    fs::write(&journal, cut).unwrap();
    assert_eq!(copy.verify(false).state, State::Missing);

    // The log goes on behind what is gone, and what is gone stays missed.
    let (recorder, mut log) = copy.open();
    assert_eq!(whole(&mut log, NOON, 9), 8);
    recorder.close().unwrap();
    let verified = copy.verify(false);
    assert_eq!(verified.state, State::Missing, "{verified}");
    assert!(verified.to_string().contains("are gone: 7"), "{verified}");
}

//! Ends of calls that nobody waits for go to the disk with the next decision, or by themselves a moment later.

use std::thread::park_timeout;
use std::time::{Duration, Instant};

use weir_recorder::Outcome;

use crate::memory::Memory;
use crate::support::*;

const ROUNDS: i64 = 20;

#[test]
fn an_end_goes_to_the_disk_with_the_next_decision() {
    let storage = Memory::new();
    let (recorder, mut log, _) = open_on(&storage).unwrap();
    let mut made = 0;
    let mut syncs = || {
        let before = recorder.health().syncs;
        for number in made..made + ROUNDS {
            let at = NOON + 2 * number;
            let decided = decide(&mut log, at, &call(number));
            let seq = decided.seq();
            assert!(decided.wait_blocking().unwrap().is_some(), "allowed");
            drop(log.finish(at + 1, seq, &finish(Outcome::Ok)));
            // Time enough for a sync of its own.
            park_timeout(Duration::from_millis(1));
        }
        made += ROUNDS;
        recorder.health().syncs - before
    };
    // On a busy machine that millisecond may be longer than an end waits; seldom always.
    let tries: Vec<u64> = (0..20)
        .map(|_| syncs())
        .take_while(|syncs| *syncs >= 3 * ROUNDS as u64 / 2)
        .collect();
    assert!(tries.len() < 20, "{tries:?} syncs of {ROUNDS} calls each");
    recorder.close().unwrap();
    assert_eq!(seqs(&reader(&storage)).len() as i64, made);
}

#[test]
fn an_end_alone_is_written_a_moment_later_and_at_once_where_somebody_waits() {
    let storage = Memory::new();
    let (recorder, mut log, _) = open_on(&storage).unwrap();
    let decided: Vec<i64> = (0..3)
        .map(|number| {
            let decided = decide(&mut log, NOON + number, &call(number));
            let seq = decided.seq();
            assert!(decided.wait_blocking().unwrap().is_some(), "allowed");
            seq
        })
        .collect();
    drop(log.finish(NOON + 3, decided[0], &finish(Outcome::Ok)));
    let late = Instant::now() + Duration::from_secs(2);
    while recorder.health().waiting > 0 {
        assert!(Instant::now() < late, "it was never written");
        park_timeout(Duration::from_millis(1));
    }
    drop(log.finish(NOON + 4, decided[1], &finish(Outcome::Ok)));
    let awaited = log.finish(NOON + 5, decided[2], &finish(Outcome::Ok));
    log.hurry();
    awaited.wait_blocking().unwrap();
    recorder.close().unwrap();
}

//! `Durability::Off`: calls have no place in the log, events do, and the record is as good as any.

use std::sync::Arc;

use weir_recorder::{Durability, Event, EventKind, Outcome, Recorder, Unrecorded};

use crate::memory::{Memory, Shared};
use crate::support::*;

#[test]
fn calls_are_not_written_and_events_are() {
    let storage = Memory::new();
    let options = weir_recorder::RecordOptions {
        durability: Durability::Off,
        ..options("/record")
    };
    let (recorder, mut log, _) =
        Recorder::open(options, Arc::new(Shared(Arc::clone(&storage)))).unwrap();
    let first = decide(&mut log, NOON, &call(0));
    let second = decide(&mut log, NOON + 1, &call(1));
    assert_eq!((first.seq(), second.seq()), (-1, -2));
    assert_eq!(second.at(), NOON + 1);
    let permit = first.wait_blocking().unwrap().expect("allowed");
    assert_eq!(permit.call_id(), call(0).call_id);
    let refused = decide(&mut log, NOON + 1, &denied(2)).wait_blocking();
    assert!(refused.unwrap().is_none(), "denied");
    let end = |log: &mut weir_recorder::Log, seq| {
        log.finish(NOON + 2, seq, &finish(Outcome::Ok))
            .wait_blocking()
            .map(drop)
    };
    assert_eq!(end(&mut log, -1), Ok(()));
    assert_eq!(end(&mut log, -1), Err(Unrecorded::NotOpen));
    let held = decide(&mut log, NOON + 3, &held(3));
    let seq = held.seq();
    assert!(held.wait_blocking().unwrap().is_none(), "no permit yet");
    let answered = log.answer(NOON + 4, (seq, call(3).call_id), &answer(true));
    assert_eq!(answered.wait_blocking().unwrap().unwrap().seq(), seq);
    assert_eq!(end(&mut log, seq), Ok(()));
    let event = Event::<&str>::of(EventKind::Configuration);
    log.event(NOON + 5, &event).wait_blocking().unwrap();
    let key = recorder.public_key();
    recorder.close().unwrap();
    assert_eq!(seqs(&reader(&storage)), Vec::<i64>::new());
    assert_clean(&storage, &key);
}

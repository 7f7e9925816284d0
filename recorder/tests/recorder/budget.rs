//! The disk budget and the reserve: what is refused for want of room, what is still written then, and how it comes back by itself.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_recorder::{
    Event, EventKind, Health, Log, Outcome, RecordOptions, Recorder, Retain, Unrecorded,
};

use crate::compaction::{DAY, two_days};
use crate::memory::{Loss, Memory, Shared};
use crate::support::*;

const RESERVE: u64 = 64 << 10;

fn options_with(bytes_max: Option<u64>) -> RecordOptions {
    RecordOptions {
        reserve_bytes: RESERVE,
        bytes_max,
        ..options("/record")
    }
}

fn open_with(storage: &Arc<Memory>, options: RecordOptions) -> (Recorder, Log) {
    let storage = Arc::new(Shared(Arc::clone(storage)));
    let (recorder, log, _) = Recorder::open(options, storage).unwrap();
    (recorder, log)
}

fn until(recorder: &Recorder, holds: impl Fn(&Health) -> bool) -> Health {
    let begun = Instant::now();
    loop {
        let health = recorder.health();
        if holds(&health) {
            return health;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{health:?}");
        std::thread::yield_now();
    }
}

/// What events of this kind say.
fn texts_of_events(recorder: &Recorder, kind: EventKind) -> Vec<String> {
    let events = recorder.reader().events().unwrap();
    let kinds = texts_of(&events, "kind").into_iter();
    let said = kinds.zip(texts_of(&events, "text"));
    said.filter(|(of, _)| of.as_deref() == Some(kind.as_str()))
        .filter_map(|(_, text)| text)
        .collect()
}

fn has_reserve(storage: &Memory) -> bool {
    storage
        .paths()
        .iter()
        .any(|path| path == Path::new("/record/reserve"))
}

/// Calls of this day until one is refused, sealed now and then.
fn fill(recorder: &Recorder, log: &mut Log, now: i64) -> Unrecorded {
    for number in 0..100_000 {
        let permit = match record(log, now, &call(number)) {
            Ok(permit) => permit.unwrap(),
            Err(why) => return why,
        };
        drop(log.finish(now, permit.seq(), &finish(Outcome::Ok)));
        if number % 200 == 199 {
            recorder.seal_now().unwrap();
        }
    }
    panic!("it is never refused");
}

#[test]
fn a_record_that_has_used_up_its_bytes_refuses_calls_until_retention_makes_room() {
    let storage = Memory::new();
    let retain = Retain {
        bytes: Some(RESERVE),
        ..Retain::default()
    };
    let most = 8 * RESERVE;
    let options = RecordOptions {
        retain,
        ..options_with(Some(most))
    };
    let (recorder, mut log) = open_with(&storage, options);
    let open = record(&mut log, NOON, &call(1)).unwrap().unwrap();
    let mut refused = None;
    for day in 0..100 {
        let why = fill_day(&recorder, &mut log, NOON + day * DAY);
        if why.is_some() {
            refused = why;
            break;
        }
    }
    assert_eq!(refused, Some(Unrecorded::BudgetUsedUp { bytes_max: most }));
    let health = recorder.health();
    assert!(!health.recording);
    let text = format!("the record has used up its {most} bytes");
    assert_eq!(health.fault, Some(text.clone()));
    assert_eq!(health.room.left, Some(0));
    assert!(
        storage.used() as u64 <= most,
        "{} of {most}",
        storage.used()
    );

    // How a call ended that went out before is written; what strangers cause waits.
    let end = log.finish(NOON, open.seq(), &finish(Outcome::Ok));
    end.wait_blocking().unwrap();
    let stranger = log.event(NOON, &Event::<&str>::of(EventKind::Unauthenticated));
    assert!(stranger.refused().is_some());
    assert!(recorder.keep_result(b"a long one").is_err());

    // Its row is sealed into the first day: that day is removed only with it.
    recorder.seal_now().unwrap();
    assert!(!recorder.retain().unwrap().is_empty());
    until(&recorder, |health| health.recording);
    whole(&mut log, NOON + 100 * DAY, 2);
    recorder.seal_now().unwrap();
    let told = texts_of_events(&recorder, EventKind::StorageFault);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with(&text), "{told:?}");
    assert!(told[1].starts_with("there is room again"), "{told:?}");
    assert_clean(&storage, &recorder.public_key());
    recorder.close().unwrap();
    assert_clean(&storage, &recorder.public_key());
}

/// Some hundred calls of a day, sealed, or why one was refused.
fn fill_day(recorder: &Recorder, log: &mut Log, now: i64) -> Option<Unrecorded> {
    for number in 0..300 {
        let permit = match record(log, now, &call(number)) {
            Ok(permit) => permit.unwrap(),
            Err(why) => return Some(why),
        };
        drop(log.finish(now, permit.seq(), &finish(Outcome::Ok)));
    }
    recorder.seal_now().unwrap();
    // Until it was looked at.
    until(recorder, |Health { room, .. }| {
        room.left
            == room
                .bytes_max
                .map(|most| most.saturating_sub(room.used + RESERVE))
    });
    None
}

#[test]
fn on_a_full_disk_what_must_be_written_still_is_and_it_comes_back_by_itself() {
    let storage = Memory::new();
    let (recorder, mut log) = open_with(&storage, options_with(None));
    let key = recorder.public_key();
    let open: Vec<_> = (0..20)
        .map(|number| {
            record(&mut log, NOON, &call(number))
                .unwrap()
                .unwrap()
                .seq()
        })
        .collect();
    storage.set_capacity(storage.used());
    assert!(has_reserve(&storage));
    fill(&recorder, &mut log, NOON);
    let health = until(&recorder, |health| {
        health.fault == Some("the disk of the record is full".into()) && health.room.reserve == 0
    });
    assert!(!health.recording);
    assert!(!has_reserve(&storage), "the reserve is given up");
    let refused = record(&mut log, NOON, &call(50)).unwrap_err();
    assert!(
        matches!(refused, Unrecorded::DiskFull | Unrecorded::Storage(_)),
        "{refused}"
    );
    // The outcomes of calls that went out are durable, though nobody made room.
    for seq in &open {
        drop(log.finish(NOON, *seq, &finish(Outcome::Ok)));
    }
    until(&recorder, |health| health.waiting == 0);
    let reader = recorder.reader();
    let outcomes = seqs(&reader).into_iter().zip(texts(&reader, "outcome"));
    let ended =
        outcomes.filter(|(seq, outcome)| open.contains(seq) && outcome.as_deref() == Some("ok"));
    assert_eq!(ended.count(), open.len());
    let told = texts_of_events(&recorder, EventKind::StorageFault);
    assert!(told.iter().any(|text| text.contains("is full")), "{told:?}");
    assert_clean(&storage, &key);

    storage.set_capacity(storage.used() + 8 * RESERVE as usize);
    until(&recorder, |health| health.recording);
    assert!(has_reserve(&storage));
    healed(&mut log);
    whole(&mut log, NOON, 52);
    recorder.close().unwrap();
    assert!(!has_reserve(&storage), "a record at rest has none");
    assert_clean(&storage, &key);
}

#[test]
fn a_stop_on_a_full_disk_is_a_clean_one() {
    let storage = Memory::new();
    let (recorder, mut log) = open_with(&storage, options_with(None));
    for number in 0..30 {
        whole(&mut log, NOON, number);
    }
    storage.set_capacity(storage.used());
    recorder.close().unwrap();
    assert_clean(&storage, &recorder.public_key());
    drop((recorder, log));
    storage.set_capacity(1 << 30);
    let (recorder, _log, recovered) = open_on(&storage).unwrap();
    assert_eq!((recovered.unfinished, recovered.torn), (0, false));
    assert_eq!(seqs(&recorder.reader()).len(), 30);
}

#[test]
fn what_a_killed_process_had_in_reserve_is_enough_to_begin_with_on_a_full_disk() {
    let storage = Memory::new();
    let (recorder, mut log) = open_with(&storage, options_with(None));
    let key = recorder.public_key();
    for number in 0..30 {
        whole(&mut log, NOON, number);
    }
    record(&mut log, NOON, &call(30)).unwrap();
    // It is allocated beside the calls.
    until(&recorder, |health| health.room.reserve > 0);
    let killed = storage.after(Loss::Process);
    drop((recorder, log));
    killed.set_capacity(killed.used());
    let (recorder, mut log) = open_with(&killed, options_with(Some(1 << 30)));
    assert_eq!(seqs(&recorder.reader()).len(), 31);
    assert_clean(&killed, &key);
    assert_eq!(
        record(&mut log, NOON, &call(31)).unwrap_err(),
        Unrecorded::DiskFull
    );
    killed.set_capacity(1 << 30);
    until(&recorder, |health| health.recording);
    whole(&mut log, NOON, 32);
    recorder.close().unwrap();
    assert_clean(&killed, &key);
}

#[test]
fn every_byte_is_counted_once_whatever_is_joined_removed_or_replaced() {
    let storage = Memory::new();
    let retain = Retain {
        age: Some(Duration::from_hours(48)),
        ..Retain::default()
    };
    let options = RecordOptions {
        retain,
        ..options_with(None)
    };
    let (recorder, mut log) = open_with(&storage, options.clone());
    two_days(&recorder, &mut log);
    recorder.keep_result(b"a long one").unwrap();
    recorder.compact(|_| ()).unwrap();
    whole(&mut log, NOON + 6 * DAY, 1);
    recorder.seal_now().unwrap();
    assert_eq!(recorder.retain().unwrap().len(), 2);
    recorder.rotate_key().unwrap();
    until(&recorder, |health| {
        health.room.used == storage.used() as u64
    });
    // And what is counted anew is what was counted.
    recorder.close().unwrap();
    let (recorder, _log) = open_with(&storage, options);
    until(&recorder, |health| {
        health.room.used == storage.used() as u64
    });
}

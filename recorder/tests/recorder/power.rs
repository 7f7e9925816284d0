//! The power goes, or the process is killed, at every single change that the recorder makes to its storage.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use weir_recorder::{Event, EventKind, Log, Outcome, RecordReader, Recorder};

use crate::memory::{Loss, Memory, Shared};
use crate::support::*;

const LOSSES: [Loss; 3] = [Loss::Process, Loss::Unsynced, Loss::Half];

/// What the recorder has promised: decisions, and of these the ones whose end was acknowledged too.
#[derive(Debug, Default, Clone)]
struct Promised(BTreeMap<i64, bool>);

impl Promised {
    fn decide(&mut self, log: &mut Log, number: i64) -> Option<i64> {
        let permit = record(log, NOON + number, &call(number)).ok()??;
        assert!(
            self.0.insert(permit.seq(), false).is_none(),
            "a place was given twice"
        );
        Some(permit.seq())
    }

    fn end(&mut self, log: &mut Log, seq: Option<i64>) {
        let Some(seq) = seq else { return };
        if log
            .finish(NOON + 100, seq, &finish(Outcome::Ok))
            .wait_blocking()
            .is_ok()
        {
            self.0.insert(seq, true);
        }
    }

    /// Every promise is kept, and no row is there twice.
    fn check(&self, reader: &RecordReader, what: &str) {
        let mut rows = BTreeMap::new();
        each(reader, |row| {
            assert!(
                rows.insert(row.seq, row.finish_seq.is_some()).is_none(),
                "{what}: a row is doubled"
            )
        });
        for (seq, ended) in &self.0 {
            let found = rows.get(seq);
            assert!(found.is_some(), "{what}: call {seq} is lost");
            assert!(
                !ended || found == Some(&true),
                "{what}: the end of call {seq} is lost"
            );
        }
    }
}

/// A short life: calls that end before, between and after seals, one that never ends, an event, a close.
fn live(storage: &Arc<Memory>) -> Promised {
    let mut promised = Promised::default();
    let Ok((recorder, mut log, _)) = open_on(storage) else {
        return promised;
    };
    let first = promised.decide(&mut log, 1);
    promised.end(&mut log, first);
    let slow = promised.decide(&mut log, 2);
    drop(
        log.event(NOON, &Event::<&str>::of(EventKind::Policy))
            .wait_blocking(),
    );
    drop(recorder.seal_now());
    let third = promised.decide(&mut log, 3);
    promised.end(&mut log, slow);
    drop(record(&mut log, NOON, &denied(4)));
    drop(recorder.seal_now());
    promised.end(&mut log, third);
    promised.decide(&mut log, 5);
    drop(recorder.close());
    promised
}

fn reopened(storage: &Arc<Memory>) -> (Recorder, Log, RecordReader) {
    let (recorder, log, recovered) = open_on(storage).expect("opens after a crash");
    (recorder, log, recovered.reader)
}

#[test]
fn whatever_was_promised_is_there_once_wherever_the_power_goes() {
    let whole = Memory::new();
    live(&whole);
    assert!(whole.changes() > 60, "the scenario does something");
    for changes in 0..=whole.changes() {
        let storage = Memory::with_power_for(changes);
        let promised = live(&storage);
        for loss in LOSSES {
            let what = format!("power for {changes} changes, {loss:?}");
            let after = storage.after(loss);
            let (recorder, mut log, reader) = reopened(&after);
            promised.check(&reader, &what);
            let mut more = promised.clone();
            let next = more.decide(&mut log, 9);
            more.end(&mut log, next);
            recorder.close().unwrap();
            more.check(&reader, &what);
        }
    }
}

#[test]
fn recovery_itself_may_be_cut_short_at_any_change() {
    let storage = Memory::new();
    let mut promised = Promised::default();
    let (recorder, mut log, _) = open_on(&storage).unwrap();
    for number in 0..4 {
        let seq = promised.decide(&mut log, number);
        promised.end(&mut log, seq.filter(|_| number % 2 == 0));
    }
    drop(recorder.seal_now());
    promised.decide(&mut log, 9);
    storage.cut_power();
    drop((recorder, log));
    let mut changes = 0;
    loop {
        let cut = storage.after(Loss::Unsynced);
        cut.cut_power_after(changes);
        let opened = open_on(&cut).is_ok() && !cut.is_off();
        cut.cut_power();
        for loss in LOSSES {
            let after = cut.after(loss);
            promised.check(
                &reopened(&after).2,
                &format!("recovery cut after {changes} changes, {loss:?}"),
            );
        }
        if opened {
            break;
        }
        changes += 1;
    }
    assert!(changes > 15, "recovery does something");
}

/// Threads commit side by side while the power goes at some point.
fn under_load(storage: &Arc<Memory>) -> Vec<i64> {
    let Ok((recorder, log, _)) = open_on(storage) else {
        return Vec::new();
    };
    let log = Mutex::new(log);
    let acknowledged = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..8 {
            let (log, acknowledged) = (&log, &acknowledged);
            scope.spawn(move || {
                for number in 0..20 {
                    let commit =
                        decide(&mut log.lock().unwrap(), NOON, &call(worker * 100 + number));
                    match commit.wait_blocking() {
                        Ok(permit) => acknowledged.lock().unwrap().push(permit.unwrap().seq()),
                        Err(_) => return,
                    }
                }
            });
        }
    });
    storage.cut_power();
    drop((recorder, log));
    acknowledged.into_inner().unwrap()
}

fn all_there(storage: &Arc<Memory>, acknowledged: &[i64], loss: Loss) -> bool {
    let after = storage.after(loss);
    let Ok((_recorder, _log, recovered)) = open_on(&after) else {
        return false;
    };
    let there = seqs(&recovered.reader);
    acknowledged
        .iter()
        .all(|seq| there.binary_search(seq).is_ok())
}

#[test]
fn every_permit_given_under_load_is_in_the_record_after_a_power_loss() {
    for changes in (20..120).step_by(7) {
        let storage = Memory::with_power_for(changes);
        let acknowledged = under_load(&storage);
        for loss in LOSSES {
            assert!(
                all_there(&storage, &acknowledged, loss),
                "after {changes} changes, {loss:?}"
            );
        }
    }
}

#[test]
fn without_the_sync_the_same_test_fails() {
    let lying = Memory::lying();
    let acknowledged = under_load(&lying);
    assert_eq!(acknowledged.len(), 160);
    assert!(!all_there(&lying, &acknowledged, Loss::Unsynced));
}

#[test]
fn a_journal_cut_at_any_byte_is_recovered_up_to_the_cut() {
    let storage = Memory::new();
    let (recorder, mut log, _) = open_on(&storage).unwrap();
    for n in 0..3 {
        whole(&mut log, NOON, n);
    }
    let running = storage.after(Loss::Process);
    drop((recorder, log));
    let path = running
        .paths()
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "log"))
        .unwrap();
    let bytes = weir_recorder::Storage::read(&Shared(Arc::clone(&running)), &path).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let mut before = 0;
    for cut in 0..=used {
        let torn = running.after(Loss::Process);
        torn.overwrite(&path, bytes[..cut].to_vec());
        let (recorder, mut log, reader) = reopened(&torn);
        let rows = seqs(&reader);
        assert!(
            rows.len() >= before && rows.len() <= 3,
            "cut at {cut}: {rows:?}"
        );
        before = rows.len();
        assert_eq!(
            rows,
            (0..rows.len() as i64).map(|n| n * 2).collect::<Vec<_>>()
        );
        let next = log.stamp(NOON).seq;
        assert!(rows.last().is_none_or(|last| next > *last), "places go on");
        drop((recorder, log));
    }
    assert_eq!(before, 3);
}

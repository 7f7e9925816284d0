//! Many journal files that could not be sealed: closing and opening take one at a time, and may be cut short anywhere.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use weir_recorder::{
    Event, EventKind, Log, Outcome, Recorder, Source, Space, Storage, StorageFile,
};

use crate::memory::{Faults, Loss, Memory, Shared};
use crate::support::*;

const LOSSES: [Loss; 2] = [Loss::Process, Loss::Unsynced];

/// No segment can be made.
fn no_seal() -> Faults {
    Faults {
        seal: true,
        ..Faults::default()
    }
}

/// Goes over to another journal file, while none can be sealed.
fn turn(recorder: &Recorder) {
    assert!(recorder.seal_now().is_err());
}

fn until(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::yield_now();
    }
}

/// Six files that depend on each other: calls that end, or are answered, in a later file, with and without others in it.
fn files(storage: &Arc<Memory>) -> (Recorder, Log) {
    let (recorder, mut log, _) = open_on(storage).unwrap();
    storage.set(no_seal());
    let open = |log: &mut Log, number| record(log, NOON, &call(number)).unwrap().unwrap().seq();
    let end = |log: &mut Log, seq, outcome| {
        log.finish(NOON + 1, seq, &finish(outcome))
            .wait_blocking()
            .unwrap();
    };
    whole(&mut log, NOON, 1);
    let slow = open(&mut log, 2);
    open(&mut log, 3);
    let asked = decide(&mut log, NOON, &held(4));
    let approved = (asked.seq(), call(4).call_id);
    asked.wait_blocking().unwrap();
    turn(&recorder);
    // Nothing is open here: only what was asked for in the file before is answered.
    let said = log.answer(NOON, approved, &answer(true)).wait_blocking();
    let approved = said.unwrap().unwrap().seq();
    turn(&recorder);
    record(&mut log, NOON, &denied(5)).unwrap();
    let late = open(&mut log, 6);
    turn(&recorder);
    end(&mut log, slow, Outcome::ToolError);
    // A decision that is in the file given up, and void by the next.
    storage.set(Faults {
        sync: true,
        ..no_seal()
    });
    assert!(record(&mut log, NOON, &call(7)).is_err());
    storage.set(no_seal());
    assert_eq!(healed(&mut log).len(), 1);
    log.event(NOON, &Event::<&str>::of(EventKind::Policy))
        .wait_blocking()
        .unwrap();
    turn(&recorder);
    end(&mut log, approved, Outcome::Ok);
    turn(&recorder);
    end(&mut log, late, Outcome::Cancelled);
    whole(&mut log, NOON, 8);
    (recorder, log)
}

/// Number and outcome of each call, once nobody can tell of it any more.
const TOLD: [(i64, &str); 8] = [
    (1, "ok"),
    (2, "tool_error"),
    (3, "unknown"),
    (4, "ok"),
    (5, "refused"),
    (6, "cancelled"),
    (7, "refused"),
    (8, "ok"),
];

#[track_caller]
fn check(storage: &Arc<Memory>, what: &str) {
    let reader = reader(storage);
    let outcomes = texts(&reader, "outcome");
    let mut rows = BTreeMap::new();
    let mut at = 0;
    each(&reader, |row| {
        let number = row.arguments.unwrap();
        let number = number.trim_start_matches("{\"id\":").trim_end_matches('}');
        let outcome = outcomes[at].clone().unwrap_or_default();
        at += 1;
        let twice = rows.insert(number.parse::<i64>().unwrap(), outcome);
        assert!(twice.is_none(), "{what}: call {number} is there twice");
    });
    let told: Vec<_> = rows.iter().map(|(n, it)| (*n, it.as_str())).collect();
    assert_eq!(told, TOLD, "{what}");
    let events = texts_of(&reader.events().unwrap(), "kind");
    let events: Vec<_> = events.iter().flatten().map(String::as_str).collect();
    assert_eq!(events, ["void", "storage_fault", "policy"], "{what}");
}

/// Opens what is left, and finds all of it there once and proved.
#[track_caller]
fn check_next_start(storage: &Arc<Memory>, what: &str) {
    let (recorder, log, _) = open_on(storage).unwrap();
    check(storage, what);
    assert_clean(storage, &recorder.public_key());
    recorder.close().unwrap();
    drop(log);
    check(storage, what);
    assert_clean(storage, &recorder.public_key());
    assert_eq!(journals(storage), 1, "{what}: only where the log goes on");
}

fn journals(storage: &Arc<Memory>) -> usize {
    let paths = storage.paths();
    let of = |path: &&std::path::PathBuf| path.starts_with("/record/journal");
    paths.iter().filter(of).count()
}

#[test]
fn closing_seals_what_could_not_be_sealed_before() {
    let storage = Memory::new();
    let (recorder, log) = files(&storage);
    assert!(journals(&storage) > 6, "nothing was sealed");
    storage.set(Faults::default());
    recorder.close().unwrap();
    drop(log);
    check(&storage, "closed");
    assert_clean(&storage, &recorder.public_key());
    assert_eq!(journals(&storage), 1);
}

#[test]
fn such_a_close_may_be_cut_short_at_any_change() {
    let mut changes = 0;
    loop {
        let storage = Memory::new();
        let (recorder, log) = files(&storage);
        storage.set(Faults::default());
        storage.cut_power_after(changes);
        let closed = recorder.close().is_ok() && !storage.is_off();
        storage.cut_power();
        drop((recorder, log));
        for loss in LOSSES {
            let what = format!("power for {changes} changes, {loss:?}");
            check_next_start(&storage.after(loss), &what);
        }
        if closed {
            break;
        }
        changes += 1;
    }
    assert!(changes > 60, "closing does something: {changes}");
}

#[test]
fn any_change_of_such_a_close_may_fail() {
    let mut changes = 0;
    loop {
        let storage = Memory::new();
        let (recorder, log) = files(&storage);
        storage.set(Faults::default());
        let before = storage.changes();
        storage.fail_after(changes);
        let closed = recorder.close();
        let made = storage.changes() - before;
        drop((recorder, log));
        let what = format!("change {changes} of {made} fails: {closed:?}");
        check_next_start(&storage.after(Loss::Process), &what);
        if made <= changes {
            closed.unwrap();
            break;
        }
        changes += 1;
    }
    assert!(changes > 60, "closing does something: {changes}");
}

/// The record as a process that was killed left it.
fn killed() -> Arc<Memory> {
    let storage = Memory::new();
    let (recorder, log) = files(&storage);
    storage.cut_power();
    drop((recorder, log));
    storage
}

#[test]
fn recovering_many_files_may_be_cut_short_at_any_change() {
    let storage = killed();
    let mut changes = 0;
    loop {
        let cut = storage.after(Loss::Unsynced);
        cut.cut_power_after(changes);
        let opened = open_on(&cut).is_ok() && !cut.is_off();
        cut.cut_power();
        for loss in LOSSES {
            let what = format!("recovery cut after {changes} changes, {loss:?}");
            check_next_start(&cut.after(loss), &what);
        }
        if opened {
            break;
        }
        changes += 1;
    }
    assert!(changes > 60, "recovery does something: {changes}");
}

#[test]
fn any_change_of_such_a_recovery_may_fail() {
    let storage = killed();
    for changes in 0..120 {
        let failing = storage.after(Loss::Process);
        failing.fail_after(changes);
        let opened = open_on(&failing);
        let what = format!("change {changes} fails: {}", opened.is_ok());
        drop(opened);
        check_next_start(&failing.after(Loss::Process), &what);
    }
}

/// The end of a held call may come into a file with the call before its answer does.
#[test]
fn a_held_call_waits_for_its_answer_although_its_end_is_there() {
    let storage = Memory::new();
    let (recorder, mut log, _) = open_on(&storage).unwrap();
    // The first file holds the question alone; it is sealed and carried on again and again, and cannot be removed.
    storage.set(Faults {
        keep: Some("-0000000001.log"),
        ..Faults::default()
    });
    let asked = decide(&mut log, NOON, &held(1));
    let approved = (asked.seq(), call(1).call_id);
    asked.wait_blocking().unwrap();
    turn(&recorder);
    whole(&mut log, NOON, 2);
    let said = log.answer(NOON, approved, &answer(true)).wait_blocking();
    let seq = said.unwrap().unwrap().seq();
    turn(&recorder);
    let before = recorder.health().unsealed;
    until("the question is in the third file", || {
        recorder.health().unsealed > before + 1
    });
    // The answer goes on only once the end is in the third file too.
    storage.set(no_seal());
    log.finish(NOON, seq, &finish(Outcome::Ok))
        .wait_blocking()
        .unwrap();
    turn(&recorder);
    storage.set(Faults::default());
    until("all but the last is sealed", || {
        let paths = storage.paths();
        !paths.iter().any(|it| it.ends_with("n1-0000000003.log"))
    });
    recorder.close().unwrap();
    drop(log);
    let outcomes = texts(&reader(&storage), "outcome");
    assert_eq!(outcomes, [Some("ok".into()), Some("ok".into())]);
    assert_clean(&storage, &recorder.public_key());
}

/// Counts the bytes of journal files that whoever reads them may hold: a buffer that comes back holds none any more.
#[derive(Debug)]
struct Counted {
    of: Shared,
    held: AtomicUsize,
    read: AtomicUsize,
}

impl Counted {
    fn new(storage: &Arc<Memory>) -> Arc<Self> {
        Arc::new(Self {
            of: Shared(Arc::clone(storage)),
            held: AtomicUsize::new(0),
            read: AtomicUsize::new(0),
        })
    }

    /// Bytes read, and bytes that may be held, since this was last asked.
    fn take(&self) -> (usize, usize) {
        let take = |count: &AtomicUsize| count.swap(0, Ordering::SeqCst);
        (take(&self.read), take(&self.held))
    }

    fn reads(&self, path: &Path, bytes: usize, capacity: usize) {
        if path.starts_with("/record/journal") {
            self.read.fetch_add(bytes, Ordering::SeqCst);
            let held = bytes.saturating_sub(capacity);
            self.held.fetch_add(held, Ordering::SeqCst);
        }
    }
}

#[test]
fn a_backlog_is_read_into_the_memory_of_one_file() {
    let storage = Memory::new();
    let counted = Counted::new(&storage);
    let open = |storage: &Arc<Counted>| {
        Recorder::open(options("/record"), Arc::clone(storage) as Arc<dyn Storage>).unwrap()
    };
    let (recorder, mut log, _) = open(&counted);
    storage.set(no_seal());
    for number in 0..40 {
        record(&mut log, NOON, &call(number)).unwrap();
        whole(&mut log, NOON, number);
        turn(&recorder);
    }
    let killed = storage.after(Loss::Process);
    let largest = largest_journal(&storage);
    storage.set(Faults::default());
    counted.take();
    recorder.close().unwrap();
    let (read, held) = counted.take();
    assert!(read > 35 * largest, "{read} of files of {largest}");
    assert!(held <= 3 * largest, "closing held {held} of {read}");

    let counted = Counted::new(&killed);
    let (recorder, log, recovered) = open(&counted);
    assert_eq!(recovered.unfinished, 40);
    let (read, held) = counted.take();
    assert!(read > 70 * largest, "{read} of files of {largest}");
    assert!(held <= 3 * largest, "opening held {held} of {read}");
    drop((recorder, log));
}

fn largest_journal(storage: &Arc<Memory>) -> usize {
    let paths = storage.paths();
    let of = paths.iter().filter(|it| it.starts_with("/record/journal"));
    of.map(|path| storage.bytes_of(path).len()).max().unwrap()
}

impl Storage for Counted {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let bytes = self.of.read(path)?;
        self.reads(path, bytes.len(), 0);
        Ok(bytes)
    }
    fn read_into(&self, path: &Path, buffer: &mut Vec<u8>) -> io::Result<()> {
        let bytes = self.of.read(path)?;
        self.reads(path, bytes.len(), buffer.capacity());
        buffer.clear();
        buffer.extend(bytes);
        Ok(())
    }
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        self.of.create_folder(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.of.create(path)
    }
    fn create_private(&self, path: &Path) -> io::Result<Box<dyn StorageFile>> {
        self.of.create_private(path)
    }
    fn space(&self, folder: &Path) -> io::Result<Option<Space>> {
        self.of.space(folder)
    }
    fn length(&self, path: &Path) -> io::Result<u64> {
        self.of.length(path)
    }
    fn open(&self, path: &Path) -> io::Result<Source> {
        self.of.open(path)
    }
    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.of.list(folder)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.of.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.of.remove(path)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.of.sync_folder(folder)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.of.lock(path)
    }
}

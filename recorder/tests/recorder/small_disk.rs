//! The first rows of the fail-closed matrix on file systems of a few megabytes that really are full, or read-only.
//!
//! They need leave to mount: as root, or in a user namespace of their own. Without it they say that they were skipped, and why.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_recorder::{
    Disk, Outcome, RecordError, RecordOptions, RecordReader, Recorder, VerifyOptions, verify,
};

use crate::support::*;

const INSIDE: &str = "WEIR_TEST_INSIDE_NAMESPACE";

/// A file system that is gone when dropped.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(what: &[&str]) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        run("mount", what, folder.path())?;
        Ok(Self(folder))
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("at")
    }

    fn remount(&self, how: &str) {
        run("mount", &["-o", &format!("remount,{how}")], self.0.path()).unwrap();
    }

    /// Takes all the space there is; it is free again when the file is removed.
    fn fill(&self) -> PathBuf {
        let ballast = self.0.path().join("ballast");
        let mut file = fs::File::create(&ballast).unwrap();
        let bytes = [1; 4096];
        while std::io::Write::write_all(&mut file, &bytes).is_ok() {}
        ballast
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(run("umount", &["--lazy"], self.0.path()));
    }
}

fn run(program: &str, arguments: &[&str], folder: &Path) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .arg(folder)
        .output()
        .map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// Runs a test on four megabytes of memory as a file system.
fn on_small_disk(test: &str, then: impl FnOnce(&Mounted)) {
    let refused = match Mounted::new(&["-t", "tmpfs", "-o", "size=4m", "tmpfs"]) {
        Ok(disk) => {
            then(&disk);
            return println!("{test}: on a tmpfs of 4 MiB");
        }
        Err(why) => why,
    };
    if std::env::var_os(INSIDE).is_some() {
        return eprintln!("SKIPPED {test}: cannot mount a tmpfs: {refused}");
    }
    let inside = Command::new("unshare")
        .arg("-Urm")
        .arg(std::env::current_exe().unwrap())
        .args([&format!("small_disk::{test}"), "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .status();
    match inside {
        Ok(status) if status.code() == Some(101) => panic!("{test} failed in its namespace"),
        Ok(status) if status.success() => {}
        other => eprintln!("SKIPPED {test}: {refused}; and no namespace: {other:?}"),
    }
}

fn small(path: &Path) -> RecordOptions {
    RecordOptions {
        journal_ahead_bytes: 64 << 10,
        journal_room_bytes: 64 << 10,
        reserve_bytes: 256 << 10,
        retry_pause: Duration::from_millis(5),
        ..options(path)
    }
}

fn open_small(path: &Path) -> (Recorder, weir_recorder::Log) {
    let (recorder, log, _) = Recorder::open(small(path), Arc::new(Disk)).unwrap();
    (recorder, log)
}

fn assert_valid(path: &Path, recorder: &Recorder) {
    let options = VerifyOptions {
        keys: vec![recorder.public_key()],
        ..VerifyOptions::default()
    };
    let verified = verify(path, &options).unwrap();
    assert_eq!(verified.findings, [], "{verified}");
}

#[test]
fn a_full_disk_refuses_the_start() {
    on_small_disk("a_full_disk_refuses_the_start", |disk| {
        let ballast = disk.fill();
        let refused = Recorder::open(small(&disk.path()), Arc::new(Disk)).map(drop);
        assert!(
            matches!(refused, Err(RecordError::Io { .. })),
            "{refused:?}"
        );
        fs::remove_file(ballast).unwrap();
        let (recorder, mut log) = open_small(&disk.path());
        whole(&mut log, NOON, 1);
        recorder.close().unwrap();
        assert_valid(&disk.path(), &recorder);
    });
}

#[test]
fn a_read_only_disk_refuses_the_start() {
    on_small_disk("a_read_only_disk_refuses_the_start", |disk| {
        let (recorder, mut log) = open_small(&disk.path());
        let seq = whole(&mut log, NOON, 1);
        recorder.close().unwrap();
        drop((recorder, log));
        disk.remount("ro");
        let refused = Recorder::open(small(&disk.path()), Arc::new(Disk)).map(drop);
        assert!(
            matches!(refused, Err(RecordError::Io { .. })),
            "{refused:?}"
        );
        // It can be read all the same.
        assert_eq!(seqs(&RecordReader::open(disk.path()).unwrap()), [seq]);
        disk.remount("rw");
        let (recorder, mut log) = open_small(&disk.path());
        whole(&mut log, NOON, 2);
        recorder.close().unwrap();
        assert_valid(&disk.path(), &recorder);
    });
}

#[test]
fn a_disk_that_fills_up_refuses_decisions_and_takes_them_again_when_there_is_room() {
    let name = "a_disk_that_fills_up_refuses_decisions_and_takes_them_again_when_there_is_room";
    on_small_disk(name, |disk| {
        let (recorder, mut log) = open_small(&disk.path());
        let mut expected = Vec::new();
        for episode in 0..3 {
            let open = record(&mut log, NOON, &call(episode)).unwrap().unwrap();
            expected.push((open.seq(), "ok"));
            let ballast = disk.fill();
            // What is zeroed ahead is still used, and then the file in stock; then it is over.
            let (mut refused, mut voided) = (Vec::new(), Vec::new());
            loop {
                let commit = decide(&mut log, NOON, &denied(100));
                let seq = commit.seq();
                let written = commit.wait_blocking().is_ok();
                expected.push((seq, "refused"));
                if !written {
                    refused.push(seq);
                    match healed_within(&mut log, Duration::from_millis(300)) {
                        Some(void) => voided.extend(void),
                        None => break,
                    }
                }
            }
            assert!(!recorder.health().recording);
            assert!(record(&mut log, NOON, &call(101)).is_err());
            // The outcome of a call that went out before waits for the disk, and nobody for it.
            let end = log.finish(NOON, open.seq(), &finish(Outcome::Ok));
            assert_eq!(end.refused(), None);
            fs::remove_file(ballast).unwrap();
            voided.extend(healed(&mut log));
            assert_eq!(voided, refused);
            expected.push((whole(&mut log, NOON, 102), "ok"));
            assert!(recorder.health().recording);
        }
        let found = |reader: &RecordReader| -> Vec<(i64, String)> {
            let outcomes = texts(reader, "outcome").into_iter().map(Option::unwrap);
            seqs(reader).into_iter().zip(outcomes).collect()
        };
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(seq, outcome)| (seq, outcome.to_owned()))
            .collect();
        assert_eq!(found(&recorder.reader()), expected);
        recorder.close().unwrap();
        assert_eq!(found(&RecordReader::open(disk.path()).unwrap()), expected);
        assert_valid(&disk.path(), &recorder);
    });
}

/// An ext4 in a file, since only a file system with a journal of its own can turn read-only below those who write to it.
#[test]
fn a_disk_that_turns_read_only_refuses_decisions_and_keeps_what_was_promised() {
    let name = "a_disk_that_turns_read_only_refuses_decisions_and_keeps_what_was_promised";
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let image = image.to_str().unwrap();
    let made = run("mkfs.ext4", &["-q"], Path::new(image));
    let mount = || Mounted::new(&["-o", "loop", image]);
    let disk = match made.and_then(|()| mount()) {
        Ok(disk) => disk,
        Err(why) => return eprintln!("SKIPPED {name}: no ext4 in a file can be mounted: {why}"),
    };
    let (recorder, mut log) = open_small(&disk.path());
    let ended = whole(&mut log, NOON, 1);
    let open = record(&mut log, NOON, &call(2)).unwrap().unwrap().seq();
    disk.remount("abort");
    let begun = Instant::now();
    let refused = record(&mut log, NOON, &call(3)).unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(refused.to_string().contains("ead-only"), "{refused}");
    assert!(!recorder.health().recording);
    assert!(record(&mut log, NOON, &call(4)).is_err());
    drop(log.finish(NOON, open, &finish(Outcome::Ok)));
    assert!(
        recorder.close().is_err(),
        "the outcome could not be written"
    );
    drop((recorder, log));
    run("umount", &[], disk.0.path()).unwrap();
    let disk = mount().unwrap();
    let (recorder, mut log, recovered) =
        Recorder::open(small(&disk.path()), Arc::new(Disk)).unwrap();
    assert_eq!(recovered.unfinished, 1);
    let next = whole(&mut log, NOON, 5);
    assert_eq!(seqs(&recorder.reader()), [ended, open, next]);
    recorder.close().unwrap();
    let outcomes: Vec<_> = texts(&recorder.reader(), "outcome")
        .into_iter()
        .flatten()
        .collect();
    assert_eq!(outcomes, ["ok", "unknown", "ok"]);
    assert_valid(&disk.path(), &recorder);
    println!("{name}: on an ext4 of 16 MiB");
}

#[test]
fn a_full_disk_has_room_for_the_end_of_calls_and_for_a_clean_stop() {
    let name = "a_full_disk_has_room_for_the_end_of_calls_and_for_a_clean_stop";
    on_small_disk(name, |disk| {
        let (recorder, mut log) = open_small(&disk.path());
        let open: Vec<_> = (0..50)
            .map(|number| {
                record(&mut log, NOON, &call(number))
                    .unwrap()
                    .unwrap()
                    .seq()
            })
            .collect();
        let _ballast = disk.fill();
        let mut written = 0;
        while record(&mut log, NOON, &denied(written + 100)).is_ok() {
            written += 1;
        }
        for seq in &open {
            drop(log.finish(NOON, *seq, &finish(Outcome::Ok)));
        }
        let begun = Instant::now();
        loop {
            let health = recorder.health();
            let full = health.fault.as_deref() == Some("the disk of the record is full");
            let given_up = !disk.path().join("reserve").exists();
            if full && health.waiting == 0 && given_up {
                break;
            }
            assert!(begun.elapsed().as_secs() < 20, "{health:?}");
            std::thread::yield_now();
        }
        recorder.close().unwrap();
        let reader = RecordReader::open(disk.path()).unwrap();
        let outcomes = seqs(&reader).into_iter().zip(texts(&reader, "outcome"));
        let ended = outcomes.filter(|(_, outcome)| outcome.as_deref() == Some("ok"));
        assert_eq!(ended.map(|(seq, _)| seq).collect::<Vec<_>>(), open);
        assert_valid(&disk.path(), &recorder);
    });
}

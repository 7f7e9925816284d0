//! Two processes never share a record.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use weir_recorder::{Disk, RecordError, Recorder};

use crate::support::*;

const FOLDER: &str = "WEIR_TEST_HELD_RECORD";

/// The other process of the test below: holds the record until it is killed.
#[test]
fn another_process_holds_the_record() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let (_recorder, mut log, _) = open(std::path::Path::new(&folder));
    whole(&mut log, NOON, 1);
    println!("\nheld");
    loop {
        std::thread::park();
    }
}

#[test]
fn a_record_that_another_process_has_is_refused_and_free_again_once_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args([
            "lock::another_process_holds_the_record",
            "--exact",
            "--nocapture",
        ])
        .env(FOLDER, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(other.stdout.take().unwrap()).lines();
    let held = lines.map(Result::unwrap).any(|line| line == "held");
    assert!(held, "the other process could not open the record");

    let second = Recorder::open(options(folder.path()), Arc::new(Disk)).map(drop);
    let Err(RecordError::Locked { path }) = second else {
        panic!("two processes have the record: {second:?}");
    };
    assert_eq!(path, folder.path());

    other.kill().unwrap();
    other.wait().unwrap();
    let (recorder, mut log, recovered) = open(folder.path());
    assert_eq!(recovered.last_seq, Some(1));
    whole(&mut log, NOON, 2);
    assert_eq!(seqs(&recorder.reader()), [0, 2]);
}

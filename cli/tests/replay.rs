//! `weir replay`: each exit code, from the command line, and what is said of the evidence.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::{Ended, Folder};

const NO_STOPS: &str = r#"{"version": "1", "default": "allow",
  "tools": {"vm_stop": {"action": "deny", "reason": "Nobody stops a VM."}}}"#;

fn generated() -> Folder {
    let folder = Folder::new();
    folder
        .weir(&[
            "generate", "--calls", "400", "--seed", "7", "--out", "record",
        ])
        .succeeds();
    folder.write("candidate.json", NO_STOPS);
    folder
}

fn replay(folder: &Folder, more: &[&str]) -> Ended {
    folder.weir(&[&["replay", "--record", "record"], more].concat())
}

/// The one sealed file of calls.
fn sealed(folder: &Folder) -> PathBuf {
    let only = |folder: &Path| {
        let mut entries = fs::read_dir(folder).unwrap();
        entries.next().unwrap().unwrap().path()
    };
    only(&only(&folder.path("record/calls")))
}

fn flip_a_byte(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn within_budget_ends_with_0_and_over_it_with_1() {
    let folder = generated();
    let under = ["--policy", "candidate.json"];
    replay(&folder, &["--max-newly-denied", "0"]).succeeds();
    replay(&folder, &under).succeeds();
    replay(
        &folder,
        &[&under[..], &["--max-newly-denied", "1000"]].concat(),
    )
    .succeeds();
    replay(
        &folder,
        &[&under[..], &["--max-newly-denied", "0"]].concat(),
    )
    .ends_with(1);
    let open = r#"{"version": "1", "default": "allow"}"#;
    folder.write("open.json", open);
    replay(
        &folder,
        &["--policy", "open.json", "--max-newly-allowed", "0"],
    )
    .ends_with(1);
}

#[test]
fn bad_usage_and_a_bad_policy_end_with_2() {
    let folder = generated();
    folder.write("bad.json", r#"{"version": "1", "defualt": "allow"}"#);
    replay(&folder, &["--policy", "bad.json"])
        .ends_with(2)
        .says("defualt");
    replay(&folder, &["--policy", "none.json"]).ends_with(2);
    replay(&folder, &["--grant", "nobody"]).ends_with(2);
    replay(&folder, &["--verify", "files", "--no-verify"]).ends_with(2);
    replay(&folder, &["--anchor", "none"])
        .ends_with(2)
        .says("is no folder");
    fs::rename(folder.path("record.pub"), folder.path("away.pub")).unwrap();
    replay(&folder, &[]).ends_with(2).says("--no-verify");
    replay(&folder, &["--key", "away.pub"]).succeeds();
}

#[test]
fn too_few_certain_answers_end_with_3() {
    let folder = generated();
    replay(&folder, &["--min-coverage", "100%"]).succeeds();
    // A policy that is gone is missing evidence too, so only who does not look at that gets this far.
    fs::remove_dir_all(folder.path("record/policies")).unwrap();
    replay(&folder, &["--min-coverage", "100%"])
        .ends_with(4)
        .says("missing");
    replay(&folder, &["--min-coverage", "100%", "--no-verify"])
        .ends_with(3)
        .shows("policy not kept");
}

#[test]
fn a_record_that_is_not_what_was_signed_ends_with_4() {
    let folder = generated();
    let path = sealed(&folder);
    let good = fs::read(&path).unwrap();
    for how in [&["--verify", "files"][..], &["--verify", "full"]] {
        flip_a_byte(&path);
        replay(&folder, how)
            .ends_with(4)
            .says("fails verification: altered")
            .says("weir verify --record record");
        fs::remove_file(&path).unwrap();
        replay(&folder, how).ends_with(4).says("missing");
        fs::write(&path, &good).unwrap();
        replay(&folder, how).succeeds();
    }
    // Bytes that are no Parquet any more are noticed by who does not look at evidence too.
    fs::write(&path, &good[..good.len() / 2]).unwrap();
    replay(&folder, &["--no-verify"]).ends_with(4);
}

#[test]
fn a_policy_in_force_that_no_longer_gives_what_is_on_record_ends_with_5() {
    let folder = generated();
    // Nobody could hold a counter when this record was made, says this; but it was made when they could.
    replay(&folder, &["--counters-per-grant", "0"])
        .ends_with(5)
        .shows("ENGINE DRIFT");
    replay(
        &folder,
        &["--counters-per-grant", "0", "--min-coverage", "100%"],
    )
    .ends_with(5);
}

#[test]
fn the_result_says_what_of_the_evidence_was_checked() {
    let folder = generated();
    let record = |more: &[&str]| {
        let json = [&["--format", "json"], more].concat();
        replay(&folder, &json).succeeds().json()["record"].clone()
    };
    let cases: [(&[&str], bool, &str); 4] = [
        (&[], true, "files"),
        (&["--verify", "files"], true, "files"),
        (&["--verify", "full"], true, "rows"),
        (&["--no-verify"], false, "nothing"),
    ];
    for (how, verified, by) in cases {
        let record = record(how);
        assert_eq!(record["verified"], verified, "{how:?}");
        assert_eq!(record["verified_by"], by, "{how:?}");
    }
    replay(&folder, &[])
        .succeeds()
        .shows("verified: every sealed file is as it was signed");
    replay(&folder, &["--no-verify"])
        .succeeds()
        .shows("NOT VERIFIED");
}

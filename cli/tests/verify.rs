//! `weir verify`: one exit code for each thing a record can be, from the command line.

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

use support::Folder;

fn generated() -> Folder {
    let folder = Folder::new();
    folder
        .weir(&[
            "generate", "--calls", "300", "--seed", "7", "--out", "record",
        ])
        .succeeds();
    folder
}

/// The Parquet files below a folder.
fn parquet(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(parquet(&path));
        } else if path.extension().is_some_and(|e| e == "parquet") {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn a_record_without_an_anchor_is_valid_and_not_anchored() {
    let folder = generated();
    folder
        .weir(&["verify", "--record", "record"])
        .ends_with(6)
        .shows("record: valid, not anchored")
        .shows("later removal cannot be excluded");
    let json = folder.weir(&["verify", "--record", "record", "--format", "json"]);
    assert_eq!(json.json()["state"], "not_anchored");
}

#[test]
fn a_record_with_a_new_key_and_joined_files_is_valid_from_the_first_public_key_on() {
    let folder = generated();
    fs::copy(folder.path("record.pub"), folder.path("first.pub")).unwrap();
    folder
        .weir(&["key", "rotate", "--record", "record"])
        .succeeds()
        .shows("old weir/")
        .shows("new weir/");
    let first = fs::read(folder.path("first.pub")).unwrap();
    assert_ne!(first, fs::read(folder.path("record.pub")).unwrap());
    folder
        .weir(&["key", "rotate", "--record", "record"])
        .succeeds();
    let verify = ["verify", "--record", "record"];
    folder.weir(&verify).ends_with(6);
    let from_first = [&verify[..], &["--key", "first.pub"]].concat();
    folder.weir(&from_first).ends_with(6);
    let compact = ["compact", "--record", "record"];
    let json = folder.weir(&[&compact[..], &["--format", "json"]].concat());
    assert_eq!(json.json()["days"][0]["table"], "events");
    folder
        .weir(&compact)
        .succeeds()
        .shows("nothing to join: every day has one file");
    folder.weir(&from_first).ends_with(6);
}

#[test]
fn an_altered_file_a_missing_file_and_bad_usage_have_their_own_codes() {
    let folder = generated();
    let path = parquet(&folder.path("record/calls")).remove(0);
    let good = fs::read(&path).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    fs::write(&path, bad).unwrap();
    folder
        .weir(&["verify", "--record", "record"])
        .ends_with(1)
        .shows("is not as it was sealed");
    fs::remove_file(&path).unwrap();
    folder
        .weir(&["verify", "--record", "record"])
        .ends_with(3)
        .shows("are gone");
    fs::write(&path, good).unwrap();
    folder.weir(&["verify", "--record", "record"]).ends_with(6);

    folder
        .weir(&["verify", "--record", "record", "--key", "none.pub"])
        .ends_with(2)
        .says("none.pub");
    folder
        .weir(&["verify", "--record", "record", "--anchor", "none"])
        .ends_with(2)
        .says("is no folder");
    folder
        .weir(&["verify", "--record", "record", "--proof"])
        .ends_with(2)
        .says("--call");
    fs::rename(folder.path("record.pub"), folder.path("other.pub")).unwrap();
    folder
        .weir(&["verify", "--record", "record"])
        .ends_with(2)
        .says("--key FILE");
    folder
        .weir(&["verify", "--record", "record", "--key", "other.pub"])
        .ends_with(6);
}

#[test]
fn one_call_is_proved() {
    let folder = generated();
    let sql = "SELECT hex(call_id) AS id FROM calls ORDER BY seq LIMIT 1";
    let rows = folder.weir(&["query", "--record", "record", "--format", "json", sql]);
    let id = rows.succeeds().json()[0]["id"].as_str().unwrap().to_owned();
    let proof = folder
        .weir(&["verify", "--record", "record", "--call", &id, "--proof"])
        .succeeds()
        .json();
    assert_eq!(proof["format"], "weir.proof/1");
    assert_eq!(proof["call_id"], id.as_str());
    assert!(!proof["entries"].as_array().unwrap().is_empty());
    folder
        .weir(&[
            "verify",
            "--record",
            "record",
            "--call",
            "00000000000000000000000000000000",
            "--proof",
        ])
        .ends_with(2)
        .says("has no call");
}

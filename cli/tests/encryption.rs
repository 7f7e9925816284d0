//! A record whose arguments are encrypted, from the command line: who has the keys gets what the twin without keys gives, and who
//! has not is told which key it takes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use support::Folder;

const CANDIDATE: &str = r#"{"version":"1","default":"allow","tools":{"vm_stop":{
  "deny_if":[{"conditions":[{"path":"args.id","op":"gt","value":3}],"on_deny":"no"}]}}}"#;

/// The record `plain`, the same one encrypted as `record`, and its keys, which lie elsewhere.
fn twins() -> Folder {
    let folder = Folder::new();
    folder
        .weir(&["key", "new", "--record-keys", "away.keys", "--id", "k1"])
        .succeeds()
        .shows("`k1`");
    let generate = ["generate", "--calls", "600", "--seed", "7", "--out"];
    folder
        .weir(&[&generate[..], &["plain"]].concat())
        .succeeds();
    folder
        .weir(&[&generate[..], &["record", "--record-keys", "away.keys"]].concat())
        .succeeds();
    folder.write("candidate.json", CANDIDATE);
    folder
}

const ARGUMENTS: &str =
    "SELECT seq, tool, arguments FROM calls WHERE arguments LIKE '%id%' ORDER BY seq";
const WHAT_IF: &str = "SELECT seq, class, would_rule, arguments FROM what_if('candidate.json') WHERE class = 'newly_denied'";
const OTHERS: &str =
    "SELECT tool, verdict, count(*) AS calls FROM calls WHERE seq > 9 GROUP BY 1, 2 ORDER BY 1, 2";

#[test]
fn with_the_keys_query_and_replay_answer_as_of_the_twin_in_the_clear() {
    let folder = twins();
    for sql in [ARGUMENTS, OTHERS, WHAT_IF, "SELECT count(*) FROM calls"] {
        let ask = |record| {
            folder.weir(&[
                "query",
                "--record",
                record,
                "--format",
                "json",
                "--record-keys",
                "away.keys",
                sql,
            ])
        };
        let (plain, encrypted) = (ask("plain").succeeds(), ask("record").succeeds());
        assert!(plain.stdout.len() > 20);
        assert_eq!(plain.stdout, encrypted.stdout);
    }
    let replayed = |record| {
        let report = folder.weir(&[
            "replay",
            "--record",
            record,
            "--record-keys",
            "away.keys",
            "--policy",
            "candidate.json",
            "--format",
            "json",
        ]);
        let report = report.succeeds().json();
        (
            report["result_digest"].clone(),
            report["classes"].clone(),
            report["flips"].clone(),
        )
    };
    let plain = replayed("plain");
    assert!(plain.2[0]["arguments"].is_object(), "{plain:?}");
    assert_eq!(plain, replayed("record"));
    folder
        .weir(&["verify", "--record", "record", "--record-keys", "away.keys"])
        .ends_with(6);
}

#[test]
fn without_the_keys_every_other_column_is_there_and_the_key_is_named() {
    let folder = twins();
    let ask = |record, sql| folder.weir(&["query", "--record", record, "--format", "json", sql]);
    assert_eq!(
        ask("plain", OTHERS).succeeds().stdout,
        ask("record", OTHERS).succeeds().stdout
    );
    for sql in [
        ARGUMENTS,
        "SELECT * FROM calls",
        "SELECT count(*) FROM calls WHERE arguments IS NULL",
        "SELECT limit_counts FROM calls",
        WHAT_IF,
        // The candidate's rule reads arguments.
        "SELECT count(*) FROM what_if('candidate.json')",
    ] {
        ask("record", sql)
            .ends_with(2)
            .says("the record key `k1` is missing")
            .says("--record-keys FILE");
    }
    folder
        .weir(&["verify", "--record", "record"])
        .ends_with(7)
        .shows("record: not all checked")
        .shows("the record key `k1` is missing");
    folder
        .weir(&["replay", "--record", "record", "--policy", "candidate.json"])
        .ends_with(2)
        .says("the record key `k1` is missing");
    // The policy in force counts calls and reads no argument.
    let without = folder.weir(&[
        "replay", "--record", "record", "--flips", "0", "--format", "json",
    ]);
    let with = folder.weir(&[
        "replay", "--record", "plain", "--flips", "0", "--format", "json",
    ]);
    assert_eq!(
        without.succeeds().json()["result_digest"],
        with.succeeds().json()["result_digest"]
    );
    for command in [
        ["seal", "--record", "record"],
        ["compact", "--record", "record"],
    ] {
        folder
            .weir(&command)
            .ends_with(2)
            .says("`k1`")
            .says("--record-keys FILE");
    }
}

#[test]
fn a_key_of_that_name_that_is_another_is_told() {
    let folder = twins();
    folder
        .weir(&["key", "new", "--record-keys", "other.keys", "--id", "k1"])
        .succeeds();
    folder
        .weir(&[
            "query",
            "--record",
            "record",
            "--record-keys",
            "other.keys",
            ARGUMENTS,
        ])
        .ends_with(2)
        .says("given as `k1` is not the one");
    folder
        .weir(&[
            "verify",
            "--record",
            "record",
            "--record-keys",
            "other.keys",
        ])
        .ends_with(7);
}

#[test]
fn keys_are_rotated_by_one_more_line_and_files_of_before_stay_readable() {
    let folder = twins();
    folder
        .weir(&["key", "new", "--record-keys", "away.keys", "--id", "k1"])
        .ends_with(2)
        .says("a key is never replaced");
    folder
        .weir(&["key", "new", "--record-keys", "away.keys"])
        .succeeds()
        .shows("Files of before are read with k1.");
    let lines = folder.read("away.keys");
    assert_eq!(lines.lines().count(), 2);
    let mode = fs::metadata(folder.path("away.keys"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    // Beside the folder they need not be named.
    fs::rename(folder.path("away.keys"), folder.path("record.keys")).unwrap();
    folder.weir(&["compact", "--record", "record"]).succeeds();
    folder.weir(&["verify", "--record", "record"]).ends_with(6);
    folder
        .weir(&["query", "--record", "record", ARGUMENTS])
        .succeeds();
    // Nor are they read where others may.
    fs::set_permissions(
        folder.path("record.keys"),
        fs::Permissions::from_mode(0o640),
    )
    .unwrap();
    folder
        .weir(&["query", "--record", "record", OTHERS])
        .ends_with(2)
        .says("chmod 600");
    let told = folder
        .weir(&["key", "new", "--record-keys", "record.keys"])
        .ends_with(2);
    for line in lines.lines() {
        assert!(!format!("{told}").contains(line.rsplit('+').next().unwrap()));
    }
}

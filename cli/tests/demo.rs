//! The demo and the generator, as a user runs them: the real binary, nothing prepared.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use serde_json::Value;
use support::Folder;

#[test]
fn the_demo_agrees_with_the_world_and_leaves_a_record_to_go_on_with() {
    let folder = Folder::new();
    let demo = folder.weir(&["demo"]).succeeds();
    for expected in [
        "exactly the same",
        "What other policies would have blocked",
        "/tools/vm_stop/limits/vm_stop_rate",
        "/tools/service_stop/limits/service_stop_rate",
        "Go on",
    ] {
        assert!(
            demo.stdout.contains(expected),
            "no `{expected}` in:\n{demo}"
        );
    }

    // The table's numbers are those of `weir replay`.
    let replayed = folder.weir(&[
        "replay",
        "--record",
        "weir-demo/record",
        "--policy",
        "weir-demo/policies/published-stops.json",
        "--format",
        "json",
    ]);
    let report: Value = serde_json::from_str(&replayed.succeeds().stdout).unwrap();
    let of = |tool: &str| {
        let tools = report["by_tool"].as_array().unwrap();
        let found = tools.iter().find(|entry| entry["tool"] == tool).unwrap();
        found["newly_denied"].as_u64().unwrap()
    };
    assert!(of("vm_stop") > 0 && of("service_stop") > 0, "{report}");
    for tool in ["vm_stop", "service_stop"] {
        assert!(
            demo.stdout.contains(&format!("{} blocked", of(tool))),
            "{demo}"
        );
    }

    // What the NAS itself wrote down is in the record, and the other way round.
    let arrived: usize = ["nas", "nas-flat"]
        .iter()
        .map(|nas| {
            folder
                .read(&format!("weir-demo/nas/{nas}.jsonl"))
                .lines()
                .count()
        })
        .sum();
    let let_through = folder.weir(&[
        "query",
        "--record",
        "weir-demo/record",
        "--format",
        "json",
        "SELECT count(*) AS n FROM calls WHERE verdict = 'allow' AND method IN ('tools/call', 'resources/read')",
    ]);
    assert_eq!(let_through.succeeds().json()[0]["n"], arrived);
}

#[test]
fn the_demo_leaves_the_folders_of_others_alone() {
    let folder = Folder::new();
    folder.write("weir-demo/thesis.txt", "years of work");
    let refused = folder.weir(&["demo"]);
    assert_eq!(refused.code, Some(2), "{refused}");
    assert!(refused.stderr.contains("is not empty"), "{refused}");
    assert_eq!(folder.read("weir-demo/thesis.txt"), "years of work");
}

#[test]
fn one_seed_generates_the_same_calls_twice() {
    let folder = Folder::new();
    let asked = |out: &str| {
        folder
            .weir(&["generate", "--calls", "3000", "--seed", "7", "--out", out])
            .succeeds();
        let told = folder.weir(&[
            "query",
            "--record",
            out,
            "--format",
            "csv",
            "SELECT seq, finish_seq, call_id, decided_at, \"grant\", session, tool, arguments, verdict, rule, outcome FROM calls ORDER BY seq",
        ]);
        told.succeeds().stdout
    };
    let first = asked("first");
    assert_eq!(first.lines().count(), 3001);
    assert_eq!(first, asked("second"));
}

#[test]
fn a_generated_record_replays_under_its_own_policy_without_a_flip() {
    let folder = Folder::new();
    folder
        .weir(&[
            "generate",
            "--calls",
            "5000",
            "--seed",
            "3",
            "--argument-rules",
            "--out",
            "record",
        ])
        .succeeds();
    let report = folder
        .weir(&["replay", "--record", "record", "--format", "json"])
        .succeeds()
        .json();
    // The rest are handshakes and lists, which no policy judges.
    let judged = report["record"]["calls"].as_u64().unwrap();
    assert!((4000..5000).contains(&judged), "{judged}");
    assert_eq!(report["classes"]["same"].as_u64().unwrap(), judged);
    for class in [
        "newly_denied",
        "newly_allowed",
        "engine_drift",
        "not_replayable",
    ] {
        assert_eq!(report["classes"][class], 0, "{report}");
    }
}

/// The recorded morning of `corpus/record`, a real run, and what was answered when it was recorded.
#[test]
fn the_recorded_morning_replays_to_its_expected_answers() {
    let folder = Folder::new();
    let record = weir_corpus::record_path();
    for policy in ["in-force", "published-stops", "careful-stops"] {
        let document = weir_corpus::policy(&format!("demo/{policy}")).unwrap();
        let file = format!("{policy}.json");
        folder.write(&file, document.text);
        let record = record.to_str().unwrap();
        // The key that signed it was thrown away.
        let replayed = folder.weir(&[
            "replay",
            "--record",
            record,
            "--no-verify",
            "--policy",
            &file,
            "--flips",
            "all",
            "--format",
            "json",
        ]);
        let expected = std::fs::read_to_string(weir_corpus::expected_path().join(&file)).unwrap();
        assert_eq!(replayed.succeeds().stdout, expected, "{policy}");
    }
}

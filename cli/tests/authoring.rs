//! What authors of policies ask: is it wider, does it say what I expect, what would have been enough?

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::path::{Path, PathBuf};

use support::Folder;

const OLD: &str = r#"{
  "version": "1",
  "default": "deny",
  "tools": {
    "vm_stop": {
      "require": [{ "conditions": [{ "path": "args.id", "op": "type", "value": "integer" }] }],
      "deny_if": [{ "conditions": [{ "path": "args.force", "op": "eq", "value": true }] }],
      "limits": [{ "counter": "stops", "window": "minute", "max": 3 }]
    }
  }
}"#;

fn corpus(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../corpus")
        .join(path)
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("old.json", OLD);
    folder
}

#[test]
fn a_policy_with_less_room_is_nowhere_wider() {
    let folder = folder();
    folder.write("new.json", &OLD.replace("\"max\": 3", "\"max\": 2"));
    folder
        .weir(&["policy", "diff", "old.json", "new.json"])
        .succeeds()
        .shows("/tools/vm_stop/limits/stops  changed, tighter")
        .shows("- at most 3 in 60 s per grant")
        .shows("+ at most 2 in 60 s per grant")
        .shows("NOWHERE WIDER")
        .shows("and refuses what it lets through");
}

#[test]
fn a_rule_that_is_gone_is_shown_by_a_call_that_passes_now() {
    let folder = folder();
    folder.write(
        "new.json",
        &OLD.replace("\"value\": true", "\"value\": \"yes\""),
    );
    let answer = folder
        .weir(&["policy", "diff", "--format", "json", "old.json", "new.json"])
        .ends_with(1)
        .json();
    let found = &answer["new_against_old"];
    assert_eq!(found["answer"], "wider");
    let witness = &found["witness"];
    assert_eq!(witness["new"]["verdict"], "allow");
    assert_eq!(witness["old"]["verdict"], "deny");
    // what is shown is what `weir policy explain` says, too
    let call = &witness["calls"][0]["call"];
    let call =
        serde_json::json!({ "name": call["tool"], "arguments": call["arguments"] }).to_string();
    let explain = |policy: &str| {
        folder
            .weir(&["policy", "explain", "--policy", policy, "--call", &call])
            .succeeds()
    };
    explain("new.json").shows("decision  allow");
    explain("old.json").shows("decision  deny");
}

#[test]
fn a_larger_limit_is_shown_by_calls_one_after_the_other() {
    let folder = folder();
    folder.write("new.json", &OLD.replace("\"max\": 3", "\"max\": 7"));
    folder
        .weir(&["policy", "diff", "old.json", "new.json"])
        .ends_with(1)
        .shows("WIDER")
        .shows("4 × vm_stop {\"id\":1}")
        .shows("old.json decides the last: deny by /tools/vm_stop/limits/stops (limit_exceeded)");
    folder
        .weir(&["policy", "diff", "--format", "markdown", "old.json", "new.json"])
        .ends_with(1)
        .shows("| `/tools/vm_stop/limits/stops` | changed | `at most 3 in 60 s per grant` | `at most 7 in 60 s per grant` | looser |");
}

#[test]
fn what_cannot_be_compared_is_unknown_and_named() {
    let folder = folder();
    let with = |regex: &str| {
        let rule = format!(r#""op": "regex", "value": "{regex}""#);
        OLD.replace(r#""op": "type", "value": "integer""#, &rule)
    };
    folder.write("old.json", &with(r"\\bweb\\b"));
    folder.write("new.json", &with(r"\\bweb\\b|\\bweb\\b"));
    folder
        .weir(&["policy", "diff", "old.json", "new.json"])
        .ends_with(3)
        .shows("UNKNOWN")
        .shows("/tools/vm_stop/require/args.id-regex");
}

#[test]
fn a_record_shows_which_calls_two_policies_judge_differently() {
    let folder = Folder::new();
    let policy = |name: &str| {
        corpus(&format!("policies/demo/{name}.json"))
            .display()
            .to_string()
    };
    let record = corpus("record").display().to_string();
    let (old, new) = (policy("published-stops"), policy("careful-stops"));
    let answer = folder
        .weir(&[
            "policy",
            "diff",
            "--format",
            "json",
            "--no-verify",
            "--record",
            &record,
            &old,
            &new,
        ])
        .succeeds()
        .json();
    let apart = answer["record"]["judged_differently"].as_array().unwrap();
    assert!(!apart.is_empty());
    for call in apart {
        assert_ne!(call["old"]["verdict"], call["new"]["verdict"], "{call}");
    }
    // a policy against itself: nothing, however it is written
    let same = folder.weir(&[
        "policy",
        "diff",
        "--format",
        "json",
        "--no-verify",
        "--record",
        &record,
        &new,
        &new,
    ]);
    let same = same.succeeds().json();
    assert_eq!(
        same["record"]["judged_differently"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn a_policy_that_does_not_load_is_bad_usage() {
    let folder = folder();
    folder.write("new.json", r#"{"version": "1"}"#);
    folder
        .weir(&["policy", "diff", "old.json", "new.json"])
        .ends_with(2)
        .says("`default` is missing");
}

#[test]
fn the_policies_of_the_corpus_say_what_is_expected_of_them() {
    let policies = corpus("policies").display().to_string();
    Folder::new()
        .weir(&["test", &policies])
        .succeeds()
        .shows("a VM is stopped by its number, and not by force")
        .shows("vm_stop is executed ten times a minute")
        .shows("the demo's morning: what was routine passes")
        .shows(" passed, 0 failed");
}

#[test]
fn an_expectation_that_is_not_met_is_shown_beside_what_was_found() {
    let folder = folder();
    folder.write(
        "old.test.json",
        r#"{ "policy": "old.json", "cases": [
            { "name": "a stop passes", "calls": [{"tool": "vm_stop", "args": {"id": 1}, "expect": {"verdict": "allow"}}] },
            { "name": "names <will> do", "calls": [{"tool": "vm_stop", "args": {"id": "web"}, "expect": {"verdict": "allow"}}] } ] }"#,
    );
    folder
        .weir(&["test", "."])
        .ends_with(1)
        .shows("ok    a stop passes")
        .shows("FAIL  names <will> do")
        .shows("call 1: vm_stop {\"id\": \"web\"}")
        .shows("expected  allow")
        .shows("found     deny, by /tools/vm_stop/require/args.id-type")
        .shows("1 passed, 1 failed");
    folder
        .weir(&["test", "--format", "junit", "old.test.json"])
        .ends_with(1)
        .shows("<testsuite name=\"old.test.json\" tests=\"2\" failures=\"1\" errors=\"0\">")
        .shows("name=\"names &lt;will&gt; do\"")
        .shows("<failure message=\"call 1: vm_stop {&quot;id&quot;: &quot;web&quot;}\">");
    let answer = folder
        .weir(&["test", "--format", "json", "old.test.json"])
        .ends_with(1)
        .json();
    assert_eq!(answer[1]["end"], "failed");
    assert_eq!(answer[1]["differences"][0]["expected"], "allow");
}

#[test]
fn budgets_and_labels_of_a_record_are_held() {
    let folder = Folder::new();
    let published = std::fs::read_to_string(corpus("policies/demo/published-stops.json")).unwrap();
    folder.write("loose.json", &published);
    let (record, labels) = (corpus("record"), corpus("expected/agents.jsonl"));
    let test = |more: &str| {
        format!(
            r#"{{ "policy": "loose.json", "records": [
                {{ "name": "the morning", "record": {:?}, "verify": "none", "labels": {:?}, {more} }} ] }}"#,
            record.display().to_string(),
            labels.display().to_string()
        )
    };
    folder.write(
        "loose.test.json",
        &test(r#""expect": {"forced": {"deny": 1.0}}"#),
    );
    folder
        .weir(&["test", "loose.test.json"])
        .ends_with(1)
        .shows("calls labelled `forced`")
        .shows("expected  at least 100 % denied");
    folder.write("loose.test.json", &test(r#""max_newly_denied": 0"#));
    folder
        .weir(&["test", "loose.test.json"])
        .ends_with(1)
        .shows("newly denied calls")
        .shows("expected  at most 0");
    folder.write(
        "loose.test.json",
        &test(r#""expect": {"frced": {"deny": 1.0}}"#),
    );
    folder
        .weir(&["test", "loose.test.json"])
        .ends_with(2)
        .shows("no call of the record is labelled `frced`");
}

#[test]
fn a_record_that_is_not_what_was_signed_teaches_nothing_and_tests_nothing() {
    let folder = folder();
    folder
        .weir(&[
            "generate", "--calls", "400", "--seed", "7", "--out", "record",
        ])
        .succeeds();
    folder.write(
        "old.test.json",
        r#"{ "policy": "old.json", "records": [{ "name": "it", "record": "record", "key": "record.pub" }] }"#,
    );
    let diff = [
        "policy", "diff", "--record", "record", "old.json", "old.json",
    ];
    let learn = [
        "policy", "learn", "--record", "record", "--grant", "patcher",
    ];
    let test = ["test", "old.test.json"];
    folder
        .weir(&diff)
        .succeeds()
        .shows("verified: every sealed file");
    folder
        .weir(&learn)
        .succeeds()
        .says("verified: every sealed file");
    folder.weir(&test).succeeds().shows("1 passed, 0 failed");

    std::fs::remove_dir_all(folder.path("record/policies")).unwrap();
    folder.weir(&diff).ends_with(4).says("missing");
    folder.weir(&test).ends_with(2).shows("missing");
    let unchecked = |of: &[&'static str]| [of, &["--no-verify"]].concat();
    folder
        .weir(&unchecked(&diff))
        .succeeds()
        .shows("NOT VERIFIED");

    std::fs::rename(folder.path("record.pub"), folder.path("away.pub")).unwrap();
    for words in [&diff[..], &learn] {
        folder.weir(words).ends_with(2).says("--no-verify");
    }
    folder
        .weir(&test)
        .ends_with(2)
        .shows("name the public key as `key`");
}

#[test]
fn what_is_no_file_of_expectations_is_bad_usage() {
    let folder = folder();
    folder
        .weir(&["test", "."])
        .ends_with(2)
        .says("no `*.test.json` is in `.`");
    folder
        .weir(&["test", "gone.test.json"])
        .ends_with(2)
        .says("cannot read `gone.test.json`");
    folder.write("a.test.json", r#"{"policy": "gone.json", "cases": [{"name": "x", "calls": [{"tool": "a", "expect": {"verdict": "allow"}}]}]}"#);
    folder
        .weir(&["test", "."])
        .ends_with(2)
        .shows("cannot read the policy");
    folder.write("a.test.json", r#"{"policy": "old.json", "caes": []}"#);
    folder
        .weir(&["test", "."])
        .ends_with(2)
        .shows("unknown field `caes`");
}

#[test]
fn a_learned_policy_lets_through_what_it_was_learned_from() {
    let folder = Folder::new();
    let record = corpus("record").display().to_string();
    let grants = folder
        .weir(&["query", "--record", &record, "--format", "json",
            "SELECT \"grant\", count(*) AS n FROM calls WHERE verdict = 'allow' AND policy_digest IS NOT NULL GROUP BY 1 ORDER BY 1"])
        .succeeds()
        .json();
    for row in grants.as_array().unwrap() {
        let (grant, calls) = (row["grant"].as_str().unwrap(), row["n"].as_u64().unwrap());
        let out = format!("{grant}.json");
        folder
            .weir(&[
                "policy",
                "learn",
                "--record",
                &record,
                "--no-verify",
                "--grant",
                grant,
                "--out",
                &out,
            ])
            .succeeds()
            .says(&format!(
                "on what it was learned from  {calls} of {calls} calls pass"
            ))
            .says("on what it had not seen");
        folder.weir(&["policy", "check", &out]).succeeds();
        folder
            .weir(&[
                "policy",
                "learn",
                "--record",
                &record,
                "--no-verify",
                "--grant",
                grant,
                "--out",
                &out,
            ])
            .ends_with(2)
            .says("give --out a file that does not exist yet");
        // it is a policy of its own, and narrower than the trusting one it was recorded under
        let in_force = corpus("policies/demo/in-force.json").display().to_string();
        folder
            .weir(&["policy", "diff", &in_force, &out])
            .succeeds()
            .shows("NOWHERE WIDER");
    }
    assert!(!grants.as_array().unwrap().is_empty());
    folder
        .weir(&[
            "policy",
            "learn",
            "--record",
            &record,
            "--no-verify",
            "--grant",
            "nobody",
        ])
        .ends_with(2)
        .says("grant `nobody` has no allowed call there");
}

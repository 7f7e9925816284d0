//! Candidates judged alongside: through the real binary, and against replay.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_sign_loss,
    reason = "tests"
)]

#[path = "shadow/ledger.rs"]
mod ledger;
mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use support::{Folder, Served};

/// Two stops of each VM in a day, and none by force.
const CANDIDATE: &str = r#"{
  "version": "1",
  "default": "deny",
  "tools": {
    "vm_stop": {
      "deny_if": [{ "conditions": [{ "path": "args.id", "op": "eq", "value": 9 }], "on_deny": "Not that one." }],
      "limits": [{ "counter": "stops", "window": 86400, "sliding": true, "max": 5 },
                 { "counter": "each", "window": 86400, "sliding": true, "max": 2, "per": ["args.id"] }]
    },
    "vm_list": { "limits": [{ "counter": "lists", "window": 86400, "sliding": true, "max": 3 }] }
  }
}"#;
const WITHOUT: &str = "policy = \"policies/ops-agent.json\"";
const WITH: &str = "policy = \"policies/ops-agent.json\"\nshadow = [\"policies/candidate.json\"]";

/// Six callers at once, each with three calls.
fn call_at_once(served: &Served, token: &str) {
    std::thread::scope(|scope| {
        for caller in 0..6 {
            scope.spawn(move || {
                served.call(token, "vm_list", &json!({}));
                for id in [7, 7 + caller % 3] {
                    served.call(token, "vm_stop", &json!({ "id": id }));
                }
            });
        }
    });
}

fn query(folder: &Folder, sql: &str) -> Vec<Value> {
    let asked = ["query", "--record", "record", "--format", "json", sql];
    let rows = folder.weir(&asked).succeeds().json();
    rows.as_array().unwrap().clone()
}

#[test]
fn a_candidate_says_live_what_replay_says_of_the_record() {
    let folder = Folder::new();
    let token = folder.init();
    folder.write("policies/candidate.json", CANDIDATE);
    let served = folder.serve();
    call_at_once(&served, &token);
    // The candidate comes while the proxy serves.
    let config = folder.read("weir.toml");
    assert!(config.contains(WITHOUT));
    folder.write("weir.toml", &config.replace(WITHOUT, WITH));
    let told = |served: &Served| {
        let events = query(&folder, "SELECT 1 FROM events WHERE kind = 'shadow'");
        assert_eq!(served.admin("/healthz").status, 200);
        events.len()
    };
    while told(&served) == 0 {
        std::thread::park_timeout(std::time::Duration::from_millis(200));
    }
    call_at_once(&served, &token);
    let metrics = served.admin("/metrics").body;
    let counted = "weir_shadow_calls_total{grant=\"ops-agent\",candidate=\"policies/candidate.json\",class=\"newly_denied\"}";
    assert!(metrics.contains(counted), "{metrics}");
    assert_eq!(served.stop().0, Some(0));
    let served = folder.serve();
    call_at_once(&served, &token);
    assert_eq!(served.stop().0, Some(0));
    folder.weir(&["verify", "--record", "record"]).ends_with(6);

    let shadow = "SELECT seq, verdict, said['verdict'] AS would_verdict, said['rule'] AS would_rule
                  FROM (SELECT seq, verdict, unnest(shadow) AS said FROM calls)";
    let live = query(&folder, shadow);
    let replay = query(
        &folder,
        "SELECT seq, would_verdict, would_rule FROM what_if('policies/candidate.json')",
    );
    let word = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
    let said = |row: &Value| (word(row, "would_verdict"), word(row, "would_rule"));
    let replay: BTreeMap<i64, _> = replay
        .iter()
        .map(|row| (row["seq"].as_i64().unwrap(), said(row)))
        .collect();
    assert_eq!(live.len(), 36, "all after the candidate came");
    for row in &live {
        assert_eq!(said(row), replay[&row["seq"].as_i64().unwrap()], "{row}");
    }
    let spent = |row: &&Value| row["would_rule"] == "/tools/vm_stop/limits/each";
    assert!(live.iter().filter(spent).count() > 10, "{live:?}");
    let changed = live
        .iter()
        .filter(|row| row["verdict"] != row["would_verdict"]);
    assert!(changed.count() > 10, "{live:?}");

    // What an analyst asks.
    let asked = [
        "query", "--record", "record", "--named", "shadow", "--format", "json",
    ];
    let rows = folder.weir(&asked).succeeds().json();
    let rules: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["rule"].as_str().unwrap())
        .collect();
    assert!(rules.contains(&"/tools/vm_list/limits/lists"), "{rows}");
}

#[test]
fn a_candidate_that_does_not_load_is_told_with_its_line() {
    let folder = Folder::new();
    folder.init();
    folder.write(
        "policies/candidate.json",
        "{ \"version\": \"1\",\n  \"defualt\": \"deny\" }",
    );
    let config = folder.read("weir.toml").replace(WITHOUT, WITH);
    folder.write("weir.toml", &config);
    folder
        .weir(&["serve"])
        .ends_with(2)
        .says("candidate.json:2:3");
}

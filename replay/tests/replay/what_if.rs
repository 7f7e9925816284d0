//! `what_if` in SQL against `weir replay`: one engine, and so one answer.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use weir_recorder::RecordKeys;
use weir_replay::query::{QueryError, answer, named, session};
use weir_replay::{Class, ReplayOptions, replay};

use crate::oracle::{ALL, NAMES, SLIDING, story, written};
use crate::query::rows;
use crate::support::naive::Said;
use crate::support::{Asked, Record, SECOND, SIX, Scribe};

/// Writes the candidate beside the record, and gives its path as an SQL string has it.
fn candidate(record: &Record, document: &str) -> String {
    let path = record.folder().join("candidate.json");
    std::fs::write(&path, document).unwrap();
    path.display().to_string().replace('\'', "''")
}

fn said(found: &[Value]) -> BTreeMap<(String, i64), Said> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let said = found.iter().map(|row| {
        let class = row["class"].as_str().unwrap();
        let class = Class::ALL.into_iter().find(|known| known.as_str() == class);
        let said = Said {
            class: class.unwrap().as_str(),
            would_rule: text(&row["would_rule"]),
            after_divergence: row["after_divergence"].as_bool().unwrap(),
        };
        ((text(&row["node"]), row["seq"].as_i64().unwrap()), said)
    });
    said.collect()
}

#[tokio::test]
async fn sql_says_of_every_row_what_replay_says() {
    for (seed, seal_rows) in [(0, 131_072), (1, 200), (2, 64)] {
        let record = story(seed, 900, seal_rows);
        for document in ALL {
            let path = candidate(&record, document);
            let out = record.folder().join("out.parquet");
            let report = replay(&ReplayOptions {
                out: Some(out.clone()),
                ..record.options(document)
            })
            .unwrap();
            let columns = "node, seq, class, would_rule, after_divergence";
            let found = rows(&record, &format!("SELECT {columns} FROM what_if('{path}')")).await;
            assert_eq!(said(&found), written(&out), "seed {seed}");
            assert!(report.classes.flips() > 0);
        }
    }
}

/// Whether a filter keeps a row.
type Keeps<'a> = Box<dyn Fn(&Value) -> bool + 'a>;

#[tokio::test]
async fn a_filter_narrows_what_is_told_and_never_the_state() {
    let record = story(3, 900, 100);
    let path = candidate(&record, SLIDING);
    let columns = "node, seq, class, would_rule, after_divergence, decided_at, tool, grant";
    let all = rows(&record, &format!("SELECT {columns} FROM what_if('{path}')")).await;
    let middle = all[all.len() / 2]["decided_at"]
        .as_str()
        .unwrap()
        .to_owned();
    let late = all[all.len() * 3 / 4]["decided_at"]
        .as_str()
        .unwrap()
        .to_owned();
    let at = |row: &Value| row["decided_at"].as_str().unwrap().to_owned();
    let within = |row: &Value| at(row) >= middle && at(row) < late;
    let asked: [(String, Keeps<'_>); 5] = [
        (
            format!("what_if('{path}', '{middle}', '{late}')"),
            Box::new(within),
        ),
        (
            format!("what_if('{path}') WHERE decided_at >= '{middle}' AND decided_at < '{late}'"),
            Box::new(within),
        ),
        (
            format!("what_if('{path}', '{middle}', NULL) WHERE '{late}' > decided_at"),
            Box::new(within),
        ),
        (
            format!("what_if('{path}') WHERE tool = 'vm_stop' AND grant = 'helper'"),
            Box::new(|row| row["tool"] == "vm_stop" && row["grant"] == "helper"),
        ),
        (
            format!("what_if('{path}') WHERE class IN ('newly_denied', 'newly_allowed')"),
            Box::new(|row| row["class"] == "newly_denied" || row["class"] == "newly_allowed"),
        ),
    ];
    for (from, keeps) in asked {
        let found = rows(&record, &format!("SELECT {columns} FROM {from}")).await;
        let expected: Vec<_> = all.iter().filter(|row| keeps(row)).cloned().collect();
        assert!(!expected.is_empty(), "{from}");
        assert_eq!(said(&found), said(&expected), "{from}");
    }
}

#[tokio::test]
async fn bounds_on_the_time_reach_the_replay_and_only_wanted_columns_are_read() {
    let record = story(4, 100, 131_072);
    let path = candidate(&record, NAMES);
    let sql = format!(
        "EXPLAIN SELECT count(*) FROM what_if('{path}') WHERE decided_at < '2026-11-22' AND tool = 'x'"
    );
    let plan = format!("{:?}", rows(&record, &sql).await);
    assert!(plan.contains("StreamingTableExec"), "{plan}");
    assert!(
        plan.contains("partial_filters=[") && plan.contains("decided_at <"),
        "{plan}"
    );
    assert!(!plan.contains("arguments"), "{plan}");
    let counted = format!("SELECT count(*) AS n FROM what_if('{path}')");
    let report = replay(&record.options(NAMES)).unwrap();
    assert_eq!(
        rows(&record, &counted).await,
        [json!({"n": report.record.calls})]
    );
}

#[tokio::test]
async fn the_headline_question_is_one_line() {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(r#"{"version":"1","default":"allow","tools":{}}"#);
    for turn in 0..5 {
        let asked = Asked::tool("vm_stop", r#"{"id":7}"#);
        scribe.ended(SIX + turn * SECOND, Some(&policy), asked);
    }
    scribe.ended(
        SIX + 9 * SECOND,
        Some(&policy),
        Asked::tool("vm_list", "{}"),
    );
    let record = scribe.close();
    let path = candidate(
        &record,
        r#"{"version":"1","default":"allow","tools":{"vm_stop":{"rate_limit":{"max":3,"window":60}}}}"#,
    );
    let found = rows(
        &record,
        &format!(
            "SELECT decided_at, grant, session, rule, would_rule, would_message, arguments
             FROM what_if('{path}')
             WHERE tool IN ('vm_stop', 'service_stop') AND class = 'newly_denied'"
        ),
    )
    .await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0]["decided_at"], "2026-11-22T06:00:03.000000Z");
    assert_eq!(found[0]["would_rule"], "/tools/vm_stop/limits/vm_stop_rate");
    assert_eq!(found[0]["arguments"], r#"{"id":7}"#);

    let blocked = named("blocked").unwrap();
    let sql = blocked.sql(&[("policy", &path), ("tool", "vm_%")]).unwrap();
    let found = rows(&record, &sql).await;
    assert_eq!(found.len(), 2);
    assert_eq!(found[1]["class"], "newly_denied");
    let sql = blocked
        .sql(&[("policy", &path), ("tool", "vm_list")])
        .unwrap();
    assert!(rows(&record, &sql).await.is_empty());
}

#[tokio::test]
async fn loosened_finds_what_was_denied_and_would_pass() {
    let mut scribe = Scribe::new();
    let strict = r#"{"version":"1","default":"allow","tools":{"vm_stop":{"action":"deny","reason":"No."},"vm_start":{"action":"deny"}}}"#;
    let policy = scribe.policy(strict);
    for tool in ["vm_stop", "vm_start", "vm_list"] {
        scribe.ended(SIX, Some(&policy), Asked::tool(tool, "{}"));
    }
    let record = scribe.close();
    let path = candidate(
        &record,
        r#"{"version":"1","default":"allow","tools":{"vm_start":{"action":"deny"}}}"#,
    );
    let sql = named("loosened")
        .unwrap()
        .sql(&[("policy", &path)])
        .unwrap();
    let found = rows(&record, &sql).await;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0]["tool"], &found[0]["message"]),
        (&json!("vm_stop"), &json!("No."))
    );
}

#[tokio::test]
async fn what_cannot_be_replayed_and_what_drifted_is_there_to_see() {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(NAMES);
    scribe.ended(SIX, Some(&policy), Asked::tool("service_start", "{}"));
    scribe.lie = Some(|call| call.rule = Some("/tools/service_start/limits/never".into()));
    scribe.ended(
        SIX + SECOND,
        Some(&policy),
        Asked::tool("service_start", "{}"),
    );
    scribe.lie = Some(|call| call.policy_digest = Some("sha256:gone".into()));
    scribe.ended(
        SIX + 2 * SECOND,
        Some(&policy),
        Asked::tool("service_start", "{}"),
    );
    let record = scribe.close();
    let path = candidate(&record, NAMES);
    let sql =
        format!("SELECT class, would_verdict, would_reason FROM what_if('{path}') ORDER BY seq");
    let found = rows(&record, &sql).await;
    let classes: Vec<_> = found
        .iter()
        .map(|row| row["class"].as_str().unwrap())
        .collect();
    assert_eq!(classes, ["same", "engine_drift", "not_replayable"]);
    assert_eq!(found[2]["would_verdict"], Value::Null);
    assert!(
        found[2]["would_reason"]
            .as_str()
            .unwrap()
            .contains("policy"),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_bad_policy_is_told_with_its_place() {
    let record = story(5, 20, 131_072);
    let path = candidate(&record, "{\"version\":\"1\",\n \"default\":\"alow\"}");
    let context = session(&record.path(), &RecordKeys::default()).unwrap();
    let sql = format!("SELECT * FROM what_if('{path}')");
    let Err(QueryError::Policy(problems)) = answer(&context, &sql).await else {
        panic!("a bad policy")
    };
    assert!(
        problems.contains("alow") && problems.contains('^'),
        "{problems}"
    );
    for (call, says) in [
        (
            "what_if('nowhere.json')".to_owned(),
            "cannot read the policy `nowhere.json`",
        ),
        ("what_if()".to_owned(), "expected a policy file"),
        ("what_if(7)".to_owned(), "expected a policy file"),
        (
            format!("what_if('{path}', '2026-11-22')"),
            "expected a policy file",
        ),
    ] {
        let error = answer(&context, &format!("SELECT * FROM {call}"))
            .await
            .unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        assert!(!error.to_string().contains("External"), "{error}");
    }
    let good = candidate(&record, NAMES);
    let sql = format!("SELECT * FROM what_if('{good}', 'soon', NULL)");
    let error = answer(&context, &sql).await.unwrap_err().to_string();
    assert!(error.contains("`soon` is not a time"), "{error}");
}

#[tokio::test]
async fn a_reader_who_has_enough_ends_the_replay() {
    let record = story(6, 600, 50);
    let path = candidate(&record, NAMES);
    let found = rows(
        &record,
        &format!("SELECT seq FROM what_if('{path}') LIMIT 3"),
    )
    .await;
    assert_eq!(found.len(), 3);
}

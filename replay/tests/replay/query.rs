//! Questions in SQL, on records that hold the story asked about.

use crate::support::{Asked, Record, SECOND, SIX, Scribe};
use serde_json::{Value, json};
use weir_replay::query::{QueryError, answer, named, named_all, session};

const POLICY: &str = r#"{"version":"1","default":"allow","hide":["vm_delete"],"tools":{"vm_stop":{
  "deny_if":[{"conditions":[{"path":"args.force","op":"eq","value":true}],"on_deny":"Forced."}]}}}"#;

fn story() -> Record {
    let mut scribe = Scribe::sealing_every(8);
    let policy = scribe.policy(POLICY);
    let stop = Asked::tool("vm_stop", r#"{"id":7}"#);
    for turn in 0..12 {
        scribe.ended(SIX + turn * SECOND, Some(&policy), stop);
    }
    scribe.ended(
        SIX + 600 * SECOND,
        Some(&policy),
        Asked::tool("vm_stop", r#"{"id":7,"force":true}"#),
    );
    scribe.ended(
        SIX + 601 * SECOND,
        Some(&policy),
        Asked::tool("vm_delete", r#"{"id":7}"#),
    );
    let night = Asked {
        grant: "night-agent",
        session: "s2",
        ..Asked::tool("vm_list", "{}")
    };
    scribe.ended(SIX + 700 * SECOND, Some(&policy), night);
    // Let through, and no outcome.
    scribe.call(
        SIX + 800 * SECOND,
        Some(&policy),
        Asked {
            tool: "vm_start",
            arguments: r#"{"id":8}"#,
            ..night
        },
    );
    scribe.close()
}

async fn rows(record: &Record, sql: &str) -> Vec<Value> {
    let context = session(&record.path()).unwrap();
    let answer = answer(&context, sql)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"));
    serde_json::from_str(&answer.json()).unwrap()
}

async fn ask(record: &Record, name: &str, set: &[(&str, &str)]) -> Vec<Value> {
    rows(record, &named(name).unwrap().sql(set).unwrap()).await
}

#[tokio::test]
async fn sealed_and_live_rows_are_one_table_and_each_is_there_once() {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(POLICY);
    let context = session(&scribe.path()).unwrap();
    let count = "SELECT count(*) AS n, count(DISTINCT seq) AS places FROM calls";
    for round in 1..=3 {
        for turn in 0..10 {
            scribe.ended(
                SIX + (round * 100 + turn) * SECOND,
                Some(&policy),
                Asked::tool("vm_list", "{}"),
            );
        }
        scribe.settle();
        let expected = json!([{"n": round * 10, "places": round * 10}]);
        let live: Value =
            serde_json::from_str(&answer(&context, count).await.unwrap().json()).unwrap();
        assert_eq!(live, expected, "live");
        scribe.recorder().seal_now().unwrap();
        let sealed: Value =
            serde_json::from_str(&answer(&context, count).await.unwrap().json()).unwrap();
        assert_eq!(sealed, expected, "sealed, in the same session");
    }
    scribe.close();
}

#[tokio::test]
async fn the_record_is_asked_in_plain_words() {
    let record = story();
    let found = rows(
        &record,
        "SELECT decided_at, grant, session, rule, json(arguments, '/id') AS id, uuid(call_id) AS call
         FROM calls WHERE tool IN ('vm_stop', 'service_stop') AND verdict = 'deny'",
    )
    .await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["rule"], "/tools/vm_stop/deny_if/args.force-eq");
    assert_eq!(found[0]["id"], "7");
    assert_eq!(found[0]["decided_at"], "2026-11-22T06:10:00.000000Z");
    let call = found[0]["call"].as_str().unwrap();
    let by_id = rows(
        &record,
        &format!("SELECT call_id, tool FROM calls WHERE call_id = call_id('{call}')"),
    )
    .await;
    assert_eq!(by_id, [json!({"call_id": call, "tool": "vm_stop"})]);
}

#[tokio::test]
async fn filters_and_columns_are_pushed_into_the_files() {
    let record = story();
    let plan = rows(
        &record,
        "EXPLAIN SELECT seq FROM calls WHERE tool = 'vm_stop' AND seq > 5",
    )
    .await;
    let plan = plan
        .iter()
        .map(|row| row["plan"].as_str().unwrap())
        .collect::<String>();
    assert!(
        plan.contains("predicate=") && plan.contains("pruning_predicate="),
        "{plan}"
    );
    assert!(!plan.contains("arguments"), "{plan}");
}

#[tokio::test]
async fn nothing_can_be_changed() {
    let record = story();
    let context = session(&record.path()).unwrap();
    let target = record.folder().join("stolen.parquet");
    for sql in [
        "CREATE TABLE t AS SELECT 1".to_owned(),
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/etc'".to_owned(),
        "DROP TABLE calls".to_owned(),
        "INSERT INTO calls SELECT * FROM calls".to_owned(),
        "DELETE FROM calls".to_owned(),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        format!("COPY calls TO '{}'", target.display()),
        format!("EXPLAIN ANALYZE COPY calls TO '{}'", target.display()),
    ] {
        let refused = answer(&context, &sql).await.err();
        assert!(
            matches!(refused, Some(QueryError::ReadOnly(_) | QueryError::Sql(_))),
            "{sql}"
        );
    }
    assert!(!target.exists());
    assert!(
        answer(&context, "SELECT * FROM '/etc/passwd'")
            .await
            .is_err()
    );
    assert_eq!(
        rows(&record, "SELECT count(*) AS n FROM calls").await,
        [json!({"n": 16})]
    );
}

#[tokio::test]
async fn a_mistake_is_one_clear_message() {
    let record = story();
    let context = session(&record.path()).unwrap();
    let error = answer(&context, "SELECT tol FROM calls")
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("tol") && error.contains("tool"), "{error}");
    assert!(
        session(record.folder()).is_err(),
        "a folder that is no record"
    );
}

#[tokio::test]
async fn burst_finds_the_loop_and_not_the_slow_caller() {
    let record = story();
    let found = ask(&record, "burst", &[]).await;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0]["grant"], &found[0]["tool"], &found[0]["calls"]),
        (&json!("ops-agent"), &json!("vm_stop"), &json!(12))
    );
    assert_eq!(
        ask(&record, "burst", &[("seconds", "5")]).await.len(),
        0,
        "six within five seconds are no burst of ten"
    );
    assert_eq!(
        ask(&record, "burst", &[("seconds", "5"), ("least", "6")]).await[0]["calls"],
        6
    );
    assert!(
        ask(&record, "burst", &[("from", "2026-11-22T06:05:00Z")])
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn denied_names_the_rule() {
    let found = ask(&story(), "denied", &[]).await;
    let rules: Vec<&str> = found
        .iter()
        .map(|row| row["rule"].as_str().unwrap())
        .collect();
    assert_eq!(rules, ["(hidden)", "/tools/vm_stop/deny_if/args.force-eq"]);
    assert_eq!(found[1]["message"], "Forced.");
}

#[tokio::test]
async fn stops_gives_the_share_of_force() {
    let found = ask(&story(), "stops", &[]).await;
    assert_eq!(
        found,
        [
            json!({"grant": "ops-agent", "tool": "vm_stop", "stops": 13, "forced": 1, "forced_percent": 7,
                "forced_denied": 1, "denied": 1})
        ]
    );
}

#[tokio::test]
async fn session_is_a_timeline() {
    let found = ask(&story(), "session", &[("session", "s2")]).await;
    let tools: Vec<&str> = found
        .iter()
        .map(|row| row["tool"].as_str().unwrap())
        .collect();
    assert_eq!(tools, ["vm_list", "vm_start"]);
}

#[tokio::test]
async fn intent_finds_the_call_without_an_outcome() {
    let found = ask(&story(), "intent", &[]).await;
    assert_eq!(found.len(), 1);
    assert_eq!(
        (&found[0]["tool"], &found[0]["arguments"]),
        (&json!("vm_start"), &json!(r#"{"id":8}"#))
    );
}

#[tokio::test]
async fn judged_tells_which_policy_judged_each_stop_of_one_target() {
    let found = ask(&story(), "judged", &[("tool", "vm_stop"), ("target", "7")]).await;
    assert_eq!(found.len(), 13);
    assert!(
        found
            .iter()
            .all(|row| row["policy_digest"] == crate::support::digest(POLICY))
    );
}

#[tokio::test]
async fn talkers_counts_calls_and_refusals() {
    let found = ask(&story(), "talkers", &[]).await;
    assert_eq!(
        (&found[0]["grant"], &found[0]["calls"], &found[0]["denied"]),
        (&json!("ops-agent"), &json!(14), &json!(2))
    );
    assert_eq!(
        (&found[1]["grant"], &found[1]["calls"]),
        (&json!("night-agent"), &json!(2))
    );
}

#[tokio::test]
async fn every_named_question_runs_on_an_empty_record() {
    let record = Scribe::new().close();
    for question in named_all() {
        assert!(
            ask(&record, question.name, &[]).await.is_empty(),
            "{}",
            question.name
        );
        assert!(question.help().contains(question.question));
    }
}

#[tokio::test]
async fn events_can_be_asked_too() {
    let found = rows(
        &story(),
        "SELECT kind, count(*) AS n FROM events GROUP BY kind ORDER BY kind",
    )
    .await;
    assert!(found.iter().all(|row| row["n"].as_i64().unwrap() > 0));
}

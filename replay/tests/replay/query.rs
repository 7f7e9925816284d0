//! Questions in SQL, on records that hold the story asked about.

use crate::support::{Asked, Record, SECOND, SIX, Scribe};
use serde_json::{Value, json};
use weir_recorder::RecordKeys;
use weir_replay::query::{QueryError, answer, session};

pub const POLICY: &str = r#"{"version":"1","default":"allow","hide":["vm_delete"],"tools":{"vm_stop":{
  "deny_if":[{"conditions":[{"path":"args.force","op":"eq","value":true}],"on_deny":"Forced."}]}}}"#;

pub fn story() -> Record {
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

pub async fn rows(record: &Record, sql: &str) -> Vec<Value> {
    let context = session(&record.path(), &RecordKeys::default()).unwrap();
    let answer = answer(&context, sql)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{sql}"));
    serde_json::from_str(&answer.json()).unwrap()
}

#[tokio::test]
async fn sealed_and_live_rows_are_one_table_and_each_is_there_once() {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(POLICY);
    let context = session(&scribe.path(), &RecordKeys::default()).unwrap();
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
    let context = session(&record.path(), &RecordKeys::default()).unwrap();
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
    let context = session(&record.path(), &RecordKeys::default()).unwrap();
    let error = answer(&context, "SELECT tol FROM calls")
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("tol") && error.contains("tool"), "{error}");
    assert!(
        session(record.folder(), &RecordKeys::default()).is_err(),
        "a folder that is no record"
    );
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

#[tokio::test]
async fn changes_is_what_calls_says_before_and_after_it_is_projected() {
    let mut scribe = Scribe::sealing_every(8);
    scribe.lie = Some(|call| {
        let reads = call.wire_tool.as_deref() == Some("vm_list");
        call.risk = Some(if reads { "read" } else { "destructive" }.into());
    });
    let policy = scribe.policy(POLICY);
    let context = session(&scribe.path(), &RecordKeys::default()).unwrap();
    let columns =
        "tool, \"grant\", seq, node, decided_at, server, session, risk, verdict, rule, outcome";
    let of = async |table: &str, only: &str| {
        let sql = format!("SELECT {columns} FROM {table} {only} ORDER BY seq");
        answer(&context, &sql).await.unwrap().json()
    };
    let changing = "WHERE risk IN ('write', 'execute', 'destructive', 'financial')";
    for day in 0..3 {
        for turn in 0..10 {
            for tool in ["vm_stop", "vm_list", "vm_delete"] {
                let at = SIX + day * 86_400 * SECOND + turn * SECOND;
                let asked = Asked::tool(tool, r#"{"id":7}"#);
                scribe.ended(at, Some(&policy), asked);
            }
        }
        scribe.settle();
        let calls = of("calls", changing).await;
        assert!(
            calls.contains("vm_stop") && !calls.contains("vm_list"),
            "{calls}"
        );
        assert_eq!(of("changes", "").await, calls, "day {day}, not projected");
        scribe.recorder().seal_now().unwrap();
        scribe.recorder().compact(|_| ()).unwrap();
        let projected = std::fs::read_dir(scribe.path().join("changes")).unwrap();
        assert!(projected.count() > 0);
        assert_eq!(of("changes", "").await, calls, "day {day}, projected");
    }
}

//! What a session adds to SQL: operators, views, and bounds on memory.

use arrow::array::AsArray as _;
use serde_json::{Value, json};
use weir_recorder::{Event, EventKind, RecordKeys};
use weir_replay::query::{QueryError, answer, session, session_within};

use crate::query::{POLICY, rows, story};
use crate::support::{Asked, SECOND, SIX, Scribe, digest};

#[tokio::test]
async fn json_operators_read_arguments_as_other_databases_do() {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(POLICY);
    let arguments = r#"{"id":7,"name":"web","disks":[{"dev":"sda"},"x"],"none":null,"on":true}"#;
    scribe.ended(SIX, Some(&policy), Asked::tool("vm_get", arguments));
    scribe.ended(SIX + SECOND, Some(&policy), Asked::tool("vm_get", "{}"));
    let record = scribe.close();
    let found = rows(
        &record,
        "SELECT arguments -> '$.name' AS json, arguments ->> '$.name' AS text, arguments ->> 'id' AS key,
                arguments -> '/disks/0' AS pointer, arguments -> 'disks' -> 0 ->> 'dev' AS chain,
                arguments -> '$.none' AS null_json, arguments ->> '$.none' AS null_text,
                arguments ->> '$.missing' AS missing, (arguments ->> 'id')::int + 1 AS number
         FROM calls ORDER BY seq LIMIT 1",
    )
    .await;
    assert_eq!(
        found,
        [
            json!({"json": "\"web\"", "text": "web", "key": "7", "pointer": "{\"dev\":\"sda\"}", "chain": "sda",
            "null_json": "null", "null_text": null, "missing": null, "number": 8})
        ]
    );
    for condition in [
        "arguments ->> '$.id' = '7'",
        "arguments ->> '$.name' LIKE 'w%' AND verdict = 'allow'",
        "arguments ->> '$.name' IN ('web', 'db')",
        "arguments ->> '$.id' BETWEEN '6' AND '8'",
        "arguments -> '$.none' IS NOT NULL",
        "(arguments ->> '$.on') = 'true'",
        "'7' = (arguments ->> '$.id')",
        "arguments ->> '$.id' || '!' = '7!'",
    ] {
        let sql = format!("SELECT count(*) AS n FROM calls WHERE {condition}");
        assert_eq!(rows(&record, &sql).await, [json!({"n": 1})], "{condition}");
    }
    let context = session(&record.path(), &RecordKeys::default()).unwrap();
    let error = answer(&context, "SELECT arguments -> '$..x' FROM calls")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("`$..x` is not a JSON path"),
        "{error}"
    );
}

#[tokio::test]
async fn keys_of_arguments_are_a_list() {
    let record = story();
    let found = rows(
        &record,
        "SELECT json_keys(arguments) AS keys FROM calls WHERE verdict = 'deny' ORDER BY seq LIMIT 1",
    )
    .await;
    assert_eq!(found, [json!({"keys": ["force", "id"]})]);
}

#[tokio::test]
async fn sessions_and_grants_sum_up_who_called() {
    let record = story();
    let sessions = rows(&record, "SELECT * FROM sessions ORDER BY first").await;
    let of = |column: &str| {
        sessions
            .iter()
            .map(|row| row[column].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("session"), ["s1", "s2"]);
    assert_eq!(of("calls"), [14, 2]);
    assert_eq!(of("denied"), [2, 0]);
    assert_eq!(of("client_name"), ["test", "test"]);
    let grants = rows(
        &record,
        "SELECT grant, calls, denied, tools FROM grants ORDER BY calls",
    )
    .await;
    assert_eq!(
        grants,
        [
            json!({"grant": "night-agent", "calls": 2, "denied": 0, "tools": 2}),
            json!({"grant": "ops-agent", "calls": 14, "denied": 2, "tools": 2}),
        ]
    );
}

#[tokio::test]
async fn policies_tells_from_when_to_when_each_was_in_force_and_what_it_judged() {
    const OPEN: &str = r#"{"version":"1","default":"allow","tools":{}}"#;
    let mut scribe = Scribe::new();
    let (strict, open) = (scribe.policy(POLICY), scribe.policy(OPEN));
    let (of_strict, of_open) = (digest(POLICY), digest(OPEN));
    let loaded = |kind, digest| Event {
        grant: Some("ops-agent"),
        server: Some("nas"),
        digest: Some(digest),
        ..Event::of(kind)
    };
    let forced = Asked::tool("vm_stop", r#"{"id":7,"force":true}"#);
    scribe.event(SIX, &loaded(EventKind::Grant, of_strict.as_str()));
    scribe.event(SIX, &loaded(EventKind::Policy, of_strict.as_str()));
    scribe.ended(SIX + SECOND, Some(&strict), forced);
    // Loaded again at a restart: it stays in force.
    scribe.event(
        SIX + 2 * SECOND,
        &loaded(EventKind::Policy, of_strict.as_str()),
    );
    scribe.ended(
        SIX + 3 * SECOND,
        Some(&strict),
        Asked::tool("vm_list", "{}"),
    );
    scribe.event(
        SIX + 4 * SECOND,
        &loaded(EventKind::Policy, of_open.as_str()),
    );
    scribe.ended(SIX + 5 * SECOND, Some(&open), forced);
    scribe.event(
        SIX + 6 * SECOND,
        &loaded(EventKind::Policy, of_strict.as_str()),
    );
    let record = scribe.close();
    let found = rows(&record, "SELECT * FROM policies ORDER BY since").await;
    let of = |column: &str| {
        found
            .iter()
            .map(|row| row[column].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("policy"), [of_strict.as_str(), &of_open, &of_strict]);
    assert_eq!(of("calls"), [2, 1, 0]);
    assert_eq!(of("denied"), [1, 0, 0]);
    assert_eq!(found[0]["until"], found[1]["since"]);
    assert_eq!(found[2]["until"], Value::Null);
    let grants = rows(&record, "SELECT policy FROM grants").await;
    assert_eq!(grants, [json!({"policy": of_strict})]);
}

#[tokio::test]
async fn ocsf_is_api_activity_with_its_required_attributes() {
    let record = story();
    let found = rows(&record, "SELECT * FROM ocsf ORDER BY metadata.sequence").await;
    assert_eq!(found.len(), 16);
    for event in &found {
        assert_eq!(event["class_uid"], 6003);
        assert_eq!(event["category_uid"], 6);
        let activity = event["activity_id"].as_i64().unwrap();
        assert!([0, 1, 2, 3, 4, 99].contains(&activity));
        assert_eq!(event["type_uid"], 600_300 + activity);
        assert!(event["time"].as_i64().unwrap() >= SIX / 1000);
        assert!(event["severity_id"].is_i64() && event["status_id"].is_i64());
        assert!(event["metadata"]["uid"].is_string() && event["actor"]["user"]["name"].is_string());
        assert!(event["src_endpoint"].is_object());
    }
    let denied = &found[12];
    assert_eq!(denied["action"], "Denied");
    assert_eq!(denied["status"], "Failure");
    assert_eq!(denied["api"]["operation"], "vm_stop");
    assert_eq!(denied["api"]["service"]["name"], "nas");
    let authorization = &denied["actor"]["authorizations"][0];
    assert_eq!(authorization["decision"], "deny");
    assert_eq!(
        authorization["policy"]["name"],
        "/tools/vm_stop/deny_if/args.force-eq"
    );
    let stops = "SELECT count(*) AS n FROM ocsf WHERE api.operation = 'vm_stop' AND actor.\"user\".name = 'ops-agent'";
    assert_eq!(rows(&record, stops).await, [json!({"n": 13})]);
}

#[tokio::test]
async fn a_sort_larger_than_memory_spills_and_is_right() {
    let context = session_within(&story().path(), &RecordKeys::default(), 32_000_000).unwrap();
    let sorted = "SELECT value, arrow_cast(repeat('x', 40) || CAST(value * 7919 % 1000003 AS VARCHAR), 'Utf8') AS text
                  FROM generate_series(1, 1000000)";
    let by_text = format!("SELECT * FROM ({sorted}) ORDER BY text, value");
    let plan = answer(&context, &format!("EXPLAIN ANALYZE {by_text}"))
        .await
        .unwrap()
        .json();
    let spilled = plan.split("spill_count=").skip(1);
    let spills = spilled.filter(|rest| !rest.starts_with('0')).count();
    assert!(spills > 0, "{plan}");
    let found = answer(&context, &by_text).await.unwrap();
    let texts = found.batches().iter().flat_map(|batch| {
        let texts = batch.column_by_name("text").unwrap().as_string::<i32>();
        texts.iter().flatten()
    });
    assert!(found.rows() == 1_000_000 && texts.is_sorted());
}

#[tokio::test]
async fn what_cannot_spill_is_refused_with_the_reason() {
    let context = session_within(&story().path(), &RecordKeys::default(), 2_000_000).unwrap();
    let sql = "SELECT array_agg(value) AS all_of_them FROM generate_series(1, 3000000)";
    let refused = answer(&context, sql).await.unwrap_err();
    assert!(matches!(refused, QueryError::Memory { .. }), "{refused}");
}

#[tokio::test]
async fn every_table_and_view_has_a_name() {
    let record = story();
    let sql =
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'record' ORDER BY 1";
    let found = rows(&record, sql).await;
    let names: Vec<_> = found
        .iter()
        .map(|row| row["table_name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "calls", "changes", "events", "grants", "ocsf", "policies", "sessions"
        ]
    );
}

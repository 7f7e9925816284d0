//! Questions about how often and how soon.

use serde_json::json;

use super::{Asked, DAY, HOUR, MINUTE, NOON, OPEN, POLICY, SECOND, SIX, ask, column, scribe, stop};
use crate::query::story;

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
async fn storms_finds_the_stubborn_and_not_those_who_are_denied_now_and_then() {
    let mut scribe = scribe();
    let policy = scribe.policy(POLICY);
    for turn in 0..25 {
        let forced = stop(r#"{"id":7,"force":true}"#);
        scribe.ended(NOON + turn * SECOND, Some(&policy), forced);
    }
    // As many denials, one in five minutes; and as many calls a second, all allowed.
    for turn in 0..25 {
        let slow = Asked {
            grant: "slow",
            ..stop(r#"{"id":7,"force":true}"#)
        };
        scribe.ended(NOON + HOUR + turn * 5 * MINUTE, Some(&policy), slow);
    }
    for turn in 0..25 {
        let allowed = Asked {
            grant: "busy",
            ..Asked::tool("vm_list", "{}")
        };
        scribe.ended(NOON + DAY + turn * SECOND, Some(&policy), allowed);
    }
    let found = ask(&scribe.close(), "storms", &[]).await;
    assert_eq!(column(&found, "grant"), ["ops-agent"]);
    assert_eq!(found[0]["denials"], 25);
}

#[tokio::test]
async fn restarts_finds_the_start_after_the_stop_of_the_same_machine() {
    let mut scribe = scribe();
    let policy = scribe.policy(POLICY);
    let start = |arguments| Asked {
        grant: "night-agent",
        ..Asked::tool("vm_start", arguments)
    };
    scribe.ended(NOON, Some(&policy), stop(r#"{"id":7}"#));
    scribe.ended(NOON + MINUTE, Some(&policy), start(r#"{"id":8}"#));
    scribe.ended(
        NOON + 2 * MINUTE,
        Some(&policy),
        Asked::tool("service_start", r#"{"id":7}"#),
    );
    scribe.ended(NOON + 9 * MINUTE, Some(&policy), start(r#"{"id":7}"#));
    // Too late; and a stop that was denied.
    scribe.ended(NOON + HOUR, Some(&policy), stop(r#"{"id":9}"#));
    scribe.ended(
        NOON + HOUR + 11 * MINUTE,
        Some(&policy),
        start(r#"{"id":9}"#),
    );
    scribe.ended(
        NOON + 2 * HOUR,
        Some(&policy),
        stop(r#"{"id":5,"force":true}"#),
    );
    scribe.ended(
        NOON + 2 * HOUR + SECOND,
        Some(&policy),
        start(r#"{"id":5}"#),
    );
    let record = scribe.close();
    let found = ask(&record, "restarts", &[]).await;
    assert_eq!(column(&found, "target"), ["7"]);
    assert_eq!(column(&found, "started_by"), ["night-agent"]);
    let longer = ask(&record, "restarts", &[("minutes", "11")]).await;
    assert_eq!(column(&longer, "target"), ["7", "9"]);
}

#[tokio::test]
async fn targets_counts_machines_and_not_calls() {
    let mut scribe = scribe();
    let policy = scribe.policy(POLICY);
    for turn in 0..6 {
        let arguments = format!(r#"{{"id":{turn}}}"#);
        scribe.ended(NOON + turn * MINUTE, Some(&policy), stop(&arguments));
        let same = Asked {
            grant: "night-agent",
            ..stop(r#"{"id":7}"#)
        };
        scribe.ended(NOON + turn * MINUTE, Some(&policy), same);
    }
    scribe.ended(NOON + 61 * MINUTE, Some(&policy), stop(r#"{"id":9}"#));
    let found = ask(&scribe.close(), "targets", &[]).await;
    let seen: Vec<_> = found
        .iter()
        .map(|row| {
            (
                row["grant"].as_str().unwrap(),
                row["targets"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [("ops-agent", 6), ("night-agent", 1), ("ops-agent", 1)]
    );
    assert_eq!(found[0]["hour"], "2026-11-23T12:00:00.000000Z");
    assert_eq!(found[1]["calls"], 6);
}

#[tokio::test]
async fn offhours_finds_changes_at_night_and_on_sunday_and_no_reads() {
    let mut scribe = scribe();
    let policy = scribe.policy(OPEN);
    let sunday = SIX + 4 * HOUR;
    for (at, tool) in [
        (sunday, "vm_stop"),
        (NOON, "vm_stop"),
        (NOON + 6 * HOUR - MINUTE, "vm_start"),
        (NOON + 6 * HOUR, "vm_start"),
        (NOON + 7 * HOUR, "vm_list"),
        (NOON + DAY - 4 * HOUR - MINUTE, "vm_delete"),
        (NOON + DAY - 4 * HOUR, "vm_stop"),
    ] {
        scribe.ended(at, Some(&policy), Asked::tool(tool, "{}"));
    }
    let record = scribe.close();
    let found = ask(&record, "offhours", &[]).await;
    assert_eq!(column(&found, "tool"), ["vm_stop", "vm_start", "vm_delete"]);
    assert!(
        found[0]["decided_at"]
            .as_str()
            .unwrap()
            .starts_with("2026-11-22")
    );
    let late = ask(
        &record,
        "offhours",
        &[("closes", "19"), ("from", "2026-11-23")],
    )
    .await;
    assert_eq!(column(&late, "tool"), ["vm_delete"]);
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

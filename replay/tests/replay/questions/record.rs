//! Questions about what was decided and by what, and about the log itself.

use serde_json::{Value, json};
use weir_recorder::{Event, EventKind, Shadow, Verdict};

use super::{Asked, HOUR, MINUTE, NOON, OPEN, POLICY, SECOND, Scribe, ask, column, stop};
use crate::query::story;
use crate::support::digest;

#[tokio::test]
async fn denied_names_the_rule() {
    let found = ask(&story(), "denied", &[]).await;
    assert_eq!(
        column(&found, "rule"),
        ["(hidden)", "/tools/vm_stop/deny_if/args.force-eq"]
    );
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
    assert_eq!(column(&found, "tool"), ["vm_list", "vm_start"]);
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
    let mut scribe = Scribe::new();
    let (before, after) = (scribe.policy(OPEN), scribe.policy(POLICY));
    scribe.ended(NOON, Some(&before), stop(r#"{"id":7}"#));
    scribe.ended(NOON + SECOND, Some(&before), stop(r#"{"id":70}"#));
    scribe.ended(
        NOON + MINUTE,
        Some(&after),
        stop(r#"{"id":7,"force":true}"#),
    );
    scribe.ended(
        NOON + HOUR,
        Some(&after),
        Asked::tool("vm_start", r#"{"id":7}"#),
    );
    let set = [("tool", "vm_stop"), ("target", "7")];
    let found = ask(&scribe.close(), "judged", &set).await;
    assert_eq!(
        column(&found, "policy_digest"),
        [digest(OPEN), digest(POLICY)]
    );
    assert_eq!(column(&found, "verdict"), ["allow", "deny"]);
}

#[tokio::test]
async fn definitions_finds_the_change_and_the_first_call_after_it() {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(OPEN);
    let told = |tool, digest| Event {
        server: Some("nas"),
        tool: Some(tool),
        digest: Some(digest),
        ..Event::of(EventKind::ToolDefinition)
    };
    let list = |id| Asked {
        arguments: id,
        ..Asked::tool("vm_list", "{}")
    };
    scribe.event(NOON, &told("vm_list", "sha256:a"));
    scribe.event(NOON, &told("vm_stop", "sha256:s"));
    scribe.ended(NOON + SECOND, Some(&policy), list(r#"{"n":1}"#));
    // Told again as it was, by a server that was restarted.
    scribe.event(NOON + MINUTE, &told("vm_stop", "sha256:s"));
    scribe.ended(NOON + MINUTE, Some(&policy), stop(r#"{"id":7}"#));
    scribe.event(NOON + HOUR, &told("vm_list", "sha256:b"));
    let elsewhere = Asked {
        server: "spare",
        ..list(r#"{"n":2}"#)
    };
    scribe.ended(NOON + HOUR + SECOND, Some(&policy), elsewhere);
    scribe.ended(NOON + HOUR + 2 * SECOND, Some(&policy), list(r#"{"n":3}"#));
    scribe.ended(NOON + HOUR + 3 * SECOND, Some(&policy), list(r#"{"n":4}"#));
    // Changed, and never called since.
    scribe.event(NOON + 2 * HOUR, &told("vm_list", "sha256:c"));
    let found = ask(&scribe.close(), "definitions", &[]).await;
    assert_eq!(column(&found, "before"), ["sha256:a", "sha256:b"]);
    assert_eq!(column(&found, "digest"), ["sha256:b", "sha256:c"]);
    assert_eq!(found[0]["arguments"], r#"{"n":3}"#);
    assert_eq!(found[1]["called_at"], serde_json::Value::Null);
}

#[tokio::test]
async fn gaps_finds_the_file_that_is_gone_and_knows_what_else_takes_a_place() {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(POLICY);
    let mut last = 0;
    let mut places = Vec::new();
    for turn in 0..6 {
        let at = NOON + turn * HOUR;
        let first = last;
        for call in 0..5 {
            scribe.ended(at + call * SECOND, Some(&policy), stop(r#"{"id":7}"#));
            scribe.ended(
                at + call * SECOND,
                Some(&policy),
                stop(r#"{"id":7,"force":true}"#),
            );
        }
        last = scribe.event(at + MINUTE, &Event::of(EventKind::ClockStep));
        places.push((first, last));
        scribe.settle();
        scribe.recorder().seal_now().unwrap();
    }
    let detail = format!(r#"{{"first":{},"last":{}}}"#, places[1].0, places[1].1);
    let told = Event {
        text: Some("calls of a day are removed as configured"),
        detail: Some(detail.as_str()),
        ..Event::of(EventKind::Retention)
    };
    scribe.event(NOON + 7 * HOUR, &told);
    let record = scribe.close();
    assert!(
        ask(&record, "gaps", &[]).await.is_empty(),
        "finishes and events take places"
    );

    let mut files: Vec<_> = std::fs::read_dir(record.path().join("calls/date=2026-11-23"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    std::fs::remove_file(&files[1]).unwrap();
    std::fs::remove_file(&files[3]).unwrap();
    let found = ask(&record, "gaps", &[]).await;
    assert_eq!(found.len(), 2, "{found:?}");
    // All places of five calls that ended and five that were denied; the event's own is not missing.
    assert_eq!(column(&found, "places"), ["15", "15"]);
    assert_eq!(found[0]["told"], "calls of a day are removed as configured");
    assert_eq!(found[1]["told"], serde_json::Value::Null);
    assert_eq!(found[1]["last"].as_i64().unwrap(), places[3].1 - 1);
}

#[tokio::test]
async fn shadow_tells_what_candidates_would_have_decided_otherwise() {
    let mut scribe = Scribe::new();
    scribe.lie = Some(|call| {
        let (verdict, rule) = match call.session.as_deref() {
            Some("strict") => (Verdict::Deny, "/tools/vm_stop/limits/few"),
            Some("asking") => (Verdict::Deny, "/tools/vm_stop/approve_if/always"),
            Some("open") => (Verdict::Allow, ""),
            _ => return,
        };
        call.shadow = vec![Shadow {
            verdict,
            rule: rule.into(),
            policy_digest: "sha256:c".into(),
        }];
    });
    let policy = scribe.policy(POLICY);
    let (gentle, forced) = (r#"{"id":7}"#, r#"{"id":7,"force":true}"#);
    for (turn, (session, arguments)) in [
        ("strict", gentle),
        ("strict", gentle),
        ("asking", gentle),
        ("open", forced),
        // The same, the same by another rule, and nobody was asked.
        ("open", gentle),
        ("strict", forced),
        ("s1", forced),
    ]
    .into_iter()
    .enumerate()
    {
        let asked = Asked {
            session,
            ..stop(arguments)
        };
        scribe.ended(NOON + turn as i64 * SECOND, Some(&policy), asked);
    }
    let found = ask(&scribe.close(), "shadow", &[]).await;
    let row = |row: &Value| [&row["class"], &row["rule"], &row["calls"]].map(Value::clone);
    let found: Vec<_> = found.iter().map(row).collect();
    assert_eq!(
        found,
        [
            [
                json!("newly_denied"),
                json!("/tools/vm_stop/limits/few"),
                json!(2)
            ],
            [
                json!("newly_allowed"),
                json!("/tools/vm_stop/deny_if/args.force-eq"),
                json!(1)
            ],
            [
                json!("newly_held"),
                json!("/tools/vm_stop/approve_if/always"),
                json!(1)
            ],
        ]
    );
}

//! What a replay tells: to people, to CI, to the shell.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::{Asked, Record, SECOND, SIX, Scribe};
use serde_json::{Value, json};
use weir_replay::{
    Budget, Class, Exit, Flips, ReplayError, ReplayOptions, Stage, parse_time, replay,
};

const OPEN: &str = r#"{"version":"1","default":"allow"}"#;
const STRICT: &str = r#"{"version":"1","default":"allow","tools":{"vm_stop":{
  "deny_if":[{"conditions":[{"path":"args.force","op":"eq","value":true}],"on_deny":"Forced power-off needs a person."}],
  "limits":[{"counter":"vm_stop_rate","window":"minute","max":3,"on_deny":"Three stops a minute are enough."}]}}}"#;

/// A morning: reads, a forced stop, and a runaway loop of eight stops; then an hour later two more.
fn morning(policy: &str) -> Record {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(policy);
    let night = Asked {
        grant: "night-agent",
        session: "s2",
        ..Asked::tool("vm_list", "{}")
    };
    for minute in 0..5 {
        scribe.ended(SIX + minute * 10 * SECOND, Some(&policy), night);
    }
    scribe.ended(
        SIX + 60 * SECOND,
        Some(&policy),
        Asked::tool("vm_stop", r#"{"id":7,"force":true}"#),
    );
    for turn in 0..8 {
        scribe.ended(
            SIX + 120 * SECOND + turn * SECOND,
            Some(&policy),
            Asked::tool("vm_stop", r#"{"id":9}"#),
        );
    }
    for turn in 0..2 {
        scribe.ended(
            SIX + 3600 * SECOND + turn * SECOND,
            Some(&policy),
            Asked::tool("vm_stop", r#"{"id":4}"#),
        );
    }
    scribe.close()
}

#[test]
fn a_candidate_shows_what_it_would_have_blocked() {
    let report = replay(&morning(OPEN).options(STRICT)).unwrap();
    assert_eq!(report.classes.of(Class::NewlyDenied), 6);
    assert_eq!(report.classes.of(Class::Same), 10);
    let text = report.text();
    assert!(
        text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    let digest = text.lines().last().unwrap().to_owned();
    assert!(digest.starts_with("result sha256:"), "{digest}");
    let without_digest = text.trim_end().strip_suffix(digest.as_str()).unwrap();
    assert_eq!(
        without_digest,
        include_str!("expected/morning.txt"),
        "\n{without_digest}"
    );
}

#[test]
fn the_json_report_has_the_shape_of_the_design() {
    let report = replay(&morning(OPEN).options(STRICT)).unwrap();
    let document: Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!(
        document["candidate"],
        json!({"path": "candidate.json", "digest": crate::support::digest(STRICT)})
    );
    assert_eq!(
        document["record"],
        json!({"calls": 16, "from": "2026-11-22T06:00:00.000000Z", "to": "2026-11-22T07:00:01.000000Z", "verified": false, "verified_by": "nothing"})
    );
    assert_eq!(
        document["classes"],
        json!({"same": 10, "same_reason_changed": 0, "newly_denied": 6, "newly_allowed": 0, "newly_held": 0,
               "maybe_denied": 0, "maybe_allowed": 0, "not_replayable": 0, "engine_changed": 0, "engine_drift": 0})
    );
    assert_eq!(
        document["by_tool"],
        json!([{"tool": "vm_list", "calls": 5, "newly_denied": 0, "newly_allowed": 0, "newly_held": 0},
               {"tool": "vm_stop", "calls": 11, "newly_denied": 6, "newly_allowed": 0, "newly_held": 0}])
    );
    assert_eq!(
        document["by_rule"],
        json!([{"rule": "/tools/vm_stop/deny_if/args.force-eq", "newly_denied": 1, "newly_allowed": 0, "newly_held": 0},
               {"rule": "/tools/vm_stop/limits/vm_stop_rate", "newly_denied": 5, "newly_allowed": 0, "newly_held": 0}])
    );
    assert_eq!(document["by_grant"][0]["grant"], "night-agent");
    assert_eq!(document["policies_in_force"], 1);
    let first = &document["flips"][0];
    assert_eq!(first["arguments"], json!({"id": 7, "force": true}));
    assert_eq!(first["was"], json!({"verdict": "allow", "rule": ""}));
    assert_eq!(first["would_be"]["verdict"], "deny");
    assert_eq!(
        first["would_be"]["message"],
        "Forced power-off needs a person."
    );
    assert_eq!(first["after_divergence"], false);
    assert_eq!(document["flips"][1]["after_divergence"], true);
    assert_eq!(document["flips"].as_array().unwrap().len(), 6);
    assert!(
        document["result_digest"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
}

#[test]
fn a_report_is_the_same_every_time() {
    let record = morning(OPEN);
    let first = replay(&record.options(STRICT)).unwrap();
    let second = replay(&record.options(STRICT)).unwrap();
    assert_eq!(first.to_json(), second.to_json());
    let other = replay(&record.options(OPEN)).unwrap();
    assert_ne!(first.result_digest, other.result_digest);
}

#[test]
fn the_digest_can_be_computed_from_the_rows() {
    use sha2::{Digest as _, Sha256};
    let report = replay(&ReplayOptions {
        flips: Flips::All,
        ..morning(OPEN).options(STRICT)
    })
    .unwrap();
    let mut text = format!("{}\n", crate::support::digest(STRICT));
    text.push_str(
        "{\"same\":10,\"same_reason_changed\":0,\"newly_denied\":6,\"newly_allowed\":0,\"newly_held\":0,\
         \"maybe_denied\":0,\"maybe_allowed\":0,\"not_replayable\":0,\"engine_changed\":0,\"engine_drift\":0}\n",
    );
    let document: Value = serde_json::from_str(&report.to_json()).unwrap();
    for (flip, reason) in document["flips"]
        .as_array()
        .unwrap()
        .iter()
        .zip(["deny_if"].into_iter().chain(["limit_exceeded"; 5]))
    {
        let line = format!(
            "{{\"node\":{},\"seq\":{},\"call_id\":{},\"class\":\"newly_denied\",\"reason\":\"{reason}\",\
             \"would_verdict\":\"deny\",\"would_rule\":{},\"would_message\":{},\"after_divergence\":{}}}\n",
            flip["node"],
            flip["seq"],
            flip["call_id"],
            flip["would_be"]["rule"],
            flip["would_be"]["message"],
            flip["after_divergence"]
        );
        text.push_str(&line);
    }
    assert_eq!(
        report.result_digest,
        format!("sha256:{}", hex::encode(Sha256::digest(&text)))
    );
}

#[test]
fn a_range_narrows_the_report_and_never_the_state() {
    let record = morning(OPEN);
    // The fourth of the eight stops is the first that the limit denies: judged warm, not from zero.
    let from = SIX + 123 * SECOND;
    let options = ReplayOptions {
        from: Some(from),
        to: Some(from + 2 * SECOND),
        ..record.options(STRICT)
    };
    let report = replay(&options).unwrap();
    assert_eq!(
        (report.record.calls, report.classes.of(Class::NewlyDenied)),
        (2, 2)
    );
    assert_eq!(
        (report.record.from, report.record.to),
        (Some(from), Some(from + SECOND))
    );
    assert!(
        report.flips.iter().all(|flip| flip.after_divergence),
        "the forced stop before the range counts"
    );
    let none = replay(&ReplayOptions {
        from: Some(SIX * 2),
        ..record.options(STRICT)
    })
    .unwrap();
    assert_eq!(none.record.calls, 0);
    assert!(none.text().contains("No call in this range"));
    assert_eq!(parse_time("2026-11-22T06:00:00Z").unwrap(), SIX);
}

#[test]
fn every_exit_code_has_its_cause() {
    let record = morning(OPEN);
    let report = replay(&record.options(STRICT)).unwrap();
    let budget = |denied| Budget {
        max_newly_denied: Some(denied),
        ..Budget::default()
    };
    assert_eq!(report.exit_code(&Budget::default()), 0);
    assert_eq!(report.exit_code(&budget(6)), 0);
    assert_eq!(report.exit_code(&budget(5)), 1);
    let back = morning(STRICT);
    let loosened = replay(&back.options(OPEN)).unwrap();
    let none_allowed = Budget {
        max_newly_allowed: Some(0),
        ..Budget::default()
    };
    assert_eq!(loosened.classes.of(Class::NewlyAllowed), 6);
    assert_eq!(loosened.exit(&none_allowed), Exit::OverBudget);

    let bad = replay(&record.options(r#"{"version":"1"}"#)).err().unwrap();
    assert!(matches!(bad, ReplayError::Policy(_)), "{bad}");
    assert_eq!(Exit::Usage.code(), 2);
    let unknown = replay(&ReplayOptions {
        grant: Some("op-agent".into()),
        ..record.options(STRICT)
    })
    .err()
    .unwrap();
    assert_eq!(
        unknown.to_string(),
        "grant `op-agent` has no call in the record: there are `night-agent`, `ops-agent`"
    );
    let missing = ReplayOptions {
        record: "/nowhere/at/all".into(),
        ..record.options(STRICT)
    };
    assert!(matches!(
        replay(&missing).err().unwrap(),
        ReplayError::Record { .. }
    ));

    std::fs::remove_dir_all(record.path().join("policies")).unwrap();
    let unkept = replay(&record.options(STRICT)).unwrap();
    assert_eq!(unkept.classes.of(Class::NotReplayable), 16);
    assert_eq!(unkept.not_replayable.get("policy not kept"), Some(&16));
    let covered = Budget {
        min_coverage: Some(0.5),
        ..Budget::default()
    };
    assert_eq!(unkept.exit_code(&covered), 3);
    assert_eq!(Exit::Unverified.code(), 4);
    assert_eq!(Exit::Drift.code(), 5);
}

#[test]
fn a_decision_that_comes_out_otherwise_is_drift_and_the_counters_follow_the_record() {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(
        r#"{"version":"1","default":"allow","tools":{"vm_stop":{"limits":[{"counter":"c","window":"minute","max":2}]}}}"#,
    );
    let stop = Asked::tool("vm_stop", r#"{"id":7}"#);
    scribe.ended(SIX, Some(&policy), stop);
    // Live judged and counted two; one of them stands in the record as a denial.
    scribe.lie = Some(|call| {
        call.verdict = weir_recorder::Verdict::Deny;
        call.rule = Some("/tools/vm_stop/limits/c".into());
    });
    let (lied, _) = scribe.ended(SIX + 1, Some(&policy), stop);
    scribe.lie = None;
    scribe.ended(SIX + 2, Some(&policy), stop);
    let record = scribe.close();
    let report = replay(&record.own()).unwrap();
    // By the record only one was allowed: so the third, denied live, would pass, which is drift as well.
    assert_eq!(report.classes.of(Class::EngineDrift), 2);
    assert_eq!(
        (report.drifts[0].seq, report.drifts[0].now_verdict.as_str()),
        (lied, "allow")
    );
    assert_eq!(report.drifts[1].was_rule, "/tools/vm_stop/limits/c");
    assert_eq!(report.exit_code(&Budget::default()), 5);
    assert!(report.text().contains("ENGINE DRIFT"));
}

#[test]
fn another_version_of_the_semantics_is_no_drift() {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(OPEN);
    scribe.lie = Some(|call| {
        call.engine = Some("0".into());
        call.verdict = weir_recorder::Verdict::Deny;
        call.rule = Some("/tools/vm_stop/deny_if/always".into());
    });
    scribe.ended(SIX, Some(&policy), Asked::tool("vm_stop", "{}"));
    let report = replay(&scribe.close().own()).unwrap();
    assert_eq!(report.classes.of(Class::EngineChanged), 1);
    assert_eq!(report.exit_code(&Budget::default()), 0);
}

#[test]
fn null_arguments_are_judged_as_none() {
    let strict = r#"{"version":"1","default":"allow","tools":{"vm_list":{"require":[
        {"conditions":[{"path":"args.filter","op":"exists","value":false}]}]}}}"#;
    let mut scribe = Scribe::new();
    let policy = scribe.policy(strict);
    for arguments in ["null", "{}", r#"{"filter":null}"#] {
        scribe.ended(SIX, Some(&policy), Asked::tool("vm_list", arguments));
    }
    let report = replay(&scribe.close().own()).unwrap();
    assert_eq!(
        (report.record.calls, report.classes.of(Class::Same)),
        (3, 3),
        "{}",
        report.text()
    );
}

#[test]
fn a_request_of_the_server_that_policy_judged_consumes_like_any_call() {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(
        r#"{"version":"1","default":"allow","all_tools":{"limits":[{"counter":"all","window":"minute","max":2}]}}"#,
    );
    scribe.lie = Some(|call| call.direction = weir_recorder::Direction::Server);
    scribe.ended(
        SIX,
        Some(&policy),
        Asked::tool("method:sampling/createMessage", "{}"),
    );
    scribe.lie = None;
    let passed: Vec<bool> = (1..3)
        .map(|turn| {
            scribe
                .ended(SIX + turn, Some(&policy), Asked::tool("vm_list", "{}"))
                .1
        })
        .collect();
    assert_eq!(passed, [true, false]);
    let report = replay(&scribe.close().own()).unwrap();
    assert_eq!(
        (report.record.calls, report.classes.of(Class::Same)),
        (3, 3),
        "{}",
        report.text()
    );
}

#[test]
fn grants_that_are_not_selected_keep_their_policy_and_their_consumption() {
    let shared = r#"{"version":"1","default":"allow","tools":{"vm_stop":{"limits":[{"counter":"c","window":"minute","max":3,"scope":"server"}]}}}"#;
    let mut scribe = Scribe::new();
    let policy = scribe.policy(shared);
    let stop = Asked::tool("vm_stop", r#"{"id":7}"#);
    for turn in 0..3 {
        scribe.ended(
            SIX + turn,
            Some(&policy),
            Asked {
                grant: "night-agent",
                session: "n",
                ..stop
            },
        );
    }
    scribe.ended(SIX + 4, Some(&policy), stop);
    let record = scribe.close();
    // Under a policy without a limit, the selected grant's call passes, whatever the others took.
    let freed = replay(&ReplayOptions {
        grant: Some("ops-agent".into()),
        ..record.options(OPEN)
    })
    .unwrap();
    assert_eq!(
        (freed.record.calls, freed.classes.of(Class::NewlyAllowed)),
        (1, 1)
    );
    // Where the others are freed, they consume no longer, and this grant's call passes too.
    let others = replay(&ReplayOptions {
        grant: Some("night-agent".into()),
        ..record.options(OPEN)
    })
    .unwrap();
    assert_eq!(
        (
            others.record.calls,
            others.classes.flips(),
            others.flips_outside
        ),
        (3, 0, 1)
    );
    assert!(
        others
            .text()
            .contains("Beyond the selection 1 call flipped")
    );
    let assigned = ReplayOptions {
        assign: [("ops-agent".to_owned(), crate::support::file(OPEN))].into(),
        ..record.own()
    };
    let report = replay(&assigned).unwrap();
    assert_eq!(
        (report.record.calls, report.classes.of(Class::NewlyAllowed)),
        (4, 1)
    );
    assert_eq!(
        report.assigned["ops-agent"].digest,
        crate::support::digest(OPEN)
    );
}

/// Whatever wrote the record, and whatever it put there: what counts are the pointers.
#[test]
fn only_a_rule_that_reads_a_redacted_value_is_in_doubt() {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(OPEN);
    scribe.lie = Some(|call| {
        let forced = call
            .arguments
            .as_deref()
            .is_some_and(|text| text.contains(r#""force":"***""#));
        let pointer = if forced { "/force" } else { "/password" };
        call.redacted = vec![pointer.into()];
    });
    for (tool, arguments) in [
        ("vm_stop", r#"{"force":true,"password":"***"}"#),
        ("vm_stop", r#"{"force":"***"}"#),
        ("vm_list", r#"{"password":"***"}"#),
    ] {
        scribe.ended(SIX, Some(&policy), Asked::tool(tool, arguments));
    }
    let record = scribe.close();
    let report = replay(&record.options(STRICT)).unwrap();
    let of = |class| report.classes.of(class);
    assert_eq!(
        (of(Class::NewlyDenied), of(Class::MaybeDenied)),
        (1, 1),
        "{}",
        report.text()
    );
    assert_eq!(
        report.in_doubt,
        [("redacted: args.force".to_owned(), 1)].into()
    );
    assert_eq!(of(Class::Same), 1, "no rule speaks of vm_list");
}

#[test]
fn recorded_text_cannot_reach_the_terminal() {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(OPEN);
    scribe.ended(
        SIX,
        Some(&policy),
        Asked::tool("vm_stop", "{\"force\":true,\"n\":\"\u{202e}x\"}"),
    );
    let text = replay(&scribe.close().options(STRICT)).unwrap().text();
    assert!(text.contains("\\u{202e}x"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'));
}

#[test]
fn progress_ends_at_the_number_of_rows() {
    let record = morning(OPEN);
    let done = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&done);
    let options = ReplayOptions {
        progress: Some(Box::new(move |stage, rows, total| {
            assert_eq!(stage, Stage::Judging);
            assert!(rows <= total);
            seen.store(rows, Ordering::Relaxed);
        })),
        ..record.options(STRICT)
    };
    replay(&options).unwrap();
    assert_eq!(done.load(Ordering::Relaxed), 16);
}

#[test]
fn a_record_still_being_written_can_be_replayed() {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(OPEN);
    for turn in 0..8 {
        scribe.ended(
            SIX + turn,
            Some(&policy),
            Asked::tool("vm_stop", r#"{"id":9}"#),
        );
        if turn == 3 {
            scribe.recorder().seal_now().unwrap();
        }
    }
    scribe.settle();
    let options = ReplayOptions {
        record: scribe.path(),
        candidate: Some(crate::support::file(STRICT)),
        ..ReplayOptions::default()
    };
    let live = replay(&options).unwrap();
    assert_eq!(live.classes.of(Class::NewlyDenied), 5);
    let record = scribe.close();
    assert_eq!(
        replay(&ReplayOptions {
            record: record.path(),
            ..options
        })
        .unwrap()
        .to_json(),
        live.to_json()
    );
}

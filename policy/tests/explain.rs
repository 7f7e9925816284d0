//! An explanation is the judgement, told step by step.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use smallvec::{SmallVec, smallvec};
use weir_policy::{
    Arguments, Context, Counters, Explanation, Micros, Outcome, Policy, Reading, ReadingRole,
    Resolution, Value, explain, judge,
};

const POLICY: &str = r#"{"version": "1", "default": "deny", "tools": {"vm_stop": {
    "require": [{"conditions": [{"path": "args.id", "op": "type", "value": "integer"}]}],
    "deny_if": [{"conditions": [{"path": "args.force", "op": "eq", "value": true}]}],
    "limits": [{"counter": "rate", "window": "minute", "max": 1}],
    "approve_if": [{"conditions": [{"path": "args.ids.*", "op": "gt", "value": 100}]}]
}}}"#;

const CONTEXT: Context<'_> = Context {
    node: "n1",
    server: "truenas",
    grant: "ops",
    session: "s1",
    client_name: "",
    client_version: "",
    received_at: Micros(0),
};

fn told(counters: &mut Counters, tool: &str, arguments: &str) -> (Explanation, Vec<String>) {
    let policy = Policy::load(POLICY.as_bytes(), "p").unwrap();
    let value = Value::parse(arguments).unwrap();
    let call = Resolution {
        readings: smallvec![Reading {
            tool: tool.into(),
            arguments: Arguments::Message(&value),
            role: ReadingRole::Full,
        }],
        via: SmallVec::new(),
        risk: None,
    };
    let decision = judge(
        Some(&policy),
        &call,
        &CONTEXT,
        &mut counters.clone(),
        Micros(0),
    )
    .decision;
    let explanation = explain(Some(&policy), &call, &CONTEXT, counters, Micros(0));
    assert_eq!(explanation.judgement.decision, decision);
    let steps = explanation.steps.iter().map(|step| {
        let outcome = match step.outcome {
            Outcome::Passed => "passed",
            Outcome::Denied => "denied",
            Outcome::NotReached => "not reached",
        };
        let read = step.conditions.iter().map(|read| {
            let value = read.value.as_deref().unwrap_or("nothing");
            format!(" [{} {} read {value}: {}]", read.path, read.op, read.truth)
        });
        let count = step.count.map_or(String::new(), |count| {
            format!(" [{} + {} of {}]", count.used, count.amount, count.max)
        });
        format!(
            "{} {} {outcome}{}{count}",
            step.stage.as_str(),
            step.rule,
            read.collect::<String>()
        )
    });
    let steps = steps.collect();
    (explanation, steps)
}

#[test]
fn every_rule_is_told_with_what_it_read() {
    let (_, steps) = told(
        &mut Counters::new(10),
        "vm_stop",
        r#"{"id": 7, "ids": [1, 2]}"#,
    );
    assert_eq!(
        steps,
        [
            "policy  passed",
            "hide vm_stop passed",
            "default vm_stop passed",
            "require /tools/vm_stop/require/args.id-type passed [args.id type read 7: true]",
            "deny_if /tools/vm_stop/deny_if/args.force-eq passed [args.force eq read nothing: false]",
            "limits /tools/vm_stop/limits/rate passed [0 + 1 of 1]",
            "approve_if /tools/vm_stop/approve_if/args.ids.*-gt passed [args.ids.* gt read [1,2]: false]",
        ]
    );
}

#[test]
fn what_comes_after_the_denial_is_not_reached() {
    let (_, steps) = told(
        &mut Counters::new(10),
        "vm_stop",
        r#"{"id": 7, "force": "yes"}"#,
    );
    assert_eq!(
        steps[4],
        "deny_if /tools/vm_stop/deny_if/args.force-eq denied [args.force eq read \"yes\": mismatch]"
    );
    assert_eq!(
        steps[5..],
        [
            "limits /tools/vm_stop/limits/rate not reached",
            "approve_if /tools/vm_stop/approve_if/args.ids.*-gt not reached"
        ]
    );
    let (_, steps) = told(&mut Counters::new(10), "vm_delete", "{}");
    assert_eq!(steps[2..], ["default vm_delete denied"]);
}

#[test]
fn explaining_takes_from_the_counters_as_judging_does() {
    let mut counters = Counters::new(10);
    let (first, _) = told(&mut counters, "vm_stop", r#"{"id": 7}"#);
    assert!(first.judgement.reservation.is_some());
    let (_, steps) = told(&mut counters, "vm_stop", r#"{"id": 7}"#);
    assert_eq!(
        steps[5],
        "limits /tools/vm_stop/limits/rate denied [1 + 1 of 1]"
    );
}

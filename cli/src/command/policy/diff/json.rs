//! The answer for machines.

use serde_json::{Value, json};
use weir_policy::{Change, Comparison, Decision, Policy, Reach, SampleCall, Witness};

use super::record::Compared;
use super::{Answer, moment, runs};

pub(super) fn json(answer: &Answer) -> anyhow::Result<String> {
    let tools = answer.changes.tools.iter().map(|tool| {
        json!({
            "tool": tool.key,
            "kind": tool.kind.as_str(),
            "effect": tool.effect.as_str(),
            "rules": changes(&tool.rules),
        })
    });
    let page = json!({
        "old": policy(&answer.old_name, &answer.old),
        "new": policy(&answer.new_name, &answer.new),
        "changes": { "general": changes(&answer.changes.general), "tools": tools.collect::<Vec<_>>() },
        "new_against_old": comparison(&answer.wider),
        "old_against_new": comparison(&answer.narrower),
        "record": answer.record.as_ref().map(record),
    });
    Ok(serde_json::to_string_pretty(&page)? + "\n")
}

fn policy(path: &str, policy: &Policy) -> Value {
    json!({ "path": path, "digest": policy.digest().to_string() })
}

fn changes(changes: &[Change]) -> Vec<Value> {
    let change = |change: &Change| {
        json!({
            "rule": change.rule,
            "kind": change.kind.as_str(),
            "before": change.before,
            "after": change.after,
            "effect": change.effect.as_str(),
        })
    };
    changes.iter().map(change).collect()
}

fn comparison(comparison: &Comparison) -> Value {
    match comparison {
        Comparison::NowhereWider => json!({ "answer": "nowhere_wider" }),
        Comparison::Wider(found) => json!({ "answer": "wider", "witness": witness(found) }),
        Comparison::Unknown(obstacles) => {
            let obstacles = obstacles.iter().map(|obstacle| {
                json!({ "rule": obstacle.rule, "tool": obstacle.tool, "why": obstacle.why })
            });
            json!({ "answer": "unknown", "obstacles": obstacles.collect::<Vec<_>>() })
        }
    }
}

fn witness(witness: &Witness) -> Value {
    let calls = runs(&witness.calls)
        .into_iter()
        .map(|(times, call)| json!({ "times": times, "call": sample(call) }));
    json!({
        "calls": calls.collect::<Vec<_>>(),
        "old": decision(&witness.old),
        "new": decision(&witness.new),
    })
}

fn sample(call: &SampleCall) -> Value {
    // what the engine wrote is JSON
    let arguments: Value = serde_json::from_str(&call.arguments.to_json()).unwrap_or(Value::Null);
    json!({
        "tool": call.tool,
        "arguments": arguments,
        "server": call.server,
        "grant": call.grant,
        "session": call.session,
        "client_name": call.client_name,
        "client_version": call.client_version,
        "at": moment(call),
    })
}

fn decision(decision: &Decision) -> Value {
    json!({
        "verdict": Reach::of(decision).as_str(),
        "rule": decision.rule.as_str(),
        "reason": decision.reason.as_str(),
        "message": decision.message.as_str(),
    })
}

fn record(compared: &Compared) -> Value {
    let apart = compared.calls_apart.iter().map(|apart| {
        let flip = &apart.call;
        json!({
            "node": flip.node,
            "seq": flip.seq,
            "grant": flip.grant,
            "session": flip.session,
            "tool": flip.tool,
            "arguments": flip.arguments,
            "old": { "verdict": apart.old.0, "rule": apart.old.1 },
            "new": { "verdict": apart.new.0, "rule": apart.new.1 },
        })
    });
    json!({
        "verified_by": compared.verified.as_str(),
        "calls": compared.calls,
        "uncertain": compared.uncertain,
        "judged_differently": apart.collect::<Vec<_>>(),
    })
}

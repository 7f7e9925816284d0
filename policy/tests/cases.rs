//! The cases of `corpus/cases`: a policy, calls, and what must be said of each. Adding one needs no Rust.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::option_option,
    reason = "tests"
)]

use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;
use weir_policy::{
    Arguments, Context, Counters, Micros, Policy, Reading, ReadingRole, Reservation, Resolution,
    Value, judge,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "about")]
    _about: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The document as it stands; `null` is a grant without a policy.
    policy: Box<RawValue>,
    /// Judged one after the other, with the same counters.
    calls: Vec<Call>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    #[serde(default)]
    tool: String,
    args: Option<Box<RawValue>>,
    /// Instead of `tool` and `args`: every reading, wire name first.
    #[serde(default)]
    readings: Vec<Name>,
    #[serde(default = "node")]
    node: String,
    #[serde(default = "server")]
    server: String,
    #[serde(default = "grant")]
    grant: String,
    #[serde(default = "session")]
    session: String,
    #[serde(default)]
    client_name: String,
    #[serde(default)]
    client_version: String,
    /// Seconds since the epoch: when it is decided.
    #[serde(default)]
    at: f64,
    /// When it arrived, for `time.*`; the time of the decision if absent.
    received: Option<String>,
    /// The number of an earlier call that is given back just before this one.
    give_back: Option<usize>,
    expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Name {
    tool: String,
    #[serde(default)]
    role: Option<String>,
    args: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    verdict: String,
    #[serde(default)]
    rule: String,
    #[serde(default)]
    reason: Option<String>,
    message: Option<String>,
    /// `null` says that there must be none.
    #[serde(default, deserialize_with = "present")]
    retry_after_ms: Option<Option<u64>>,
}

fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(value).map(Some)
}

fn node() -> String {
    "n1".into()
}

fn server() -> String {
    "truenas".into()
}

fn grant() -> String {
    "ops-agent".into()
}

fn session() -> String {
    "s1".into()
}

#[test]
fn every_case_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/cases");
    let mut failures = Vec::new();
    let mut count = 0;
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for path in files {
        let file: File = serde_json::from_str(&std::fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for case in &file.cases {
            count += 1;
            let place = format!("{} `{}`", path.file_stem().unwrap().display(), case.name);
            failures.extend(
                check(case)
                    .into_iter()
                    .map(|failure| format!("{place}: {failure}")),
            );
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count >= 60, "only {count} cases were found");
}

fn check(case: &Case) -> Vec<String> {
    let source = case.policy.get();
    let policy = (source != "null").then(|| {
        Policy::load(source.as_bytes(), &case.name).unwrap_or_else(|problems| panic!("{problems}"))
    });
    let mut counters = Counters::new(1_000);
    let mut reservations: Vec<Option<Reservation>> = Vec::new();
    let mut failures = Vec::new();
    for (number, call) in case.calls.iter().enumerate() {
        let at = Micros((call.at * 1e6).round() as i64);
        if let Some(reservation) = call
            .give_back
            .and_then(|earlier| reservations[earlier].take())
        {
            counters.give_back(&reservation, at);
        }
        let received_at = call.received.as_ref().map_or(at, |text| {
            Micros(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
        });
        let context = Context {
            node: &call.node,
            server: &call.server,
            grant: &call.grant,
            session: &call.session,
            client_name: &call.client_name,
            client_version: &call.client_version,
            received_at,
        };
        let single = [Name {
            tool: call.tool.clone(),
            role: None,
            args: call.args.clone(),
        }];
        let names = if call.readings.is_empty() {
            &single[..]
        } else {
            &call.readings[..]
        };
        let values: Vec<Value<'_>> = names.iter().map(arguments).collect();
        let readings = names
            .iter()
            .zip(&values)
            .map(|(name, value)| reading(name, value));
        let resolution = Resolution {
            readings: readings.collect(),
            via: SmallVec::new(),
            risk: None,
        };
        let judgement = judge(policy.as_ref(), &resolution, &context, &mut counters, at);
        let (decision, expect) = (&judgement.decision, &call.expect);
        let reason = expect.reason.as_deref().unwrap_or("allowed");
        let same = decision.verdict.as_str() == expect.verdict
            && *decision.rule == *expect.rule
            && decision.reason.as_str() == reason
            && expect
                .message
                .as_deref()
                .is_none_or(|message| *decision.message == *message)
            && expect
                .retry_after_ms
                .is_none_or(|wait| decision.retry_after_ms == wait);
        if !same {
            failures.push(format!("call {number} gives {decision:?}"));
        }
        reservations.push(judgement.reservation);
    }
    failures
}

/// Absent and null arguments are an empty object.
fn arguments(name: &Name) -> Value<'_> {
    let text = name.args.as_ref().map_or("{}", |args| args.get());
    Value::parse(if text == "null" { "{}" } else { text }).unwrap()
}

fn reading<'a>(name: &'a Name, value: &'a Value<'a>) -> Reading<'a> {
    let role = match name.role.as_deref() {
        None => ReadingRole::Full,
        Some("dispatcher") => ReadingRole::Dispatcher,
        Some("literal") => ReadingRole::LiteralOnly,
        Some(other) => panic!("no role is called {other}"),
    };
    Reading {
        tool: name.tool.as_str().into(),
        arguments: Arguments::Message(value),
        role,
    }
}

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::{Arguments, Counters, Micros, Reading, ReadingRole, Redacted, Redaction, Value, judge};

fn context() -> Context<'static> {
    Context {
        node: "n",
        server: "nas",
        grant: "ops",
        session: "s",
        client_name: "",
        client_version: "",
        received_at: Micros(0),
    }
}

fn reading<'a>(arguments: &'a Value<'a>) -> Resolution<'a> {
    let reading = Reading {
        tool: Cow::Borrowed("t"),
        arguments: Arguments::Message(arguments),
        role: ReadingRole::Full,
    };
    Resolution {
        readings: [reading].into_iter().collect(),
        via: smallvec::SmallVec::new(),
        risk: None,
    }
}

fn policy(rules: &str) -> Policy {
    let text = format!(r#"{{"version":"1","default":"deny","tools":{{"t":{{{rules}}}}}}}"#);
    Policy::load(text.as_bytes(), "t.json").unwrap_or_else(|problems| panic!("{problems}"))
}

fn redacted(json: &str) -> String {
    let redaction = Redaction::compile(["/secret", "/list/*/secret"], [""; 0]).unwrap();
    match redaction.redact(json, &|bytes| {
        let mut digest = [0; 16];
        digest
            .iter_mut()
            .zip(bytes.iter().rev())
            .for_each(|(to, from)| *to = *from);
        digest
    }) {
        Redacted::Nothing => json.to_owned(),
        Redacted::Values { text, .. } => text,
        Redacted::Whole => panic!("withheld: {json}"),
    }
}

/// The doubts about a call, and what becomes of it without them: `+` or the rule.
fn weighed(policy: &Policy, arguments: &str, testimony: &Testimony<'_>) -> (Vec<String>, String) {
    let text = redacted(arguments);
    let value = Value::parse(&text).unwrap();
    let (resolution, context) = (reading(&value), context());
    let weighed = weigh(
        Some(policy),
        &resolution,
        &context,
        OnRecord::Values,
        testimony,
    );
    let doubts = weighed
        .doubts
        .iter()
        .map(|doubt| doubt.path.to_string())
        .collect();
    let judged = Counters::new(9).settle(weighed.evaluation, Micros(0));
    let decision = judged.decision;
    (
        doubts,
        if decision.is_allow() {
            "+".into()
        } else {
            decision.rule.to_string()
        },
    )
}

const RULES: &str = r#"
 "require":[{"conditions":[{"path":"args.id","op":"type","value":"integer"}]}],
 "deny_if":[{"conditions":[{"path":"args.secret","op":"eq","value":"x"},{"path":"args.id","op":"gt","value":5}]},
            {"conditions":[{"path":"args.list.*.secret","op":"exists","value":true}]},
            {"conditions":[{"path":"args.force","op":"eq","value":true}]}]"#;

#[test]
fn only_rules_that_the_hidden_value_can_turn_are_in_doubt() {
    let policy = policy(RULES);
    for (arguments, doubts, ruled) in [
        (r#"{"id":1}"#, vec![], "+"),
        // The other condition is false either way.
        (r#"{"id":1,"secret":"x"}"#, vec![], "+"),
        (r#"{"id":7,"secret":"x"}"#, vec!["args.secret"], "+"),
        (
            r#"{"id":"7","secret":"x"}"#,
            vec![],
            "/tools/t/require/args.id-type",
        ),
        (
            r#"{"id":7,"secret":"x","force":true}"#,
            vec!["args.secret"],
            "/tools/t/deny_if/args.force-eq",
        ),
        (
            r#"{"id":1,"list":[{"secret":3}]}"#,
            vec!["args.list.*.secret"],
            "+",
        ),
        // Below and around what was replaced.
        (r#"{"id":1,"list":[{"secret":null}]}"#, vec![], "+"),
    ] {
        let (found, becomes) = weighed(&policy, arguments, &Testimony::default());
        assert_eq!(
            (found, becomes.as_str()),
            (doubts.iter().map(ToString::to_string).collect(), ruled),
            "{arguments}"
        );
    }
    for path in ["args", "args.secret.deep", "args.secret"] {
        let rules = format!(
            r#""deny_if":[{{"conditions":[{{"path":"{path}","op":"exists","value":true}}]}}]"#
        );
        let policy = self::policy(&rules);
        assert_eq!(
            weighed(&policy, r#"{"secret":{"deep":1}}"#, &Testimony::default()).0,
            [path]
        );
    }
}

#[test]
fn nothing_is_known_of_arguments_that_were_not_kept() {
    let policy = policy(RULES);
    let value = Value::parse("{}").unwrap();
    let (resolution, context) = (reading(&value), context());
    let weighed = weigh(
        Some(&policy),
        &resolution,
        &context,
        OnRecord::Nothing,
        &Testimony::default(),
    );
    assert_eq!(weighed.doubts.len(), 4);
}

#[test]
fn the_recorded_decision_tells_of_the_rules_that_were_asked() {
    let was = policy(RULES);
    let text = redacted(r#"{"id":7,"secret":"x"}"#);
    let value = Value::parse(&text).unwrap();
    let resolution = reading(&value);
    let tells = |verdict, rule| Testimony::of(&was, &resolution, verdict, rule, "deny_if");
    let arguments = r#"{"id":7,"secret":"x"}"#;
    assert_eq!(
        weighed(&was, arguments, &tells(Verdict::Allow, "")),
        (vec![], "+".into())
    );
    let rule = "/tools/t/deny_if/args.secret-eq";
    assert_eq!(
        weighed(&was, arguments, &tells(Verdict::Deny, rule)),
        (vec![], rule.into())
    );
    // Another policy with the same rule, and one with another.
    let same = policy(
        r#""deny_if":[{"conditions":[{"path":"args[\"secret\"]","op":"eq","value":"x"},{"path":"args.id","op":"gt","value":5.0}]}]"#,
    );
    let other =
        policy(r#""deny_if":[{"conditions":[{"path":"args.secret","op":"eq","value":"y"}]}]"#);
    assert_eq!(
        weighed(&other, arguments, &tells(Verdict::Allow, "")).0,
        ["args.secret"]
    );
    assert!(
        weighed(&same, arguments, &tells(Verdict::Allow, ""))
            .0
            .len()
            <= 1
    );
}

/// A policy out of conditions on a few paths, and calls that may have a value there.
fn condition() -> impl Strategy<Value = String> {
    let path = prop_oneof![
        Just("args.secret"),
        Just("args.id"),
        Just("args.list.*.secret"),
        Just("args.list"),
        Just("args.secret.x")
    ];
    let asks = prop_oneof![
        Just(r#""op":"eq","value":1"#),
        Just(r#""op":"gt","value":1"#),
        Just(r#""op":"exists","value":false"#),
        Just(r#""op":"type","value":"integer""#),
        Just(r#""op":"neq","value":"a""#),
    ];
    (path, asks).prop_map(|(path, asks)| format!(r#"{{"path":"{path}",{asks}}}"#))
}

fn rules() -> impl Strategy<Value = String> {
    let predicate = || {
        prop::collection::vec(condition(), 1..3)
            .prop_map(|conditions| format!(r#"{{"conditions":[{}]}}"#, conditions.join(",")))
    };
    let list = || prop::collection::vec(predicate(), 0..3).prop_map(|list| list.join(","));
    (list(), list())
        .prop_map(|(require, deny)| format!(r#""require":[{require}],"deny_if":[{deny}]"#))
}

fn hidden() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        Just("1"),
        Just("2"),
        Just("\"a\""),
        Just("true"),
        Just("{\"x\":1}"),
        Just("[1]")
    ]
}

proptest! {
    /// Whatever stood there: what is said to be certain is so, and with the truth on record nothing is in doubt.
    #[test]
    fn what_is_certain_is_so_whatever_was_replaced(
        rules in rules(), own in rules(), id in hidden(), secret in hidden(), inner in prop::collection::vec(hidden(), 0..3)
    ) {
        let list: Vec<_> = inner.iter().map(|inner| format!(r#"{{"secret":{inner}}}"#)).collect();
        let arguments = format!(r#"{{"id":{id},"secret":{secret},"list":[{}]}}"#, list.join(","));
        let value = Value::parse(&arguments).unwrap();
        let (truly, context) = (reading(&value), context());
        let decide = |policy: &Policy| judge(Some(policy), &truly, &context, &mut Counters::new(9), Micros(0)).decision;
        let text = redacted(&arguments);
        let kept = Value::parse(&text).unwrap();
        let kept = reading(&kept);
        let (own, candidate) = (policy(&own), policy(&rules));
        let recorded = decide(&own);
        let testimony = Testimony::of(&own, &kept, recorded.verdict, &recorded.rule, recorded.reason.as_str());
        let again = weigh(Some(&own), &kept, &context, OnRecord::Values, &testimony);
        prop_assert!(again.doubts.is_empty(), "{:?}", again.doubts);
        let again = Counters::new(9).settle(again.evaluation, Micros(0)).decision;
        prop_assert_eq!((again.verdict, &*again.rule), (recorded.verdict, &*recorded.rule));

        let would = decide(&candidate);
        let weighed = weigh(Some(&candidate), &kept, &context, OnRecord::Values, &testimony);
        let named = weighed.doubts.iter().any(|doubt| *doubt.rule == *would.rule);
        let said = Counters::new(9).settle(weighed.evaluation, Micros(0)).decision;
        prop_assert!(named || (said.verdict, &*said.rule) == (would.verdict, &*would.rule), "{would:?} {said:?}");
        prop_assert!(!weighed.doubts.is_empty() || said.verdict == would.verdict);
    }
}

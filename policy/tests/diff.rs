//! What is said of two policies, rule by rule and as a whole.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use weir_policy::{ChangeKind, Comparison, Diff, Effect, Policy, Reach, Witness, compare};

fn policy(rules: &str) -> Policy {
    let text = format!(r#"{{"version": "1", "default": "deny", "tools": {{"vm_stop": {rules}}}}}"#);
    load(&text)
}

fn load(text: &str) -> Policy {
    Policy::load(text.as_bytes(), "test").unwrap_or_else(|problems| panic!("{problems}"))
}

fn require(conditions: &str) -> Policy {
    policy(&format!(
        r#"{{"require": [{{"conditions": [{conditions}]}}]}}"#
    ))
}

fn deny_if(conditions: &str) -> Policy {
    policy(&format!(
        r#"{{"deny_if": [{{"conditions": [{conditions}]}}]}}"#
    ))
}

fn limit(members: &str) -> Policy {
    policy(&format!(r#"{{"limits": [{{"counter": "c", {members}}}]}}"#))
}

fn is_nowhere_wider(old: &Policy, new: &Policy) -> bool {
    match compare(old, new) {
        Comparison::NowhereWider => true,
        Comparison::Wider(witness) => {
            assert!(witness.holds(old, new));
            false
        }
        Comparison::Unknown(obstacles) => panic!("{obstacles:?}"),
    }
}

fn witness(old: &Policy, new: &Policy) -> Witness {
    match compare(old, new) {
        Comparison::Wider(witness) => *witness,
        other @ (Comparison::NowhereWider | Comparison::Unknown(_)) => panic!("{other:?}"),
    }
}

/// The first is tighter than the second, and both ways round that is what is said.
fn is_tighter(tight: &Policy, loose: &Policy) {
    assert!(
        is_nowhere_wider(loose, tight),
        "{:?}",
        compare(loose, tight)
    );
    assert!(!is_nowhere_wider(tight, loose));
}

#[test]
fn conditions_of_different_operators_are_compared_by_what_they_hold_for() {
    let at =
        |op: &str, value: &str| format!(r#"{{"path": "args.x", "op": "{op}", "value": {value}}}"#);
    for (tight, loose) in [
        (at("eq", "7"), at("type", "\"integer\"")),
        (at("type", "\"integer\""), at("type", "\"number\"")),
        (at("in", "[1, 2]"), at("in", "[1, 2, 3]")),
        (at("lt", "7"), at("lte", "7.5")),
        (at("gt", "9007199254740993"), at("gt", "9007199254740992")),
        (at("glob", "\"vm_web*\""), at("glob", "\"vm_*\"")),
        (at("regex", "\"^[a-c]{2}$\""), at("glob", "\"??\"")),
        (at("eq", "\"vm_1\""), at("regex", "\"^vm_[0-9]+$\"")),
        (at("lt", "\"b\""), at("lt", "\"ba\"")),
        (
            at("cidr", "[\"10.1.0.0/16\"]"),
            at("cidr", "[\"10.0.0.0/8\"]"),
        ),
        (at("eq", "[1, 2]"), at("contains", "2")),
        (at("exists", "true"), String::new()),
    ] {
        is_tighter(&require(&tight), &require(&loose));
    }
    // in `deny_if` the wider condition is the tighter rule, and what cannot be compared is denied too
    is_tighter(&deny_if(&at("lt", "7")), &deny_if(&at("eq", "6")));
    is_tighter(
        &deny_if(&at("not_in", "[1]")),
        &deny_if(&at("not_in", "[1, 2]")),
    );
    is_tighter(
        &deny_if(&at("eq", "true")),
        &deny_if(&format!("{}, {}", at("eq", "true"), at("exists", "false"))),
    );
}

#[test]
fn rules_that_say_the_same_in_other_words_are_the_same() {
    let one = require(
        r#"{"path": "args.n", "op": "type", "value": "integer"}, {"path": "args.n", "op": "gt", "value": 0}, {"path": "args.n", "op": "lt", "value": 4}"#,
    );
    let other = require(r#"{"path": "args[\"n\"]", "op": "in", "value": [1, 2.0, 3e0]}"#);
    assert!(is_nowhere_wider(&one, &other) && is_nowhere_wider(&other, &one));
}

#[test]
fn elements_of_arrays_are_asked_each() {
    let every = require(r#"{"path": "args.ids.*", "op": "in", "value": ["a", "b"]}"#);
    let one = require(r#"{"path": "args.ids", "op": "contains", "value": "a"}"#);
    let witness = witness(&every, &one);
    assert_eq!(Reach::of(&witness.new), Reach::Allowed);
    is_tighter(
        &require(r#"{"path": "args.ids.*", "op": "eq", "value": "a"}"#),
        &every,
    );
}

#[test]
fn limits_are_compared_by_what_they_let_through_in_any_window() {
    for (tight, loose) in [
        (
            r#""window": "minute", "max": 3"#,
            r#""window": "minute", "max": 4"#,
        ),
        (
            r#""window": "hour", "max": 3"#,
            r#""window": "minute", "max": 3"#,
        ),
        (
            r#""window": "minute", "max": 3, "sliding": true"#,
            r#""window": "minute", "max": 3"#,
        ),
        (
            r#""window": "minute", "max": 3, "scope": "server""#,
            r#""window": "minute", "max": 3, "scope": "grant""#,
        ),
        (
            r#""window": "minute", "max": 3, "scope": "grant""#,
            r#""window": "minute", "max": 3, "scope": "session""#,
        ),
        (
            r#""window": "minute", "max": 3, "increment_from": "args.n""#,
            r#""window": "minute", "max": 4, "increment_from": "args.n""#,
        ),
    ] {
        is_tighter(&limit(tight), &limit(loose));
    }
    // ten a minute are at most 110 in any ten minutes, wherever these begin
    let minute = limit(r#""window": "minute", "max": 10"#);
    let ten = limit(r#""window": 600, "max": 110, "sliding": true"#);
    assert!(is_nowhere_wider(&ten, &minute));
    let fewer = limit(r#""window": 600, "max": 99, "sliding": true"#);
    assert!(!is_nowhere_wider(&fewer, &minute));
}

#[test]
fn a_limit_over_all_tools_is_exceeded_by_several() {
    let with = |all: &str| {
        load(&format!(
            r#"{{"version": "1", "default": "deny", {all}
                "tools": {{"a": {{"limits": [{{"counter": "c", "window": "minute", "max": 2}}]}}, "b": {{"limits": [{{"counter": "c", "window": "minute", "max": 2}}]}}}}}}"#
        ))
    };
    let old =
        with(r#""all_tools": {"limits": [{"counter": "all", "window": "minute", "max": 3}]},"#);
    let new = with("");
    let calls = witness(&old, &new).calls;
    assert_eq!(calls.len(), 4);
    assert!(calls.iter().any(|call| call.tool == "a") && calls.iter().any(|call| call.tool == "b"));
}

#[test]
fn a_question_to_a_person_is_between_a_denial_and_an_allowance() {
    let list = |list: &str| {
        policy(&format!(
            r#"{{"{list}": [{{"conditions": [{{"path": "args.force", "op": "eq", "value": true}}]}}]}}"#
        ))
    };
    let (denied, asked, allowed) = (list("deny_if"), list("approve_if"), policy("{}"));
    is_tighter(&denied, &asked);
    is_tighter(&asked, &allowed);
    let witness = witness(&denied, &asked);
    assert_eq!(
        (Reach::of(&witness.old), Reach::of(&witness.new)),
        (Reach::Denied, Reach::Asked)
    );
}

#[test]
fn names_are_told_apart_by_all_globs_at_once() {
    let with = |tools: &str| {
        load(&format!(
            r#"{{"version": "1", "default": "deny", "tools": {tools}}}"#
        ))
    };
    let old = with(r#"{"vm_*": {}, "*_stop": {"action": "deny"}}"#);
    let new = with(r#"{"vm_*": {}, "*_stop": {}}"#);
    let call = witness(&old, &new).calls.remove(0);
    assert!(call.tool.ends_with("_stop"), "{}", call.tool);
    // the longest glob wins, so this says nothing about anything that `vm_*` did not
    assert!(is_nowhere_wider(
        &with(r#"{"vm_*": {}}"#),
        &with(r#"{"vm_*": {}, "vm_a*": {}}"#)
    ));
    let hidden = load(r#"{"version": "1", "default": "allow", "hide": ["vm_*"]}"#);
    is_tighter(
        &hidden,
        &load(r#"{"version": "1", "default": "allow", "hide": ["vm_a*"]}"#),
    );
}

#[test]
fn a_diff_lists_what_changed_and_what_that_does() {
    let old = load(
        r#"{"version": "1", "default": "deny", "hide": ["x"], "tools": {
            "vm_stop": {
                "require": [{"conditions": [{"path": "args.id", "op": "type", "value": "integer"}]}],
                "deny_if": [{"conditions": [{"path": "args.n", "op": "gt", "value": 5}], "on_deny": "Too many."}],
                "limits": [{"counter": "c", "window": "minute", "max": 5}]},
            "vm_start": {}, "vm_list": {}}}"#,
    );
    let new = load(
        r#"{"version": "1", "default": "allow", "tools": {
            "vm_stop": {
                "deny_if": [{"conditions": [{"path": "args.n", "op": "gt", "value": 3}], "on_deny": "Too many."},
                            {"conditions": [{"path": "args.force", "op": "eq", "value": true}]}],
                "limits": [{"counter": "c", "window": "minute", "max": 9}]},
            "vm_list": {}, "app_stop": {"action": "deny"}}}"#,
    );
    let diff = Diff::of(&old, &new);
    let general: Vec<_> = diff
        .general
        .iter()
        .map(|c| (c.rule.as_str(), c.kind, c.effect))
        .collect();
    assert_eq!(
        general,
        [
            ("default", ChangeKind::Changed, Effect::Looser),
            ("hide", ChangeKind::Removed, Effect::Looser)
        ]
    );
    let tools: Vec<_> = diff
        .tools
        .iter()
        .map(|tool| (tool.key.as_str(), tool.kind, tool.effect))
        .collect();
    assert_eq!(
        tools,
        [
            ("app_stop", ChangeKind::Added, Effect::Same),
            ("vm_start", ChangeKind::Removed, Effect::Same),
            ("vm_stop", ChangeKind::Changed, Effect::Mixed)
        ]
    );
    let rules: Vec<_> = diff.tools[2]
        .rules
        .iter()
        .map(|c| (c.rule.as_str(), c.kind, c.effect))
        .collect();
    assert_eq!(
        rules,
        [
            (
                "/tools/vm_stop/require/args.id-type",
                ChangeKind::Removed,
                Effect::Looser
            ),
            (
                "/tools/vm_stop/deny_if/args.n-gt",
                ChangeKind::Changed,
                Effect::Tighter
            ),
            (
                "/tools/vm_stop/deny_if/args.force-eq",
                ChangeKind::Added,
                Effect::Tighter
            ),
            (
                "/tools/vm_stop/limits/c",
                ChangeKind::Changed,
                Effect::Looser
            )
        ]
    );
    assert_eq!(
        diff.tools[2].rules[1].before.as_deref(),
        Some("args.n gt 5")
    );
    assert!(Diff::of(&old, &old).is_empty());
}

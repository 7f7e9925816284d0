//! What is said of two policies holds for every call that is tried, and what is shown is so.

#![allow(
    clippy::trivially_copy_pass_by_ref,
    clippy::print_stdout,
    reason = "tests: an index is lent by what holds it; how many were found wider is told"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use weir_policy::{Comparison, Counters, Micros, Policy, Reach, SampleCall, Value, compare};

use crate::generate::{self, Event};
use crate::json::J;

fn load(document: &J) -> Policy {
    Policy::load(document.write().as_bytes(), "random").unwrap()
}

/// The same calls as the wire would bring them: one name each, and sessions that belong to their grants.
fn calls(events: &[Event]) -> Vec<SampleCall> {
    let mut now = 1_700_000_000_000_000;
    let call = |event: &Event| {
        now += event.after;
        let (tool, _, arguments) = event.readings.last().unwrap();
        let is_bare = tool.starts_with("resource:") || tool.starts_with("method:");
        let arguments = if is_bare {
            "{}".to_owned()
        } else {
            arguments.write()
        };
        SampleCall {
            tool: tool.clone(),
            arguments: Value::parse(&arguments).unwrap().to_owned_value(),
            server: event.server.to_owned(),
            grant: event.grant.to_owned(),
            session: format!("{}/{}", event.grant, event.session),
            client_name: event.client.to_owned(),
            client_version: String::new(),
            at: Micros(now),
        }
    };
    events.iter().map(call).collect()
}

/// A call that `new` lets go further than `old`, alone or after those that `new` lets through.
fn found_wider(old: &Policy, new: &Policy, calls: &[SampleCall]) -> Option<SampleCall> {
    let (mut of_old, mut of_new) = (Counters::new(1_000_000), Counters::new(1_000_000));
    for call in calls {
        let alone = |policy| Reach::of(&call.judge(policy, &mut Counters::new(1_000_000)));
        if alone(new) > alone(old) {
            return Some(call.clone());
        }
        if call.judge(new, &mut of_new).is_allow() && !call.judge(old, &mut of_old).is_allow() {
            return Some(call.clone());
        }
    }
    None
}

/// A change to a policy, as an author may make one.
#[derive(Clone, Debug)]
enum Change {
    DropTool(Index),
    DropRule(Index, Index),
    AddRules(Index, J),
    TakeRules(Index, J),
    Max(Index, Index, &'static str),
    Member(Index, Index, &'static str, &'static str),
    Default,
    DropHide,
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    let max = prop::sample::select(vec!["0", "1", "2", "4", "30"]);
    let member = prop::sample::select(vec![
        ("scope", "\"session\""),
        ("scope", "\"server\""),
        ("scope", "\"node\""),
        ("window", "1"),
        ("window", "120"),
        ("sliding", "true"),
        ("sliding", "false"),
        ("per", "[\"args.a\"]"),
        ("per", "[]"),
        ("increment_from", "\"args.n\""),
    ]);
    prop_oneof![
        1 => place().prop_map(Change::DropTool),
        4 => (place(), place()).prop_map(|(tool, rule)| Change::DropRule(tool, rule)),
        2 => (place(), generate::rules()).prop_map(|(tool, rules)| Change::AddRules(tool, rules)),
        2 => (place(), generate::rules()).prop_map(|(tool, rules)| Change::TakeRules(tool, rules)),
        2 => (place(), place(), max).prop_map(|(tool, limit, max)| Change::Max(tool, limit, max)),
        2 => (place(), place(), member)
            .prop_map(|(tool, limit, (key, value))| Change::Member(tool, limit, key, value)),
        1 => Just(Change::Default),
        1 => Just(Change::DropHide),
    ]
}

fn members(value: &mut J) -> &mut Vec<(String, J)> {
    match value {
        J::Obj(members) => members,
        _ => panic!("an object"),
    }
}

fn member<'j>(value: &'j mut J, key: &str) -> Option<&'j mut J> {
    let found = members(value).iter_mut().find(|(known, _)| known == key);
    found.map(|(_, value)| value)
}

/// One entry of `tools`, if there is any.
fn tool<'j>(document: &'j mut J, place: &Index) -> Option<&'j mut J> {
    let tools = members(member(document, "tools")?);
    if tools.is_empty() {
        return None;
    }
    let place = place.index(tools.len());
    Some(&mut tools[place].1)
}

fn apply(document: &J, change: &Change) -> J {
    let mut document = document.clone();
    match change {
        Change::DropTool(place) => {
            let tools = members(member(&mut document, "tools").unwrap());
            if !tools.is_empty() {
                tools.remove(place.index(tools.len()));
            }
        }
        Change::DropRule(place, rule) => {
            if let Some(rules) = tool(&mut document, place) {
                drop_rule(rules, rule);
            }
        }
        Change::AddRules(place, more) => {
            if let Some(J::Obj(rules)) = tool(&mut document, place) {
                for (key, value) in more.members() {
                    match (rules.iter_mut().find(|(known, _)| known == key), value) {
                        (Some((_, J::Arr(list))), J::Arr(more)) => list.extend(more.clone()),
                        (Some(_), _) => {}
                        (None, value) => rules.push((key.clone(), value.clone())),
                    }
                }
            }
        }
        Change::TakeRules(place, rules) => {
            if let Some(tool) = tool(&mut document, place) {
                *tool = rules.clone();
            }
        }
        Change::Max(place, limit, max) => {
            if let Some(limit) = limit_of(&mut document, place, limit) {
                *member(limit, "max").unwrap() = J::Num((*max).to_owned());
            }
        }
        Change::Member(place, limit, key, value) => {
            if let Some(limit) = limit_of(&mut document, place, limit) {
                members(limit).retain(|(known, _)| known != key);
                let value = match *value {
                    "[]" => J::Arr(Vec::new()),
                    "[\"args.a\"]" => J::Arr(vec![J::str("args.a")]),
                    "true" => J::Bool(true),
                    "false" => J::Bool(false),
                    text if text.starts_with('"') => J::str(text.trim_matches('"')),
                    number => J::Num(number.to_owned()),
                };
                members(limit).push(((*key).to_owned(), value));
            }
        }
        Change::Default => {
            let default = member(&mut document, "default").unwrap();
            *default = J::str(if default.text() == "allow" {
                "deny"
            } else {
                "allow"
            });
        }
        Change::DropHide => members(&mut document).retain(|(key, _)| key != "hide"),
    }
    document
}

fn limit_of<'j>(document: &'j mut J, place: &Index, limit: &Index) -> Option<&'j mut J> {
    match member(tool(document, place)?, "limits")? {
        J::Arr(limits) if !limits.is_empty() => {
            let place = limit.index(limits.len());
            limits.get_mut(place)
        }
        _ => None,
    }
}

/// Takes one rule out of an entry; says whether there was one.
fn drop_rule(rules: &mut J, rule: &Index) -> bool {
    let mut places = Vec::new();
    for (member, (key, value)) in rules.members().iter().enumerate() {
        match (key.as_str(), value) {
            ("require" | "deny_if" | "limits" | "approve_if", J::Arr(list)) => {
                places.extend((0..list.len()).map(|place| (member, Some(place))));
            }
            ("rate_limit", _) => places.push((member, None)),
            ("action", value) if value.text() != "allow" => places.push((member, None)),
            _ => {}
        }
    }
    if places.is_empty() {
        return false;
    }
    let (member, place) = places[rule.index(places.len())];
    match (&mut members(rules)[member].1, place) {
        (J::Arr(list), Some(place)) => {
            list.remove(place);
        }
        _ => {
            members(rules).remove(member);
        }
    }
    true
}

/// Fewer than for the engine: a comparison takes milliseconds. `PROPTEST_CASES` asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(100),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nowhere_wider_is_never_said_of_a_policy_that_lets_a_call_go_further(
        old in generate::policy(),
        changes in proptest::collection::vec(change(), 0..4),
        events in proptest::collection::vec(generate::event(), 1..40),
    ) {
        let new = changes.iter().fold(old.clone(), |document, change| apply(&document, change));
        let (old, new) = (load(&old), load(&new));
        let calls = calls(&events);
        for (old, new) in [(&old, &new), (&new, &old)] {
            match compare(old, new) {
                Comparison::NowhereWider => {
                    let found = found_wider(old, new, &calls);
                    prop_assert!(found.is_none(), "{found:?} passes");
                }
                Comparison::Wider(witness) => {
                    prop_assert!(witness.holds(old, new));
                    prop_assert!(found_wider(old, new, &witness.calls).is_some());
                }
                Comparison::Unknown(obstacles) => prop_assert!(!obstacles.is_empty()),
            }
        }
    }

    #[test]
    fn two_policies_of_nothing_in_common_are_compared_as_soundly(
        old in generate::policy(),
        new in generate::policy(),
        events in proptest::collection::vec(generate::event(), 1..20),
    ) {
        let (old, new) = (load(&old), load(&new));
        match compare(&old, &new) {
            Comparison::NowhereWider => {
                let found = found_wider(&old, &new, &calls(&events));
                prop_assert!(found.is_none(), "{found:?} passes");
            }
            Comparison::Wider(witness) => prop_assert!(witness.holds(&old, &new)),
            Comparison::Unknown(_) => {}
        }
    }

    #[test]
    fn a_policy_is_nowhere_wider_than_itself(document in generate::policy()) {
        let written = document.write();
        let old = Policy::load(written.as_bytes(), "old").unwrap();
        // other bytes, so that nobody can answer by comparing digests
        let new = Policy::load(format!("{written}\n").as_bytes(), "new").unwrap();
        prop_assert_eq!(compare(&old, &new), Comparison::NowhereWider);
    }
}

/// How often each answer came.
#[derive(Debug, Default)]
struct Shares(BTreeMap<&'static str, usize>);

impl Shares {
    fn count(&mut self, comparison: &Comparison) {
        let word = match comparison {
            Comparison::NowhereWider => "nowhere wider",
            Comparison::Wider(_) => "wider",
            Comparison::Unknown(_) => "unknown",
        };
        *self.0.entry(word).or_default() += 1;
    }

    fn percent(&self, word: &str) -> usize {
        let all: usize = self.0.values().sum();
        self.0.get(word).copied().unwrap_or_default() * 100 / all
    }
}

/// The same cases at every run.
fn runner() -> TestRunner {
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(Config::default(), rng)
}

#[test]
fn a_policy_without_one_of_its_rules_is_found_wider_nearly_always() {
    let mut runner = runner();
    let mut shares = Shares::default();
    let cases = (generate::tight(), any::<Index>(), any::<Index>());
    while shares.0.values().sum::<usize>() < 400 {
        let (old, place, rule) = cases.new_tree(&mut runner).unwrap().current();
        let mut new = old.clone();
        if tool(&mut new, &place).is_none_or(|rules| !drop_rule(rules, &rule)) {
            continue;
        }
        shares.count(&compare(&load(&old), &load(&new)));
    }
    println!("a policy without one of its rules: {shares:?}");
    assert!(shares.percent("wider") >= 90, "{shares:?}");
    assert!(shares.percent("unknown") <= 5, "{shares:?}");
}

#[test]
fn most_changes_are_answered_with_a_proof_or_an_example() {
    let mut runner = runner();
    let mut shares = Shares::default();
    let cases = (generate::policy(), change());
    for _ in 0..400 {
        let (old, change) = cases.new_tree(&mut runner).unwrap().current();
        let new = apply(&old, &change);
        shares.count(&compare(&load(&old), &load(&new)));
        shares.count(&compare(&load(&new), &load(&old)));
    }
    println!("a policy with one change, both ways round: {shares:?}");
    assert!(shares.percent("unknown") <= 8, "{shares:?}");
    assert!(
        shares.percent("wider") >= 10 && shares.percent("nowhere wider") >= 30,
        "{shares:?}"
    );
}

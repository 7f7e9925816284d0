//! The tightest policy that lets through the calls it was shown, and why each of its rules is there.
//!
//! What a rule can hold is the type of an argument, the values it had where they are few, and the range of its numbers or
//! the letters of its texts where they are many; per tool, how many calls came in a minute and in an hour. Ranges and
//! limits get a margin. What it cannot hold is said in the evidence: an argument of which nothing is known but its name.

mod seen;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use crate::{Micros, Profile, Reading, ReadingRole, Resolution, Value};

use self::seen::Seen;

/// Arguments deeper than this are not looked into.
const DEPTH_MAX: usize = 4;
/// More paths than these are not told apart; what lies beyond has no rule.
const PATHS_MAX: usize = 200;

/// Calls that are to pass, as they are shown.
#[derive(Debug)]
pub struct Learning {
    margin: Margin,
    tools: BTreeMap<String, Tool>,
    /// Tools that others were called through. Rules of theirs would hold for those calls too: so such a tool has none, and is listed
    /// only where it was called by itself.
    dispatchers: BTreeSet<String>,
}

/// How much room ranges and limits get beyond what was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Margin(f64);

impl Margin {
    /// A share of what was seen: 0.2 is a fifth more. `None` unless it is a number from 0 to 10.
    pub fn of(share: f64) -> Option<Self> {
        (0.0..=10.0).contains(&share).then_some(Self(share))
    }

    /// A fifth.
    pub const FIFTH: Self = Self(0.2);

    fn over(self, amount: u64) -> u64 {
        (amount as f64 * (1.0 + self.0)).ceil() as u64
    }
}

/// A policy and the reasons for its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// The document.
    pub document: String,
    /// For each rule, by its id, what it was learned from; and what no rule could be learned from.
    pub evidence: Vec<(String, String)>,
}

/// The calls of one tool.
#[derive(Debug, Default)]
struct Tool {
    calls: u64,
    first: Option<Micros>,
    last: Option<Micros>,
    /// By path, what stood there.
    paths: BTreeMap<String, Seen>,
    /// Whether some paths were left out.
    has_more: bool,
    minutes: Peak,
    hours: Peak,
    /// Whether limits count its calls: those of names on the way to the effective tool are counted there.
    is_effective: bool,
    /// The parameters that the server's profile knows.
    parameters: Vec<String>,
}

/// The most calls in any window of a length.
#[derive(Debug, Default, Clone, Copy)]
struct Peak {
    window: i64,
    count: u64,
    most: u64,
    at: i64,
}

impl Peak {
    fn count(&mut self, at: Micros, micros: i64) {
        let window = at.0.div_euclid(micros);
        if self.count == 0 || window != self.window {
            self.window = window;
            self.count = 0;
        }
        self.count += 1;
        if self.count > self.most {
            self.most = self.count;
            self.at = window * micros;
        }
    }
}

impl Learning {
    /// Nothing was shown yet.
    pub fn new(margin: Margin) -> Self {
        Self {
            margin,
            tools: BTreeMap::new(),
            dispatchers: BTreeSet::new(),
        }
    }

    /// A call that is to pass. They must be shown in the order of time.
    pub fn observe(&mut self, call: &Resolution<'_>, profile: Option<&Profile>, at: Micros) {
        // Behind what a call is for stand at most other spellings of its name.
        let full = |reading: &Reading<'_>| reading.role != ReadingRole::Dispatcher;
        let last = call.readings.iter().rposition(full).unwrap_or_default();
        for (place, reading) in call.readings.iter().enumerate() {
            let is_effective = place == last;
            if reading.role == ReadingRole::Dispatcher {
                if place < last {
                    self.dispatchers.insert(reading.tool.clone().into_owned());
                }
                continue;
            }
            let tool = self
                .tools
                .entry(reading.tool.clone().into_owned())
                .or_default();
            tool.observe(&reading.arguments, at);
            tool.is_effective |= is_effective;
            if is_effective {
                tool.minutes.count(at, 60_000_000);
                tool.hours.count(at, 3_600_000_000);
            }
            if tool.calls == 1
                && let Some(operation) =
                    profile.and_then(|profile| profile.operation(&reading.tool))
            {
                let names = operation.parameters().into_iter();
                tool.parameters = names.map(ToOwned::to_owned).collect();
            }
        }
    }

    /// How many tools were called.
    pub fn tools(&self) -> usize {
        self.tools.len()
    }

    /// The policy that lets all of them through.
    pub fn learned(&self, about: &str) -> Learned {
        write::write(self, about)
    }
}

impl Tool {
    fn observe(&mut self, arguments: &Value<'_>, at: Micros) {
        self.calls += 1;
        self.first.get_or_insert(at);
        self.last = Some(at);
        if let Value::Object(members) = arguments {
            for (key, value) in members.iter() {
                self.walk(&member("args", key), value, 1);
            }
        }
    }

    fn walk(&mut self, path: &str, value: &Value<'_>, depth: usize) {
        let is_new = !self.paths.contains_key(path);
        if depth > DEPTH_MAX || (is_new && self.paths.len() >= PATHS_MAX) {
            self.has_more = true;
            return;
        }
        let calls = self.calls;
        let seen = self.paths.entry(path.to_owned()).or_default();
        seen.observe(value, calls);
        match value {
            Value::Object(members) => {
                for (key, value) in members.iter() {
                    self.walk(&member(path, key), value, depth + 1);
                }
            }
            Value::Array(items) => {
                for item in items {
                    self.walk(&format!("{path}.*"), item, depth + 1);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// The path of a member, as policies write it.
fn member(path: &str, key: &str) -> String {
    let is_plain = !key.is_empty() && key != "*" && !key.contains(['.', '[', ']', '"', '\\']);
    if is_plain {
        format!("{path}.{key}")
    } else {
        format!("{path}[{}]", crate::operand::quoted(key))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::{Ask, Context, Counters, Policy, Resolver, judge};

    const CALLS: [&str; 9] = [
        r#"{"id": 7, "mode": "soft", "name": "web-1"}"#,
        r#"{"id": 7, "mode": "soft", "name": "web-2"}"#,
        r#"{"id": 9, "mode": "hard", "name": "db-1", "wait": 5}"#,
        r#"{"id": 7, "mode": "soft", "name": "web-3", "wait": 20}"#,
        r#"{"id": 9, "mode": "hard", "name": "db-4", "wait": 7.5}"#,
        r#"{"id": 7, "mode": "soft", "name": "web-5", "tags": ["a", "b"]}"#,
        r#"{"id": 9, "mode": "hard", "name": "db-6", "tags": ["a"]}"#,
        r#"{"id": 9, "mode": "soft", "name": "web-7", "tags": ["b", "b"]}"#,
        r#"{"id": 9, "mode": "soft", "name": "web-8", "tags": []}"#,
    ];

    fn allows(policy: &Policy, counters: &mut Counters, arguments: &str, at: i64) -> bool {
        let value = Value::parse(arguments).unwrap();
        let resolver = Resolver::plain();
        let ask = Ask::recorded("vm_stop", &value);
        let resolution = resolver.resolve(&ask).unwrap();
        let context = Context {
            node: "n",
            server: "nas",
            grant: "ops",
            session: "s",
            client_name: "",
            client_version: "",
            received_at: Micros(at),
        };
        judge(Some(policy), &resolution, &context, counters, Micros(at))
            .decision
            .is_allow()
    }

    fn learned(calls: &[&str]) -> (Policy, Learned) {
        let mut learning = Learning::new(Margin::FIFTH);
        let resolver = Resolver::plain();
        for (place, arguments) in calls.iter().enumerate() {
            let value = Value::parse(arguments).unwrap();
            let ask = Ask::recorded("vm_stop", &value);
            let resolution = resolver.resolve(&ask).unwrap();
            learning.observe(&resolution, None, Micros(place as i64 * 1_000_000));
        }
        let learned = learning.learned("a test");
        (
            Policy::load(learned.document.as_bytes(), "learned").unwrap(),
            learned,
        )
    }

    #[test]
    fn what_was_learned_from_passes_and_what_is_otherwise_does_not() {
        let (policy, learned) = learned(&CALLS);
        let mut counters = Counters::new(100);
        for (place, arguments) in CALLS.iter().enumerate() {
            let at = place as i64 * 1_000_000;
            assert!(
                allows(&policy, &mut counters, arguments, at),
                "{arguments} {}",
                learned.document
            );
        }
        for other in [
            r#"{"id": 8, "mode": "soft", "name": "web-1"}"#,
            r#"{"id": "7", "mode": "soft", "name": "web-1"}"#,
            r#"{"mode": "soft", "name": "web-1"}"#,
            r#"{"id": 7, "mode": "off", "name": "web-1"}"#,
            r#"{"id": 7, "mode": "soft", "name": "web 1"}"#,
            r#"{"id": 7, "mode": "soft", "name": "web-10000000000"}"#,
            r#"{"id": 7, "mode": "soft", "name": "web-1", "wait": 24}"#,
            r#"{"id": 7, "mode": "soft", "name": "web-1", "wait": "5"}"#,
            r#"{"id": 7, "mode": "soft", "name": "web-1", "tags": [7]}"#,
        ] {
            let mut counters = Counters::new(100);
            assert!(
                !allows(&policy, &mut counters, other, 0),
                "{other} {}",
                learned.document
            );
        }
        // within the margin
        let within = r#"{"id": 7, "mode": "soft", "name": "web-1", "wait": 22}"#;
        assert!(allows(&policy, &mut Counters::new(100), within, 0));
    }

    #[test]
    fn the_busiest_minute_and_a_margin_are_the_limit() {
        let (policy, learned) = learned(&CALLS);
        let mut counters = Counters::new(100);
        let passed = (0..20)
            .filter(|_| allows(&policy, &mut counters, CALLS[0], 0))
            .count();
        // nine calls in one minute, and a fifth more
        assert_eq!(passed, 11);
        let limit = "/tools/vm_stop/limits/vm_stop_minute";
        assert!(
            learned
                .evidence
                .iter()
                .any(|(rule, why)| rule == limit && why.contains("9 calls"))
        );
    }

    #[test]
    fn every_rule_has_its_evidence_and_every_piece_of_evidence_its_rule() {
        let (policy, learned) = learned(&CALLS);
        let tool = policy.rules().stand("vm_stop").rules.unwrap();
        let mut rules: Vec<String> = tool.predicates().map(|rule| rule.id.to_string()).collect();
        rules.extend(tool.limits.iter().map(|limit| limit.id.to_string()));
        let base = "/tools/vm_stop";
        let mut told: Vec<String> = learned.evidence.into_iter().map(|(rule, _)| rule).collect();
        told.retain(|rule| rule != base);
        rules.sort();
        told.sort();
        assert_eq!(told, rules);
    }

    #[test]
    fn names_and_keys_that_look_like_patterns_stand_for_themselves() {
        let mut learning = Learning::new(Margin::FIFTH);
        let resolver = Resolver::plain();
        let value = Value::parse(r#"{"a.b": 1, "*": {"x": 2}}"#).unwrap();
        let name = "list[all]*";
        let ask = Ask::recorded(name, &value);
        let resolution = resolver.resolve(&ask).unwrap();
        learning.observe(&resolution, None, Micros(0));
        let learned = learning.learned("a test");
        let policy = Policy::load(learned.document.as_bytes(), "learned").unwrap();
        assert!(policy.rules().stand(name).rules.is_some());
        assert!(policy.rules().stand("lista").rules.is_none());
    }
}

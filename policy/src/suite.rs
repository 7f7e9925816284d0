//! Expectations of policies kept as a file: calls one after the other, and what must be said of each.
//!
//! The form is JSON, and the same for everybody: `corpus/cases`, which hold the engine, and the files that authors keep
//! beside their policies for `weir test`.
//!
//! ```
//! use weir_policy::{Policy, Resolver, Suite};
//!
//! let suite = Suite::parse(br#"{
//!   "about": "What agents may stop.",
//!   "policy": "ops.json",
//!   "cases": [{
//!     "name": "nobody forces a VM off",
//!     "calls": [{"tool": "vm_stop", "args": {"id": 7, "force": true}, "expect": {"verdict": "deny"}}]
//!   }]
//! }"#)?;
//! let policy = Policy::load(br#"{"version": "1", "default": "allow"}"#, "ops.json")?;
//! let misses = suite.cases[0].run(Some(&policy), &Resolver::plain())?;
//! assert_eq!(misses[0].expected, "deny");
//! assert_eq!(misses[0].found, "allow");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use smallvec::SmallVec;

use crate::{
    Arguments, Ask, Context, Counters, Decision, Micros, Policy, Reading, ReadingRole, Reservation,
    Resolution, Resolver, Value, Verdict, judge,
};

/// Counters enough for a case.
const COUNTERS: usize = 10_000;

/// One file of expectations.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// What it is about, for people.
    #[serde(default)]
    pub about: String,
    /// The policy, as a path beside the file; a case may have its own.
    pub policy: Option<String>,
    /// The profile by which calls are read; without one, tools are what they are called.
    pub profile: Option<String>,
    /// Calls and what must be said of them.
    #[serde(default)]
    pub cases: Vec<Case>,
    /// Records, and what must come of them under the policy.
    #[serde(default)]
    pub records: Vec<RecordCase>,
}

/// Calls that are judged one after the other, with the same counters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it shows, as a sentence.
    pub name: String,
    /// Instead of the file's policy: a path beside the file, a whole document, or `null` for a grant without a policy.
    #[serde(default, deserialize_with = "own")]
    pub policy: Option<CasePolicy>,
    /// The calls.
    pub calls: Vec<Call>,
}

/// The policy of a single case.
#[derive(Debug)]
pub enum CasePolicy {
    /// A path beside the file.
    Path(String),
    /// A document as it stands.
    Document(String),
    /// The grant has none.
    None,
}

/// A record that is judged again by the policy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordCase {
    /// What it shows, as a sentence.
    pub name: String,
    /// The record's folder, as a path beside the file.
    pub record: String,
    /// How much of its evidence is checked first.
    #[serde(default)]
    pub verify: Evidence,
    /// The file with the public key that signed it, as a path beside the file; the one beside the record if left out.
    pub key: Option<String>,
    /// Only the calls of this grant.
    pub grant: Option<String>,
    /// Only the calls of this server.
    pub server: Option<String>,
    /// At most so many calls may be newly denied or held.
    pub max_newly_denied: Option<u64>,
    /// At most so many calls may be newly allowed.
    pub max_newly_allowed: Option<u64>,
    /// At least this share of the calls must get a certain answer.
    pub min_coverage: Option<f64>,
    /// A file that gives calls labels, one JSON object a line: `label`, and `call_id` or `grant` and `id` (of the request).
    pub labels: Option<String>,
    /// By label: which share of its calls must be denied, or allowed.
    #[serde(default)]
    pub expect: BTreeMap<String, Share>,
}

/// How much of a record's evidence is checked before it is judged again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Evidence {
    /// Signatures, and that every sealed file is there as it was signed.
    #[default]
    Files,
    /// Besides, that the rows are those of the signed tree.
    Full,
    /// None of it.
    None,
}

/// Which share of some calls must come to an end.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// At least this share is denied or held: from 0 to 1.
    pub deny: Option<f64>,
    /// At least this share is allowed.
    pub allow: Option<f64>,
}

/// One call and what must be said of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// The tool as it stands in the request; `resource:<uri>` and `prompt:<name>` are what is read and got.
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Name {
    tool: String,
    #[serde(default)]
    role: Option<Role>,
    args: Option<Box<RawValue>>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Dispatcher,
    Literal,
}

/// What must be said. What is left out is not compared.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    verdict: Word,
    rule: Option<String>,
    reason: Option<String>,
    message: Option<String>,
    /// `null` says that there must be none.
    #[serde(default, deserialize_with = "present")]
    retry_after_ms: Waits,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Allow,
    Deny,
}

/// Nothing expected, or a time, or that there is none.
#[derive(Debug, Clone, Copy, Default)]
enum Waits {
    #[default]
    Whatever,
    Exactly(Option<u64>),
}

/// A call of which something else was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Miss {
    /// Which call of the case, from 1.
    pub call: usize,
    /// The call: its tool and arguments.
    pub asked: String,
    /// What was expected.
    pub expected: String,
    /// The same of what was said.
    pub found: String,
}

/// Why a file or a case says nothing.
#[derive(Debug, thiserror::Error)]
pub enum SuiteProblem {
    /// It is not of the form.
    #[error("{0}")]
    Form(#[from] serde_json::Error),
    /// A call cannot be made.
    #[error("call {call} of `{case}`: {why}")]
    Call {
        /// The case.
        case: String,
        /// Which of its calls, from 1.
        call: usize,
        /// What is wrong with it.
        why: String,
    },
    /// The document of a case is no policy.
    #[error("{0}")]
    Policy(crate::Problems),
}

impl Suite {
    /// Reads a file of expectations.
    pub fn parse(json: &[u8]) -> Result<Self, SuiteProblem> {
        Ok(serde_json::from_slice(json)?)
    }
}

impl Case {
    /// Judges the calls, and says where something else came out than was expected. `policy` is the one that the case names or
    /// its file does; a document in the case goes before it.
    pub fn run(
        &self,
        policy: Option<&Policy>,
        resolver: &Resolver,
    ) -> Result<Vec<Miss>, SuiteProblem> {
        let own = match &self.policy {
            Some(CasePolicy::Document(text)) => {
                let loaded = Policy::load(text.as_bytes(), &self.name);
                Some(loaded.map_err(SuiteProblem::Policy)?)
            }
            Some(CasePolicy::Path(_) | CasePolicy::None) | None => None,
        };
        let policy = match self.policy {
            Some(CasePolicy::None) => None,
            Some(CasePolicy::Path(_) | CasePolicy::Document(_)) | None => own.as_ref().or(policy),
        };
        let mut course = Course {
            policy,
            resolver,
            counters: Counters::new(COUNTERS),
            taken: Vec::new(),
        };
        let mut misses = Vec::new();
        for (place, call) in self.calls.iter().enumerate() {
            let decision = course.judge(call).map_err(|why| SuiteProblem::Call {
                case: self.name.clone(),
                call: place + 1,
                why,
            })?;
            let (expected, found) = call.expect.against(&decision);
            if expected != found {
                misses.push(Miss {
                    call: place + 1,
                    asked: call.text(),
                    expected,
                    found,
                });
            }
        }
        Ok(misses)
    }
}

/// A case under way.
struct Course<'p> {
    policy: Option<&'p Policy>,
    resolver: &'p Resolver,
    counters: Counters,
    taken: Vec<Option<Reservation>>,
}

impl Course<'_> {
    fn judge(&mut self, call: &Call) -> Result<Decision, String> {
        let at = Micros((call.at * 1e6).round() as i64);
        if let Some(earlier) = call.give_back {
            let taken = self.taken.get_mut(earlier);
            let taken = taken.ok_or("`give_back` names no earlier call")?;
            if let Some(reservation) = taken.take() {
                self.counters.give_back(&reservation, at);
            }
        }
        let received_at = match &call.received {
            Some(text) => Micros(
                text.parse::<jiff::Timestamp>()
                    .map_err(|_| format!("`{text}` is no time: write `2026-11-22T06:00:00Z`"))?
                    .as_microsecond(),
            ),
            None => at,
        };
        let context = Context {
            node: &call.node,
            server: &call.server,
            grant: &call.grant,
            session: &call.session,
            client_name: &call.client_name,
            client_version: &call.client_version,
            received_at,
        };
        if call.readings.is_empty() {
            if call.tool.is_empty() {
                return Err("it names no `tool`".to_owned());
            }
            let arguments = arguments(call.args.as_deref())?;
            let ask = Ask::recorded(&call.tool, &arguments);
            return Ok(match self.resolver.resolve(&ask) {
                Ok(resolution) => self.settle(&resolution, &context, at),
                Err(decision) => {
                    self.taken.push(None);
                    decision
                }
            });
        }
        let names = call.readings.iter();
        let values: Result<Vec<Value<'_>>, String> =
            names.map(|name| arguments(name.args.as_deref())).collect();
        let values = values?;
        let readings = call.readings.iter().zip(&values);
        let resolution = Resolution {
            readings: readings.map(|(name, value)| name.reading(value)).collect(),
            via: SmallVec::new(),
            risk: None,
        };
        Ok(self.settle(&resolution, &context, at))
    }

    fn settle(&mut self, call: &Resolution<'_>, context: &Context<'_>, at: Micros) -> Decision {
        let judgement = judge(self.policy, call, context, &mut self.counters, at);
        self.taken.push(judgement.reservation);
        judgement.decision
    }
}

impl Call {
    fn text(&self) -> String {
        let last = self.readings.last();
        let tool = last.map_or(&self.tool, |name| &name.tool);
        let args = last.map_or(&self.args, |name| &name.args);
        format!("{tool} {}", args.as_ref().map_or("{}", |args| args.get()))
    }
}

impl Name {
    fn reading<'a>(&'a self, value: &'a Value<'a>) -> Reading<'a> {
        Reading {
            tool: self.tool.as_str().into(),
            arguments: Arguments::Message(value),
            role: match self.role {
                None => ReadingRole::Full,
                Some(Role::Dispatcher) => ReadingRole::Dispatcher,
                Some(Role::Literal) => ReadingRole::LiteralOnly,
            },
        }
    }
}

/// Absent and null arguments are an empty object.
fn arguments(text: Option<&RawValue>) -> Result<Value<'_>, String> {
    let text = text.map_or("{}", RawValue::get);
    let text = if text == "null" { "{}" } else { text };
    Value::parse(text).map_err(|malformed| format!("its `args` cannot be read: {malformed}"))
}

impl Expect {
    /// What was expected and what was said, as texts that are equal if it is the same.
    fn against(&self, decision: &Decision) -> (String, String) {
        let verdict = match self.verdict {
            Word::Allow => Verdict::Allow,
            Word::Deny => Verdict::Deny,
        };
        let mut expected = vec![verdict.as_str().to_owned()];
        let mut found = vec![decision.verdict.as_str().to_owned()];
        let parts = [
            ("by ", &self.rule, &*decision.rule),
            ("reason ", &self.reason, decision.reason.as_str()),
            ("tells ", &self.message, &*decision.message),
        ];
        for (word, wanted, said) in parts {
            if let Some(wanted) = wanted {
                expected.push(format!("{word}{wanted}"));
                found.push(format!("{word}{said}"));
            }
        }
        // whoever is surprised by a denial wants to know whose it is
        if self.rule.is_none() && verdict != decision.verdict && !decision.is_allow() {
            found.push(format!("by {}", decision.rule));
        }
        if let Waits::Exactly(wait) = self.retry_after_ms {
            expected.push(waits(wait));
            found.push(waits(decision.retry_after_ms));
        }
        (expected.join(", "), found.join(", "))
    }
}

fn waits(wait: Option<u64>) -> String {
    wait.map_or("no time to wait".to_owned(), |wait| {
        format!("again in {wait} ms")
    })
}

fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Waits, D::Error> {
    Option::deserialize(value).map(Waits::Exactly)
}

/// A `null` is a policy too: none.
fn own<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<CasePolicy>, D::Error> {
    CasePolicy::deserialize(value).map(Some)
}

impl<'de> Deserialize<'de> for CasePolicy {
    fn deserialize<D: serde::Deserializer<'de>>(value: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(value)?;
        if raw.get() == "null" {
            return Ok(Self::None);
        }
        match serde_json::from_str::<String>(raw.get()) {
            Ok(path) => Ok(Self::Path(path)),
            Err(_) => Ok(Self::Document(raw.get().to_owned())),
        }
    }
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

//! The answer of a replay.

mod escape;
mod exit;
mod html;
mod json;
mod junit;
mod markdown;
mod sarif;
mod text;
mod words;

use std::collections::BTreeMap;

use crate::{Class, Classes, Verify};

pub use exit::{Budget, Exit};
pub(crate) use json::uuid_text;

/// What a candidate would have changed. Everything in it follows from the record, the policies and
/// the options alone: not from threads, file order or file count.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The policy that replaced those of the selected grants.
    pub candidate: Option<Candidate>,
    /// Policies given to single grants, by grant.
    pub assigned: BTreeMap<String, Candidate>,
    /// The calls reported.
    pub record: Extent,
    /// How many different policies had judged the reported calls.
    pub policies_in_force: usize,
    /// Calls per class.
    pub classes: Classes,
    /// Every tool with a call, by name.
    pub by_tool: BTreeMap<String, Changes>,
    /// Every rule with a flip, by its id: the rule that would deny or hold, or the one that would
    /// no longer deny.
    pub by_rule: BTreeMap<String, Changes>,
    /// Every grant with a call, by name.
    pub by_grant: BTreeMap<String, Changes>,
    /// Why calls could not be replayed, with how many.
    pub not_replayable: BTreeMap<String, u64>,
    /// Why calls are `maybe_denied` or `maybe_allowed`, with how many: what a rule reads that was redacted, or a limit that
    /// calls in doubt may have used up.
    pub in_doubt: BTreeMap<String, u64>,
    /// Flips of calls that `--server` and `--grant` left out, through counters they share.
    pub flips_outside: u64,
    /// Flips in (node, `seq`) order, as many as asked for.
    pub flips: Vec<Flip>,
    /// The first calls of class `engine_drift` and `engine_changed`.
    pub drifts: Vec<Drift>,
    /// Each policy that was in force beside what took its place for the reported calls, sorted by digest.
    pub replaced: Vec<Replaced>,
    /// Equal spans of the time that the calls were decided in, with those that are not `same`, in order.
    pub timeline: Vec<Moment>,
    /// The digest that proves two reports equal (see [`crate::digest`]).
    pub result_digest: String,
}

impl Document {
    pub(crate) fn of(policy: &weir_policy::Policy) -> Self {
        Self {
            digest: policy.digest().to_string(),
            text: String::from_utf8_lossy(policy.document()).into_owned(),
        }
    }
}

/// A policy under replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where it came from.
    pub path: String,
    /// The digest of its bytes, `sha256:…`.
    pub digest: String,
}

/// A policy that was in force, and the one that took its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replaced {
    /// What was in force.
    pub was: Document,
    /// What took its place.
    pub by: Document,
}

/// A policy as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Document {
    /// The digest of its bytes, `sha256:…`.
    pub digest: String,
    /// The document.
    pub text: String,
}

/// Which calls a report is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// How many.
    pub calls: u64,
    /// When the first was decided, in microseconds since the epoch.
    pub from: Option<i64>,
    /// When the last was decided.
    pub to: Option<i64>,
    /// What of the record's evidence was checked, and held, in this run.
    pub verified: Verify,
    /// Where retention removed calls, the time from when on none was; in microseconds since the epoch.
    pub complete_from: Option<i64>,
}

/// A span of time, and what the candidate changes in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Where it begins, in microseconds since the epoch.
    pub from: i64,
    /// Where the next one begins.
    pub to: i64,
    /// Its calls that are not `same`.
    pub changes: Changes,
}

/// What a candidate changes for one tool, rule or grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changes {
    /// Calls; for a rule, its flips.
    pub calls: u64,
    /// Calls that passed and would be refused.
    pub newly_denied: u64,
    /// Calls that were refused and would pass.
    pub newly_allowed: u64,
    /// Calls that a person would be asked about.
    pub newly_held: u64,
}

impl Changes {
    /// Counts calls of `class`.
    pub(crate) fn count(&mut self, class: Class, calls: u64) {
        self.calls += calls;
        match class {
            Class::NewlyDenied => self.newly_denied += calls,
            Class::NewlyAllowed => self.newly_allowed += calls,
            Class::NewlyHeld => self.newly_held += calls,
            Class::Same
            | Class::SameReasonChanged
            | Class::MaybeDenied
            | Class::MaybeAllowed
            | Class::NotReplayable
            | Class::EngineChanged
            | Class::EngineDrift => {}
        }
    }

    /// Adds what was counted elsewhere.
    pub(crate) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.newly_denied += other.newly_denied;
        self.newly_allowed += other.newly_allowed;
        self.newly_held += other.newly_held;
    }

    /// Calls that would be treated otherwise.
    pub fn flips(&self) -> u64 {
        self.newly_denied + self.newly_allowed + self.newly_held
    }
}

/// A call whose verdict the candidate would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flip {
    /// The proxy that decided.
    pub node: String,
    /// Its place in that node's log.
    pub seq: i64,
    /// The call's id.
    pub call_id: [u8; 16],
    /// When it was decided, in microseconds since the epoch.
    pub decided_at: i64,
    /// The caller's grant.
    pub grant: String,
    /// The session.
    pub session: String,
    /// The effective tool.
    pub tool: String,
    /// The wire arguments as recorded: JSON text.
    pub arguments: Option<String>,
    /// One of the three classes of a flip.
    pub class: Class,
    /// The verdict on record.
    pub was_verdict: String,
    /// The rule on record.
    pub was_rule: String,
    /// `allow`, `deny` or `hold`.
    pub would_verdict: String,
    /// The candidate's rule.
    pub would_rule: String,
    /// What the caller would have been told.
    pub would_message: String,
    /// Whether an earlier call of its session had flipped already, so that the agent would have
    /// seen something else before it made this one.
    pub after_divergence: bool,
}

/// A call that the policy in force no longer decides as it is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The proxy that decided.
    pub node: String,
    /// Its place in that node's log.
    pub seq: i64,
    /// The effective tool.
    pub tool: String,
    /// The verdict on record.
    pub was_verdict: String,
    /// The rule on record.
    pub was_rule: String,
    /// The verdict now.
    pub now_verdict: String,
    /// The rule now.
    pub now_rule: String,
}

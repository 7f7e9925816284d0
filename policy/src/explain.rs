//! A judgement with its whole course: which rules were asked, what they read, what they said.

use crate::counters::Count;
use crate::evaluate::{Admission, Demand, decide};
use crate::operator::Truth;
use crate::path::Facts;
use crate::predicate::{Predicate, Quantifier};
use crate::{Context, Counters, Judgement, Micros, Policy, Reason, Resolution, Text, Value};

/// The stages of a judgement, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Whether the grant has a policy.
    Policy,
    /// Whether a name of the call is hidden.
    Hide,
    /// Whether the policy lists the tool, or lets through what it does not list.
    Default,
    /// `require`
    Require,
    /// `deny_if`
    DenyIf,
    /// `limits`
    Limits,
    /// `approve_if`
    ApproveIf,
}

impl Stage {
    /// The word that policies and reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Hide => "hide",
            Self::Default => "default",
            Self::Require => "require",
            Self::DenyIf => "deny_if",
            Self::Limits => "limits",
            Self::ApproveIf => "approve_if",
        }
    }
}

/// What came of asking one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It let the call pass.
    Passed,
    /// It denied the call.
    Denied,
    /// The call was denied before.
    NotReached,
}

/// One rule that was, or would have been, asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When it is asked.
    pub stage: Stage,
    /// The rule's id; for the stages that have none, the name of the tool.
    pub rule: Text,
    /// What came of it.
    pub outcome: Outcome,
    /// Of a predicate: its conditions. Empty if it was not reached.
    pub conditions: Vec<Reading>,
    /// Of a limit: what was used, and what the call takes, against `max`. None if it was not reached.
    pub count: Option<LimitUse>,
}

/// What one condition read and said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The path as written.
    pub path: String,
    /// The operator.
    pub op: &'static str,
    /// The value at the path (up to its first `*`) as JSON; `None` if it is missing.
    pub value: Option<String>,
    /// `true`, `false` or `mismatch`.
    pub truth: &'static str,
}

/// How full a limit was, in its unit: calls, or millionths of the amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitUse {
    /// Before the call.
    pub used: u128,
    /// What the call takes.
    pub amount: u128,
    /// The most there may be.
    pub max: u128,
    /// Whether the unit is millionths of an amount, not calls.
    pub millionths: bool,
}

/// A judgement and every step of it.
#[derive(Debug, Clone)]
#[must_use]
pub struct Explanation {
    /// The same judgement that [`judge`](crate::judge) gives.
    pub judgement: Judgement,
    /// Every rule that the call could meet, in the order in which they are asked.
    pub steps: Vec<Step>,
}

/// Judges a call as [`judge`](crate::judge) does, by the same code, and tells its course.
pub fn explain(
    policy: Option<&Policy>,
    resolution: &Resolution<'_>,
    context: &Context<'_>,
    counters: &mut Counters,
    decided_at: Micros,
) -> Explanation {
    let mut course = Course::default();
    let judgement = decide(
        policy,
        resolution,
        context,
        counters,
        decided_at,
        &mut course,
    );
    let mut outline = Course::default();
    if let Some(admission) = policy.and_then(|policy| Admission::new(policy, resolution, context)) {
        admission.hearing().outline(&mut outline);
    }
    let reached = course.steps.len();
    let rest = outline.steps.into_iter().skip(reached).map(|step| Step {
        outcome: Outcome::NotReached,
        conditions: Vec::new(),
        count: None,
        ..step
    });
    course.steps.extend(rest);
    Explanation {
        judgement,
        steps: course.steps,
    }
}

/// Who is told of each rule as it is asked. Judging calls without a watch costs nothing for it.
pub(crate) trait Watch {
    fn gate(&mut self, stage: Stage, tool: &str, passed: bool);
    fn predicate(
        &mut self,
        stage: Stage,
        rule: &Predicate,
        truth: Truth,
        facts: &Facts<'_>,
        arguments: &Value<'_>,
    );
    fn limit(&mut self, demand: &Demand<'_>, count: Count, denied: Option<Reason>);
}

/// Nobody is told.
pub(crate) struct Unwatched;

impl Watch for Unwatched {
    #[inline]
    fn gate(&mut self, _: Stage, _: &str, _: bool) {}
    #[inline]
    fn predicate(&mut self, _: Stage, _: &Predicate, _: Truth, _: &Facts<'_>, _: &Value<'_>) {}
    #[inline]
    fn limit(&mut self, _: &Demand<'_>, _: Count, _: Option<Reason>) {}
}

/// Writes the steps down.
#[derive(Default)]
struct Course {
    steps: Vec<Step>,
}

impl Course {
    fn push(
        &mut self,
        stage: Stage,
        rule: Text,
        passed: bool,
        conditions: Vec<Reading>,
        count: Option<LimitUse>,
    ) {
        let outcome = if passed {
            Outcome::Passed
        } else {
            Outcome::Denied
        };
        self.steps.push(Step {
            stage,
            rule,
            outcome,
            conditions,
            count,
        });
    }
}

impl Watch for Course {
    fn gate(&mut self, stage: Stage, tool: &str, passed: bool) {
        self.push(stage, Text::from(tool.to_owned()), passed, Vec::new(), None);
    }

    fn predicate(
        &mut self,
        stage: Stage,
        rule: &Predicate,
        truth: Truth,
        facts: &Facts<'_>,
        arguments: &Value<'_>,
    ) {
        let (quantifier, passes) = match stage {
            Stage::Require => (Quantifier::Every, truth == Truth::True),
            Stage::Policy
            | Stage::Hide
            | Stage::Default
            | Stage::DenyIf
            | Stage::Limits
            | Stage::ApproveIf => (Quantifier::Any, truth == Truth::False),
        };
        let conditions = rule.conditions.iter().map(|condition| Reading {
            path: condition.path.text().to_owned(),
            op: condition.name,
            value: condition
                .path
                .find(facts, arguments)
                .value()
                .map(Value::to_json),
            truth: match condition.ask(quantifier, facts, arguments) {
                Truth::True => "true",
                Truth::False => "false",
                Truth::Mismatch => "mismatch",
            },
        });
        self.push(stage, rule.id.clone(), passes, conditions.collect(), None);
    }

    fn limit(&mut self, demand: &Demand<'_>, count: Count, denied: Option<Reason>) {
        let used = LimitUse {
            used: count.used,
            amount: count.amount,
            max: demand.limit.ceiling(),
            millionths: demand.limit.increment_from.is_some(),
        };
        self.push(
            Stage::Limits,
            demand.limit.id.clone(),
            denied.is_none(),
            Vec::new(),
            Some(used),
        );
    }
}

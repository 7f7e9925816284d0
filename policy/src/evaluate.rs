//! The stages of a judgement, in their order (DESIGN 5.4): all of them run over all readings of a call
//! before the next begins. What is here depends on nothing but its arguments.

use smallvec::SmallVec;

use crate::explain::{Stage, Unwatched, Watch};
use crate::limit::Limit;
use crate::operator::Truth;
use crate::path::Facts;
use crate::predicate::{Predicate, Quantifier};
use crate::rules::{Rules, Standing, ToolRules};
use crate::{Context, Decision, Policy, ReadingRole, Reason, Resolution, Value, Verdict};

/// What the rules say of a call before any counter is asked.
#[derive(Debug, Clone)]
pub enum Evaluation<'a> {
    /// Refused, whatever the counters say.
    Deny(Decision),
    /// Admitted, if its limits have room.
    Admit(Admission<'a>),
}

/// A call with the rules of each of its readings; as part of an [`Evaluation`], one that its predicates admit.
#[derive(Debug, Clone)]
pub struct Admission<'a> {
    rules: &'a Rules,
    pub(crate) facts: Facts<'a>,
    judged: SmallVec<[Judged<'a>; 2]>,
    /// The arguments of the effective tool.
    effective: &'a Value<'a>,
}

/// One reading and where its name stands in the policy.
#[derive(Debug, Clone, Copy)]
struct Judged<'a> {
    tool: &'a str,
    arguments: &'a Value<'a>,
    role: ReadingRole,
    standing: Standing<'a>,
}

/// A limit that a call must ask, and the arguments it counts by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand<'a> {
    pub(crate) limit: &'a Limit,
    pub(crate) arguments: &'a Value<'a>,
}

/// Judges a call as far as it can be judged without counters. Pure.
#[inline]
pub fn evaluate<'a>(
    policy: Option<&'a Policy>,
    resolution: &'a Resolution<'_>,
    context: &'a Context<'_>,
) -> Evaluation<'a> {
    evaluate_watched(policy, resolution, context, &mut Unwatched)
}

pub(crate) fn evaluate_watched<'a>(
    policy: Option<&'a Policy>,
    resolution: &'a Resolution<'_>,
    context: &'a Context<'_>,
    watch: &mut impl Watch,
) -> Evaluation<'a> {
    watch.gate(Stage::Policy, "", policy.is_some());
    let Some(policy) = policy else {
        return Evaluation::Deny(Decision::deny(
            Reason::NoPolicy,
            "(no policy)",
            "No policy applies to this grant.",
        ));
    };
    let Some(admission) = Admission::new(policy, resolution, context) else {
        return Evaluation::Deny(Decision::deny(
            Reason::Malformed,
            "(malformed)",
            "The call names no tool.",
        ));
    };
    match admission.refuse(watch) {
        Some(decision) => Evaluation::Deny(decision),
        None => Evaluation::Admit(admission),
    }
}

impl<'a> Admission<'a> {
    /// Looks up the rules of every reading; `None` if there is no reading.
    #[inline]
    pub(crate) fn new(
        policy: &'a Policy,
        resolution: &'a Resolution<'_>,
        context: &'a Context<'_>,
    ) -> Option<Self> {
        let rules = policy.rules();
        let readings = resolution.readings.as_slice();
        let (first, last) = (readings.first()?, readings.last()?);
        let facts = Facts {
            wire_tool: &first.tool,
            tool: &last.tool,
            context,
            calendar: &rules.calendar,
        };
        let judged = readings.iter().map(|reading| Judged {
            tool: &reading.tool,
            arguments: &reading.arguments,
            role: reading.role,
            standing: rules.stand(&reading.tool),
        });
        Some(Self {
            rules,
            facts,
            judged: judged.collect(),
            effective: &last.arguments,
        })
    }

    pub(crate) fn context(&self) -> &'a Context<'a> {
        self.facts.context
    }

    /// The stages that need no counters: the first that denies names the decision.
    #[inline]
    fn refuse(&self, watch: &mut impl Watch) -> Option<Decision> {
        for judged in &self.judged {
            watch.gate(Stage::Hide, judged.tool, !judged.standing.hidden);
            if judged.standing.hidden {
                return Some(Decision::deny(
                    Reason::Hidden,
                    "(hidden)",
                    "This tool is not available.",
                ));
            }
        }
        for judged in &self.judged {
            let listed = judged.is_listed(self.rules.default);
            watch.gate(Stage::Default, judged.tool, listed);
            if !listed {
                let message = "The policy does not allow this tool.";
                return Some(Decision::deny(
                    Reason::DefaultDeny,
                    "(default deny)",
                    message,
                ));
            }
        }
        for (predicate, arguments) in self.predicates(|rules| &rules.require) {
            let truth = predicate.ask(Quantifier::Every, &self.facts, arguments);
            watch.predicate(Stage::Require, predicate, truth, &self.facts, arguments);
            if truth != Truth::True {
                return Some(predicate.deny(Reason::RequireFailed));
            }
        }
        for (predicate, arguments) in self.predicates(|rules| &rules.deny_if) {
            let truth = predicate.ask(Quantifier::Any, &self.facts, arguments);
            watch.predicate(Stage::DenyIf, predicate, truth, &self.facts, arguments);
            match truth {
                Truth::False => {}
                Truth::True => return Some(predicate.deny(Reason::DenyIf)),
                Truth::Mismatch => return Some(predicate.deny(Reason::TypeMismatch)),
            }
        }
        None
    }

    /// The stage after the limits. Where a person would be asked, nobody can be: the call is denied.
    #[inline]
    pub(crate) fn approve(&self, watch: &mut impl Watch) -> Option<Decision> {
        for (predicate, arguments) in self.predicates(|rules| &rules.approve_if) {
            let truth = predicate.ask(Quantifier::Any, &self.facts, arguments);
            watch.predicate(Stage::ApproveIf, predicate, truth, &self.facts, arguments);
            match truth {
                Truth::False => {}
                Truth::True => {
                    let rule = predicate.id.clone();
                    return Some(Decision::deny(
                        Reason::ApprovalUnavailable,
                        rule,
                        "approval is not available",
                    ));
                }
                Truth::Mismatch => return Some(predicate.deny(Reason::TypeMismatch)),
            }
        }
        None
    }

    fn predicates<'s>(
        &'s self,
        stage: impl Fn(&'a ToolRules) -> &'a Vec<Predicate> + Copy + 's,
    ) -> impl Iterator<Item = (&'a Predicate, &'a Value<'a>)> + 's {
        self.judged.iter().flat_map(move |judged| {
            let predicates = judged.standing.rules.map_or(&[][..], |rules| stage(rules));
            predicates
                .iter()
                .map(|predicate| (predicate, judged.arguments))
        })
    }

    /// Every limit of the call: those of its readings, then those over all tools on the effective arguments.
    #[inline]
    pub(crate) fn demands(&self) -> impl Iterator<Item = Demand<'a>> + use<'a, '_> {
        let own = self.judged.iter().flat_map(|judged| {
            let limits = judged.standing.rules.map_or(&[][..], |rules| &rules.limits);
            limits.iter().map(|limit| Demand {
                limit,
                arguments: judged.arguments,
            })
        });
        let effective = self.effective;
        own.chain(self.rules.all_tools.iter().map(move |limit| Demand {
            limit,
            arguments: effective,
        }))
    }

    /// What would be asked, in order, if nothing denied: for the part of a trace that was not reached.
    pub(crate) fn outline(&self, watch: &mut impl Watch) {
        for judged in &self.judged {
            watch.gate(Stage::Hide, judged.tool, true);
        }
        for judged in &self.judged {
            watch.gate(Stage::Default, judged.tool, true);
        }
        let mut stage = |stage, list: fn(&'a ToolRules) -> &'a Vec<Predicate>| {
            for (predicate, arguments) in self.predicates(list) {
                watch.predicate(stage, predicate, Truth::True, &self.facts, arguments);
            }
        };
        stage(Stage::Require, |rules| &rules.require);
        stage(Stage::DenyIf, |rules| &rules.deny_if);
        for demand in self.demands() {
            watch.limit(&demand, crate::counters::Count::default(), None);
        }
        for (predicate, arguments) in self.predicates(|rules| &rules.approve_if) {
            watch.predicate(
                Stage::ApproveIf,
                predicate,
                Truth::True,
                &self.facts,
                arguments,
            );
        }
    }
}

impl Judged<'_> {
    /// Whether the policy lists the name, or lets through what it does not list.
    fn is_listed(&self, default: Verdict) -> bool {
        match self.role {
            ReadingRole::Dispatcher => true,
            ReadingRole::Full => self.standing.rules.is_some() || default == Verdict::Allow,
            ReadingRole::LiteralOnly => self.standing.literal,
        }
    }
}

impl Predicate {
    fn deny(&self, reason: Reason) -> Decision {
        Decision::deny(reason, self.id.clone(), self.message.clone())
    }
}

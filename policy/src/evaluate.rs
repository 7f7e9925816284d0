//! The stages of a judgement, in their order (DESIGN 5.4): all of them run over all readings of a call
//! before the next begins. What is here depends on nothing but its arguments.

#![expect(
    clippy::inline_always,
    reason = "the hot path: its results are large, and must not be moved"
)]

use std::convert::Infallible;

use smallvec::SmallVec;

use crate::counters::Count;
use crate::explain::{Stage, Unwatched, Watch};
use crate::limit::Limit;
use crate::operator::Truth;
use crate::path::Facts;
use crate::predicate::{Predicate, Quantifier};
use crate::rules::{Rules, Standing, ToolRules};
use crate::{
    Context, Counters, Decision, Judgement, Micros, Policy, Reading, ReadingRole, Reason,
    Resolution, Value, Verdict,
};

/// What the rules say of a call before any counter is asked.
#[derive(Debug, Clone)]
pub enum Evaluation<'a> {
    /// Refused, whatever the counters say.
    Deny(Decision),
    /// Admitted, if its limits have room.
    Admit(Admission<'a>),
}

/// A call that its predicates admit, with the rules of each of its readings.
#[derive(Debug, Clone)]
pub struct Admission<'a> {
    rules: &'a Rules,
    facts: Facts<'a>,
    judged: SmallVec<[Judged<'a>; 2]>,
    apart: Option<Box<Apart<'a>>>,
}

/// What the rules behind the limits say.
pub(crate) type Approval = Result<(), Decision>;
/// What limits count by, where that is something else than what was judged.
pub(crate) type Counted<'h, 'a> = Hearing<'h, 'a, [Judged<'a>]>;

/// A call whose limits count by something else than what its rules were asked about.
#[derive(Debug, Clone)]
pub(crate) struct Apart<'a> {
    facts: Facts<'a>,
    judged: SmallVec<[Judged<'a>; 2]>,
    /// What the rules behind the limits said.
    pub(crate) approval: Approval,
}

/// A call and the rules of each of its readings: borrowed, so that nothing is moved while it is judged.
/// Generic over the list of readings, so that the loops over a single one vanish.
#[derive(Debug)]
pub(crate) struct Hearing<'h, 'a, J: ?Sized> {
    rules: &'a Rules,
    pub(crate) facts: &'h Facts<'a>,
    judged: &'h J,
}

/// One reading and where its name stands in the policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judged<'a> {
    pub(crate) reading: &'a Reading<'a>,
    standing: Standing<'a>,
}

/// A limit that a call must ask, and the arguments it counts by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demand<'a> {
    pub(crate) limit: &'a Limit,
    pub(crate) arguments: &'a Value<'a>,
}

/// Judges a call as far as it can be judged without counters. Pure.
pub fn evaluate<'a>(
    policy: Option<&'a Policy>,
    resolution: &'a Resolution<'_>,
    context: &'a Context<'_>,
) -> Evaluation<'a> {
    let Some(policy) = policy else {
        return Evaluation::Deny(no_policy());
    };
    let Some(admission) = Admission::new(policy, resolution, context) else {
        return Evaluation::Deny(no_name());
    };
    match admission.hearing().refuse(&mut Unwatched) {
        Ok(()) => Evaluation::Admit(admission),
        Err(decision) => Evaluation::Deny(decision),
    }
}

impl<'a> Evaluation<'a> {
    /// The same, its limits counted by what the record keeps of the call: where values were replaced, a counter's key holds
    /// the replacement. So no key shows a secret, and a restart and a replay, which have only the record, find the same
    /// counters. An amount that was replaced is no number: its limit denies.
    #[must_use]
    pub fn counted_by(self, kept: &'a Resolution<'_>) -> Self {
        match self {
            Self::Deny(_) => self,
            Self::Admit(mut admission) => {
                let approval = admission.hearing().approve(&mut Unwatched);
                admission.set_apart(kept, approval);
                Self::Admit(admission)
            }
        }
    }
}

/// Judges a call: what [`evaluate`] says, and then its limits.
#[inline(always)]
pub(crate) fn decide(
    policy: Option<&Policy>,
    resolution: &Resolution<'_>,
    context: &Context<'_>,
    counters: &mut Counters,
    at: Micros,
    watch: &mut impl Watch,
) -> Judgement {
    watch.gate(Stage::Policy, "", policy.is_some());
    let Some(policy) = policy else {
        return Judgement::denied(no_policy());
    };
    let rules = policy.rules();
    let Some(facts) = Facts::of(rules, resolution, context) else {
        return Judgement::denied(no_name());
    };
    let facts = &facts;
    match resolution.readings.as_slice() {
        [one] => {
            let judged = &[Judged::new(rules, one)];
            Hearing {
                rules,
                facts,
                judged,
            }
            .decide(counters, at, watch)
        }
        [one, two] => {
            let judged = &[Judged::new(rules, one), Judged::new(rules, two)];
            Hearing {
                rules,
                facts,
                judged,
            }
            .decide(counters, at, watch)
        }
        readings => {
            let judged: Vec<_> = readings
                .iter()
                .map(|reading| Judged::new(rules, reading))
                .collect();
            Hearing {
                rules,
                facts,
                judged: judged.as_slice(),
            }
            .decide(counters, at, watch)
        }
    }
}

#[cold]
fn no_policy() -> Decision {
    Decision::deny(
        Reason::NoPolicy,
        "(no policy)",
        "No policy applies to this grant.",
    )
}

#[cold]
fn no_name() -> Decision {
    Decision::deny(Reason::Malformed, "(malformed)", "The call names no tool.")
}

impl<'a> Admission<'a> {
    /// Looks up the rules of every reading; `None` if there is no reading.
    pub(crate) fn new(
        policy: &'a Policy,
        resolution: &'a Resolution<'_>,
        context: &'a Context<'_>,
    ) -> Option<Self> {
        let rules = policy.rules();
        let facts = Facts::of(rules, resolution, context)?;
        let judged = resolution
            .readings
            .iter()
            .map(|reading| Judged::new(rules, reading))
            .collect();
        Some(Self {
            rules,
            facts,
            judged,
            apart: None,
        })
    }

    /// Has the limits counted by `kept`, and the rules behind them answered by `approval`.
    pub(crate) fn set_apart(&mut self, kept: &'a Resolution<'_>, approval: Approval) {
        let (context, rules) = (self.facts.context, self.rules);
        // Whatever is kept of a call keeps its names.
        let facts = Facts::of(rules, kept, context).unwrap_or(self.facts);
        let judged = kept
            .readings
            .iter()
            .map(|reading| Judged::new(rules, reading));
        self.apart = Some(Box::new(Apart {
            facts,
            judged: judged.collect(),
            approval,
        }));
    }

    /// What the limits count by, where that is something else, and what the rules behind them said.
    pub(crate) fn apart(&self) -> Option<(Counted<'_, 'a>, &Approval)> {
        let apart = self.apart.as_ref()?;
        let hearing = Hearing {
            rules: self.rules,
            facts: &apart.facts,
            judged: apart.judged.as_slice(),
        };
        Some((hearing, &apart.approval))
    }

    pub(crate) fn judged(&self) -> &[Judged<'a>] {
        &self.judged
    }

    pub(crate) fn facts(&self) -> &Facts<'a> {
        &self.facts
    }

    pub(crate) fn hearing(&self) -> Hearing<'_, 'a, [Judged<'a>]> {
        Hearing {
            rules: self.rules,
            facts: &self.facts,
            judged: &self.judged,
        }
    }
}

impl<'a> Facts<'a> {
    #[inline(always)]
    fn of(
        rules: &'a Rules,
        resolution: &'a Resolution<'_>,
        context: &'a Context<'_>,
    ) -> Option<Self> {
        let (first, last) = (resolution.readings.first()?, resolution.readings.last()?);
        Some(Self {
            wire_tool: &first.tool,
            tool: &last.tool,
            context,
            calendar: &rules.calendar,
        })
    }
}

impl<'a, J: AsRef<[Judged<'a>]> + ?Sized> Hearing<'_, 'a, J> {
    fn decide(&self, counters: &mut Counters, at: Micros, watch: &mut impl Watch) -> Judgement {
        match self.refuse(watch) {
            Ok(()) => counters.settle_hearing(self, at, watch),
            Err(decision) => Judgement::denied(decision),
        }
    }

    /// The stages before the limits: the first that denies names the decision.
    #[inline(always)]
    fn refuse(&self, watch: &mut impl Watch) -> Result<(), Decision> {
        self.admit_names(watch)?;
        for judged in self.judged.as_ref() {
            for predicate in judged.rules(|rules| &rules.require) {
                match self.ask(Stage::Require, predicate, judged, watch) {
                    Truth::True => {}
                    Truth::False | Truth::Mismatch => {
                        return Err(predicate.deny(Reason::RequireFailed));
                    }
                }
            }
        }
        for judged in self.judged.as_ref() {
            for predicate in judged.rules(|rules| &rules.deny_if) {
                match self.ask(Stage::DenyIf, predicate, judged, watch) {
                    Truth::False => {}
                    Truth::True => return Err(predicate.deny(Reason::DenyIf)),
                    Truth::Mismatch => return Err(predicate.deny(Reason::TypeMismatch)),
                }
            }
        }
        Ok(())
    }

    /// What the names alone settle: the first that denies names the decision.
    #[inline(always)]
    pub(crate) fn admit_names(&self, watch: &mut impl Watch) -> Result<(), Decision> {
        for judged in self.judged.as_ref() {
            watch.gate(Stage::Hide, &judged.reading.tool, !judged.standing.hidden);
            if judged.standing.hidden {
                return Err(Decision::deny(
                    Reason::Hidden,
                    "(hidden)",
                    "This tool is not available.",
                ));
            }
        }
        for judged in self.judged.as_ref() {
            let listed = judged.is_listed(self.rules.default);
            watch.gate(Stage::Default, &judged.reading.tool, listed);
            if !listed {
                let message = "The policy does not allow this tool.";
                return Err(Decision::deny(
                    Reason::DefaultDeny,
                    "(default deny)",
                    message,
                ));
            }
        }
        Ok(())
    }

    /// The stage after the limits: an error is a denial, or says that a person is to be asked.
    #[inline(always)]
    pub(crate) fn approve(&self, watch: &mut impl Watch) -> Result<(), Decision> {
        for judged in self.judged.as_ref() {
            for predicate in judged.rules(|rules| &rules.approve_if) {
                match self.ask(Stage::ApproveIf, predicate, judged, watch) {
                    Truth::False => {}
                    Truth::True => return Err(predicate.pending()),
                    Truth::Mismatch => return Err(predicate.deny(Reason::TypeMismatch)),
                }
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn ask(
        &self,
        stage: Stage,
        predicate: &Predicate,
        judged: &Judged<'_>,
        watch: &mut impl Watch,
    ) -> Truth {
        let quantifier = if stage == Stage::Require {
            Quantifier::Every
        } else {
            Quantifier::Any
        };
        let truth = predicate.ask(quantifier, self.facts, &judged.reading.arguments);
        watch.predicate(
            stage,
            predicate,
            truth,
            self.facts,
            &judged.reading.arguments,
        );
        truth
    }

    /// Every limit of the call: those of its readings, then those over all tools on the effective
    /// arguments. Stops at the first error.
    #[inline(always)]
    pub(crate) fn demands<E>(
        &self,
        mut each: impl FnMut(Demand<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        for judged in self.judged.as_ref() {
            for limit in judged.rules(|rules| &rules.limits) {
                each(Demand {
                    limit,
                    arguments: &judged.reading.arguments,
                })?;
            }
        }
        if let Some(effective) = self.judged.as_ref().last() {
            for limit in &self.rules.all_tools {
                each(Demand {
                    limit,
                    arguments: &effective.reading.arguments,
                })?;
            }
        }
        Ok(())
    }

    /// The limit of a call that has just one, and nobody to ask.
    #[inline(always)]
    pub(crate) fn only_demand(&self) -> Option<Demand<'a>> {
        let ([judged], []) = (self.judged.as_ref(), self.rules.all_tools.as_slice()) else {
            return None;
        };
        let rules = judged.standing.rules?;
        match (rules.limits.as_slice(), rules.approve_if.as_slice()) {
            ([limit], []) => Some(Demand {
                limit,
                arguments: &judged.reading.arguments,
            }),
            _ => None,
        }
    }

    /// What would be asked, in order, if nothing denied: for the part of a trace that was not reached.
    pub(crate) fn outline(&self, watch: &mut impl Watch) {
        watch.gate(Stage::Policy, "", true);
        for stage in [Stage::Hide, Stage::Default] {
            for judged in self.judged.as_ref() {
                watch.gate(stage, &judged.reading.tool, true);
            }
        }
        for judged in self.judged.as_ref() {
            for predicate in judged.rules(|rules| &rules.require) {
                self.ask(Stage::Require, predicate, judged, watch);
            }
        }
        for judged in self.judged.as_ref() {
            for predicate in judged.rules(|rules| &rules.deny_if) {
                self.ask(Stage::DenyIf, predicate, judged, watch);
            }
        }
        let Ok(()) = self.demands(|demand| {
            watch.limit(&demand, Count::default(), None);
            Ok::<(), Infallible>(())
        });
        for judged in self.judged.as_ref() {
            for predicate in judged.rules(|rules| &rules.approve_if) {
                self.ask(Stage::ApproveIf, predicate, judged, watch);
            }
        }
    }
}

impl<'a> Judged<'a> {
    #[inline(always)]
    pub(crate) fn new(rules: &'a Rules, reading: &'a Reading<'_>) -> Self {
        Self {
            reading,
            standing: rules.stand(&reading.tool),
        }
    }

    /// One list of the rules of this reading; empty if it has none.
    #[inline(always)]
    fn rules<T>(&self, list: impl FnOnce(&'a ToolRules) -> &'a Vec<T>) -> &'a [T] {
        self.standing
            .rules
            .map_or(&[], |rules| list(rules).as_slice())
    }

    /// All rules of this reading, if it has any.
    pub(crate) fn standing_rules(&self) -> Option<&'a ToolRules> {
        self.standing.rules
    }

    /// Whether the policy lists the name, or lets through what it does not list.
    #[inline(always)]
    fn is_listed(&self, default: Verdict) -> bool {
        match self.reading.role {
            ReadingRole::Dispatcher => true,
            ReadingRole::Full => self.standing.rules.is_some() || default == Verdict::Allow,
            ReadingRole::LiteralOnly => self.standing.literal,
        }
    }
}

impl Predicate {
    /// A person is to be asked.
    #[cold]
    pub(crate) fn pending(&self) -> Decision {
        self.deny(Reason::ApprovalPending)
    }

    #[cold]
    pub(crate) fn deny(&self, reason: Reason) -> Decision {
        Decision::deny(reason, self.id.clone(), self.message.clone())
    }
}

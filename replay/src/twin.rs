//! Two judges side by side, each with its own counters: the policy that was in force, and the
//! candidate. They see every call of one node in the order of its log.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use weir_policy::{
    Asked, Context, Counters, Decision, Doubt, Evaluation, Judgement, Micros, OnRecord, Policy,
    Reason, Reservation, Resolution, Testimony, Verdict, Weighed, evaluate, judge, weigh,
};

use crate::answered::Answered;
use crate::{Class, State};

/// What the record says of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorded<'a> {
    pub(crate) verdict: Verdict,
    pub(crate) rule: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) asked: Asked,
    /// The engine that decided it is this one.
    pub(crate) this_engine: bool,
    pub(crate) decided_at: Micros,
    /// Where and when its reservation was given back, if it was.
    pub(crate) given_back: Option<(i64, Micros)>,
}

impl Recorded<'_> {
    /// Whether it took what its limits count, for good or until an answer.
    fn took(&self) -> bool {
        self.verdict == Verdict::Allow || self.asked == Asked::Unapproved
    }
}

/// What both judges say of a call.
#[derive(Debug)]
pub(crate) struct Ruling {
    pub(crate) class: Class,
    /// The decision of the policy that was in force, as it is made now.
    pub(crate) now: Decision,
    /// The candidate's decision.
    pub(crate) would: Decision,
    /// Why the candidate's decision is not certain, if it is not.
    pub(crate) doubt: Option<String>,
}

/// The candidate's decision on one call, and what it took.
struct Would {
    decision: Decision,
    /// A person would be asked who was not asked then.
    held: bool,
    doubt: Option<String>,
    /// The decision on record is by a rule that may have decided under the candidate too.
    as_recorded: bool,
    taken: Option<Reservation>,
    taken_high: Option<Reservation>,
}

/// Both judges and their counters, for one node.
pub(crate) struct Twin {
    state: State,
    baseline: Counters,
    /// The candidate's counters; from the first call on of which it is not certain that it consumes, the least they can be.
    candidate: Counters,
    /// The most they can be, from then on.
    high: Option<Counters>,
    returns: BinaryHeap<Reverse<Return>>,
}

impl Twin {
    pub(crate) fn new(state: State, counters_per_grant: usize) -> Self {
        Self {
            state,
            baseline: Counters::new(counters_per_grant),
            candidate: Counters::new(counters_per_grant),
            high: None,
            returns: BinaryHeap::new(),
        }
    }

    /// Whether any call was met of which it is not certain that it consumes.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.high.is_some()
    }

    /// Gives back what was given back before the entry at `seq`: call this for every row, judged or not.
    #[inline]
    pub(crate) fn catch_up(&mut self, seq: i64) {
        while self
            .returns
            .peek()
            .is_some_and(|Reverse(next)| next.finish_seq < seq)
        {
            let Some(Reverse(due)) = self.returns.pop() else {
                return;
            };
            if let Some(reservation) = &due.baseline {
                self.baseline.give_back(reservation, due.at);
            }
            if let Some(reservation) = &due.candidate {
                self.candidate.give_back(reservation, due.at);
            }
            if let (Some(reservation), Some(high)) = (&due.high, &mut self.high) {
                high.give_back(reservation, due.at);
            }
        }
    }

    /// Judges a call twice.
    pub(crate) fn judge(
        &mut self,
        baseline: Option<&Policy>,
        candidate: Option<&Policy>,
        resolution: &Resolution<'_>,
        context: &Context<'_>,
        recorded: &Recorded<'_>,
    ) -> Ruling {
        let (now, baseline_taken) = self.judge_baseline(baseline, resolution, context, recorded);
        let would = if self.high.is_some() {
            let weighed = Weighed {
                doubts: Vec::new(),
                evaluation: evaluate(candidate, resolution, context),
            };
            self.judge_bounded(candidate, weighed, resolution, context, recorded)
        } else {
            self.judge_candidate(candidate, resolution, context, recorded)
        };
        self.rule(now, baseline_taken, would, recorded)
    }

    /// Judges a call twice from what redaction and the audit level left of it. The policy that was in force said what is on
    /// record, which tells of the rules that were asked; the candidate may stay in doubt.
    pub(crate) fn judge_redacted(
        &mut self,
        baseline: Option<&Policy>,
        candidate: Option<&Policy>,
        (resolution, kept): (&Resolution<'_>, OnRecord),
        context: &Context<'_>,
        recorded: &Recorded<'_>,
    ) -> Ruling {
        let testimony = match baseline {
            Some(policy) if recorded.this_engine => {
                let Recorded {
                    verdict,
                    rule,
                    reason,
                    ..
                } = *recorded;
                Testimony::of(policy, resolution, verdict, rule, reason)
            }
            Some(_) | None => Testimony::default(),
        };
        let weighed = weigh(baseline, resolution, context, kept, &testimony);
        let (now, baseline_taken) = if weighed.doubts.is_empty() {
            let at = recorded.decided_at;
            let judgement = self.baseline.settle(weighed.evaluation, at);
            self.follow_record(judgement, baseline, resolution, context, recorded)
        } else {
            let at = recorded.decided_at;
            let taken = if recorded.took() {
                consume(&mut self.baseline, baseline, resolution, context, at)
            } else {
                None
            };
            (as_on_record(recorded), taken)
        };
        let weighed = weigh(candidate, resolution, context, kept, &testimony);
        let would = self.judge_bounded(candidate, weighed, resolution, context, recorded);
        self.rule(now, baseline_taken, would, recorded)
    }

    /// The class of a call that both have judged; notes what will be given back.
    fn rule(
        &mut self,
        now: Decision,
        baseline: Option<Reservation>,
        would: Would,
        recorded: &Recorded<'_>,
    ) -> Ruling {
        let (mut candidate, mut high) = (would.taken, would.taken_high);
        // What never went out then, since nobody approved, would have gone out now: it is not given back.
        let unapproved = recorded.asked == Asked::Unapproved && would.decision.is_allow();
        if unapproved && self.state == State::Counterfactual {
            (candidate, high) = (None, None);
        }
        if let Some((finish_seq, at)) = recorded.given_back
            && (baseline.is_some() || candidate.is_some() || high.is_some())
        {
            self.returns.push(Reverse(Return {
                finish_seq,
                at,
                baseline,
                candidate,
                high,
            }));
        }
        let class = if !is_as_recorded(&now, recorded) {
            if recorded.this_engine {
                Class::EngineDrift
            } else {
                Class::EngineChanged
            }
        } else if would.doubt.is_some() {
            match recorded.verdict {
                Verdict::Allow => Class::MaybeDenied,
                Verdict::Deny => Class::MaybeAllowed,
            }
        } else if would.held {
            Class::NewlyHeld
        } else {
            let same_rule = would.as_recorded || *would.decision.rule == *recorded.rule;
            Class::between(recorded.verdict, would.decision.verdict, same_rule)
        };
        Ruling {
            class,
            now,
            would: would.decision,
            doubt: would.doubt,
        }
    }

    /// The policy that was in force. Where it no longer says what is on record, its counters follow
    /// the record.
    fn judge_baseline(
        &mut self,
        policy: Option<&Policy>,
        resolution: &Resolution<'_>,
        context: &Context<'_>,
        recorded: &Recorded<'_>,
    ) -> (Decision, Option<Reservation>) {
        let at = recorded.decided_at;
        let judgement = judge(policy, resolution, context, &mut self.baseline, at);
        self.follow_record(judgement, policy, resolution, context, recorded)
    }

    fn follow_record(
        &mut self,
        judgement: Judgement,
        policy: Option<&Policy>,
        resolution: &Resolution<'_>,
        context: &Context<'_>,
        recorded: &Recorded<'_>,
    ) -> (Decision, Option<Reservation>) {
        let at = recorded.decided_at;
        let Answered {
            decision,
            mut reservation,
            held,
        } = Answered::of(judgement, recorded, &mut self.baseline);
        if held || decision.verdict != recorded.verdict {
            if let Some(taken) = reservation.take() {
                self.baseline.give_back(&taken, at);
            }
            if recorded.took() {
                reservation = consume(&mut self.baseline, policy, resolution, context, at);
            }
        }
        (decision, reservation)
    }

    /// The candidate: its decision, whether a person would be asked who was not asked then, and what
    /// it took.
    fn judge_candidate(
        &mut self,
        policy: Option<&Policy>,
        resolution: &Resolution<'_>,
        context: &Context<'_>,
        recorded: &Recorded<'_>,
    ) -> Would {
        let at = recorded.decided_at;
        let judgement = judge(policy, resolution, context, &mut self.candidate, at);
        self.take_candidate(judgement, policy, resolution, context, recorded)
    }

    fn take_candidate(
        &mut self,
        judgement: Judgement,
        policy: Option<&Policy>,
        resolution: &Resolution<'_>,
        context: &Context<'_>,
        recorded: &Recorded<'_>,
    ) -> Would {
        let at = recorded.decided_at;
        let Answered {
            decision,
            mut reservation,
            held,
        } = Answered::of(judgement, recorded, &mut self.candidate);
        if self.state == State::Recorded {
            if let Some(taken) = reservation.take() {
                self.candidate.give_back(&taken, at);
            }
            if recorded.took() {
                reservation = consume(&mut self.candidate, policy, resolution, context, at);
            }
        }
        Would {
            decision,
            held,
            doubt: None,
            as_recorded: false,
            taken: reservation,
            taken_high: None,
        }
    }

    /// The candidate, where rules may be in doubt or counters have a low and a high.
    fn judge_bounded(
        &mut self,
        policy: Option<&Policy>,
        weighed: Weighed<'_>,
        resolution: &Resolution<'_>,
        context: &Context<'_>,
        recorded: &Recorded<'_>,
    ) -> Would {
        let at = recorded.decided_at;
        let Weighed { doubts, evaluation } = weighed;
        let as_recorded = doubts.iter().any(|doubt| *doubt.rule == *recorded.rule);
        // Under the record's own history all counters are certain.
        if self.state == State::Recorded || (doubts.is_empty() && self.high.is_none()) {
            let judgement = self.candidate.settle(evaluation, at);
            let would = self.take_candidate(judgement, policy, resolution, context, recorded);
            let passes = would.held || would.decision.is_allow();
            return match doubts.first().filter(|_| passes) {
                Some(doubt) => Would {
                    doubt: Some(reads(doubt)),
                    decision: in_doubt(&doubt.rule, recorded),
                    ..would
                },
                None => Would {
                    as_recorded,
                    ..would
                },
            };
        }
        let (low, high) = self.settle_both(evaluation, recorded);
        let Some(counters) = &mut self.high else {
            return Would::refused(low, None, as_recorded);
        };
        if !low.passes() {
            // The more was counted before it, the sooner it is refused. A person who did not approve was asked all the same.
            return Would::refused(low, high.reservation, as_recorded);
        }
        let taken_high = if high.passes() {
            // What passes without a counter has taken nothing.
            high.reservation.clone()
        } else {
            consume(counters, policy, resolution, context, at)
        };
        let doubt = match doubts.first() {
            Some(doubt) => Some((reads(doubt), doubt.rule.clone())),
            None if high.passes() => None,
            None => Some((GAP.to_owned(), high.decision.rule.clone())),
        };
        let Some((doubt, rule)) = doubt else {
            return Would {
                decision: low.decision,
                held: low.held,
                doubt: None,
                as_recorded: false,
                taken: low.reservation,
                taken_high,
            };
        };
        if let Some(taken) = &low.reservation {
            self.candidate.give_back(taken, at);
        }
        Would {
            decision: in_doubt(&rule, recorded),
            held: false,
            doubt: Some(doubt),
            as_recorded: false,
            taken: None,
            taken_high,
        }
    }

    /// Asks the least and the most that the counters can be.
    fn settle_both(
        &mut self,
        evaluation: Evaluation<'_>,
        recorded: &Recorded<'_>,
    ) -> (Answered, Answered) {
        let at = recorded.decided_at;
        if self.high.is_none() {
            self.high = Some(self.candidate.clone());
            // What is still to be given back was taken from both.
            let returns = std::mem::take(&mut self.returns);
            self.returns = returns
                .into_iter()
                .map(|Reverse(due)| {
                    let high = due.candidate.clone();
                    Reverse(Return { high, ..due })
                })
                .collect();
        }
        let low = self.candidate.settle(evaluation.clone(), at);
        let low = Answered::of(low, recorded, &mut self.candidate);
        let high = match &mut self.high {
            Some(counters) => {
                let high = counters.settle(evaluation, at);
                Answered::of(high, recorded, counters)
            }
            None => low.clone(),
        };
        (low, high)
    }

    /// A call that cannot be judged again: if it was allowed or a person was asked, it consumes what can be known of it.
    pub(crate) fn consume_unjudged(
        &mut self,
        baseline: Option<&Policy>,
        candidate: Option<&Policy>,
        resolution: &Resolution<'_>,
        context: &Context<'_>,
        recorded: &Recorded<'_>,
    ) {
        if !recorded.took() {
            return;
        }
        let at = recorded.decided_at;
        let baseline = consume(&mut self.baseline, baseline, resolution, context, at);
        let high = self
            .high
            .as_mut()
            .and_then(|high| consume(high, candidate, resolution, context, at));
        let candidate = consume(&mut self.candidate, candidate, resolution, context, at);
        if let Some((finish_seq, at)) = recorded.given_back {
            self.returns.push(Reverse(Return {
                finish_seq,
                at,
                baseline,
                candidate,
                high,
            }));
        }
    }
}

/// Why a limit is in doubt.
const GAP: &str = "counted calls in doubt";

fn reads(doubt: &Doubt) -> String {
    format!("redacted: {}", doubt.path)
}

/// A decision that may be the other one: what the class says, by the rule that is in doubt.
fn in_doubt(rule: &str, recorded: &Recorded<'_>) -> Decision {
    let decision = Decision::deny(Reason::DenyIf, rule.to_owned(), "");
    match recorded.verdict {
        Verdict::Allow => decision,
        Verdict::Deny => Decision {
            verdict: Verdict::Allow,
            ..decision
        },
    }
}

fn as_on_record(recorded: &Recorded<'_>) -> Decision {
    Decision {
        verdict: recorded.verdict,
        ..Decision::deny(Reason::DenyIf, recorded.rule.to_owned(), "")
    }
}

impl Would {
    fn refused(low: Answered, taken_high: Option<Reservation>, as_recorded: bool) -> Self {
        Self {
            decision: low.decision,
            held: false,
            doubt: None,
            as_recorded,
            taken: low.reservation,
            taken_high,
        }
    }
}

fn consume(
    counters: &mut Counters,
    policy: Option<&Policy>,
    resolution: &Resolution<'_>,
    context: &Context<'_>,
    at: Micros,
) -> Option<Reservation> {
    policy.map(|policy| counters.consume(policy, resolution, context, at))
}

fn is_as_recorded(now: &Decision, recorded: &Recorded<'_>) -> bool {
    now.verdict == recorded.verdict && &*now.rule == recorded.rule
}

/// A reservation that the log gives back at `finish_seq`, in the window of `at`.
#[derive(Debug)]
struct Return {
    finish_seq: i64,
    at: Micros,
    baseline: Option<Reservation>,
    candidate: Option<Reservation>,
    high: Option<Reservation>,
}

impl PartialEq for Return {
    fn eq(&self, other: &Self) -> bool {
        self.finish_seq == other.finish_seq
    }
}

impl Eq for Return {}

impl PartialOrd for Return {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Return {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.finish_seq.cmp(&other.finish_seq)
    }
}

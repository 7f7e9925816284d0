//! Two judges side by side, each with its own counters: the policy that was in force, and the
//! candidate. They see every call of one node in the order of its log.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use weir_policy::{
    Context, Counters, Decision, Judgement, Micros, Policy, Reason, Reservation, Resolution,
    Verdict, judge,
};

use crate::{Class, State};

/// What the record says of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recorded<'a> {
    pub(crate) verdict: Verdict,
    pub(crate) rule: &'a str,
    /// A person was to be asked, and the answer was no, or nobody could be asked.
    pub(crate) approval_denied: bool,
    /// The engine that decided it is this one.
    pub(crate) this_engine: bool,
    pub(crate) decided_at: Micros,
    /// Where and when its reservation was given back, if it was.
    pub(crate) given_back: Option<(i64, Micros)>,
}

/// What both judges say of a call.
#[derive(Debug)]
pub(crate) struct Ruling {
    pub(crate) class: Class,
    /// The decision of the policy that was in force, as it is made now.
    pub(crate) now: Decision,
    /// The candidate's decision.
    pub(crate) would: Decision,
}

/// Both judges and their counters, for one node.
pub(crate) struct Twin {
    state: State,
    baseline: Counters,
    candidate: Counters,
    returns: BinaryHeap<Reverse<Return>>,
}

impl Twin {
    pub(crate) fn new(state: State, counters_per_grant: usize) -> Self {
        Self {
            state,
            baseline: Counters::new(counters_per_grant),
            candidate: Counters::new(counters_per_grant),
            returns: BinaryHeap::new(),
        }
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
        let (would, held, candidate_taken) =
            self.judge_candidate(candidate, resolution, context, recorded);
        if let Some((finish_seq, at)) = recorded.given_back
            && (baseline_taken.is_some() || candidate_taken.is_some())
        {
            self.returns.push(Reverse(Return {
                finish_seq,
                at,
                baseline: baseline_taken,
                candidate: candidate_taken,
            }));
        }
        let class = if is_as_recorded(&now, recorded) {
            if held {
                Class::NewlyHeld
            } else {
                Class::between(
                    recorded.verdict,
                    would.verdict,
                    &*would.rule == recorded.rule,
                )
            }
        } else if recorded.this_engine {
            Class::EngineDrift
        } else {
            Class::EngineChanged
        };
        Ruling { class, now, would }
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
        let Judgement {
            decision,
            mut reservation,
        } = judge(policy, resolution, context, &mut self.baseline, at);
        if decision.verdict != recorded.verdict {
            if let Some(taken) = reservation.take() {
                self.baseline.give_back(&taken, at);
            }
            if recorded.verdict == Verdict::Allow {
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
    ) -> (Decision, bool, Option<Reservation>) {
        let at = recorded.decided_at;
        let Judgement {
            decision,
            mut reservation,
        } = judge(policy, resolution, context, &mut self.candidate, at);
        // A recorded answer is reused for the same call; where nobody was asked, a person would be.
        let held = decision.reason == Reason::ApprovalUnavailable && !recorded.approval_denied;
        match self.state {
            State::Counterfactual => {
                if held {
                    reservation = consume(&mut self.candidate, policy, resolution, context, at);
                }
            }
            State::Recorded => {
                if let Some(taken) = reservation.take() {
                    self.candidate.give_back(&taken, at);
                }
                if recorded.verdict == Verdict::Allow {
                    reservation = consume(&mut self.candidate, policy, resolution, context, at);
                }
            }
        }
        (decision, held, reservation)
    }

    /// A call that cannot be judged again: if it was allowed, it consumes what can be known of it.
    pub(crate) fn consume_unjudged(
        &mut self,
        baseline: Option<&Policy>,
        candidate: Option<&Policy>,
        resolution: &Resolution<'_>,
        context: &Context<'_>,
        recorded: &Recorded<'_>,
    ) {
        if recorded.verdict != Verdict::Allow {
            return;
        }
        let at = recorded.decided_at;
        let baseline = consume(&mut self.baseline, baseline, resolution, context, at);
        let candidate = consume(&mut self.candidate, candidate, resolution, context, at);
        if let Some((finish_seq, at)) = recorded.given_back {
            self.returns.push(Reverse(Return {
                finish_seq,
                at,
                baseline,
                candidate,
            }));
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

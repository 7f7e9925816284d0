//! A call as candidates hear it: evaluated before the ledger's lock is taken, counted under it.

use std::sync::Arc;

use weir_policy::{
    Asked, Context, Counters, Decision, Evaluation, Judgement, Micros, Policy, Reservation,
    Resolution, evaluate,
};

use super::shadow::Candidate;

/// A call as candidates hear it.
#[derive(Debug)]
pub struct Heard<'a, 'r, 'k> {
    resolution: &'a Resolution<'r>,
    /// What the record keeps of it, where that is less: limits count by it.
    kept: Option<&'a Resolution<'k>>,
    context: &'a Context<'a>,
    /// What the rules of candidates say, by digest.
    evaluations: Vec<(&'a str, Evaluation<'a>)>,
}

impl<'a, 'r, 'k> Heard<'a, 'r, 'k> {
    /// A call.
    pub fn of(
        resolution: &'a Resolution<'r>,
        kept: Option<&'a Resolution<'k>>,
        context: &'a Context<'a>,
    ) -> Self {
        Self {
            resolution,
            kept,
            context,
            evaluations: Vec::new(),
        }
    }

    /// The same, and what the rules of these candidates say of it.
    #[must_use]
    pub fn by(mut self, candidates: &'a [Candidate]) -> Self {
        let evaluations = candidates.iter().map(|candidate| {
            let evaluation = self.evaluate(Some(&*candidate.policy));
            (&*candidate.digest, evaluation)
        });
        self.evaluations = evaluations.collect();
        self
    }

    /// What the rules of a policy say of it.
    pub fn evaluate<'s>(&self, policy: Option<&'s Policy>) -> Evaluation<'s>
    where
        'a: 's,
    {
        let evaluation = evaluate(policy, self.resolution, self.context);
        match self.kept {
            Some(kept) => evaluation.counted_by(kept),
            None => evaluation,
        }
    }

    pub(super) fn grant(&self) -> &'a str {
        self.context.grant
    }

    /// What was evaluated already for a candidate.
    pub(super) fn take(&mut self, digest: &str) -> Option<Evaluation<'a>> {
        let place = self
            .evaluations
            .iter()
            .position(|(known, _)| *known == digest)?;
        Some(self.evaluations.swap_remove(place).1)
    }
}

/// What became of a call under a policy that does not decide it.
#[derive(Debug)]
pub(super) struct Would {
    pub(super) decision: Decision,
    /// A person would be asked who was not asked now.
    pub(super) held: bool,
    pub(super) taken: Option<Taking>,
}

/// What a call took in another world.
#[derive(Debug)]
pub(super) struct Taking {
    pub(super) reservation: Reservation,
    /// There too it waits for the person who is asked here: it comes back if nobody approves. Otherwise what never went out since
    /// nobody approved would have gone out there, and keeps what it took.
    pub(super) waits: bool,
}

impl Would {
    /// Settles a call as replay does under `--state counterfactual`: what is allowed consumes, and what a person would be asked about
    /// consumes as if the answer were yes. An answer that is there is taken again.
    pub(super) fn settle(
        counters: &mut Counters,
        evaluation: Evaluation<'_>,
        asked: Asked,
        at: Micros,
    ) -> Self {
        let Judgement {
            mut decision,
            mut reservation,
        } = counters.settle(evaluation, at);
        let (mut held, mut waits) = (false, false);
        if decision.is_pending() {
            match asked {
                Asked::Nobody => held = true,
                Asked::Approved => decision = decision.approved(),
                Asked::Unapproved => waits = true,
                Asked::InVain => {
                    if let Some(taken) = reservation.take() {
                        counters.give_back(&taken, at);
                    }
                }
            }
        }
        Self {
            decision,
            held,
            taken: reservation.map(|reservation| Taking { reservation, waits }),
        }
    }
}

/// What a candidate said of a call that it did not decide.
#[derive(Debug, Clone)]
pub struct Opinion {
    /// What the configuration calls the candidate.
    pub name: Arc<str>,
    /// The digest of its document.
    pub digest: Arc<str>,
    /// Its decision.
    pub decision: Decision,
    /// How that differs from what was decided, in the words of replay: `same`, `newly_denied`, `newly_allowed` or `newly_held`.
    pub class: &'static str,
}

impl Opinion {
    pub(super) fn of(candidate: &Candidate, would: &Would, decided: &Decision) -> Self {
        let class = match (decided.is_allow(), would.decision.is_allow()) {
            _ if would.held => "newly_held",
            (true, false) => "newly_denied",
            (false, true) => "newly_allowed",
            (true, true) | (false, false) => "same",
        };
        Self {
            name: Arc::clone(&candidate.name),
            digest: Arc::clone(&candidate.digest),
            decision: would.decision.clone(),
            class,
        }
    }
}

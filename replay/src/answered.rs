//! What a person said then, said again: replay asks nobody.

use weir_policy::{Asked, Counters, Decision, Judgement, Reservation};

use crate::twin::Recorded;

/// A judgement with the answer that is on record.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) decision: Decision,
    pub(crate) reservation: Option<Reservation>,
    /// A person would be asked who was not asked then.
    pub(crate) held: bool,
}

impl Answered {
    /// A recorded answer is reused for the same call; where nobody was asked, a person would be, and the call keeps what it took.
    pub(crate) fn of(
        judgement: Judgement,
        recorded: &Recorded<'_>,
        counters: &mut Counters,
    ) -> Self {
        let Judgement {
            mut decision,
            mut reservation,
        } = judgement;
        let mut held = false;
        if decision.is_pending() {
            match recorded.asked {
                Asked::Nobody => held = true,
                Asked::Approved => decision = decision.approved(),
                Asked::Unapproved => {}
                Asked::InVain => {
                    if let Some(taken) = reservation.take() {
                        counters.give_back(&taken, recorded.decided_at);
                    }
                }
            }
        }
        Self {
            decision,
            reservation,
            held,
        }
    }

    /// Whether it passes, or would once a person says so.
    pub(crate) fn passes(&self) -> bool {
        self.held || self.decision.is_allow()
    }
}

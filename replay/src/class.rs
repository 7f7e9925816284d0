//! What became of one call under the candidate.

use weir_policy::Verdict;

/// The class of one replayed call; every call has exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    /// The verdict and the rule are those on record.
    Same,
    /// The verdict is the one on record, another rule gives it. Messages are not compared.
    SameReasonChanged,
    /// It passed; the candidate would refuse it.
    NewlyDenied,
    /// It was refused; the candidate would let it pass.
    NewlyAllowed,
    /// A person would be asked who was not asked then.
    NewlyHeld,
    /// The candidate may refuse it: a rule reads a value that was redacted.
    MaybeDenied,
    /// The candidate may let it pass: a rule reads a value that was redacted.
    MaybeAllowed,
    /// It cannot be judged again, and the row says why.
    NotReplayable,
    /// Another version of the evaluation semantics judged it then, and judges it otherwise.
    EngineChanged,
    /// The policy that was in force no longer gives the decision on record: a bug of ours.
    EngineDrift,
}

impl Class {
    /// All classes, in the order of reports.
    pub const ALL: [Self; 10] = [
        Self::Same,
        Self::SameReasonChanged,
        Self::NewlyDenied,
        Self::NewlyAllowed,
        Self::NewlyHeld,
        Self::MaybeDenied,
        Self::MaybeAllowed,
        Self::NotReplayable,
        Self::EngineChanged,
        Self::EngineDrift,
    ];

    /// The class of a call that the candidate judges, with the rule on record or another.
    pub(crate) fn between(was: Verdict, would: Verdict, same_rule: bool) -> Self {
        match (was, would) {
            (Verdict::Allow, Verdict::Deny) => Self::NewlyDenied,
            (Verdict::Deny, Verdict::Allow) => Self::NewlyAllowed,
            (Verdict::Allow, Verdict::Allow) | (Verdict::Deny, Verdict::Deny) if same_rule => {
                Self::Same
            }
            (Verdict::Allow, Verdict::Allow) | (Verdict::Deny, Verdict::Deny) => {
                Self::SameReasonChanged
            }
        }
    }

    /// The word that stands in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::SameReasonChanged => "same_reason_changed",
            Self::NewlyDenied => "newly_denied",
            Self::NewlyAllowed => "newly_allowed",
            Self::NewlyHeld => "newly_held",
            Self::MaybeDenied => "maybe_denied",
            Self::MaybeAllowed => "maybe_allowed",
            Self::NotReplayable => "not_replayable",
            Self::EngineChanged => "engine_changed",
            Self::EngineDrift => "engine_drift",
        }
    }

    /// Whether the candidate would change what happened to the call.
    pub fn is_flip(self) -> bool {
        matches!(
            self,
            Self::NewlyDenied | Self::NewlyAllowed | Self::NewlyHeld
        )
    }

    /// Whether replay has a certain answer for the call: what coverage counts.
    pub fn is_certain(self) -> bool {
        matches!(
            self,
            Self::Same
                | Self::SameReasonChanged
                | Self::NewlyDenied
                | Self::NewlyAllowed
                | Self::NewlyHeld
        )
    }
}

/// How many calls fell into each class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Classes([u64; 10]);

impl Classes {
    /// The number of calls of `class`.
    pub fn of(&self, class: Class) -> u64 {
        self.0.get(class as usize).copied().unwrap_or(0)
    }

    /// Counts more calls.
    pub fn count(&mut self, class: Class, calls: u64) {
        if let Some(count) = self.0.get_mut(class as usize) {
            *count += calls;
        }
    }

    /// All calls.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Calls that the candidate would treat otherwise.
    pub fn flips(&self) -> u64 {
        self.iter()
            .filter(|(class, _)| class.is_flip())
            .map(|(_, count)| count)
            .sum()
    }

    /// The share of calls with a certain answer, from 0 to 1; 1 where there is no call.
    pub fn coverage(&self) -> f64 {
        let certain: u64 = self
            .iter()
            .filter(|(class, _)| class.is_certain())
            .map(|(_, count)| count)
            .sum();
        if self.total() == 0 {
            1.0
        } else {
            certain as f64 / self.total() as f64
        }
    }

    /// Classes with their counts, in the order of reports.
    pub fn iter(&self) -> impl Iterator<Item = (Class, u64)> + '_ {
        Class::ALL.into_iter().map(|class| (class, self.of(class)))
    }
}

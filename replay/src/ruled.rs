//! What replay says of a row.

use weir_policy::{Decision, Verdict};

use crate::Class;
use crate::kind::Kind;
use crate::twin::Ruling;

/// What replay says of a row.
#[derive(Debug)]
pub(crate) enum Ruled {
    /// As it is on record.
    Settled,
    /// Both judges spoke.
    Judged(Ruling),
    /// It cannot be judged again.
    Unjudged(&'static str),
}

impl Ruled {
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Settled => Class::Same,
            Self::Judged(ruling) => ruling.class,
            Self::Unjudged(_) => Class::NotReplayable,
        }
    }

    /// The decision as it is made now, where that is not the one on record.
    pub(crate) fn now(&self) -> Option<&Decision> {
        match self {
            Self::Judged(ruling)
                if matches!(ruling.class, Class::EngineDrift | Class::EngineChanged) =>
            {
                Some(&ruling.now)
            }
            Self::Judged(_) | Self::Settled | Self::Unjudged(_) => None,
        }
    }

    /// The ruling in the words of the report. A call that is `same` keeps the words on record.
    pub(crate) fn outcome<'a>(&'a self, kind: &'a Kind) -> Outcome<'a> {
        let class = self.class();
        match self {
            Self::Judged(ruling) if class != Class::Same => {
                let would = &ruling.would;
                Outcome {
                    class,
                    reason: ruling.doubt.as_deref().unwrap_or(would.reason.as_str()),
                    would_verdict: if class == Class::NewlyHeld {
                        "hold"
                    } else {
                        word(would.verdict)
                    },
                    would_rule: &would.rule,
                    would_message: &would.message,
                }
            }
            Self::Unjudged(why) => Outcome {
                class,
                reason: why,
                would_verdict: "",
                would_rule: "",
                would_message: "",
            },
            Self::Judged(_) | Self::Settled => kind.unchanged(),
        }
    }
}

/// What became of one call, in words.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome<'a> {
    pub(crate) class: Class,
    /// Why it could not be replayed; else the candidate's reason.
    pub(crate) reason: &'a str,
    pub(crate) would_verdict: &'a str,
    pub(crate) would_rule: &'a str,
    pub(crate) would_message: &'a str,
}

/// The word of a verdict.
pub(crate) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    }
}

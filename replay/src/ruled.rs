//! What replay says of a row.

use weir_policy::Decision;

use crate::Class;
use crate::twin::Ruling;

/// What replay says of a row.
pub(crate) enum Ruled {
    /// As it is on record: refused before policy was asked, or both judges say what is there.
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
}

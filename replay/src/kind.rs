//! What a row is to a replay, told by the words in it.

use weir_policy::{ENGINE, Verdict};

use crate::Class;
use crate::rows::Row;
use crate::symbols::{Symbol, Symbols};

/// The words that rows are told apart by.
pub(crate) struct Marks {
    pub(crate) client: Symbol,
    pub(crate) allow: Symbol,
    pub(crate) deny: Symbol,
    pub(crate) hold: Symbol,
    pub(crate) engine: Symbol,
    pub(crate) malformed: Symbol,
    pub(crate) arguments: Symbol,
    pub(crate) unrecorded: Symbol,
    pub(crate) no_policy: Symbol,
    pub(crate) approval_unavailable: Symbol,
}

impl Marks {
    pub(crate) fn of(symbols: &mut Symbols) -> Self {
        Self {
            client: symbols.of("client"),
            allow: symbols.of("allow"),
            deny: symbols.of("deny"),
            hold: symbols.of("hold"),
            engine: symbols.of(ENGINE),
            malformed: symbols.of("(malformed)"),
            arguments: symbols.of("(arguments)"),
            unrecorded: symbols.of("(unrecorded)"),
            no_policy: symbols.of("(no policy)"),
            approval_unavailable: symbols.of("approval_unavailable"),
        }
    }

    /// The verdict on record: anything but the word `allow` is a denial.
    pub(crate) fn verdict(&self, row: &Row) -> Verdict {
        if row.verdict == self.allow {
            Verdict::Allow
        } else {
            Verdict::Deny
        }
    }

    /// The class of a call that is not judged now as it is on record.
    pub(crate) fn drift(&self, row: &Row) -> Class {
        if row.engine == self.engine {
            Class::EngineDrift
        } else {
            Class::EngineChanged
        }
    }

    /// What kind of row this is to a replay.
    pub(crate) fn kind(&self, row: &Row) -> Kind {
        if [self.malformed, self.arguments, self.unrecorded].contains(&row.rule) {
            Kind::Settled
        } else if row.policy != Symbol::EMPTY || row.rule == self.no_policy {
            // A server's request that policy was asked about counts like any other.
            Kind::Judged
        } else if row.verdict == self.allow || row.direction != self.client {
            Kind::Unseen
        } else {
            Kind::Settled
        }
    }
}

/// What a row is to a replay (DESIGN 7.1).
pub(crate) enum Kind {
    /// Policy judged it.
    Judged,
    /// It was refused before policy was asked, or its decision is void: the same under every policy.
    Settled,
    /// Policy never sees such a row: it is not a call of the report.
    Unseen,
}

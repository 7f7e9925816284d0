//! Whether a person was asked about a call, and what came of it.

use crate::Reason;

/// What a decision says of a person who was to be asked about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// No rule asked anybody.
    Nobody,
    /// A rule did, and nobody could be asked: the call took nothing.
    InVain,
    /// A person approved.
    Approved,
    /// Nobody approved, or nobody has yet: the call keeps what it took until the log gives it back.
    Unapproved,
}

impl Asked {
    /// As the reason on record tells.
    pub fn of(reason: &str) -> Self {
        let is = |reasons: &[Reason]| reasons.iter().any(|known| known.as_str() == reason);
        if is(&[Reason::ApprovalUnavailable]) {
            Self::InVain
        } else if is(&[Reason::Approved]) {
            Self::Approved
        } else if is(&[
            Reason::ApprovalPending,
            Reason::ApprovalDenied,
            Reason::ApprovalTimeout,
            Reason::ApprovalWithdrawn,
            Reason::ApprovalStopped,
        ]) {
            Self::Unapproved
        } else {
            Self::Nobody
        }
    }
}

//! What the policy said of a call.

use crate::Text;

/// Whether a call may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The call may be forwarded.
    Allow,
    /// The call is refused.
    Deny,
}

impl Verdict {
    /// The word that stands in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Why a decision came out as it did: a closed list of codes, the record's column `reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nothing stood against the call.
    Allowed,
    /// The message could be read in two ways, or not at all.
    Malformed,
    /// The server's profile does not allow these arguments.
    Arguments,
    /// The grant has no policy.
    NoPolicy,
    /// The tool is hidden.
    Hidden,
    /// The policy does not list the tool and its default is deny.
    DefaultDeny,
    /// A `require` predicate did not hold.
    RequireFailed,
    /// A `deny_if` predicate held.
    DenyIf,
    /// A value had a type that the operator cannot compare.
    TypeMismatch,
    /// A limit is used up.
    LimitExceeded,
    /// The amount of a limit is missing, negative or not a number.
    BadAmount,
    /// A value that a limit counts by is missing.
    MissingKey,
    /// The grant holds as many live counters as it may.
    CounterCapacity,
    /// A person must approve, and is to be asked.
    ApprovalPending,
    /// A person approved.
    Approved,
    /// A person was asked, and said no.
    ApprovalDenied,
    /// A person was asked, and did not answer in time.
    ApprovalTimeout,
    /// A person was asked, and the caller did not wait for the answer.
    ApprovalWithdrawn,
    /// A person was asked, and the proxy stopped before there was an answer.
    ApprovalStopped,
    /// A person must approve, and nobody can be asked.
    ApprovalUnavailable,
    /// The decision could not be made durable in time.
    Unrecorded,
}

impl Reason {
    /// The code that stands in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Malformed => "malformed",
            Self::Arguments => "arguments",
            Self::NoPolicy => "no_policy",
            Self::Hidden => "hidden",
            Self::DefaultDeny => "default_deny",
            Self::RequireFailed => "require_failed",
            Self::DenyIf => "deny_if",
            Self::TypeMismatch => "type_mismatch",
            Self::LimitExceeded => "limit_exceeded",
            Self::BadAmount => "bad_amount",
            Self::MissingKey => "missing_key",
            Self::CounterCapacity => "counter_capacity",
            Self::ApprovalPending => "approval_pending",
            Self::Approved => "approved",
            Self::ApprovalDenied => "approval_denied",
            Self::ApprovalTimeout => "approval_timeout",
            Self::ApprovalWithdrawn => "approval_withdrawn",
            Self::ApprovalStopped => "approval_stopped",
            Self::ApprovalUnavailable => "approval_unavailable",
            Self::Unrecorded => "unrecorded",
        }
    }
}

/// A verdict, the rule that gave it, and the text for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Decision {
    /// Allow or deny.
    pub verdict: Verdict,
    /// The code for the verdict.
    pub reason: Reason,
    /// The rule that decided, empty when allowed (DESIGN 5.4 lists the forms); of an approved call, the rule that asked a person.
    pub rule: Text,
    /// What the caller is told, empty when allowed.
    pub message: Text,
    /// Milliseconds until the limit that denied frees a place, where that is known.
    pub retry_after_ms: Option<u64>,
}

impl Decision {
    /// Nothing stands against the call.
    pub const fn allow() -> Self {
        Self {
            verdict: Verdict::Allow,
            reason: Reason::Allowed,
            rule: Text::EMPTY,
            message: Text::EMPTY,
            retry_after_ms: None,
        }
    }

    /// The call is refused by `rule`; `message` is public.
    pub fn deny(reason: Reason, rule: impl Into<Text>, message: impl Into<Text>) -> Self {
        Self {
            verdict: Verdict::Deny,
            reason,
            rule: rule.into(),
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// The same call, approved by a person whom its rule asked.
    pub fn approved(&self) -> Self {
        Self {
            reason: Reason::Approved,
            rule: self.rule.clone(),
            ..Self::allow()
        }
    }

    /// The same call, refused since a person did not approve it; `ending` is told to the caller behind what the rule says.
    pub fn unapproved(&self, reason: Reason, ending: &str) -> Self {
        let message = format!("{} {ending}", self.message.as_str());
        Self::deny(reason, self.rule.clone(), message)
    }

    /// Whether a person is to be asked: a denial until one approves.
    pub fn is_pending(&self) -> bool {
        self.reason == Reason::ApprovalPending
    }

    /// Whether the call may pass.
    pub fn is_allow(&self) -> bool {
        self.verdict == Verdict::Allow
    }
}

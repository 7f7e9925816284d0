//! Leave to forward: the only key to [`crate::upstream::Upstream::forward`].

use weir_policy::known_method;
use weir_recorder::Permit;

/// Leave for one message to go to an upstream. Taken by value, so it opens the way once.
#[derive(Debug)]
#[must_use = "leave that is not used was recorded for nothing"]
pub enum Leave {
    /// The decision on this call is durable.
    Permit(Permit),
    /// No policy judges this message.
    Pass(Pass),
}

impl Leave {
    /// Uses it up; called where the message goes out and nowhere else.
    pub(crate) fn spend(self) {
        match self {
            Self::Permit(_) | Self::Pass(_) => {}
        }
    }
}

/// Leave for a message that no policy judges. Private inside: a judged method cannot get one.
///
/// ```compile_fail
/// let forged = weir_proxy::leave::Pass(());
/// ```
#[derive(Debug)]
pub struct Pass(());

impl Pass {
    /// Leave for a method of the known revisions that policy does not judge; `None` for all others.
    pub fn for_method(method: &str) -> Option<Self> {
        known_method(method).then_some(Self(()))
    }

    /// Leave for a client's answer to a request of the server.
    pub fn for_response() -> Self {
        Self(())
    }

    /// Leave for a request without a message: GET for a stream, DELETE for the end of a session.
    pub fn for_bare() -> Self {
        Self(())
    }
}

#[cfg(test)]
mod tests {
    use super::Pass;

    #[test]
    fn a_judged_method_gets_no_pass() {
        for method in [
            "tools/call",
            "resources/read",
            "prompts/get",
            "vendor/unheard-of",
            "",
        ] {
            assert!(Pass::for_method(method).is_none(), "{method}");
        }
        assert!(Pass::for_method("tools/list").is_some());
    }
}

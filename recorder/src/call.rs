//! A call as it is written down: what was decided of it, and how it ended.
//!
//! The types are generic over their string, so that the proxy can hand over borrowed text, and the journal can be read
//! back without a copy. All of them are plain data: the recorder stores what it is given and judges nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Everything known of a call when it is decided: the columns of DESIGN 6.1 up to `decide_ns`.
///
/// `Call::default()` has every column empty, so that a caller names only what it knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call<S = Arc<str>> {
    /// Who asks whom.
    pub direction: Direction,
    /// The call's own name, a UUIDv7.
    pub call_id: [u8; 16],
    /// When the body was complete, in microseconds since the epoch.
    pub received_at: i64,
    /// The upstream server.
    pub server: Option<S>,
    /// The caller's grant.
    pub grant: Option<S>,
    /// The session.
    pub session: Option<S>,
    /// Certificate subject or token subject.
    pub principal: Option<S>,
    /// `clientInfo.name`.
    pub client_name: Option<S>,
    /// `clientInfo.version`.
    pub client_version: Option<S>,
    /// Address of the connection, without the port.
    pub client_address: Option<S>,
    /// Revision of the protocol, as the client named it.
    pub protocol: Option<S>,
    /// Trace id from `traceparent`.
    pub trace_id: Option<[u8; 16]>,
    /// JSON-RPC method; none when the message could not be read that far.
    pub method: Option<S>,
    /// The tool name as it stood in the request.
    pub wire_tool: Option<S>,
    /// The effective tool.
    pub tool: Option<S>,
    /// Class of the tool: read, write, execute, destructive, financial.
    pub risk: Option<S>,
    /// JSON-RPC id as it stood.
    pub request_id: Option<S>,
    /// Length of the request's body in bytes; the only trace of the size of a message that could not be read.
    pub request_bytes: Option<i64>,
    /// The wire arguments as received, redacted as configured: the source of replay.
    pub arguments: Option<S>,
    /// The arguments that policy judged, only where resolution changed them.
    pub effective_arguments: Option<S>,
    /// Keyed digest of the unredacted bytes, see [`crate::DigestKey`].
    pub arguments_digest: Option<[u8; 16]>,
    /// JSON pointers whose value was replaced.
    pub redacted: Vec<S>,
    /// Allow or deny.
    pub verdict: Verdict,
    /// Code of the verdict, from a closed list that policy owns.
    pub reason: Option<S>,
    /// The rule that decided, empty when allowed.
    pub rule: Option<S>,
    /// The text given to the caller.
    pub message: Option<S>,
    /// How the tool was resolved.
    pub via: Vec<S>,
    /// Digest of the policy that judged.
    pub policy_digest: Option<S>,
    /// Digest of the resolver that read the call.
    pub resolver_digest: Option<S>,
    /// Version of the evaluation semantics.
    pub engine: Option<S>,
    /// Digest of what the server said the tool was.
    pub tool_definition_digest: Option<S>,
    /// What candidates judged alongside would have said.
    pub shadow: Vec<Shadow<S>>,
    /// The person who was asked, and the answer.
    pub approval: Option<Approval<S>>,
    /// Counters of the call's limits after it was counted.
    pub limit_counts: Vec<LimitCount<S>>,
    /// Nanoseconds from parsed call to decision.
    pub decide_ns: Option<i32>,
}

/// How a call ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish<S = Arc<str>> {
    /// How the call ended.
    pub outcome: Outcome,
    /// HTTP status of the upstream.
    pub status: Option<i16>,
    /// Length of the result in bytes.
    pub result_bytes: Option<i64>,
    /// Keyed digest of the result's bytes.
    pub result_digest: Option<[u8; 16]>,
    /// The result itself, only where the audit level keeps it.
    pub result: Option<S>,
    /// The reservation was returned: the request provably never reached the upstream.
    pub given_back: bool,
    /// Microseconds spent until the decision was durable.
    pub commit_us: Option<i32>,
    /// Microseconds spent in the upstream.
    pub upstream_us: Option<i64>,
}

/// What one candidate policy said of a call that it did not decide.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shadow<S = Arc<str>> {
    /// Allow or deny.
    pub verdict: Verdict,
    /// The rule that would have decided.
    pub rule: S,
    /// Digest of the candidate.
    pub policy_digest: S,
}

/// A person was asked about a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval<S = Arc<str>> {
    /// When the question was put.
    pub asked_at: i64,
    /// When it was answered.
    pub answered_at: Option<i64>,
    /// Where the answer stands in the log; none as long as there is none.
    pub answer_seq: Option<i64>,
    /// Who answered.
    pub by: Option<S>,
    /// What was answered.
    pub answer: Option<S>,
}

/// What came of the question whether a held call may pass.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<S = Arc<str>> {
    /// Allow: the call may be forwarded once this is durable.
    pub verdict: Verdict,
    /// Code of the verdict, from now on that of the call.
    pub reason: Option<S>,
    /// The text given to the caller.
    pub message: Option<S>,
    /// The person who answered; none where the time ran out, the caller left, or the proxy stopped.
    pub by: Option<S>,
    /// What was answered.
    pub answer: Option<S>,
    /// The reservation was returned with it: a call that may not pass reached nobody.
    pub given_back: bool,
}

/// The reason of a call that waits for a person: it is denied until an [`Answer`] says otherwise.
pub const PENDING: &str = "approval_pending";

/// What a decision leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing: the call was refused.
    Refused,
    /// How the call ends.
    Admitted,
    /// Whether the call may pass.
    Held,
}

impl<S: AsRef<str>> Call<S> {
    pub(crate) fn standing(&self) -> Standing {
        match self.verdict {
            Verdict::Allow => Standing::Admitted,
            Verdict::Deny if self.is_held() => Standing::Held,
            Verdict::Deny => Standing::Refused,
        }
    }

    /// Whether it waits for an answer.
    pub fn is_held(&self) -> bool {
        let reason = self.reason.as_ref().map(AsRef::as_ref);
        self.verdict == Verdict::Deny && reason == Some(PENDING)
    }
}

/// The value of one counter after a call was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitCount<S = Arc<str>> {
    /// The counter's key, as text.
    pub counter: S,
    /// Its value.
    pub value: i64,
}

/// Closed lists of words that stand in columns: an enum, the word of each variant, and back.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$variant_meta])* $variant),+ }

        impl $name {
            /// Every value, in the order in which the journal numbers them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that stands in the record.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value whose word this is.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}
pub(crate) use words;

words! {
    /// Who asks whom.
    Direction {
        /// A client's request to a server.
        #[default]
        Client = "client",
        /// A server's request to a client.
        Server = "server",
    }
}

words! {
    /// Whether a call may pass.
    Verdict {
        /// Refused: the default, so that a forgotten field closes the gate.
        #[default]
        Deny = "deny",
        /// May be forwarded once durable.
        Allow = "allow",
    }
}

words! {
    /// How a call ended.
    Outcome {
        /// Nobody knows: the proxy stopped before the answer was written down.
        #[default]
        Unknown = "unknown",
        /// The upstream answered with a result.
        Ok = "ok",
        /// The upstream answered with a result marked `isError`.
        ToolError = "tool_error",
        /// The upstream answered with a JSON-RPC error.
        RpcError = "rpc_error",
        /// The upstream answered with an HTTP status that is no success.
        HttpError = "http_error",
        /// The upstream did not answer in time.
        Timeout = "timeout",
        /// The upstream could not be reached.
        Unreachable = "unreachable",
        /// The caller went away or took the call back.
        Cancelled = "cancelled",
        /// Never forwarded: the verdict was deny.
        Refused = "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back_as_the_value_that_wrote_it() {
        assert!(
            Outcome::ALL
                .iter()
                .all(|v| Outcome::parse(v.as_str()) == Some(*v))
        );
        assert!(
            Verdict::ALL
                .iter()
                .all(|v| Verdict::parse(v.as_str()) == Some(*v))
        );
        assert!(
            Direction::ALL
                .iter()
                .all(|v| Direction::parse(v.as_str()) == Some(*v))
        );
    }

    #[test]
    fn a_call_with_nothing_filled_in_is_denied() {
        assert_eq!(<Call>::default().verdict, Verdict::Deny);
    }
}

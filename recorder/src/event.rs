//! What happened besides calls: the rows of the table `events`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::call::words;

/// One event. Which fields are filled depends on the kind; `text` is a sentence for people, `detail` JSON for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event<S = Arc<str>> {
    /// What happened.
    pub kind: EventKind,
    /// Digest of the document it is about.
    pub digest: Option<S>,
    /// The server it is about.
    pub server: Option<S>,
    /// The grant it is about.
    pub grant: Option<S>,
    /// The tool it is about.
    pub tool: Option<S>,
    /// The address it came from.
    pub address: Option<S>,
    /// How many, or how much.
    pub count: Option<i64>,
    /// One sentence.
    pub text: Option<S>,
    /// The rest, as JSON.
    pub detail: Option<S>,
}

impl<S> Event<S> {
    /// An event of this kind with nothing else filled in.
    pub fn of(kind: EventKind) -> Self {
        Self {
            kind,
            digest: None,
            server: None,
            grant: None,
            tool: None,
            address: None,
            count: None,
            text: None,
            detail: None,
        }
    }
}

words! {
    /// What happened.
    EventKind {
        /// The proxy began to serve.
        #[default]
        Start = "start",
        /// The proxy stopped in good order.
        Stop = "stop",
        /// A policy came into force.
        Policy = "policy",
        /// A resolver came into force.
        Resolver = "resolver",
        /// A grant came into force or was taken away.
        Grant = "grant",
        /// A configuration came into force.
        Configuration = "configuration",
        /// The wall clock moved by more than a second against the monotonic clock.
        ClockStep = "clock_step",
        /// The record could not be written, or can be again.
        StorageFault = "storage_fault",
        /// Decisions that were refused because they could not be made durable.
        Void = "void",
        /// Refusals that were counted instead of recorded.
        Suppressed = "suppressed",
        /// A stranger was turned away.
        Unauthenticated = "unauthenticated",
        /// A limit started full or empty because the record does not reach back far enough.
        LimitStart = "limit_start",
        /// Old rows were deleted as configured.
        Retention = "retention",
        /// A key was replaced.
        KeyRotation = "key_rotation",
        /// A server said for the first time, or anew, what a tool is.
        ToolDefinition = "tool_definition",
        /// A candidate began to be judged alongside the calls of a grant, or no longer is.
        Shadow = "shadow",
    }
}

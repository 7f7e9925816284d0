//! Leave to forward: the only key to [`crate::upstream::Upstream::forward`].

/// Leave for one message to go to an upstream. Taken by value, so it opens the way once.
#[derive(Debug)]
#[must_use = "leave that is not used was recorded for nothing"]
pub enum Leave {
    /// No policy judges this message.
    Pass(Pass),
}

/// Leave for a message that no policy judges. Private inside: a judged method cannot get one.
#[derive(Debug)]
pub struct Pass(());

/// Methods that policy judges, which therefore need a permit.
pub const JUDGED: [&str; 3] = ["prompts/get", "resources/read", "tools/call"];

/// Methods and notifications of the known revisions that pass and are recorded.
const PASSING: [&str; 32] = [
    "completion/complete",
    "elicitation/create",
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/elicitation/complete",
    "notifications/initialized",
    "notifications/message",
    "notifications/progress",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
    "notifications/tools/list_changed",
    "ping",
    "prompts/list",
    "resources/list",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "roots/list",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/list",
    "notifications/subscriptions/acknowledged",
    "notifications/tasks",
];

impl Pass {
    /// Leave for a method of the known revisions that policy does not judge; `None` for all others.
    pub fn for_method(method: &str) -> Option<Self> {
        PASSING.contains(&method).then_some(Self(()))
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

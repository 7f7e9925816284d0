//! The methods of the protocol's known revisions, from a client's side.

/// Whether `method` passes without a policy being asked: those of the revisions 2024-11-05 to
/// 2026-07-28 except the ones that act or read (`tools/call`, `resources/read`, `prompts/get`).
pub fn known_method(method: &str) -> bool {
    matches!(
        method,
        "initialize"
            | "ping"
            | "server/discover"
            | "tools/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/subscribe"
            | "resources/unsubscribe"
            | "prompts/list"
            | "completion/complete"
            | "logging/setLevel"
            | "subscriptions/listen"
            | "tasks/get"
            | "tasks/list"
            | "tasks/result"
            | "tasks/cancel"
            | "tasks/update"
            | "notifications/initialized"
            | "notifications/cancelled"
            | "notifications/progress"
            | "notifications/roots/list_changed"
            | "notifications/tasks/status"
    )
}

/// Whether a call of `method` without an id is refused: it would act and nobody would hear how.
pub(super) fn needs_id(method: &str) -> bool {
    matches!(method, "tools/call" | "resources/read" | "prompts/get")
}

//! What the benches share: one message, policies of any size, and the other engines.
//!
//! This crate never measures a thing that it does not also check: the tests below hold that every engine gives the
//! same answers, so that the ratios compare like with like.
#![allow(
    clippy::expect_used,
    reason = "a bench that cannot be set up should stop at once"
)]

pub mod bare;
pub mod peers;
pub mod rows;

use weir_policy::{Context, Micros};

/// The context every benched call is judged in.
pub fn context() -> Context<'static> {
    Context {
        node: "node-1",
        server: "nas",
        grant: "ops-agent",
        session: "0197a3",
        client_name: "bench",
        client_version: "1",
        received_at: Micros(1_795_348_800_000_000),
    }
}

/// A `tools/call` of 110 bytes.
pub fn message(tool: usize, force: bool) -> Vec<u8> {
    let text = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":41,\"method\":\"tools/call\",\"params\":{{\"name\":\"tool_{tool}\",\"arguments\":{{\"id\":7,\"force\":{force}}}}}}}"
    );
    text.into_bytes()
}

/// The policy of the question in [`peers`], for this many tools; `limit` adds a rate limit to each.
pub fn policy(tools: usize, limit: bool) -> String {
    let limits = if limit {
        r#", "limits": [{ "counter": "rate", "window": "minute", "max": 4000000000, "scope": "grant" }]"#
    } else {
        ""
    };
    let tools = (0..tools)
        .map(|n| {
            format!(
                r#""tool_{n}": {{ "require": [{{ "conditions": [{{ "path": "args.id", "op": "type", "value": "number" }}], "on_deny": "id must be a number" }}],
                "deny_if": [{{ "conditions": [{{ "path": "args.force", "op": "eq", "value": true }}], "on_deny": "forced" }}]{limits} }}"#
            )
        })
        .collect::<Vec<_>>()
        .join(",\n");
    format!(r#"{{ "version": "1", "default": "deny", "tools": {{ {tools} }} }}"#)
}

#[cfg(test)]
mod tests {
    use super::peers::{Cedar, CommonExpression, Peer, Rego};
    use super::*;

    fn answers<P: Peer>() -> [bool; 4] {
        let mut peer = P::with_tools(100);
        [
            peer.allows(&message(3, false)),
            peer.allows(&message(3, true)),
            peer.allows(&message(100, false)),
            peer.allows(br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"tool_1","arguments":{"id":"7"}}}"#),
        ]
    }

    #[test]
    fn every_peer_answers_the_question_alike() {
        let expected = [true, false, false, false];
        assert_eq!(answers::<Cedar>(), expected, "cedar");
        assert_eq!(answers::<CommonExpression>(), expected, "cel");
        assert_eq!(answers::<Rego>(), expected, "regorus");
    }
}

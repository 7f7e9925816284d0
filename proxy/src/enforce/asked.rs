//! What a server asks of a client: written down as rows of their own, and judged where it makes the client run tools.
//!
//! Sampling that carries tools runs them inside the client, past `tools/call`; so it follows the policy's `default` or its
//! `method:sampling/createMessage` (DESIGN 5.5). What is denied does not reach the client, and the server is told.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use weir_policy::{Ask, AskKind, Context, Decision, ENGINE, Object, Value};
use weir_recorder::{Call, Direction, Finish, Outcome};

use super::tap::Tap;
use crate::leave::{Leave, Pass};
use crate::ledger::{Heard, unrecorded};
use crate::upstream::{Exchange, MessageKind};

/// The one request of a server that can make a client act.
const SAMPLING: &str = "sampling/createMessage";

#[derive(Deserialize)]
struct Sampling<'a> {
    #[serde(borrow)]
    params: Option<SamplingParams<'a>>,
}

#[derive(Deserialize)]
struct SamplingParams<'a> {
    #[serde(borrow)]
    tools: Option<&'a RawValue>,
}

/// Whether a request of the server carries tools; one that cannot be read in one way counts as if it did.
fn carries_tools(method: &str, message: &[u8]) -> bool {
    if method != SAMPLING {
        return false;
    }
    match serde_json::from_slice::<Sampling<'_>>(message) {
        Ok(sampling) => sampling.params.and_then(|params| params.tools).is_some(),
        Err(_) => true,
    }
}

impl Tap {
    /// Writes a request of the server down, and says whether it may reach the client.
    pub(super) async fn admits(&self, method: &str, id: &str, message: &Bytes) -> bool {
        if !carries_tools(method, message) {
            if let Ok(commit) = self
                .gate
                .ledger
                .record(&Decision::allow(), self.asked(method, id, message))
            {
                // Its answer comes as a message of its own, and is a row of its own.
                drop(self.gate.ledger.finish(commit.seq(), &Finish::default()));
            }
            return true;
        }
        let decision = self.judge(method, id, message).await;
        self.gate
            .note_decided(&self.caller, &format!("method:{method}"), &decision);
        if !decision.is_allow() {
            self.tell_server(id, &decision);
        }
        decision.is_allow()
    }

    async fn judge(&self, method: &str, id: &str, message: &Bytes) -> Decision {
        let judging = Instant::now();
        let nothing = Value::Object(Object::default());
        let ask = Ask {
            wire_tool: format!("method:{method}").into(),
            kind: AskKind::Method,
            arguments: &nothing,
        };
        let resolution = match self.caller.server.resolver.resolve(&ask) {
            Ok(resolution) => resolution,
            Err(decision) => return decision,
        };
        let client = &self.session.client;
        let call = self.asked(method, id, message);
        let context = Context {
            node: self.gate.ledger.node(),
            server: &self.caller.server.name,
            grant: &self.caller.grant.name,
            session: &self.session.id,
            client_name: client.name.as_deref().unwrap_or_default(),
            client_version: client.version.as_deref().unwrap_or_default(),
            received_at: weir_policy::Micros(call.received_at),
        };
        let policy = self.caller.grant.policy.as_deref();
        let heard = Heard::of(&resolution, None, &context);
        let evaluation = heard.evaluate(policy);
        let call = Call {
            wire_tool: Some(ask.wire_tool.as_ref()),
            tool: Some(ask.wire_tool.as_ref()),
            risk: Some(resolution.risk().as_str()),
            policy_digest: self.caller.grant.policy_digest.as_deref(),
            resolver_digest: Some(self.caller.server.resolver_digest.as_str()),
            engine: Some(ENGINE),
            decide_ns: i32::try_from(judging.elapsed().as_nanos()).ok(),
            ..call
        };
        let heard = heard.by(&self.caller.grant.candidates);
        let durable = match self.gate.ledger.decide(evaluation, heard, call) {
            Ok(decided) => {
                let (decision, seq) = (decided.decision, decided.commit.seq());
                decided
                    .commit
                    .wait()
                    .await
                    .inspect(|_| self.gate.note_opinions(&self.caller, &decided.opinions))
                    .map(|permit| (decision, seq, permit.is_some()))
            }
            Err(why) => Err(why),
        };
        match durable {
            Ok((decision, seq, allowed)) => {
                if allowed {
                    drop(self.gate.ledger.finish(
                        seq,
                        &Finish {
                            outcome: Outcome::Unknown,
                            ..Finish::default()
                        },
                    ));
                }
                decision
            }
            Err(why) => {
                self.gate.note_unrecorded(&self.caller, &why);
                unrecorded(Some(&why))
            }
        }
    }

    /// Answers a denied request in the client's stead, so that the server need not wait.
    fn tell_server(&self, id: &str, decision: &Decision) {
        let text = format!("[POLICY DENIED] {}", decision.message.as_str());
        let error = json!({ "code": -31_001, "message": text, "data": { "weir/rule": decision.rule.as_str() } });
        let id = if serde_json::from_str::<&RawValue>(id).is_ok() {
            id
        } else {
            "null"
        };
        let exchange = Exchange {
            method: http::Method::POST,
            headers: Arc::clone(&self.headers),
            body: format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#).into(),
            request_id: None,
            rpc_method: "".into(),
            kind: MessageKind::Response,
            era: self.era,
            session: self.protocol_session.clone(),
            grant: Arc::clone(&self.caller.grant.name),
            caller: self.caller_key.clone(),
        };
        let upstream = self.caller.server.upstream.clone();
        self.gate.carriers.spawn(async move {
            if let Err(error) = upstream.forward(Leave::Pass(Pass::for_response()), exchange).await {
                tracing::debug!(cause = %error.cause, "a server could not be told that its request was denied");
            }
        });
    }

    fn asked<'a>(&'a self, method: &'a str, id: &'a str, message: &Bytes) -> Call<&'a str> {
        let received_at = self.gate.ledger.clock().now();
        let client = &self.session.client;
        Call {
            direction: Direction::Server,
            call_id: crate::call_id::fresh(received_at),
            received_at: received_at.0,
            server: Some(&self.caller.server.name),
            grant: Some(&self.caller.grant.name),
            session: Some(&self.session.id),
            principal: self.caller.identity.principal.as_deref(),
            client_name: client.name.as_deref(),
            client_version: client.version.as_deref(),
            client_address: Some(&self.caller.peer.address_text),
            protocol: client.protocol.as_deref(),
            method: Some(method),
            request_id: Some(id),
            request_bytes: i64::try_from(message.len()).ok(),
            ..Call::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::carries_tools;

    #[test]
    fn sampling_with_tools_is_told_from_sampling_without() {
        let with = br#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"messages":[],"tools":[{}]}}"#;
        let without = br#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"messages":[]}}"#;
        let twice = br#"{"params":{"tools":[1],"tools":null}}"#;
        assert!(carries_tools("sampling/createMessage", with));
        assert!(!carries_tools("sampling/createMessage", without));
        assert!(
            carries_tools("sampling/createMessage", twice),
            "what can be read in two ways is judged"
        );
        assert!(!carries_tools("roots/list", with));
    }
}

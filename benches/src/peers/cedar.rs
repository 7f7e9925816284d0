//! `cedar-policy`: one `permit` a tool, the tool as the action, the arguments as the context.

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityId, EntityTypeName, EntityUid, PolicySet,
    Request,
};

use super::Peer;

/// Cedar with its policies parsed.
pub struct Cedar {
    authorizer: Authorizer,
    policies: PolicySet,
    entities: Entities,
    action: EntityTypeName,
    agent: EntityUid,
    server: EntityUid,
}

impl Peer for Cedar {
    const NAME: &'static str = "cedar-policy";

    fn with_tools(tools: usize) -> Self {
        let source = (0..tools)
            .map(|n| {
                format!(
                    "permit(principal, action == Action::\"tool_{n}\", resource) when {{ context has id && \
                     context.id >= 0 && !(context has force && context.force == true) }};\n"
                )
            })
            .collect::<Vec<_>>()
            .concat();
        Self {
            authorizer: Authorizer::new(),
            policies: source.parse().expect("the policies above are Cedar"),
            entities: Entities::empty(),
            action: "Action".parse().expect("a type name"),
            agent: "Agent::\"ops\"".parse().expect("an entity"),
            server: "Server::\"nas\"".parse().expect("an entity"),
        }
    }

    fn allows(&mut self, message: &[u8]) -> bool {
        let Ok(mut message) = serde_json::from_slice::<serde_json::Value>(message) else {
            return false;
        };
        let Some(tool) = message
            .pointer("/params/name")
            .and_then(|name| name.as_str())
        else {
            return false;
        };
        let action = EntityUid::from_type_name_and_id(self.action.clone(), EntityId::new(tool));
        let Some(arguments) = message.pointer_mut("/params/arguments") else {
            return false;
        };
        let Ok(context) = Context::from_json_value(arguments.take(), None) else {
            return false;
        };
        let Ok(request) = Request::new(
            self.agent.clone(),
            action,
            self.server.clone(),
            context,
            None,
        ) else {
            return false;
        };
        self.authorizer
            .is_authorized(&request, &self.policies, &self.entities)
            .decision()
            == Decision::Allow
    }
}

//! What a known server can do: every operation with its class, its parameters and the requests it makes.
//!
//! A profile is data (`policy/profiles`). It says how a dispatcher is read, which paths of an escape
//! hatch stand for which operation, and which arguments are denied under every policy (DESIGN 5.5).

mod schema;
mod source;

use std::sync::{Arc, LazyLock};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::{Decision, Reason, Risk, Value};

pub use schema::{Kind, Placement, Schema};
pub(crate) use source::{BodySource, ProfileSource};

/// The profile of one kind of server.
#[derive(Debug)]
pub struct Profile {
    source: ProfileSource,
    dispatcher: Option<Operation>,
    operations: HashMap<String, Operation, FixedState>,
}

/// One operation of a profiled server.
#[derive(Debug, Clone)]
pub struct Operation {
    name: String,
    category: String,
    risk: Risk,
    parameters: HashMap<String, Schema, FixedState>,
    required: Vec<String>,
}

static TRUENAS: LazyLock<Option<Arc<Profile>>> = LazyLock::new(|| {
    Profile::parse(include_bytes!("../profiles/truenas.json"))
        .ok()
        .map(Arc::new)
});

impl Profile {
    /// The profile that a configuration names.
    pub fn named(name: &str) -> Option<Arc<Self>> {
        match name {
            "truenas" => TRUENAS.clone(),
            _ => None,
        }
    }

    /// Reads a profile document.
    pub(crate) fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(json).map(Self::compile)
    }

    pub(crate) fn compile(source: ProfileSource) -> Self {
        let dispatcher = source.dispatch.as_ref().map(|dispatch| Operation {
            name: dispatch.tool.clone(),
            category: String::new(),
            risk: Risk::Read,
            parameters: schema::compile(&dispatch.parameters),
            required: Vec::new(),
        });
        let operations = source.operations.iter().map(|(name, operation)| {
            let compiled = Operation {
                name: name.clone(),
                category: operation.category.clone(),
                risk: operation.class,
                parameters: schema::compile(&operation.parameters),
                required: operation.required.clone(),
            };
            (name.clone(), compiled)
        });
        Self {
            dispatcher,
            operations: operations.collect(),
            source,
        }
    }

    /// The name that configurations use.
    pub fn name(&self) -> &str {
        &self.source.profile
    }

    /// The wire tool that takes operations as an argument, if the server has one.
    pub fn dispatcher(&self) -> Option<&str> {
        self.dispatcher
            .as_ref()
            .map(|dispatcher| dispatcher.name.as_str())
    }

    /// The operation that can do anything another one does, if the server has one.
    pub fn hatch(&self) -> Option<&str> {
        self.source.hatch.as_ref().map(|hatch| hatch.tool.as_str())
    }

    /// The operation of this name.
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations.get(name)
    }

    /// Every operation, sorted by name.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.source
            .operations
            .keys()
            .filter_map(|name| self.operations.get(name))
    }

    pub(crate) fn source(&self) -> &ProfileSource {
        &self.source
    }

    /// The schema by which the arguments of `tool` are checked: an operation's, or the dispatcher's own.
    pub(crate) fn checked(&self, tool: &str) -> Option<&Operation> {
        let dispatcher = self
            .dispatcher
            .as_ref()
            .filter(|dispatcher| dispatcher.name == tool);
        dispatcher.or_else(|| self.operation(tool))
    }
}

impl Operation {
    /// The operation's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server's own grouping.
    pub fn category(&self) -> &str {
        &self.category
    }

    /// What harm it can do.
    pub fn risk(&self) -> Risk {
        self.risk
    }

    /// The schema of a parameter.
    pub fn parameter(&self, name: &str) -> Option<&Schema> {
        self.parameters.get(name)
    }

    /// The parameters' names, sorted.
    pub fn parameters(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.parameters.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The parameters that the server says it needs. A call without them is the server's to refuse:
    /// what is not there can do no harm that a policy would have seen.
    pub fn required(&self) -> &[String] {
        &self.required
    }

    /// Denies an unknown, mistyped or unsafe argument (DESIGN 5.5), whatever the policy says.
    pub fn check(&self, arguments: &Value<'_>) -> Result<(), Decision> {
        let Value::Object(arguments) = arguments else {
            return Err(self.refuse("the arguments must be an object"));
        };
        for (key, value) in arguments.iter() {
            let Some(schema) = self.parameters.get(key) else {
                return Err(self.refuse(&format!("unknown parameter {}", shown(key))));
            };
            schema
                .check(value)
                .map_err(|fault| self.refuse(&format!("`{key}` {fault}")))?;
        }
        Ok(())
    }

    fn refuse(&self, what: &str) -> Decision {
        arguments_denied(&format!("`{}`: {what}", self.name))
    }
}

/// The denial of a call whose arguments cannot be let through, whatever the policy says.
pub(crate) fn arguments_denied(message: &str) -> Decision {
    Decision::deny(Reason::Arguments, "(arguments)", message.to_owned())
}

/// A key of the caller's for a message: only where it looks like a parameter's name, so that nothing
/// longer or stranger comes back or lands in the record's dictionary.
fn shown(key: &str) -> String {
    let plain = key.len() <= 48
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    if plain {
        format!("`{key}`")
    } else {
        "(name withheld)".to_owned()
    }
}

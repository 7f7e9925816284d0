//! What the operations take, as the `truenas` profile of the policy crate declares it.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use weir_policy::{Kind, Operation, Profile, Schema};

/// Parameters by operation.
pub struct Schemas {
    profile: Option<Arc<Profile>>,
}

impl Schemas {
    /// Those of the `truenas` profile.
    pub fn embedded() -> Self {
        Self {
            profile: Profile::named("truenas"),
        }
    }

    /// The input schema of an operation.
    pub fn of(&self, operation: &str) -> Value {
        let Some(operation) = self.operation(operation) else {
            return json!({"type": "object"});
        };
        let properties: Map<String, Value> = operation
            .parameters()
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), property(operation.parameter(name)?))))
            .collect();
        json!({"type": "object", "properties": properties, "required": operation.required()})
    }

    /// The names of an operation's required and optional parameters.
    pub fn parameters(&self, operation: &str) -> (Vec<&str>, Vec<&str>) {
        let operation = self.operation(operation);
        let names = operation.into_iter().flat_map(Operation::parameters);
        names.partition(|name| operation.is_some_and(|o| o.required().iter().any(|r| r == name)))
    }

    fn operation(&self, name: &str) -> Option<&Operation> {
        self.profile.as_ref()?.operation(name)
    }
}

fn property(schema: &Schema) -> Value {
    let mut property = Map::new();
    let kind = match schema.kind() {
        Kind::Any => None,
        Kind::Boolean => Some("boolean"),
        Kind::Number => Some("number"),
        Kind::Integer => Some("integer"),
        Kind::String => Some("string"),
        Kind::Array => Some("array"),
        Kind::Object => Some("object"),
    };
    if let Some(kind) = kind {
        property.insert("type".to_owned(), kind.into());
    }
    if !schema.choices().is_empty() {
        property.insert("enum".to_owned(), schema.choices().into());
    }
    Value::Object(property)
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]

    use super::super::catalogue::Catalogue;
    use super::*;

    #[test]
    fn the_profile_knows_every_operation_of_the_catalogue_and_no_other() {
        let (catalogue, profile) = (Catalogue::embedded(), Profile::named("truenas").unwrap());
        let mut ours: Vec<_> = catalogue
            .operations()
            .iter()
            .map(|o| (o.name, o.category))
            .collect();
        let mut theirs: Vec<_> = profile
            .operations()
            .map(|o| (o.name(), o.category()))
            .collect();
        ours.sort_unstable();
        theirs.sort_unstable();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn a_flat_tool_says_what_it_takes() {
        let schema = Schemas::embedded().of("vm_stop");
        assert_eq!(schema["properties"]["force"], json!({"type": "boolean"}));
        assert_eq!(schema["required"], json!(["id"]));
    }
}

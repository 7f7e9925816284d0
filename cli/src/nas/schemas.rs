//! The schemas of the operations' parameters, as the profile of the policy crate declares them.

use serde_json::{Value, json};

/// Schemas by operation.
pub struct Schemas {
    operations: serde_json::Map<String, Value>,
}

impl Schemas {
    /// The schemas of the `truenas` profile.
    pub fn embedded() -> Self {
        Self {
            operations: serde_json::Map::new(),
        }
    }

    /// The input schema of an operation; an object of anything where none is declared.
    pub fn of(&self, operation: &str) -> Value {
        self.operations
            .get(operation)
            .cloned()
            .unwrap_or_else(|| json!({"type": "object"}))
    }

    /// The names of an operation's required and optional parameters.
    pub fn parameters(&self, operation: &str) -> (Vec<String>, Vec<String>) {
        let schema = self.of(operation);
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let names = schema
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flat_map(|p| p.keys().cloned());
        names.partition(|name| required.contains(&name.as_str()))
    }
}

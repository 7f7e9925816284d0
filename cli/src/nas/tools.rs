//! The tools a client sees: one dispatcher over everything, or one tool for each operation.

use serde_json::{Map, Value, json};

use super::catalogue::{Catalogue, Operation};
use super::model::{Model, Reply, truthy};
use super::schemas::Schemas;
use super::{log::Request, url};

/// The name of the dispatcher.
pub const DISPATCHER: &str = "truenas";

/// The operation that does anything any other does.
const HATCH: &str = "truenas_api_call";

/// What calling a tool came to.
pub struct Called {
    /// Text of the result.
    pub text: String,
    /// Whether the result says so: soft errors do not.
    pub is_error: bool,
    /// The operation that was carried out, if it came to that.
    pub operation: Option<&'static str>,
    /// The requests it made, in order.
    pub requests: Vec<Request>,
}

/// Calls the dispatcher, which looks at nothing it is not forced to look at.
pub fn dispatch(
    catalogue: &Catalogue,
    schemas: &Schemas,
    model: &mut Model,
    arguments: &Value,
) -> Called {
    let word = |name: &str| {
        arguments
            .get(name)
            .and_then(Value::as_str)
            .filter(|word| !word.is_empty())
    };
    let Some(category) = word("category").filter(|category| *category != "help") else {
        return Called::said(categories(catalogue));
    };
    if !catalogue.categories().contains(&category) {
        let known = catalogue.categories().join(", ");
        return Called::soft(&format!(
            "There is no category \"{category}\". Known: {known}"
        ));
    }
    let Some(action) = word("action") else {
        return Called::said(actions(catalogue, schemas, category));
    };
    match catalogue.operation(action) {
        None => {
            let known: Vec<_> = within(catalogue, category)
                .map(|operation| operation.name)
                .collect();
            Called::soft(&format!(
                "\"{category}\" has no action \"{action}\". Known: {}",
                known.join(", ")
            ))
        }
        Some(operation) if operation.category != category => Called::soft(&format!(
            "Action \"{action}\" is in category \"{}\", not in \"{category}\". Call it there.",
            operation.category
        )),
        Some(operation) => perform(
            operation,
            model,
            arguments.get("params").unwrap_or(&Value::Null),
        ),
    }
}

/// Carries an operation out, with whatever parameters came.
pub fn perform(operation: &Operation, model: &mut Model, params: &Value) -> Called {
    let empty = Map::new();
    let params = params.as_object().unwrap_or(&empty);
    if operation.confirm && !params.get("confirm").is_some_and(truthy) {
        return Called::said("Not done: set confirm to true to go ahead.".to_owned());
    }
    let text = |name: &str| params.get(name).and_then(Value::as_str).unwrap_or_default();
    let (method, target, body) = if operation.name == HATCH {
        let written = |body: &Value| {
            body.as_str()
                .and_then(|text| serde_json::from_str(text).ok())
        };
        let sent = params
            .get("body")
            .map(|body| written(body).unwrap_or_else(|| body.clone()));
        (
            text("method").to_ascii_uppercase(),
            url::hatch(text("path")),
            sent,
        )
    } else {
        (
            operation.method.to_owned(),
            url::careless(operation.path, params),
            operation.body(params),
        )
    };
    let reply = model.request(&method, &target, body.as_ref());
    Called::answered(
        operation.name,
        Request {
            method,
            path: target,
            body,
            status: reply.status,
        },
        &reply,
    )
}

/// The tool list of the dispatcher: one entry.
pub fn dispatcher_tools(catalogue: &Catalogue) -> Value {
    let categories = catalogue.categories().join(", ");
    json!([{
        "name": DISPATCHER,
        "description": format!(
            "Runs a NAS: {} actions in categories.\n\n\
             Nothing, or category \"help\": the categories. A category alone: its actions and their parameters. \
             Category, action and params: do it.\n\nCategories: {categories}",
            catalogue.operations().len()
        ),
        "inputSchema": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": {
                "category": { "type": "string", "description": format!("One of: {categories}") },
                "action": { "type": "string", "description": "An action of the category; left out, its actions are listed" },
                "params": {
                    "type": "object",
                    "description": "Parameters of the action",
                    "propertyNames": { "type": "string" },
                    "additionalProperties": {}
                }
            }
        },
        "execution": { "taskSupport": "forbidden" }
    }])
}

/// The tool list of a flat server: one entry for each operation, with the schema of its parameters.
pub fn flat_tools(catalogue: &Catalogue, schemas: &Schemas) -> Value {
    catalogue
        .operations()
        .iter()
        .map(|operation| {
            json!({
                "name": operation.name,
                "description": sentence(operation.name),
                "inputSchema": schemas.of(operation.name),
            })
        })
        .collect()
}

fn categories(catalogue: &Catalogue) -> String {
    let lines: Vec<_> = catalogue
        .categories()
        .iter()
        .map(|category| {
            format!(
                "  {category} ({} actions)",
                within(catalogue, category).count()
            )
        })
        .collect();
    format!(
        "{} actions in {} categories.\nName a category to see its actions; name category, action and params to act.\n\nCategories:\n{}",
        catalogue.operations().len(),
        lines.len(),
        lines.join("\n")
    )
}

fn actions(catalogue: &Catalogue, schemas: &Schemas, category: &str) -> String {
    let mut lines = Vec::new();
    for operation in within(catalogue, category) {
        lines.push(format!(
            "  {}: {}",
            operation.name,
            sentence(operation.name)
        ));
        let (required, optional) = schemas.parameters(operation.name);
        for (word, names) in [("Required", required), ("Optional", optional)] {
            if !names.is_empty() {
                lines.push(format!("    {word}: {}", names.join(", ")));
            }
        }
    }
    let count = within(catalogue, category).count();
    format!(
        "Category: {category}\n\n{count} actions:\n\n{}",
        lines.join("\n")
    )
}

fn within<'a>(catalogue: &'a Catalogue, category: &str) -> impl Iterator<Item = &'a Operation> {
    catalogue
        .operations()
        .iter()
        .filter(move |operation| operation.category == category)
}

/// `vm_device_list` read aloud: a description as terse as many servers give.
fn sentence(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().collect::<String>() + letters.as_str())
        .unwrap_or_default()
}

impl Called {
    fn said(text: String) -> Self {
        Self {
            text,
            is_error: false,
            operation: None,
            requests: Vec::new(),
        }
    }

    /// An error that looks like a success, as the real server sends them.
    fn soft(error: &str) -> Self {
        Self::said(pretty(&json!({ "error": error })))
    }

    fn answered(operation: &'static str, request: Request, reply: &Reply) -> Self {
        let is_error = reply.status >= 400;
        let text = if is_error {
            format!(
                "Error: the NAS answered {}: {}",
                reply.status,
                reply.body.as_str().unwrap_or_default()
            )
        } else {
            pretty(&reply.body)
        };
        Self {
            text,
            is_error,
            operation: Some(operation),
            requests: vec![request],
        }
    }
}

/// JSON as the server prints it into its texts.
pub fn pretty(value: &Value) -> String {
    format!("{value:#}")
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

    use super::*;

    fn call(arguments: &Value) -> Called {
        let catalogue = Catalogue::embedded();
        let mut model = Model::seeded(&catalogue).unwrap();
        dispatch(&catalogue, &Schemas::embedded(), &mut model, arguments)
    }

    #[test]
    fn an_action_in_the_wrong_category_is_a_soft_error() {
        let called = call(&json!({"category": "system", "action": "vm_stop", "params": {"id": 1}}));
        assert!(!called.is_error && called.requests.is_empty());
        assert!(called.text.starts_with("{\n  \"error\""), "{}", called.text);
    }

    #[test]
    fn a_confirm_that_is_no_boolean_is_enough() {
        let refused = call(&json!({"category": "vm", "action": "vm_delete", "params": {"id": 3}}));
        assert!(refused.requests.is_empty());
        let done = call(
            &json!({"category": "vm", "action": "vm_delete", "params": {"id": 3, "confirm": "yes"}}),
        );
        assert_eq!(
            (done.requests[0].method.as_str(), done.text.as_str()),
            ("DELETE", "true")
        );
    }

    #[test]
    fn a_start_with_a_fragment_stops_the_machine() {
        let called =
            call(&json!({"category": "vm", "action": "vm_start", "params": {"id": "2/stop#"}}));
        assert_eq!(called.requests[0].path, "/api/v2.0/vm/id/2/stop");
        assert_eq!(called.text, "true");
    }

    #[test]
    fn the_hatch_does_what_the_operation_does() {
        let params = json!({"method": "POST", "path": "/vm/id/2/stop", "body": "{\"force\":true}"});
        let called =
            call(&json!({"category": "api", "action": "truenas_api_call", "params": params}));
        assert_eq!(called.requests[0].body, Some(json!({"force": true})));
        assert_eq!(called.text, "true");
    }

    #[test]
    fn a_machine_that_is_not_there_is_a_hard_error() {
        let called = call(&json!({"category": "vm", "action": "vm_stop", "params": {"id": 99}}));
        assert!(called.is_error);
        assert_eq!(
            called.text,
            "Error: the NAS answered 404: there is no VM 99"
        );
    }

    #[test]
    fn a_category_alone_lists_its_sixteen_actions() {
        let called = call(&json!({"category": "vm"}));
        assert!(
            called.text.contains("16 actions:") && called.text.contains("  vm_stop: Vm stop"),
            "{}",
            called.text
        );
    }
}

//! The operations of the NAS, and how each becomes a REST request.

use serde_json::{Map, Value};

/// Every operation, in the order the server lists them.
pub struct Catalogue {
    operations: Vec<Operation>,
}

/// One operation: its name, and the request it makes.
pub struct Operation {
    /// `vm_stop`
    pub name: &'static str,
    /// `vm`
    pub category: &'static str,
    /// Whether it acts only when `confirm` is truthy.
    pub confirm: bool,
    /// `POST`, or `{method}` for the escape hatch.
    pub method: &'static str,
    /// `/vm/id/{id}/stop`
    pub path: &'static str,
    body: Body,
}

/// What an operation sends.
enum Body {
    None,
    Rest,
    Only(&'static str),
    Fields(Vec<(&'static str, &'static str)>),
}

impl Catalogue {
    /// Reads the embedded table.
    pub fn embedded() -> Self {
        let mut category = "";
        let mut operations = Vec::new();
        for line in include_str!("routes.txt")
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with('#'))
        {
            match line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                Some(heading) => category = heading,
                None => operations.extend(Operation::parse(category, line)),
            }
        }
        Self { operations }
    }

    /// The operation called `name`.
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        self.operations
            .iter()
            .find(|operation| operation.name == name)
    }

    /// Every operation.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The categories, in order.
    pub fn categories(&self) -> Vec<&'static str> {
        let mut categories: Vec<_> = self
            .operations
            .iter()
            .map(|operation| operation.category)
            .collect();
        categories.dedup();
        categories
    }
}

impl Operation {
    fn parse(category: &'static str, line: &'static str) -> Option<Self> {
        let mut words = line.split(' ');
        let (name, method, path) = (words.next()?, words.next()?, words.next()?);
        let body = match words.next() {
            None => Body::None,
            Some("{*}") => Body::Rest,
            Some(word) => match word.strip_prefix('=') {
                Some(parameter) => Body::Only(parameter),
                None => Body::Fields(
                    word.trim_matches(['{', '}'])
                        .split(',')
                        .map(|field| field.split_once('=').unwrap_or((field, field)))
                        .collect(),
                ),
            },
        };
        let confirm = name.ends_with('!');
        Some(Self {
            name: name.trim_end_matches('!'),
            category,
            confirm,
            method,
            path,
            body,
        })
    }

    /// Whether `parameter` is pasted into the path.
    fn in_path(&self, parameter: &str) -> bool {
        self.path.contains(&format!("{{{parameter}}}"))
            || self.path.contains(&format!("{{{parameter}%}}"))
    }

    /// The request's body, unchecked: whatever the caller gave goes in.
    pub fn body(&self, params: &Map<String, Value>) -> Option<Value> {
        match &self.body {
            Body::None => None,
            Body::Rest => Some(Value::Object(
                params
                    .iter()
                    .filter(|(name, _)| *name != "confirm" && !self.in_path(name))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
            )),
            Body::Only(parameter) => params.get(*parameter).cloned(),
            Body::Fields(fields) => {
                let mut body = Map::new();
                for (place, parameter) in fields {
                    let Some(value) = params.get(*parameter) else {
                        continue;
                    };
                    match place.split_once('.') {
                        None => {
                            body.insert((*place).to_owned(), value.clone());
                        }
                        Some((outer, inner)) => {
                            let nested = body
                                .entry(outer)
                                .or_insert_with(|| Value::Object(Map::new()));
                            if let Value::Object(nested) = nested {
                                nested.insert(inner.to_owned(), value.clone());
                            }
                        }
                    }
                }
                Some(Value::Object(body))
            }
        }
    }
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

    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_holds_278_operations_in_18_categories() {
        let catalogue = Catalogue::embedded();
        assert_eq!(catalogue.operations().len(), 278);
        assert_eq!(catalogue.categories().len(), 18);
    }

    #[test]
    fn bodies_take_the_form_the_api_wants() {
        let catalogue = Catalogue::embedded();
        let body = |name: &str, params: Value| {
            catalogue
                .operation(name)
                .unwrap()
                .body(params.as_object().unwrap())
                .map(|b| b.to_string())
        };
        assert_eq!(
            body("vm_stop", json!({"id": 1, "force": true})).unwrap(),
            r#"{"force":true}"#
        );
        assert_eq!(
            body("vm_delete", json!({"id": 1, "confirm": "yes"})).unwrap(),
            "{}"
        );
        assert_eq!(
            body("service_stop", json!({"service": "ssh"})).unwrap(),
            r#""ssh""#
        );
        assert_eq!(body("vm_restart", json!({"id": 1})), None);
        assert_eq!(
            body(
                "app_rollback",
                json!({"id": "plex", "app_version": "1", "confirm": true})
            )
            .unwrap(),
            r#"{"app_name":"plex","options":{"app_version":"1"}}"#
        );
    }
}

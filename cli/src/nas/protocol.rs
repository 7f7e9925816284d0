//! MCP as the NAS speaks it: bytes of a message in, the answer out.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::catalogue::Catalogue;
use super::log::{Entry, Log};
use super::model::Model;
use super::schemas::Schemas;
use super::{Shape, resources, tools};

/// The revision without sessions, and the revisions before it.
pub const MODERN: &str = "2026-07-28";
const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// The NAS, ready to answer from any number of threads.
pub struct Nas {
    shape: Shape,
    catalogue: Catalogue,
    schemas: Schemas,
    inside: Mutex<Inside>,
}

/// What one message at a time may change.
struct Inside {
    model: Model,
    log: Log,
}

/// A message as far as a careless server looks at it: the last of two equal keys wins, unknown ones are ignored.
#[derive(Deserialize)]
struct Received<'a> {
    #[serde(default, borrow)]
    id: Option<&'a RawValue>,
    method: Option<String>,
    #[serde(default, borrow)]
    params: Option<&'a RawValue>,
}

/// The params of the methods that name something.
#[derive(Default, Deserialize)]
struct Named<'a> {
    #[serde(default)]
    name: String,
    #[serde(default)]
    uri: String,
    #[serde(default, borrow)]
    arguments: Option<&'a RawValue>,
}

/// A JSON-RPC error.
struct Refusal {
    code: i32,
    message: String,
}

impl Nas {
    /// A NAS as it stands on a Monday morning.
    pub fn new(shape: Shape, log: Log) -> Result<Self, serde_json::Error> {
        let catalogue = Catalogue::embedded();
        let model = Model::seeded(&catalogue)?;
        Ok(Self {
            shape,
            catalogue,
            schemas: Schemas::embedded(),
            inside: Mutex::new(Inside { model, log }),
        })
    }

    /// The answer to one message; `None` for what wants no answer.
    ///
    /// # Errors
    /// When the NAS's own log cannot be written: then it must not answer either.
    pub fn answer(&self, message: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
        let Ok(received) = serde_json::from_slice::<Received<'_>>(message) else {
            return Ok(Some(envelope(
                "null",
                Err(refusal(-32700, "that is not a message")),
            )));
        };
        let (Some(id), Some(method)) = (received.id, received.method.as_deref()) else {
            return Ok(None);
        };
        let params = received.params.map_or("{}", RawValue::get);
        let modern = self.shape == Shape::Flat && era(params) == Some(MODERN);
        let result = self.result(method, params)?.map(|result| {
            if modern {
                complete(method, result)
            } else {
                result
            }
        });
        Ok(Some(envelope(id.get(), result)))
    }

    fn result(&self, method: &str, params: &str) -> std::io::Result<Result<Value, Refusal>> {
        Ok(Ok(match method {
            "initialize" => self.initialize(params),
            "server/discover" if self.shape == Shape::Flat => json!({
                "supportedVersions": [MODERN],
                "capabilities": {"tools": {}, "resources": {}},
                "serverInfo": self.identity(),
            }),
            "ping" => json!({}),
            "tools/list" => json!({"tools": match self.shape {
                Shape::Dispatcher => tools::dispatcher_tools(&self.catalogue),
                Shape::Flat => tools::flat_tools(&self.catalogue, &self.schemas),
            }}),
            "resources/list" => json!({"resources": resources::list()}),
            "resources/templates/list" => json!({"resourceTemplates": []}),
            "tools/call" => return self.call(params),
            "resources/read" => return self.read(params),
            _ => {
                return Ok(Err(refusal(
                    -32601,
                    &format!("there is no method {method}"),
                )));
            }
        }))
    }

    fn initialize(&self, params: &str) -> Value {
        let params: Value = serde_json::from_str(params).unwrap_or_default();
        let wanted = params
            .get("protocolVersion")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let version = LEGACY
            .iter()
            .find(|known| **known == wanted)
            .unwrap_or(&LEGACY[0]);
        json!({
            "protocolVersion": version,
            "capabilities": {"tools": {"listChanged": true}, "resources": {"listChanged": true}},
            "serverInfo": self.identity(),
        })
    }

    fn identity(&self) -> Value {
        let name = match self.shape {
            Shape::Dispatcher => "embedded-nas",
            Shape::Flat => "embedded-nas-flat",
        };
        json!({"name": name, "version": env!("CARGO_PKG_VERSION"), "description": "A NAS that exists only in memory"})
    }

    fn call(&self, params: &str) -> std::io::Result<Result<Value, Refusal>> {
        let at = Timestamp::now();
        let named: Named<'_> = serde_json::from_str(params).unwrap_or_default();
        let text = named.arguments.map(RawValue::get);
        let arguments: Value = text
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_default();
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let called = match self.shape {
            Shape::Dispatcher if named.name == tools::DISPATCHER => Some(tools::dispatch(
                &self.catalogue,
                &self.schemas,
                &mut inside.model,
                &arguments,
            )),
            Shape::Dispatcher => None,
            Shape::Flat => self
                .catalogue
                .operation(&named.name)
                .map(|operation| tools::perform(operation, &mut inside.model, &arguments)),
        };
        let entry = Entry {
            at,
            method: "tools/call".to_owned(),
            name: named.name.clone(),
            arguments: text.map(str::to_owned),
            operation: called
                .as_ref()
                .and_then(|called| called.operation)
                .map(str::to_owned),
            requests: called
                .as_ref()
                .map(|called| called.requests.clone())
                .unwrap_or_default(),
        };
        inside.log.write(&entry)?;
        Ok(match (called, self.shape) {
            (Some(called), _) => {
                let mut result = json!({"content": [{"type": "text", "text": called.text}]});
                if called.is_error
                    && let Some(members) = result.as_object_mut()
                {
                    members.insert("isError".to_owned(), true.into());
                }
                Ok(result)
            }
            (None, Shape::Dispatcher) => {
                let text = format!("MCP error -32602: there is no tool {}", named.name);
                Ok(json!({"content": [{"type": "text", "text": text}], "isError": true}))
            }
            (None, Shape::Flat) => {
                Err(refusal(-32602, &format!("there is no tool {}", named.name)))
            }
        })
    }

    fn read(&self, params: &str) -> std::io::Result<Result<Value, Refusal>> {
        let at = Timestamp::now();
        let named: Named<'_> = serde_json::from_str(params).unwrap_or_default();
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let found = resources::read(&mut inside.model, &named.uri);
        let requests = found
            .as_ref()
            .map(|(_, requests)| requests.clone())
            .unwrap_or_default();
        inside.log.write(&Entry {
            at,
            method: "resources/read".to_owned(),
            name: named.uri.clone(),
            arguments: None,
            operation: None,
            requests,
        })?;
        Ok(found.map(|(contents, _)| contents).ok_or_else(|| {
            let mut refused = refusal(-32002, "there is no such resource: ");
            refused.message.push_str(&named.uri);
            refused
        }))
    }
}

/// The revision that a message names in its `_meta`.
fn era(params: &str) -> Option<&'static str> {
    let params: Value = serde_json::from_str(params).ok()?;
    let named = params
        .pointer("/_meta/io.modelcontextprotocol~1protocolVersion")?
        .as_str()?;
    (named == MODERN).then_some(MODERN)
}

/// A result as the modern revision wants it.
fn complete(method: &str, mut result: Value) -> Value {
    if let Some(members) = result.as_object_mut() {
        members.insert("resultType".to_owned(), "complete".into());
        if method.ends_with("/list") || method == "server/discover" || method == "resources/read" {
            members.insert("ttlMs".to_owned(), 60_000.into());
            members.insert("cacheScope".to_owned(), "public".into());
        }
    }
    result
}

/// Wraps an outcome; the id goes back as the very text that came.
fn envelope(id: &str, outcome: Result<Value, Refusal>) -> Vec<u8> {
    match outcome {
        Ok(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
        Err(Refusal { code, message }) => {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{}}}"#,
                json!({"code": code, "message": message})
            )
        }
    }
    .into_bytes()
}

fn refusal(code: i32, message: &str) -> Refusal {
    Refusal {
        code,
        message: message.to_owned(),
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

    use super::*;

    fn ask(shape: Shape, message: &str) -> Value {
        let nas = Nas::new(shape, Log::none()).unwrap();
        serde_json::from_slice(&nas.answer(message.as_bytes()).unwrap().unwrap()).unwrap()
    }

    /// The keys of an answer, nested, without its wording: what a real exchange is compared by.
    fn form(value: &Value) -> Value {
        match value {
            Value::Object(members) => members
                .iter()
                .map(|(key, value)| (key.clone(), form(value)))
                .collect(),
            Value::Array(items) => items.first().map(form).into_iter().collect(),
            Value::String(_) => "text".into(),
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    #[test]
    fn initialize_has_the_form_of_the_real_server() {
        let answer = ask(
            Shape::Dispatcher,
            r#"{"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"mcp","version":"0.1.0"}},"jsonrpc":"2.0","id":0}"#,
        );
        assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
        assert_eq!(
            form(&answer["result"]),
            json!({
                "protocolVersion": "text",
                "capabilities": {"tools": {"listChanged": true}, "resources": {"listChanged": true}},
                "serverInfo": {"name": "text", "version": "text", "description": "text"},
            })
        );
    }

    #[test]
    fn the_dispatcher_is_the_only_tool() {
        let answer = ask(
            Shape::Dispatcher,
            r#"{"method":"tools/list","jsonrpc":"2.0","id":1}"#,
        );
        let tools = answer["result"]["tools"].as_array().unwrap();
        assert_eq!(
            (tools.len(), tools[0]["name"].as_str().unwrap()),
            (1, "truenas")
        );
        assert_eq!(form(&tools[0]["execution"]), json!({"taskSupport": "text"}));
    }

    #[test]
    fn a_wire_call_to_an_operation_finds_no_tool_on_the_dispatcher() {
        let message = r#"{"method":"tools/call","params":{"name":"vm_stop","arguments":{"id":1}},"jsonrpc":"2.0","id":18}"#;
        let answer = ask(Shape::Dispatcher, message);
        assert_eq!(
            form(&answer["result"]),
            json!({"content": [{"type": "text", "text": "text"}], "isError": true})
        );
    }

    #[test]
    fn a_good_call_carries_no_error_flag() {
        let message = r#"{"method":"tools/call","params":{"name":"truenas","arguments":{"category":"vm","action":"vm_stop","params":{"id":1,"force":true}}},"jsonrpc":"2.0","id":"six"}"#;
        let answer = ask(Shape::Dispatcher, message);
        assert_eq!(
            answer,
            json!({"jsonrpc": "2.0", "id": "six", "result": {"content": [{"type": "text", "text": "true"}]}})
        );
    }

    #[test]
    fn twelve_resources_are_listed_and_each_can_be_read() {
        let answer = ask(
            Shape::Dispatcher,
            r#"{"method":"resources/list","jsonrpc":"2.0","id":2}"#,
        );
        let resources = answer["result"]["resources"].as_array().unwrap().clone();
        assert_eq!(resources.len(), 12);
        for resource in resources {
            let read = json!({"jsonrpc": "2.0", "id": 3, "method": "resources/read", "params": {"uri": resource["uri"]}});
            assert_eq!(
                ask(Shape::Dispatcher, &read.to_string())["result"]["contents"][0]["uri"],
                resource["uri"]
            );
        }
    }

    #[test]
    fn a_flat_server_lists_every_operation_and_knows_the_modern_era() {
        let message = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN}"}}}}}}"#
        );
        let answer = ask(Shape::Flat, &message);
        assert_eq!(answer["result"]["tools"].as_array().unwrap().len(), 278);
        assert_eq!(answer["result"]["resultType"], "complete");
    }

    #[test]
    fn the_log_keeps_the_arguments_as_they_came() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nas.jsonl");
        let nas = Nas::new(Shape::Flat, Log::append(&path).unwrap()).unwrap();
        nas.answer(br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"vm_start","arguments":{"id" : "7/stop#"}}}"#)
            .unwrap();
        let log = super::super::log::read(&path).unwrap();
        assert_eq!(log[0].arguments.as_deref(), Some(r#"{"id" : "7/stop#"}"#));
        assert_eq!(
            (
                log[0].requests[0].path.as_str(),
                log[0].operation.as_deref()
            ),
            ("/api/v2.0/vm/id/7/stop", Some("vm_start"))
        );
    }
}

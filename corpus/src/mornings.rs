//! Scripted mornings of agents at work: who sends what, when, and what a person would call it.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The morning called `name` (`monday`, `patch-tuesday`, `incident`).
pub fn morning(name: &str) -> Result<Morning, BadMorning> {
    let (_, text) = MORNINGS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| BadMorning::Unknown {
            name: name.to_owned(),
        })?;
    Morning::parse(text)
}

/// Every morning of the corpus.
pub fn mornings() -> Result<Vec<Morning>, BadMorning> {
    MORNINGS
        .iter()
        .map(|(_, text)| Morning::parse(text))
        .collect()
}

const MORNINGS: &[(&str, &str)] = &[
    ("monday", include_str!("../mornings/monday.json")),
    (
        "patch-tuesday",
        include_str!("../mornings/patch-tuesday.json"),
    ),
    ("incident", include_str!("../mornings/incident.json")),
];

/// One morning: its agents, and every message they send in the order of time.
#[derive(Debug, Clone)]
pub struct Morning {
    /// Its name.
    pub name: String,
    /// What happens, in a sentence or two for people.
    pub story: String,
    /// Who is at work.
    pub agents: Vec<Agent>,
    /// What they send; sorted by time, loops unrolled.
    pub calls: Vec<Call>,
}

/// One agent of a morning.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// The name of its grant.
    pub name: String,
    /// The kind of server it talks to.
    pub server: Shape,
    /// What it calls itself in `initialize`.
    pub client: Client,
}

/// `clientInfo`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// `clientInfo.name`
    pub name: String,
    /// `clientInfo.version`
    pub version: String,
}

/// How a server registers its operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// One tool that takes the operation as an argument.
    Dispatcher,
    /// One tool for each operation.
    Flat,
}

/// What a person would call a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Ordinary work.
    Routine,
    /// A loop that nobody wanted.
    Runaway,
    /// A stop that asks nobody.
    Forced,
    /// The same thing by another name.
    Bypass,
    /// A hand on a door that should be locked.
    Probe,
}

impl Label {
    /// Every label, in the order of the list above.
    pub const ALL: [Self; 5] = [
        Self::Routine,
        Self::Runaway,
        Self::Forced,
        Self::Bypass,
        Self::Probe,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Routine => "routine",
            Self::Runaway => "runaway",
            Self::Forced => "forced",
            Self::Bypass => "bypass",
            Self::Probe => "probe",
        }
    }
}

/// One message of one agent.
#[derive(Debug, Clone)]
pub struct Call {
    /// Milliseconds after the start of the morning.
    pub at_ms: u64,
    /// Place of the agent in [`Morning::agents`].
    pub agent: usize,
    /// What a person would call it.
    pub label: Label,
    /// The operation it is about, as the server names it; empty for messages that are no tool call.
    pub operation: String,
    /// What is sent.
    pub message: Message,
}

/// What goes over the wire.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// A JSON-RPC request; the sender gives it an id.
    Request {
        /// `tools/call`, `tools/list`, `resources/read`, …
        method: String,
        /// The params, if any.
        params: Option<Value>,
    },
    /// Exactly these bytes.
    Raw(String),
}

/// Why a morning could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BadMorning {
    /// There is no such morning.
    #[error("no morning is called `{name}`")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The text is not a morning.
    #[error("not a morning: {0}")]
    Text(#[from] serde_json::Error),
    /// A step contradicts itself.
    #[error("morning `{morning}`, call {step}: {problem}")]
    Step {
        /// The morning's name.
        morning: String,
        /// Counted from 1.
        step: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl Morning {
    /// Reads a morning, unrolls its loops and puts its calls into the order of time.
    pub fn parse(text: &str) -> Result<Self, BadMorning> {
        let written: Written = serde_json::from_str(text)?;
        let mut calls = Vec::new();
        for (index, step) in written.calls.iter().enumerate() {
            let bad = |problem| BadMorning::Step {
                morning: written.name.clone(),
                step: index + 1,
                problem,
            };
            let agent = written
                .agents
                .iter()
                .position(|a| a.name == step.agent)
                .ok_or_else(|| bad("unknown agent"))?;
            let shape = written.agents.get(agent).map_or(Shape::Flat, |a| a.server);
            let (operation, message) = step.message(shape).map_err(bad)?;
            let times = step.times.unwrap_or(1);
            calls.extend((0..times).map(|n| Call {
                at_ms: step.at_ms + n * step.every_ms.unwrap_or(0),
                agent,
                label: step.label,
                operation: operation.clone(),
                message: message.clone(),
            }));
        }
        calls.sort_by_key(|call| call.at_ms);
        Ok(Self {
            name: written.name,
            story: written.story,
            agents: written.agents,
            calls,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    story: String,
    agents: Vec<Agent>,
    calls: Vec<Step>,
}

/// A call as it stands in the file: an operation, or a method, or raw bytes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    at_ms: u64,
    agent: String,
    label: Label,
    tool: Option<String>,
    category: Option<String>,
    method: Option<String>,
    params: Option<Value>,
    raw: Option<String>,
    times: Option<u64>,
    every_ms: Option<u64>,
    #[serde(rename = "note")]
    _note: Option<String>,
}

impl Step {
    fn message(&self, shape: Shape) -> Result<(String, Message), &'static str> {
        match (&self.tool, &self.method, &self.raw) {
            (Some(tool), None, None) => {
                let params = match (shape, &self.category) {
                    (Shape::Dispatcher, Some(category)) => {
                        json!({"name": "truenas", "arguments": self.dispatched(category, tool)})
                    }
                    (Shape::Dispatcher, None) => return Err("a dispatcher needs a category"),
                    (Shape::Flat, None) => {
                        json!({"name": tool, "arguments": self.params.clone().unwrap_or_else(|| json!({}))})
                    }
                    (Shape::Flat, Some(_)) => return Err("a flat server has no categories"),
                };
                Ok((
                    tool.clone(),
                    Message::Request {
                        method: "tools/call".to_owned(),
                        params: Some(params),
                    },
                ))
            }
            (None, Some(method), None) => Ok((
                String::new(),
                Message::Request {
                    method: method.clone(),
                    params: self.params.clone(),
                },
            )),
            (None, None, Some(raw)) => Ok((String::new(), Message::Raw(raw.clone()))),
            _ => Err("give one of `tool`, `method` and `raw`"),
        }
    }

    fn dispatched(&self, category: &str, tool: &str) -> Value {
        let mut arguments = Map::new();
        arguments.insert("category".to_owned(), category.into());
        arguments.insert("action".to_owned(), tool.into());
        if let Some(params) = &self.params {
            arguments.insert("params".to_owned(), params.clone());
        }
        Value::Object(arguments)
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

    #[test]
    fn every_morning_parses_and_is_in_order() {
        for morning in mornings().unwrap() {
            assert!(morning.calls.len() > 20, "{} is short", morning.name);
            assert!(morning.calls.is_sorted_by_key(|call| call.at_ms));
        }
    }

    #[test]
    fn monday_holds_every_label() {
        let monday = morning("monday").unwrap();
        for label in Label::ALL {
            assert!(
                monday.calls.iter().any(|call| call.label == label),
                "no {}",
                label.as_str()
            );
        }
    }

    #[test]
    fn a_dispatched_call_wraps_its_operation() {
        let monday = morning("monday").unwrap();
        let stop = monday
            .calls
            .iter()
            .find(|c| c.label == Label::Runaway && c.agent == 0)
            .unwrap();
        let Message::Request {
            params: Some(params),
            ..
        } = &stop.message
        else {
            panic!("not a request")
        };
        assert_eq!(
            params.to_string(),
            r#"{"name":"truenas","arguments":{"category":"vm","action":"vm_stop","params":{"id":7}}}"#
        );
    }

    #[test]
    fn a_step_for_nobody_is_refused() {
        let text = r#"{"name":"x","story":"","agents":[],"calls":[{"at_ms":0,"agent":"a","label":"probe","raw":""}]}"#;
        assert_eq!(
            Morning::parse(text).unwrap_err().to_string(),
            "morning `x`, call 1: unknown agent"
        );
    }
}

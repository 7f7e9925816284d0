//! A policy to begin with, by class.

use serde_json::{Map, Value, json};
use weir_policy::{Policy, Risk};

use super::Scanned;
use crate::failure::Rendered;

/// Calls of a tool that writes, and of one that runs or stops something, in a minute.
const WRITES_MAX: u64 = 30;
const RUNS_MAX: u64 = 10;

/// Reads pass, writes and what runs or stops are limited, what destroys or pays is hidden, and nothing else is there.
pub(super) fn policy(scanned: &[Scanned]) -> anyhow::Result<Vec<u8>> {
    let mut tools = Map::new();
    let mut hide = Vec::new();
    let findings = || scanned.iter().flat_map(|scanned| &scanned.tools);
    for finding in findings() {
        let name = &finding.tool;
        if findings().any(|behind| behind.via.as_ref() == Some(name)) {
            // A dispatcher is judged by the operation that it is asked for.
            continue;
        }
        let limit = |max: u64| json!({ "limits": [{ "counter": format!("{name}_rate"), "window": "minute", "max": max, "scope": "grant" }] });
        match finding.risk {
            Risk::Read => drop(tools.insert(name.clone(), json!({}))),
            Risk::Write => drop(tools.insert(name.clone(), limit(WRITES_MAX))),
            Risk::Execute => drop(tools.insert(name.clone(), limit(RUNS_MAX))),
            Risk::Destructive | Risk::Financial => hide.push(Value::from(name.as_str())),
        }
    }
    let servers: Vec<&str> = scanned
        .iter()
        .map(|scanned| scanned.server.as_str())
        .collect();
    let policy = json!({
        "version": "1",
        "description": format!(
            "To begin with, by the class of each tool of {}: reads pass, writes and what runs or stops are limited, what destroys or pays is hidden.",
            servers.join(", ")
        ),
        "default": "deny",
        "hide": hide,
        "tools": tools,
    });
    let mut text = serde_json::to_vec_pretty(&policy)?;
    text.push(b'\n');
    Policy::load(&text, "the starting policy")
        .map_err(|problems| Rendered::bad(problems.styled()))?;
    Ok(text)
}

//! What a message asks for, in the one form that policy judges.

use std::borrow::Cow;

use crate::malformed::Flaw;
use crate::{Object, Value};

/// What policy judges of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask<'a> {
    /// The name as policy knows it: `vm_stop`, `resource:<uri>`, `prompt:<name>`, `method:<name>`.
    pub wire_tool: Cow<'a, str>,
    /// What kind of thing the name stands for.
    pub kind: AskKind,
    /// The arguments, an object; empty where they are absent or null.
    pub arguments: &'a Value<'a>,
}

/// What kind of thing is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AskKind {
    /// `tools/call`
    ToolCall,
    /// `resources/read`
    Resource,
    /// `prompts/get`
    Prompt,
    /// Any other method.
    Method,
}

impl<'a> Ask<'a> {
    /// A call on record by its wire tool, as live asked it; `arguments` is what [`recorded_arguments`] says, parsed.
    pub fn recorded(wire_tool: &'a str, arguments: &'a Value<'a>) -> Self {
        Self {
            wire_tool: wire_tool.into(),
            kind: AskKind::of_name(wire_tool),
            arguments,
        }
    }
}

impl AskKind {
    /// What a name stands for: no tool's begins with one of the reserved prefixes.
    pub(crate) fn of_name(name: &str) -> Self {
        match name.split_once(':') {
            Some(("resource", _)) => Self::Resource,
            Some(("prompt", _)) => Self::Prompt,
            Some(("method", _)) => Self::Method,
            Some(_) | None => Self::ToolCall,
        }
    }
}

/// The text that a call on record was judged on, given what its column `arguments` holds: absent and null arguments are
/// none, and what is neither a tool's nor a prompt's was judged on none.
pub fn recorded_arguments<'a>(wire_tool: &str, arguments: Option<&'a str>) -> &'a str {
    match AskKind::of_name(wire_tool) {
        AskKind::ToolCall | AskKind::Prompt => {
            arguments.filter(|text| *text != "null").unwrap_or("{}")
        }
        AskKind::Resource | AskKind::Method => "{}",
    }
}

/// The arguments of a call that has none.
pub(crate) static NO_ARGUMENTS: Value<'static> = Value::Object(Object(Vec::new()));

/// The prefixes of names that stand for something else than a tool.
const RESERVED: [&str; 3] = ["resource:", "prompt:", "method:"];

/// What a message with this method and these parameters asks for.
pub(super) fn of<'a>(method: &'a str, params: Option<&'a Object<'a>>) -> Result<Ask<'a>, Flaw> {
    match method {
        "tools/call" => {
            let name = name(params, "name")?;
            if is_reserved(name) {
                return Err(Flaw::ReservedName);
            }
            Ok(Ask {
                wire_tool: Cow::Borrowed(name),
                kind: AskKind::ToolCall,
                arguments: arguments(params)?,
            })
        }
        "resources/read" => Ok(Ask {
            wire_tool: Cow::Owned(format!("resource:{}", name(params, "uri")?)),
            kind: AskKind::Resource,
            arguments: &NO_ARGUMENTS,
        }),
        "prompts/get" => Ok(Ask {
            wire_tool: Cow::Owned(format!("prompt:{}", name(params, "name")?)),
            kind: AskKind::Prompt,
            arguments: arguments(params)?,
        }),
        _ => Ok(Ask {
            wire_tool: Cow::Owned(format!("method:{method}")),
            kind: AskKind::Method,
            arguments: &NO_ARGUMENTS,
        }),
    }
}

/// Whether a tool of this name would be taken for something else.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|prefix| name.starts_with(prefix))
}

/// A name that can be looked up and written down: not empty, no control characters.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.bytes().any(|b| b < 0x20 || b == 0x7f)
}

fn name<'a>(params: Option<&'a Object<'a>>, key: &str) -> Result<&'a str, Flaw> {
    match params.and_then(|params| params.get(key)) {
        Some(Value::String(name)) if is_name(name) => Ok(name),
        _ => Err(Flaw::Name),
    }
}

fn arguments<'a>(params: Option<&'a Object<'a>>) -> Result<&'a Value<'a>, Flaw> {
    match params.and_then(|params| params.get("arguments")) {
        None | Some(Value::Null) => Ok(&NO_ARGUMENTS),
        Some(object @ Value::Object(_)) => Ok(object),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(Flaw::Arguments)
        }
    }
}

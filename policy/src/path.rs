//! Where a rule reads: `args.id`, `args.ids.*`, `args["a.b"]`, `grant`, `time.hour` (DESIGN 5.2).

use std::fmt;

use crate::calendar::Calendar;
use crate::{Context, Number, Value};

/// More steps than a message may have levels.
const STEPS_MAX: usize = 64;

/// The paths besides those into the arguments.
pub(crate) const NAMED: [(&str, Root); 9] = [
    ("tool", Root::Tool),
    ("wire_tool", Root::WireTool),
    ("server", Root::Server),
    ("grant", Root::Grant),
    ("session", Root::Session),
    ("client.name", Root::ClientName),
    ("client.version", Root::ClientVersion),
    ("time.hour", Root::Hour),
    ("time.weekday", Root::Weekday),
];

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) root: Root,
    pub(crate) steps: Vec<Step>,
    text: Box<str>,
}

/// What a path starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    Arguments,
    Tool,
    WireTool,
    Server,
    Grant,
    Session,
    ClientName,
    ClientVersion,
    Hour,
    Weekday,
}

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A member of an object, or the element of an array where the key is an index.
    Key(Box<str>, Option<usize>),
    /// Any element of an array.
    Each,
}

/// What a rule may read besides the arguments of its reading.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    pub(crate) wire_tool: &'a str,
    pub(crate) tool: &'a str,
    pub(crate) context: &'a Context<'a>,
    pub(crate) calendar: &'a Calendar,
}

/// What stands at a path.
pub(crate) enum Found<'a> {
    Missing,
    Argument(&'a Value<'a>),
    Fact(Value<'a>),
}

impl Found<'_> {
    pub(crate) fn value(&self) -> Option<&Value<'_>> {
        match self {
            Self::Missing => None,
            Self::Argument(value) => Some(value),
            Self::Fact(value) => Some(value),
        }
    }
}

impl Path {
    /// Reads a path as written; the error is a text for the author.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some((_, root)) = NAMED.iter().find(|(name, _)| *name == text) {
            return Ok(Self {
                root: *root,
                steps: Vec::new(),
                text: text.into(),
            });
        }
        let rest = text
            .strip_prefix("args")
            .filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        let steps = parse_steps(rest.ok_or_else(|| format!("no path starts like `{text}`"))?)?;
        if steps.len() > STEPS_MAX {
            return Err(format!("a path has at most {STEPS_MAX} steps"));
        }
        Ok(Self {
            root: Root::Arguments,
            steps,
            text: text.into(),
        })
    }

    /// The path as its author wrote it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the path reads the arguments.
    pub(crate) fn reads_arguments(&self) -> bool {
        self.root == Root::Arguments
    }

    /// Whether the path has a `*`.
    pub(crate) fn has_each(&self) -> bool {
        self.steps.contains(&Step::Each)
    }

    /// What stands at the path, up to its first `*`.
    #[inline]
    pub(crate) fn find<'a>(&self, facts: &Facts<'a>, arguments: &'a Value<'a>) -> Found<'a> {
        if self.root == Root::Arguments {
            let mut value = arguments;
            for step in &self.steps {
                let Step::Key(key, index) = step else { break };
                match child(value, key, *index) {
                    Some(next) => value = next,
                    None => return Found::Missing,
                }
            }
            return Found::Argument(value);
        }
        self.root.fact(facts).map_or(Found::Missing, Found::Fact)
    }
}

impl Root {
    /// The value of a path that does not start in the arguments; an unknown client is missing.
    pub(crate) fn fact<'a>(self, facts: &Facts<'a>) -> Option<Value<'a>> {
        let context = facts.context;
        let text = match self {
            Self::Arguments => return None,
            Self::Hour => return Some(integer(facts.calendar.hour(context.received_at))),
            Self::Weekday => return Some(integer(facts.calendar.weekday(context.received_at))),
            Self::ClientName | Self::ClientVersion => {
                let text = if self == Self::ClientName {
                    context.client_name
                } else {
                    context.client_version
                };
                return (!text.is_empty()).then_some(Value::String(text.into()));
            }
            Self::Tool => facts.tool,
            Self::WireTool => facts.wire_tool,
            Self::Server => context.server,
            Self::Grant => context.grant,
            Self::Session => context.session,
        };
        Some(Value::String(text.into()))
    }
}

fn integer(value: i64) -> Value<'static> {
    Value::Number(Number::Integer(value))
}

/// The member `key` of an object, or the element `index` of an array.
#[inline]
pub(crate) fn child<'v, 'a>(
    value: &'v Value<'a>,
    key: &str,
    index: Option<usize>,
) -> Option<&'v Value<'a>> {
    match value {
        Value::Object(object) => object.get(key),
        Value::Array(items) => items.get(index?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn parse_steps(mut rest: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (key, tail) = after.split_at(end);
            if key.is_empty() {
                return Err("a step of the path is empty".to_owned());
            }
            if key.contains(['"', ']']) {
                return Err(format!("the key `{key}` must be written `[\"…\"]`"));
            }
            steps.push(if key == "*" { Step::Each } else { step(key) });
            rest = tail;
        } else {
            let quoted = rest
                .strip_prefix('[')
                .ok_or("a path goes on with `.` or `[\"`")?;
            let mut keys = serde_json::Deserializer::from_str(quoted).into_iter::<String>();
            let key = keys
                .next()
                .and_then(Result::ok)
                .ok_or("inside `[ ]` stands a key in double quotes")?;
            let tail = quoted
                .get(keys.byte_offset()..)
                .and_then(|tail| tail.strip_prefix(']'));
            rest = tail.ok_or("a `[` of the path is not closed by `]`")?;
            steps.push(step(&key));
        }
    }
    Ok(steps)
}

fn step(key: &str) -> Step {
    let digits =
        key.bytes().all(|byte| byte.is_ascii_digit()) && (key == "0" || !key.starts_with('0'));
    Step::Key(key.into(), if digits { key.parse().ok() } else { None })
}

/// One spelling for all paths that read the same place.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.root != Root::Arguments {
            return f.write_str(&self.text);
        }
        f.write_str("args")?;
        for step in &self.steps {
            match step {
                Step::Each => f.write_str(".*")?,
                Step::Key(key, _)
                    if key.is_empty()
                        || &**key == "*"
                        || key.contains(['.', '[', ']', '"', '\\']) =>
                {
                    write!(f, "[{}]", serde_json::Value::from(&**key))?;
                }
                Step::Key(key, _) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn paths_are_read_in_both_spellings() {
        for (text, canonical) in [
            ("args", "args"),
            ("args.id", "args.id"),
            ("args[\"id\"]", "args.id"),
            ("args.ids.*.0", "args.ids.*.0"),
            ("args[\"a.b\"].c", "args[\"a.b\"].c"),
            ("args[\"*\"]", "args[\"*\"]"),
            ("args[\"q\\\"\"]", "args[\"q\\\"\"]"),
            ("time.hour", "time.hour"),
            ("client.name", "client.name"),
        ] {
            assert_eq!(Path::parse(text).unwrap().to_string(), canonical, "{text}");
        }
        assert!(Path::parse("args.*").unwrap().has_each());
        assert!(!Path::parse("args[\"*\"]").unwrap().has_each());
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            "arg.id",
            "argsx",
            "args.",
            "args..a",
            "args.a.",
            "args[0]",
            "args[\"a\"",
            "args[\"a\"]b",
            "tool.name",
            "client",
            "time.minute",
            "id",
            "args.a\"b",
            "$.id",
        ] {
            assert!(Path::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_plain_numbers_are_indices() {
        let items = Value::Array(vec![Value::Bool(false), Value::Bool(true)]);
        for (key, found) in [
            ("0", Some(false)),
            ("1", Some(true)),
            ("01", None),
            ("2", None),
            ("+1", None),
        ] {
            let Step::Key(key, index) = step(key) else {
                unreachable!()
            };
            assert_eq!(child(&items, &key, index), found.map(Value::Bool).as_ref());
        }
    }
}

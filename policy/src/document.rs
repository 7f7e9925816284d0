//! A policy document becomes rules, or a list of everything that is wrong with it (DESIGN 5.1).

mod limits;
mod members;
mod predicates;
mod spelling;
mod syntax;

use std::time::Duration;

use jsonc_parser::ast::Value as Node;
use jsonc_parser::common::Ranged;

use self::members::{Members, kind};
use crate::calendar::Calendar;
use crate::glob::{Glob, is_glob};
use crate::problem::Span;
use crate::rules::{Hide, Rules, ToolRules};
use crate::{Problems, Verdict};

const DOCUMENT: &[&str] = &[
    "version",
    "default",
    "hide",
    "all_tools",
    "tools",
    "timezone",
    "description",
    "owner",
];
const TOOL: &[&str] = &[
    "require",
    "deny_if",
    "limits",
    "approve_if",
    "action",
    "reason",
    "rate_limit",
    "timeout",
    "description",
    "owner",
];

/// Reads a document: its text and its rules, or all problems at once.
pub(crate) fn read(source: &[u8], name: &str) -> Result<(String, Rules), Problems> {
    let text = match std::str::from_utf8(source) {
        Ok(text) => text,
        Err(error) => {
            let lossy = String::from_utf8_lossy(source);
            let mut problems = Problems::none(lossy.as_ref(), name);
            let at = error.valid_up_to();
            problems.error(
                Span {
                    start: at,
                    end: at + 1,
                },
                "the document is not UTF-8",
                None,
            );
            return Err(problems);
        }
    };
    let mut reader = Reader {
        problems: Problems::none(text, name),
    };
    let rules = syntax::parse(text, &mut reader.problems).map(|node| reader.document(&node));
    match rules {
        Some(rules) if reader.problems.is_empty() => Ok((text.to_owned(), rules)),
        _ => Err(reader.problems.sorted()),
    }
}

/// Walks the document and notes what is wrong. What it returns counts only if nothing was.
struct Reader {
    problems: Problems,
}

impl Reader {
    fn document(&mut self, node: &Node<'_>) -> Rules {
        let members = self.members(node, "the document", DOCUMENT);
        self.version(&members);
        let default = self.default(&members);
        self.free_text(&members);
        let calendar = members
            .get("timezone")
            .map(|node| self.timezone(node))
            .unwrap_or_default();
        let hide = members
            .get("hide")
            .map(|node| self.hide(node))
            .unwrap_or_default();
        let all_tools = members
            .get("all_tools")
            .map(|node| self.all_tools(node))
            .unwrap_or_default();
        let tools = members
            .get("tools")
            .map(|node| self.tools(node))
            .unwrap_or_default();
        Rules::new(default, calendar, all_tools, tools, hide)
    }

    fn version(&mut self, members: &Members<'_>) {
        let hint = "write `\"version\": \"1\"`";
        let Some(node) = self.required(members, "version", hint) else {
            return;
        };
        if !matches!(node, Node::StringLit(text) if text.value == "1") {
            self.error(
                span(node),
                "this is not a version Weir knows",
                Some(hint.to_owned()),
            );
        }
    }

    fn default(&mut self, members: &Members<'_>) -> Verdict {
        let hint = "write `\"allow\"` or `\"deny\"`: what happens to tools that are not listed";
        let Some(node) = self.required(members, "default", hint) else {
            return Verdict::Deny;
        };
        match self.text(node, "default") {
            Some("allow") => Verdict::Allow,
            Some("deny") | None => Verdict::Deny,
            Some(_) => {
                self.error(
                    span(node),
                    "`default` is neither `allow` nor `deny`",
                    Some(hint.to_owned()),
                );
                Verdict::Deny
            }
        }
    }

    fn free_text(&mut self, members: &Members<'_>) {
        for key in ["description", "owner"] {
            if let Some(node) = members.get(key) {
                self.text(node, key);
            }
        }
    }

    fn timezone(&mut self, node: &Node<'_>) -> Calendar {
        let Some(name) = self.text(node, "timezone") else {
            return Calendar::default();
        };
        Calendar::of_zone(name).unwrap_or_else(|| {
            let hint = "write an IANA name such as `Europe/Berlin`".to_owned();
            self.error(
                span(node),
                format!("no time zone is called `{name}`"),
                Some(hint),
            );
            Calendar::default()
        })
    }

    fn hide(&mut self, node: &Node<'_>) -> Vec<Hide> {
        let mut hide = Vec::new();
        for node in self.list(node, "hide") {
            let Some(key) = self.text(node, "an entry of `hide`") else {
                continue;
            };
            hide.push(Hide {
                key: key.into(),
                glob: self.glob_key(key, span(node)),
                span: span(node),
            });
        }
        hide
    }

    fn tools(&mut self, node: &Node<'_>) -> Vec<(Option<Glob>, ToolRules)> {
        let mut tools = Vec::new();
        for entry in self.entries(node, "tools") {
            let glob = self.glob_key(entry.key, entry.span);
            tools.push((glob, self.tool(entry.key, entry.span, entry.value)));
        }
        tools
    }

    fn tool(&mut self, key: &str, key_span: Span, node: &Node<'_>) -> ToolRules {
        let members = self.members(node, &format!("`tools.{key}`"), TOOL);
        self.free_text(&members);
        let base = format!("/tools/{}", crate::key::escape(key));
        let require = self.predicates(&members, "require", &base);
        let mut deny_if = self.predicates(&members, "deny_if", &base);
        let mut approve_if = self.predicates(&members, "approve_if", &base);
        let limits = self.tool_limits(&members, key, &base);
        let timeout = members.get("timeout").and_then(|node| self.duration(node));
        let message = members
            .get("reason")
            .and_then(|node| self.text(node, "reason"));
        if let Some(node) = members.get("action") {
            match self.text(node, "action") {
                Some("allow") | None => {}
                Some("deny") => deny_if.add_always(message, span(node)),
                Some("approve") => approve_if.add_always(message, span(node)),
                Some(other) => {
                    let hint = spelling::hint(other, &["allow", "deny", "approve"]);
                    self.error(span(node), format!("no action is called `{other}`"), hint);
                }
            }
        }
        approve_if.wait(timeout);
        ToolRules {
            key: key.into(),
            require: require.entries,
            deny_if: deny_if.entries,
            limits,
            approve_if: approve_if.entries,
            span: key_span,
        }
    }

    /// A name that is a glob, compiled.
    fn glob_key(&mut self, key: &str, span: Span) -> Option<Glob> {
        if key.is_empty() {
            self.error(span, "a tool has a name", None);
        }
        if !is_glob(key) {
            return None;
        }
        match Glob::compile(key) {
            Ok(glob) => Some(glob),
            Err(why) => {
                self.error(span, why, None);
                None
            }
        }
    }

    /// A span of time such as `"5m"`: a whole number and `s`, `m` or `h`.
    fn duration(&mut self, node: &Node<'_>) -> Option<Duration> {
        let text = self.text(node, "timeout")?;
        let digits = text.strip_suffix(['s', 'm', 'h']).unwrap_or_default();
        let number = digits.parse::<u32>().ok();
        let number = number.filter(|number| *number > 0 && !digits.starts_with('+'));
        let seconds = match text.as_bytes().last() {
            Some(b'h') => 3_600,
            Some(b'm') => 60,
            _ => 1,
        };
        let span_of_time = number.map(|number| Duration::from_secs(u64::from(number) * seconds));
        if span_of_time.is_none() {
            let hint = "write a whole number and a unit: `\"90s\"`, `\"5m\"`, `\"1h\"`".to_owned();
            self.error(
                span(node),
                format!("`{text}` is no span of time"),
                Some(hint),
            );
        }
        span_of_time
    }

    /// A member that must be there.
    fn required<'n>(
        &mut self,
        members: &Members<'n>,
        key: &str,
        hint: &str,
    ) -> Option<&'n Node<'n>> {
        let node = members.get(key);
        if node.is_none() && members.is_object {
            let at = Span {
                start: members.span.start,
                end: members.span.start + 1,
            };
            self.error(at, format!("`{key}` is missing"), Some(hint.to_owned()));
        }
        node
    }

    fn text<'n>(&mut self, node: &'n Node<'n>, what: &str) -> Option<&'n str> {
        if let Node::StringLit(text) = node {
            return Some(&text.value);
        }
        self.wrong_kind(node, what, "a string");
        None
    }

    fn list<'n>(&mut self, node: &'n Node<'n>, what: &str) -> &'n [Node<'n>] {
        if let Node::Array(array) = node {
            return &array.elements;
        }
        self.wrong_kind(node, what, "an array");
        &[]
    }

    fn wrong_kind(&mut self, node: &Node<'_>, what: &str, wanted: &str) {
        let what = if what.contains(['`', ' ']) {
            what.to_owned()
        } else {
            format!("`{what}`")
        };
        self.error(
            span(node),
            format!("{what} must be {wanted}, not {}", kind(node)),
            None,
        );
    }

    fn error(&mut self, span: Span, message: impl Into<String>, hint: Option<String>) {
        self.problems.error(span, message, hint);
    }
}

fn span(node: &Node<'_>) -> Span {
    let range = node.range();
    Span {
        start: range.start,
        end: range.end,
    }
}

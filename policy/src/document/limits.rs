//! `limits` of a tool and of all tools, and `rate_limit`.

use jsonc_parser::ast::Value as Node;

use super::members::Members;
use super::predicates::Ids;
use super::{Reader, span, spelling};
use crate::key::escape;
use crate::limit::{Limit, LimitSpec, Scope};
use crate::number::Decimal;
use crate::path::Path;
use crate::window::Window;

const LIMIT: &[&str] = &[
    "counter",
    "window",
    "max",
    "scope",
    "sliding",
    "per",
    "increment_from",
    "on_deny",
];
const RATE_LIMIT: &[&str] = &[
    "window",
    "max",
    "scope",
    "sliding",
    "per",
    "increment_from",
    "on_deny",
];
const ALL_TOOLS: &[&str] = &["limits", "description", "owner"];
const WINDOWS: &[&str] = &["second", "minute", "hour", "day"];
const SCOPES: &[&str] = &["grant", "session", "server", "node"];

/// A window longer than a year is a mistake.
const WINDOW_SECONDS_MAX: i64 = 366 * 86_400;

impl Reader {
    /// The limits over every call.
    pub(super) fn all_tools(&mut self, node: &Node<'_>) -> Vec<Limit> {
        let members = self.members(node, "all_tools", ALL_TOOLS);
        self.free_text(&members);
        self.limits(&members, "/all_tools", &mut Ids::default(), true)
    }

    /// The limits of one tool; the sugar comes last.
    pub(super) fn tool_limits(
        &mut self,
        members: &Members<'_>,
        key: &str,
        base: &str,
    ) -> Vec<Limit> {
        let mut ids = Ids::default();
        let mut limits = self.limits(members, base, &mut ids, false);
        if let Some(node) = members.get("rate_limit") {
            let members = self.members(node, "rate_limit", RATE_LIMIT);
            limits.extend(self.limit(&members, format!("{key}_rate"), base, &mut ids, false));
        }
        limits
    }

    fn limits(
        &mut self,
        members: &Members<'_>,
        base: &str,
        ids: &mut Ids,
        all_tools: bool,
    ) -> Vec<Limit> {
        let Some(node) = members.get("limits") else {
            return Vec::new();
        };
        let mut limits = Vec::new();
        for node in self.list(node, "limits") {
            let members = self.members(node, "a limit", LIMIT);
            let hint = "a limit counts under a name, such as `\"counter\": \"stops\"`";
            let counter = self
                .required(&members, "counter", hint)
                .and_then(|node| self.counter(node));
            limits.extend(self.limit(&members, counter.unwrap_or_default(), base, ids, all_tools));
        }
        limits
    }

    fn counter(&mut self, node: &Node<'_>) -> Option<String> {
        let text = self.text(node, "counter")?;
        if text.is_empty() {
            self.error(span(node), "a counter has a name", None);
        }
        Some(text.to_owned())
    }

    fn limit(
        &mut self,
        members: &Members<'_>,
        counter: String,
        base: &str,
        ids: &mut Ids,
        all_tools: bool,
    ) -> Option<Limit> {
        let hint = "write `\"minute\"`, or a whole number of seconds";
        let seconds = self
            .required(members, "window", hint)
            .and_then(|node| self.window(node));
        let hint = "write how many calls may pass in a window";
        let max = self
            .required(members, "max", hint)
            .and_then(|node| self.max(node));
        let scope = members
            .get("scope")
            .map_or(Some(Scope::Grant), |node| self.scope(node));
        let sliding = members
            .get("sliding")
            .map_or(Some(false), |node| self.boolean(node, "sliding"));
        let mut per = Vec::new();
        if let Some(node) = members.get("per") {
            for node in self.list(node, "per") {
                per.extend(self.counted_path(node));
            }
        }
        let increment_from = members
            .get("increment_from")
            .map(|node| self.counted_path(node));
        let message = members
            .get("on_deny")
            .and_then(|node| self.text(node, "on_deny"));
        let (seconds, max, scope, sliding) = (seconds?, max?, scope?, sliding?);
        let default = || format!("Limit {counter} is used up: at most {max} in {seconds} s.");
        let message = message.map_or_else(default, ToOwned::to_owned);
        Some(Limit::new(LimitSpec {
            id: ids
                .unique(&format!("{base}/limits/{}", escape(&counter)))
                .into(),
            message: message.into(),
            window: Window {
                micros: seconds * 1_000_000,
                sliding,
            },
            counter,
            max,
            scope,
            per,
            increment_from: increment_from.flatten(),
            all_tools,
            span: members.span,
        }))
    }

    /// The length of a window in seconds.
    fn window(&mut self, node: &Node<'_>) -> Option<i64> {
        let hint = || {
            Some("write `second`, `minute`, `hour`, `day`, or a whole number of seconds".to_owned())
        };
        match node {
            Node::StringLit(text) => match text.value.as_ref() {
                "second" => Some(1),
                "minute" => Some(60),
                "hour" => Some(3_600),
                "day" => Some(86_400),
                other => {
                    let hint = spelling::hint(other, WINDOWS).or_else(hint);
                    self.error(span(node), format!("no window is called `{other}`"), hint);
                    None
                }
            },
            Node::NumberLit(number) => {
                let seconds = Decimal::parse(number.value).and_then(|seconds| seconds.to_i64());
                let seconds = seconds.filter(|seconds| (1..=WINDOW_SECONDS_MAX).contains(seconds));
                if seconds.is_none() {
                    self.error(
                        span(node),
                        "a window is a whole number of seconds from 1 to a year",
                        hint(),
                    );
                }
                seconds
            }
            Node::BooleanLit(_) | Node::Object(_) | Node::Array(_) | Node::NullKeyword(_) => {
                self.wrong_kind(node, "window", "a name or a number of seconds");
                None
            }
        }
    }

    fn max(&mut self, node: &Node<'_>) -> Option<u64> {
        let Node::NumberLit(number) = node else {
            self.wrong_kind(node, "max", "a whole number");
            return None;
        };
        let max = Decimal::parse(number.value)
            .and_then(|max| max.to_i64())
            .and_then(|max| u64::try_from(max).ok());
        if max.is_none() {
            self.error(
                span(node),
                "`max` must be a whole number from 0 to 2^63 − 1",
                None,
            );
        }
        max
    }

    fn scope(&mut self, node: &Node<'_>) -> Option<Scope> {
        match self.text(node, "scope")? {
            "grant" => Some(Scope::Grant),
            "session" => Some(Scope::Session),
            "server" => Some(Scope::Server),
            "node" => Some(Scope::Node),
            other => {
                let hint = spelling::hint(other, SCOPES)
                    .or_else(|| Some(format!("scopes are {}", spelling::list(SCOPES))));
                self.error(span(node), format!("no scope is called `{other}`"), hint);
                None
            }
        }
    }

    pub(super) fn boolean(&mut self, node: &Node<'_>, what: &str) -> Option<bool> {
        if let Node::BooleanLit(literal) = node {
            return Some(literal.value);
        }
        self.wrong_kind(node, what, "a boolean");
        None
    }

    /// A path that stands for one value: without `*`.
    fn counted_path(&mut self, node: &Node<'_>) -> Option<Path> {
        let path = self.path(node)?;
        if path.has_each() {
            self.error(
                span(node),
                "a `*` stands for many values, and a limit counts by one",
                None,
            );
            return None;
        }
        Some(path)
    }
}

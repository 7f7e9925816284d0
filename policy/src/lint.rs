//! What a sound policy says that its author likely did not mean (DESIGN 5.1).

use crate::glob::is_glob;
use crate::limit::{Limit, Scope};
use crate::operand::Kind;
use crate::operator::Operator;
use crate::path::Path;
use crate::predicate::{Condition, Predicate};
use crate::rules::{Rules, ToolRules};
use crate::{Problems, Verdict};

/// The tools of a server, as its profile knows them.
#[derive(Debug, Clone, Copy)]
pub struct Catalogue<'a> {
    /// Every name that a policy can speak of.
    pub tools: &'a [&'a str],
    /// Those that take the real operation as an argument (DESIGN 5.5).
    pub dispatchers: &'a [&'a str],
}

/// Notes every doubt about `rules` as a warning.
pub(crate) fn lint(
    rules: &Rules,
    catalogue: Option<&Catalogue<'_>>,
    problems: Problems,
) -> Problems {
    let mut lint = Lint { rules, problems };
    for tool in &rules.tools {
        lint.hidden(tool);
        lint.unreachable(tool);
        for predicate in tool.predicates() {
            lint.comparisons(tool, predicate);
        }
        for predicate in tool.deny_if.iter().chain(&tool.approve_if) {
            lint.negations(tool, predicate);
        }
        for limit in &tool.limits {
            lint.limit(Some(tool), limit);
        }
        if let Some(catalogue) = catalogue {
            lint.catalogue(tool, catalogue);
        }
    }
    for limit in &rules.all_tools {
        lint.limit(None, limit);
    }
    lint.nothing_left();
    lint.problems.sorted()
}

struct Lint<'r> {
    rules: &'r Rules,
    problems: Problems,
}

impl Lint<'_> {
    fn hidden(&mut self, tool: &ToolRules) {
        if self.is_hidden(tool) {
            let hint = "a hidden tool is denied before any of its rules is asked";
            self.problems.warn(
                tool.span,
                format!("the rules of `{}` can never fire: it is hidden", tool.key),
                hint,
            );
        }
    }

    /// Whether every tool that the entry stands for is hidden, as far as the names themselves tell.
    fn is_hidden(&self, tool: &ToolRules) -> bool {
        let prefixed = tool.key.contains(':');
        let same = self
            .rules
            .hide
            .iter()
            .any(|hide| hide.key == tool.key || (&*hide.key == "*" && !prefixed));
        same || (!is_glob(&tool.key) && self.rules.stand(&tool.key).hidden)
    }

    fn unreachable(&mut self, tool: &ToolRules) {
        for predicate in tool
            .require
            .iter()
            .filter(|predicate| predicate.conditions.is_empty())
        {
            let hint = "a predicate without conditions always holds, and `require` denies what does not hold";
            self.problems
                .warn(predicate.span, "this rule can never fire", hint);
        }
        let hint = "a predicate without conditions, before it, denies every call";
        let always = |list: &[Predicate]| {
            list.iter()
                .position(|predicate| predicate.conditions.is_empty())
        };
        let dead = |list: &[Predicate], from: usize| {
            list.iter().skip(from).map(|p| p.span).collect::<Vec<_>>()
        };
        let mut spans = Vec::new();
        if let Some(place) = always(&tool.deny_if) {
            spans.extend(dead(&tool.deny_if, place + 1));
            spans.extend(tool.limits.iter().map(|limit| limit.span));
            spans.extend(dead(&tool.approve_if, 0));
        } else if let Some(place) = always(&tool.approve_if) {
            spans.extend(dead(&tool.approve_if, place + 1));
        }
        for span in spans {
            self.problems.warn(span, "this rule can never fire", hint);
        }
        for condition in tool
            .predicates()
            .flat_map(|predicate| &predicate.conditions)
        {
            let (Operator::In(list) | Operator::NotIn(list)) = &condition.operator else {
                continue;
            };
            if list.is_empty() {
                let hint = "no value can be compared with an empty list: the condition never holds, and in `deny_if` it denies";
                self.problems.warn(
                    condition.span,
                    format!("`{}` has nothing to compare with", condition.name),
                    hint,
                );
            }
        }
    }

    fn comparisons(&mut self, tool: &ToolRules, predicate: &Predicate) {
        for condition in &predicate.conditions {
            let Operator::Order(_, operand) = &condition.operator else {
                continue;
            };
            if operand.kind() != Kind::Number || !condition.path.reads_arguments() {
                continue;
            }
            if !has_type_rule(tool, Some(predicate), &condition.path) {
                let message = format!(
                    "`{}` is compared as a number without a type check",
                    condition.path.text()
                );
                let hint =
                    "add `{\"path\": …, \"op\": \"type\", \"value\": \"number\"}` to `require`";
                self.problems.warn(condition.span, message, hint);
            }
        }
    }

    fn negations(&mut self, tool: &ToolRules, predicate: &Predicate) {
        for condition in &predicate.conditions {
            let negated = matches!(
                condition.operator,
                Operator::NotEqual(_) | Operator::NotIn(_)
            );
            let is_checked = |other: &Condition| {
                other.path == condition.path
                    && matches!(other.operator, Operator::Exists(true) | Operator::Type(_))
            };
            let required = || {
                tool.require
                    .iter()
                    .flat_map(|predicate| &predicate.conditions)
                    .any(is_checked)
            };
            if negated
                && condition.path.reads_arguments()
                && !predicate.conditions.iter().any(is_checked)
                && !required()
            {
                let message = format!(
                    "a call without `{}` passes this rule",
                    condition.path.text()
                );
                let hint = "a missing value is never unequal: require that it `exists`";
                self.problems.warn(condition.span, message, hint);
            }
        }
    }

    fn limit(&mut self, tool: Option<&ToolRules>, limit: &Limit) {
        if limit.scope == Scope::Session {
            let hint = "an agent that reconnects starts afresh: use `grant`";
            self.problems
                .warn(limit.span, "this limit counts by session", hint);
        }
        if limit.max == 0 {
            let hint = "say so with `\"action\": \"deny\"`";
            self.problems
                .warn(limit.span, "a limit of 0 denies every call", hint);
        }
        for path in limit.per.iter().filter(|path| path.reads_arguments()) {
            if !tool.is_some_and(|tool| has_type_rule(tool, None, path)) {
                let message = format!(
                    "this limit counts by `{}`, whose type no rule checks",
                    path.text()
                );
                let hint = "`7` and `\"7\"` count apart: require a type";
                self.problems.warn(limit.span, message, hint);
            }
        }
    }

    fn catalogue(&mut self, tool: &ToolRules, catalogue: &Catalogue<'_>) {
        let known =
            |name: &str| catalogue.tools.contains(&name) || catalogue.dispatchers.contains(&name);
        if !is_glob(&tool.key) && !tool.key.contains(':') && !known(&tool.key) {
            let hint = "the rule is kept, and will fire should the server ever offer such a tool";
            self.problems.warn(
                tool.span,
                format!("the catalogue knows no tool `{}`", tool.key),
                hint,
            );
        }
        let is_open = tool.predicates().next().is_none() && tool.limits.is_empty();
        if is_open && catalogue.dispatchers.contains(&&*tool.key) {
            let message = format!("`{}` is a dispatcher, and is allowed whole", tool.key);
            let hint = "list the operations that may be called; a call is judged by the operation it names";
            self.problems.warn(tool.span, message, hint);
        }
    }

    fn nothing_left(&mut self) {
        let Some(first) = self.rules.hide.first() else {
            return;
        };
        if self.rules.default == Verdict::Deny
            && self.rules.tools.iter().all(|tool| self.is_hidden(tool))
        {
            let hint = "the default denies what is not listed, and everything listed is hidden";
            self.problems
                .warn(first.span, "nothing is left to show", hint);
        }
    }
}

/// Whether a `type` check of a scalar stands on `path`, in `require` or beside it in `predicate`.
fn has_type_rule(tool: &ToolRules, predicate: Option<&Predicate>, path: &Path) -> bool {
    let required = tool
        .require
        .iter()
        .chain(predicate)
        .flat_map(|predicate| &predicate.conditions);
    required
        .into_iter()
        .any(|condition| condition.path == *path && matches!(condition.operator, Operator::Type(_)))
}

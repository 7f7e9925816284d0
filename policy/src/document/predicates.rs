//! `require`, `deny_if`, `approve_if`: predicates, their conditions and operators.

use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};
use jsonc_parser::ast::Value as Node;
use regex::Regex;

use super::members::Members;
use super::{Reader, span, spelling};
use crate::Text;
use crate::glob::Glob;
use crate::key::escape;
use crate::number::Decimal;
use crate::operand::{Exact, Operand};
use crate::operator::{Bound, Operator, Type};
use crate::path::{NAMED, Path};
use crate::predicate::{Condition, Predicate};
use crate::problem::Span;

const CONDITION: &[&str] = &["path", "op", "value"];
const PREDICATE: &[&str] = &["conditions", "on_deny"];
const APPROVE_IF: &str = "approve_if";
const APPROVAL: &[&str] = &["conditions", "on_deny", "timeout"];
const TYPES: &[&str] = &[
    "integer", "number", "string", "boolean", "array", "object", "null",
];
const OPERATORS: &[&str] = &[
    "eq", "neq", "lt", "lte", "gt", "gte", "in", "not_in", "exists", "regex", "contains", "type",
    "glob", "cidr",
];

/// The predicates of one stage of one tool, with their ids.
pub(super) struct List {
    base: String,
    ids: Ids,
    pub(super) entries: Vec<Predicate>,
}

impl List {
    /// A predicate without conditions: it always holds.
    pub(super) fn add_always(&mut self, message: Option<&str>, span: Span) {
        self.add("always", message, Vec::new(), None, span);
    }

    /// Has those predicates wait so long for an answer that do not say how long themselves.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) {
        for entry in &mut self.entries {
            entry.timeout = entry.timeout.or(timeout);
        }
    }

    fn add(
        &mut self,
        segment: &str,
        message: Option<&str>,
        conditions: Vec<Condition>,
        timeout: Option<Duration>,
        span: Span,
    ) {
        let id = self
            .ids
            .unique(&format!("{}/{}", self.base, escape(segment)));
        let unsaid = || {
            if self.base.ends_with(APPROVE_IF) {
                "This needs a person's approval.".to_owned()
            } else {
                format!("Denied by {id}.")
            }
        };
        let message = message.map_or_else(unsaid, ToOwned::to_owned);
        self.entries.push(Predicate {
            id: id.into(),
            message: Text::from(message),
            conditions,
            timeout,
            span,
        });
    }
}

/// Rule ids given so far: a second one gets `#2`.
#[derive(Default)]
pub(super) struct Ids(Vec<String>);

impl Ids {
    pub(super) fn unique(&mut self, id: &str) -> String {
        let mut unique = id.to_owned();
        let mut number = 2;
        while self.0.contains(&unique) {
            unique = format!("{id}#{number}");
            number += 1;
        }
        self.0.push(unique.clone());
        unique
    }
}

impl Reader {
    /// The predicates under `stage` of a tool.
    pub(super) fn predicates(&mut self, members: &Members<'_>, stage: &str, base: &str) -> List {
        let mut list = List {
            base: format!("{base}/{stage}"),
            ids: Ids::default(),
            entries: Vec::new(),
        };
        let known = if stage == APPROVE_IF {
            APPROVAL
        } else {
            PREDICATE
        };
        let Some(node) = members.get(stage) else {
            return list;
        };
        for node in self.list(node, stage) {
            let members = self.members(node, &format!("an entry of `{stage}`"), known);
            let message = members
                .get("on_deny")
                .and_then(|node| self.text(node, "on_deny"));
            let timeout = members.get("timeout").and_then(|node| self.duration(node));
            let hint = "write `\"conditions\": []` for a predicate that always holds";
            let Some(node) = self.required(&members, "conditions", hint) else {
                continue;
            };
            let mut conditions = Vec::new();
            for node in self.list(node, "conditions") {
                conditions.extend(self.condition(node));
            }
            let segment = conditions
                .first()
                .map(|first| format!("{}-{}", first.path.text(), first.name));
            list.add(
                segment.as_deref().unwrap_or("always"),
                message,
                conditions,
                timeout,
                members.span,
            );
        }
        list
    }

    fn condition(&mut self, node: &Node<'_>) -> Option<Condition> {
        let members = self.members(node, "a condition", CONDITION);
        let hint = "write what is read, such as `\"path\": \"args.id\"`";
        let path = self
            .required(&members, "path", hint)
            .and_then(|node| self.path(node));
        let hint = format!("operators are {}", spelling::list(OPERATORS));
        let name = self
            .required(&members, "op", &hint)
            .and_then(|node| self.operator_name(node));
        let hint = "write what the value at the path is compared with";
        let value = self.required(&members, "value", hint);
        let operator = name
            .zip(value)
            .and_then(|(name, value)| self.operator(name, value));
        Some(Condition {
            path: path?,
            name: name?,
            operator: operator?,
            span: span(node),
        })
    }

    /// A path, as a string of the document.
    pub(super) fn path(&mut self, node: &Node<'_>) -> Option<Path> {
        let text = self.text(node, "path")?;
        match Path::parse(text) {
            Ok(path) => Some(path),
            Err(why) => {
                let named: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
                let near = if text.starts_with("args") {
                    None
                } else {
                    spelling::hint(text, &named)
                };
                let hint = near.unwrap_or_else(|| {
                    format!(
                        "arguments are read as `args.<field>`; besides there are {}",
                        spelling::list(&named)
                    )
                });
                self.error(span(node), why, Some(hint));
                None
            }
        }
    }

    fn operator_name(&mut self, node: &Node<'_>) -> Option<&'static str> {
        let text = self.text(node, "op")?;
        let name = OPERATORS.iter().find(|name| **name == text).copied();
        if name.is_none() {
            let hint = spelling::hint(text, OPERATORS);
            let hint =
                hint.unwrap_or_else(|| format!("operators are {}", spelling::list(OPERATORS)));
            self.error(
                span(node),
                format!("no operator is called `{text}`"),
                Some(hint),
            );
        }
        name
    }

    fn operator(&mut self, name: &str, node: &Node<'_>) -> Option<Operator> {
        Some(match name {
            "eq" => Operator::Equal(self.operand(node)?),
            "neq" => Operator::NotEqual(self.operand(node)?),
            "lt" => self.order(Bound::Less, node)?,
            "lte" => self.order(Bound::LessOrEqual, node)?,
            "gt" => self.order(Bound::Greater, node)?,
            "gte" => self.order(Bound::GreaterOrEqual, node)?,
            "in" => Operator::In(self.operands(node)?),
            "not_in" => Operator::NotIn(self.operands(node)?),
            "contains" => Operator::Contains(self.operand(node)?),
            "exists" => Operator::Exists(self.boolean(node, "the value of `exists`")?),
            "type" => {
                let text = self.text(node, "the value of `type`")?;
                let Some(wanted) = Type::named(text) else {
                    let hint = spelling::hint(text, TYPES);
                    let hint =
                        hint.unwrap_or_else(|| format!("types are {}", spelling::list(TYPES)));
                    self.error(
                        span(node),
                        format!("no type is called `{text}`"),
                        Some(hint),
                    );
                    return None;
                };
                Operator::Type(wanted)
            }
            "regex" => {
                let text = self.text(node, "the value of `regex`")?;
                let regex = Regex::new(text).map_err(|error| regex_problem(&error));
                Operator::Regex(self.sound(regex, node)?)
            }
            "glob" => {
                let text = self.text(node, "the value of `glob`")?;
                Operator::Glob(self.sound(Glob::compile(text), node)?)
            }
            _ => Operator::Cidr(self.networks(node)?),
        })
    }

    fn order(&mut self, bound: Bound, node: &Node<'_>) -> Option<Operator> {
        if !matches!(node, Node::NumberLit(_) | Node::StringLit(_)) {
            self.wrong_kind(node, "the value of an order", "a number or a string");
            return None;
        }
        Some(Operator::Order(bound, self.operand(node)?))
    }

    fn operands(&mut self, node: &Node<'_>) -> Option<Vec<Operand>> {
        if !matches!(node, Node::Array(_)) {
            self.wrong_kind(node, "the value of `in` and `not_in`", "an array");
            return None;
        }
        self.list(node, "value")
            .iter()
            .map(|node| self.operand(node))
            .collect()
    }

    fn operand(&mut self, node: &Node<'_>) -> Option<Operand> {
        Some(match node {
            Node::NullKeyword(_) => Operand::Null,
            Node::BooleanLit(literal) => Operand::Bool(literal.value),
            Node::StringLit(literal) => Operand::String(literal.value.as_ref().into()),
            Node::NumberLit(literal) => {
                let decimal = Decimal::parse(literal.value).filter(Decimal::fits_policy);
                let decimal = decimal
                    .ok_or_else(|| "this number is beyond what a policy may hold".to_owned());
                Operand::Number(Exact::new(self.sound(decimal, node)?))
            }
            Node::Array(array) => {
                let items: Option<Vec<Operand>> = array
                    .elements
                    .iter()
                    .map(|node| self.operand(node))
                    .collect();
                Operand::Array(items?)
            }
            Node::Object(_) => {
                let entries = self.entries(node, "value");
                let members = entries
                    .iter()
                    .map(|entry| Some((entry.key.into(), self.operand(entry.value)?)));
                Operand::Object(members.collect::<Option<_>>()?)
            }
        })
    }

    fn networks(&mut self, node: &Node<'_>) -> Option<Vec<IpNet>> {
        let nodes = if let Node::Array(array) = node {
            array.elements.as_slice()
        } else {
            std::slice::from_ref(node)
        };
        let mut networks = Vec::new();
        for node in nodes {
            let text = self.text(node, "a network")?;
            networks.push(self.sound(parse_network(text), node)?);
        }
        Some(networks)
    }

    fn sound<T>(&mut self, result: Result<T, String>, node: &Node<'_>) -> Option<T> {
        result.map_err(|why| self.error(span(node), why, None)).ok()
    }
}

/// `10.0.0.0/8`, `fd00::/8`, or one address; IPv4 inside IPv6 is compared as IPv4.
fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| format!("`{text}` is no network such as `10.0.0.0/8`"))?;
    let IpNet::V6(v6) = network else {
        return Ok(network);
    };
    let v4 = v6
        .addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(96));
    Ok(v4
        .and_then(|(address, length)| Ipv4Net::new(address, length).ok())
        .map_or(network, IpNet::V4))
}

fn regex_problem(error: &regex::Error) -> String {
    let text = error.to_string();
    let why = text
        .lines()
        .last()
        .unwrap_or_default()
        .trim_start_matches("error: ");
    format!("this is no regex: {why}")
}

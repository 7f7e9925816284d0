//! The members of an object: known, and each once.

use std::collections::HashSet;

use jsonc_parser::ast::Value as Node;
use jsonc_parser::common::Ranged;

use super::{Reader, span, spelling};
use crate::problem::Span;

/// The members of an object of the document.
pub(super) struct Members<'n> {
    list: Vec<Entry<'n>>,
    pub(super) span: Span,
    /// False if something else stood where an object was wanted.
    pub(super) is_object: bool,
}

/// One member.
#[derive(Clone, Copy)]
pub(super) struct Entry<'n> {
    pub(super) key: &'n str,
    pub(super) span: Span,
    pub(super) value: &'n Node<'n>,
}

impl<'n> Members<'n> {
    pub(super) fn get(&self, key: &str) -> Option<&'n Node<'n>> {
        self.list
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| entry.value)
    }
}

impl Reader {
    /// The members of an object that may have these `known` ones.
    pub(super) fn members<'n>(
        &mut self,
        node: &'n Node<'n>,
        what: &str,
        known: &[&str],
    ) -> Members<'n> {
        let list = self.entries(node, what);
        for entry in list.iter().filter(|entry| !known.contains(&entry.key)) {
            let hint = spelling::hint(entry.key, known)
                .or_else(|| Some(format!("known are {}", spelling::list(known))));
            let what = if what.contains(['`', ' ']) {
                what.to_owned()
            } else {
                format!("`{what}`")
            };
            self.error(
                entry.span,
                format!("unknown field `{}` in {what}", entry.key),
                hint,
            );
        }
        Members {
            list,
            span: span(node),
            is_object: matches!(node, Node::Object(_)),
        }
    }

    /// The members of an object whose keys are free, each once.
    pub(super) fn entries<'n>(&mut self, node: &'n Node<'n>, what: &str) -> Vec<Entry<'n>> {
        let Node::Object(object) = node else {
            self.wrong_kind(node, what, "an object");
            return Vec::new();
        };
        let mut seen = HashSet::new();
        let mut list = Vec::with_capacity(object.properties.len());
        for property in &object.properties {
            let range = property.name.range();
            let entry = Entry {
                key: property.name.as_str(),
                span: Span {
                    start: range.start,
                    end: range.end,
                },
                value: &property.value,
            };
            if seen.insert(entry.key) {
                list.push(entry);
            } else {
                let hint = "the second would silently win elsewhere: keep one".to_owned();
                self.error(
                    entry.span,
                    format!("the key `{}` stands here twice", entry.key),
                    Some(hint),
                );
            }
        }
        list
    }
}

/// The JSON type of a node, with its article.
pub(super) fn kind(node: &Node<'_>) -> &'static str {
    match node {
        Node::StringLit(_) => "a string",
        Node::NumberLit(_) => "a number",
        Node::BooleanLit(_) => "a boolean",
        Node::Object(_) => "an object",
        Node::Array(_) => "an array",
        Node::NullKeyword(_) => "null",
    }
}

//! One policy: a document, its digest, and its rules in the form in which calls are judged.

use std::sync::Arc;

use crate::limit::{Limit, Scope};
use crate::lint::{Catalogue, lint};
use crate::rules::{Rules, ToolRules};
use crate::{Digest, Micros, Needs, Problems, Resolution, document};

/// A loaded policy. Immutable; share it by `Arc`.
#[derive(Debug, Clone)]
pub struct Policy {
    source: Arc<str>,
    name: Arc<str>,
    digest: Digest,
    rules: Rules,
    needs: Needs,
}

impl Policy {
    /// Reads a policy document; `name` is what its problems call it, usually the file's path.
    pub fn load(source: &[u8], name: &str) -> Result<Self, Problems> {
        let (text, rules) = document::read(source, name)?;
        Ok(Self {
            source: text.into(),
            name: name.into(),
            digest: Digest::of(source),
            needs: Needs::of(&rules),
            rules,
        })
    }

    /// The SHA-256 of the document's bytes as loaded.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The document's bytes as loaded.
    pub fn document(&self) -> &[u8] {
        self.source.as_bytes()
    }

    /// What the document is called, usually the path it was loaded from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `name` is hidden: left out of lists and denied when called.
    pub fn hides(&self, name: &str) -> bool {
        self.rules.stand(name).hidden
    }

    /// What its rules read besides names.
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// Whether any rule for a call of these names reads its arguments. Only names count, so the answer
    /// is one for all calls that go by them: replay asks once, and may leave their arguments unread.
    pub fn reads_arguments_of(&self, names: &Resolution<'_>) -> bool {
        let standings = names
            .readings
            .iter()
            .map(|reading| self.rules.stand(&reading.tool));
        let tools = standings.filter_map(|standing| standing.rules);
        tools.into_iter().any(ToolRules::reads_arguments)
            || self.rules.all_tools.iter().any(Limit::reads_arguments)
    }

    /// The longest window of any limit, as a span.
    pub fn longest_window(&self) -> Option<Micros> {
        self.rules
            .limits()
            .map(|limit| Micros(limit.window.micros))
            .max()
    }

    /// The coarsest scope of any limit: calls that differ in it never share a counter.
    pub fn coarsest_scope(&self) -> Option<Scope> {
        self.rules.limits().map(|limit| limit.scope).max()
    }

    /// What likely means something else than its author thinks (DESIGN 5.1), as warnings.
    pub fn lint(&self, catalogue: Option<&Catalogue<'_>>) -> Problems {
        lint(
            &self.rules,
            catalogue,
            Problems::none(Arc::clone(&self.source), &self.name),
        )
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }
}

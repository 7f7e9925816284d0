//! Which grants get which candidate, and whose calls are reported.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_policy::Policy;

use crate::report::Candidate;
use crate::{PolicyFile, ReplayError, ReplayOptions};

/// The candidates, loaded, and the grants they are for.
pub(crate) struct Selection {
    candidate: Option<Arc<Policy>>,
    assigned: BTreeMap<String, Arc<Policy>>,
    server: Option<String>,
    grant: Option<String>,
}

impl Selection {
    pub(crate) fn of(options: &ReplayOptions) -> Result<Self, ReplayError> {
        let load = |file: &PolicyFile| {
            Policy::load(&file.bytes, &file.path)
                .map(Arc::new)
                .map_err(ReplayError::Policy)
        };
        Ok(Self {
            candidate: options.candidate.as_ref().map(load).transpose()?,
            assigned: options
                .assign
                .iter()
                .map(|(grant, file)| Ok((grant.clone(), load(file)?)))
                .collect::<Result<_, ReplayError>>()?,
            server: options.server.clone(),
            grant: options.grant.clone(),
        })
    }

    /// Whether `--server` and `--grant` take in this grant's calls.
    pub(crate) fn takes(&self, server: &str, grant: &str) -> bool {
        self.server
            .as_deref()
            .is_none_or(|selected| selected == server)
            && self
                .grant
                .as_deref()
                .is_none_or(|selected| selected == grant)
    }

    /// The candidate for a grant's calls; none if the grant keeps its own policy.
    pub(crate) fn candidate(&self, server: &str, grant: &str) -> Option<&Arc<Policy>> {
        let assigned = self.assigned.get(grant);
        assigned.or_else(|| {
            let candidate = self.candidate.as_ref();
            candidate.filter(|_| self.takes(server, grant))
        })
    }

    /// The candidates.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = &Policy> {
        let candidates = self.candidate.iter().chain(self.assigned.values());
        candidates.map(|policy| &**policy)
    }

    /// The names in the options that must have a call in the record, as (`server` or `grant`, name).
    pub(crate) fn names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.server
            .iter()
            .map(|server| ("server", server.as_str()))
            .chain(
                self.grant
                    .iter()
                    .chain(self.assigned.keys())
                    .map(|grant| ("grant", grant.as_str())),
            )
    }
}

/// The candidate as a report names it.
pub(crate) fn named(file: &PolicyFile) -> Candidate {
    Candidate {
        path: file.path.clone(),
        digest: weir_policy::Digest::of(&file.bytes).to_string(),
    }
}

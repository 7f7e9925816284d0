//! The policies and resolvers that the record keeps, loaded once each by their digest.

use std::sync::Arc;

use hashbrown::HashMap;
use weir_policy::{Policy, Resolver};
use weir_recorder::RecordReader;

/// What cannot be judged again because a document is missing or does not load.
pub(crate) mod missing {
    /// The policy that judged the call is not kept.
    pub(crate) const POLICY: &str = "policy not kept";
    /// The policy that judged the call is kept, and this version cannot load it.
    pub(crate) const POLICY_UNREADABLE: &str = "policy does not load";
    /// The resolver that read the call is not kept.
    pub(crate) const RESOLVER: &str = "resolver not kept";
    /// The resolver that read the call is kept, and this version cannot load it.
    pub(crate) const RESOLVER_UNREADABLE: &str = "resolver does not load";
    /// A rule reads the arguments, and those on record cannot be read as live read them.
    pub(crate) const ARGUMENTS: &str = "arguments do not resolve";
    /// The names on record cannot be what the resolver on record gave.
    pub(crate) const NAMES: &str = "names do not fit the resolver";
    /// The name of the resource holds a value that was replaced.
    pub(crate) const REDACTED: &str = "redacted name";
}

type Loaded<T> = Result<Arc<T>, &'static str>;

/// Documents by digest.
pub(crate) struct Kept {
    reader: RecordReader,
    policies: HashMap<String, Loaded<Policy>>,
    resolvers: HashMap<String, Loaded<Resolver>>,
    plain: Arc<Resolver>,
}

impl Kept {
    pub(crate) fn of(reader: RecordReader) -> Self {
        Self {
            reader,
            policies: HashMap::new(),
            resolvers: HashMap::new(),
            plain: Arc::new(Resolver::plain()),
        }
    }

    /// The policy with this digest, or why there is none.
    pub(crate) fn policy(&mut self, digest: &str) -> Loaded<Policy> {
        let reader = &self.reader;
        self.policies
            .entry_ref(digest)
            .or_insert_with(|| {
                let document = reader.policy(digest).map_err(|_| missing::POLICY)?;
                let policy =
                    Policy::load(&document, digest).map_err(|_| missing::POLICY_UNREADABLE)?;
                Ok(Arc::new(policy))
            })
            .clone()
    }

    /// The resolver with this digest, or why there is none. A row without one was read plainly.
    pub(crate) fn resolver(&mut self, digest: &str) -> Loaded<Resolver> {
        if digest.is_empty() {
            return Ok(Arc::clone(&self.plain));
        }
        let reader = &self.reader;
        self.resolvers
            .entry_ref(digest)
            .or_insert_with(|| {
                let document = reader.resolver(digest).map_err(|_| missing::RESOLVER)?;
                let resolver =
                    Resolver::load(&document).map_err(|_| missing::RESOLVER_UNREADABLE)?;
                Ok(Arc::new(resolver))
            })
            .clone()
    }

    /// The policy with this digest, if it was loaded.
    pub(crate) fn known(&self, digest: &str) -> Option<&Policy> {
        self.policies.get(digest)?.as_deref().ok()
    }

    /// The policies loaded so far.
    pub(crate) fn loaded(&self) -> impl Iterator<Item = &Policy> {
        self.policies.values().flatten().map(|policy| &**policy)
    }
}

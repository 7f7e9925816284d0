//! The policies and resolvers that the record keeps, loaded once each by their digest.

use std::sync::Arc;

use hashbrown::HashMap;
use weir_policy::{Needs, Policy, Resolver};
use weir_recorder::RecordReader;

use crate::symbols::{Symbol, Symbols};

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
    /// A policy that reads arguments came into force after replay had looked which there are.
    pub(crate) const UNREAD: &str = "recorded while replay ran";
    /// The names on record cannot be what the resolver on record gave.
    pub(crate) const NAMES: &str = "names do not fit the resolver";
    /// A rule reads the arguments, and some of their values were replaced.
    pub(crate) const REDACTED: &str = "redacted";
}

type Loaded<T> = Result<Arc<T>, &'static str>;

/// Documents by digest.
pub(crate) struct Kept {
    reader: RecordReader,
    policies: HashMap<Symbol, Loaded<Policy>>,
    resolvers: HashMap<Symbol, Loaded<Resolver>>,
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
    pub(crate) fn policy(&mut self, digest: Symbol, symbols: &Symbols) -> Loaded<Policy> {
        let reader = &self.reader;
        self.policies
            .entry(digest)
            .or_insert_with(|| {
                let digest = symbols.word(digest);
                let document = reader.policy(digest).map_err(|_| missing::POLICY)?;
                let policy =
                    Policy::load(&document, digest).map_err(|_| missing::POLICY_UNREADABLE)?;
                Ok(Arc::new(policy))
            })
            .clone()
    }

    /// The resolver with this digest, or why there is none. A row without one was read plainly.
    pub(crate) fn resolver(&mut self, digest: Symbol, symbols: &Symbols) -> Loaded<Resolver> {
        if digest == Symbol::EMPTY {
            return Ok(Arc::clone(&self.plain));
        }
        let reader = &self.reader;
        self.resolvers
            .entry(digest)
            .or_insert_with(|| {
                let document = reader
                    .resolver(symbols.word(digest))
                    .map_err(|_| missing::RESOLVER)?;
                let resolver =
                    Resolver::load(&document).map_err(|_| missing::RESOLVER_UNREADABLE)?;
                Ok(Arc::new(resolver))
            })
            .clone()
    }

    /// What the rules of the policies loaded so far read besides names.
    pub(crate) fn needs(&self) -> Needs {
        let loaded = self.policies.values().flatten();
        loaded.fold(Needs::default(), |needs, policy| needs.or(policy.needs()))
    }
}

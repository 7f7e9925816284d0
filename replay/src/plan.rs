//! How the calls of one kind are judged: the policies, and what of a call they are asked about.

use std::borrow::Cow;
use std::sync::Arc;

use weir_policy::{Arguments, Object, Policy, Reading, Resolution, Resolver, Value, is_replaced};

use crate::kept::{Kept, missing};
use crate::kind::Kind;
use crate::selection::Selection;

/// How the calls of one kind are judged.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The policy that was in force; none for a call that had none.
    pub(crate) baseline: Result<Option<Arc<Policy>>, &'static str>,
    /// The candidate, or the same policy where the grant is not selected.
    pub(crate) candidate: Result<Option<Arc<Policy>>, &'static str>,
    /// How the calls were read.
    pub(crate) resolver: Arc<Resolver>,
    /// What the calls are judged on.
    pub(crate) reading: Read,
    /// Whether any limit counts them.
    pub(crate) counts: bool,
}

/// What calls of one kind are judged on. The names are those on record.
#[derive(Debug)]
pub(crate) enum Read {
    /// Their names alone: no rule that speaks of them reads arguments.
    Names(Resolution<'static>),
    /// Their recorded arguments, parsed and resolved again, row by row.
    Arguments(Resolution<'static>),
    /// Nothing: part of the name of a resource was replaced.
    RedactedNames(Resolution<'static>),
}

impl Plan {
    /// The plan for a kind; why it cannot be judged, where nothing is known of what it consumes either.
    pub(crate) fn make(
        kind: &Kind,
        resolver: &str,
        kept: &mut Kept,
        selection: &Selection,
    ) -> Result<Self, &'static str> {
        let baseline = if kind.policy.is_empty() {
            Ok(None)
        } else {
            kept.policy(&kind.policy).map(Some)
        };
        let candidate = match selection.candidate(&kind.server, &kind.grant) {
            Some(policy) => Ok(Some(Arc::clone(policy))),
            None => baseline.clone(),
        };
        let resolver = kept.resolver(resolver)?;
        let via: Vec<&str> = kind.via.iter().map(|step| &**step).collect();
        let names = resolver.from_recorded(&kind.wire_tool, &via, &kind.tool);
        let names = names.map(|names| without_arguments(&names));
        let names = names.ok_or(missing::NAMES)?;
        let policies = || [&baseline, &candidate].into_iter().flatten().flatten();
        let counts = policies().any(|policy| policy.counts_calls_of(&names));
        let reading = if is_replaced(&kind.wire_tool) {
            Read::RedactedNames(names)
        } else if policies().any(|policy| policy.reads_arguments_of(&names)) {
            Read::Arguments(names)
        } else {
            Read::Names(names)
        };
        Ok(Self {
            baseline,
            candidate,
            resolver,
            reading,
            counts,
        })
    }

    /// The names, where they are all that the calls are judged on.
    pub(crate) fn names(&self) -> Option<&Resolution<'static>> {
        match &self.reading {
            Read::Names(names) => Some(names),
            Read::Arguments(_) | Read::RedactedNames(_) => None,
        }
    }
}

/// The names and roles of a reading, kept.
fn without_arguments(resolution: &Resolution<'_>) -> Resolution<'static> {
    let kept = |text: &str| Cow::Owned(text.to_owned());
    Resolution {
        readings: resolution
            .readings
            .iter()
            .map(|reading| Reading {
                tool: kept(&reading.tool),
                arguments: Arguments::Built(Box::new(Value::Object(Object::default()))),
                role: reading.role,
            })
            .collect(),
        via: resolution.via.iter().map(|step| kept(step)).collect(),
        risk: resolution.risk,
    }
}

//! Counters are a fold of the log: rebuilt from the record before anything is served, so that a restart gives nobody a
//! fresh budget.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_policy::{
    Ask, Context, Counters, Micros, Policy, Reservation, Resolution, Resolver, Value,
    recorded_arguments,
};
use weir_recorder::{CallRow, CallRows, RecordError, RecordReader, Recovered, Verdict};

use super::LedgerOptions;

/// What the fold found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Folded {
    /// Admitted calls that were counted again.
    pub calls: u64,
    /// Admitted calls whose limits could not be read; only where the operator said that such limits start empty.
    pub gaps: u64,
}

/// The record does not say what the counters were.
#[derive(Debug, thiserror::Error)]
pub enum Unfoldable {
    /// It cannot be read.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// A call was admitted by something that is not kept, or that cannot be read any more.
    #[error(
        "the call at place {seq} was admitted, and what it counted is not known: {why}; `gaps = \"empty\"` in [record] starts such limits empty"
    )]
    Gap {
        /// The call's place in the log.
        seq: i64,
        /// What is missing.
        why: String,
    },
}

/// Reads the record over the longest window in force and consumes what the admitted calls consumed, and those of which a person
/// was asked: their answer says whether it was returned.
pub(super) fn fold(
    options: &LedgerOptions,
    now: Micros,
    recovered: &Recovered,
    counters: &mut Counters,
) -> Result<Folded, Unfoldable> {
    let mut folded = Folded::default();
    let Some(window) = options.longest_window else {
        return Ok(folded);
    };
    if recovered.last_seq.is_none() {
        return Ok(folded);
    }
    let mut library = Library::of(recovered.reader.clone());
    let mut returns = Returns::default();
    for batch in recovered.calls_since(now.0.saturating_sub(window.0), CallRows::COLUMNS)? {
        let batch = batch?;
        for row in CallRows::new(&batch)?.iter() {
            returns.before(row.seq, counters);
            let took = row.verdict == Verdict::Allow || row.asked;
            if !took || row.policy_digest.is_none() {
                continue;
            }
            match library.consume(&options.node, &row, counters) {
                Ok(taken) => {
                    folded.calls += 1;
                    drop(returns.expect(&row, taken));
                }
                Err(_) if options.gaps_start_empty => folded.gaps += 1,
                Err(why) => return Err(Unfoldable::Gap { seq: row.seq, why }),
            }
        }
    }
    returns.before(i64::MAX, counters);
    Ok(folded)
}

/// Reservations that will be returned, by the place of the entry that returns them.
#[derive(Debug, Default)]
pub(super) struct Returns(BTreeMap<i64, (Micros, Reservation)>);

impl Returns {
    /// Keeps what a call took, if the record says that it is returned; else gives it back to the asker.
    pub(super) fn expect(&mut self, row: &CallRow<'_>, taken: Reservation) -> Option<Reservation> {
        if let (true, Some(seq), Some(at)) = (row.given_back, row.finish_seq, row.finished_at) {
            self.0.insert(seq, (Micros(at), taken));
            return None;
        }
        Some(taken)
    }

    /// Gives back everything that was given back before this place in the log.
    pub(super) fn before(&mut self, seq: i64, counters: &mut Counters) {
        while let Some(entry) = self.0.first_entry().filter(|entry| *entry.key() < seq) {
            let (at, taken) = entry.remove();
            counters.give_back(&taken, at);
        }
    }
}

/// The policies and resolvers that judged, as the record keeps them.
#[derive(Debug)]
pub(super) struct Library {
    pub(super) reader: RecordReader,
    policies: HashMap<String, Arc<Policy>>,
    resolvers: HashMap<String, Arc<Resolver>>,
}

impl Library {
    pub(super) fn of(reader: RecordReader) -> Self {
        Self {
            reader,
            policies: HashMap::new(),
            resolvers: HashMap::new(),
        }
    }

    fn consume(
        &mut self,
        node: &str,
        row: &CallRow<'_>,
        counters: &mut Counters,
    ) -> Result<Reservation, String> {
        let policy = self.policy(row.policy_digest.unwrap_or_default())?;
        if policy.longest_window().is_none() {
            return Ok(Reservation::default());
        }
        self.read(node, row, |resolution, context| {
            counters.consume(&policy, resolution, context, Micros(row.decided_at))
        })
    }

    /// Reads a call as it was read live, as far as the record keeps it.
    pub(super) fn read<T>(
        &mut self,
        node: &str,
        row: &CallRow<'_>,
        then: impl FnOnce(&Resolution<'_>, &Context<'_>) -> T,
    ) -> Result<T, String> {
        let resolver = self.resolver(row.resolver_digest.unwrap_or_default())?;
        let wire_tool = row.wire_tool.unwrap_or_default();
        let text = recorded_arguments(wire_tool, row.arguments);
        let arguments = Value::parse(text).map_err(|flaw| flaw.to_string())?;
        let ask = Ask::recorded(wire_tool, &arguments);
        let resolution = if row.redacted.is_empty() {
            resolver
                .resolve(&ask)
                .map_err(|denial| denial.message.to_string())?
        } else {
            // Live counted by what is left on record, and so does this.
            let left = (!row.redacted.contains(&"")).then_some(&arguments);
            resolver
                .from_redacted(wire_tool, &row.via, row.tool.unwrap_or_default(), left)
                .ok_or("its names do not fit what is left of its arguments")?
        };
        let context = Context {
            node,
            server: row.server.unwrap_or_default(),
            grant: row.grant.unwrap_or_default(),
            session: row.session.unwrap_or_default(),
            client_name: row.client_name.unwrap_or_default(),
            client_version: row.client_version.unwrap_or_default(),
            received_at: Micros(row.received_at),
        };
        Ok(then(&resolution, &context))
    }

    pub(super) fn policy(&mut self, digest: &str) -> Result<Arc<Policy>, String> {
        if let Some(policy) = self.policies.get(digest) {
            return Ok(Arc::clone(policy));
        }
        let document = self
            .reader
            .policy(digest)
            .map_err(|error| error.to_string())?;
        let policy = Policy::load(&document, digest).map_err(|problems| problems.to_string())?;
        let policy = Arc::new(policy);
        self.policies.insert(digest.to_owned(), Arc::clone(&policy));
        Ok(policy)
    }

    fn resolver(&mut self, digest: &str) -> Result<Arc<Resolver>, String> {
        if let Some(resolver) = self.resolvers.get(digest) {
            return Ok(Arc::clone(resolver));
        }
        let document = self
            .reader
            .resolver(digest)
            .map_err(|error| error.to_string())?;
        let resolver = Resolver::load(&document).map_err(|problem| problem.to_string())?;
        let resolver = Arc::new(resolver);
        self.resolvers
            .insert(digest.to_owned(), Arc::clone(&resolver));
        Ok(resolver)
    }
}

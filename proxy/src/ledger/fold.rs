//! Counters are a fold of the log: rebuilt from the record before anything is served, so that a restart gives nobody a
//! fresh budget.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weir_policy::{
    Ask, Context, Counters, Micros, Policy, Reservation, Resolver, Value, recorded_arguments,
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

/// Reads the record over the longest window in force and consumes what the admitted calls consumed.
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
    let mut library = Library {
        reader: &recovered.reader,
        policies: HashMap::new(),
        resolvers: HashMap::new(),
    };
    let mut returns = Returns::default();
    for batch in recovered.calls_since(now.0.saturating_sub(window.0), CallRows::COLUMNS)? {
        let batch = batch?;
        for row in CallRows::new(&batch)?.iter() {
            returns.before(row.seq, counters);
            if row.verdict != Verdict::Allow || row.policy_digest.is_none() {
                continue;
            }
            match library.consume(options, &row, counters) {
                Ok(taken) => {
                    folded.calls += 1;
                    returns.expect(&row, taken);
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
#[derive(Default)]
struct Returns(BTreeMap<i64, (Micros, Reservation)>);

impl Returns {
    fn expect(&mut self, row: &CallRow<'_>, taken: Reservation) {
        if let (true, Some(seq), Some(at)) = (row.given_back, row.finish_seq, row.finished_at) {
            self.0.insert(seq, (Micros(at), taken));
        }
    }

    /// Gives back everything that was given back before this place in the log.
    fn before(&mut self, seq: i64, counters: &mut Counters) {
        while let Some(entry) = self.0.first_entry().filter(|entry| *entry.key() < seq) {
            let (at, taken) = entry.remove();
            counters.give_back(&taken, at);
        }
    }
}

/// The policies and resolvers that judged, as the record keeps them.
struct Library<'r> {
    reader: &'r RecordReader,
    policies: HashMap<String, Arc<Policy>>,
    resolvers: HashMap<String, Arc<Resolver>>,
}

impl Library<'_> {
    fn consume(
        &mut self,
        options: &LedgerOptions,
        row: &CallRow<'_>,
        counters: &mut Counters,
    ) -> Result<Reservation, String> {
        let policy = self.policy(row.policy_digest.unwrap_or_default())?;
        if policy.longest_window().is_none() {
            return Ok(Reservation::default());
        }
        let resolver = self.resolver(row.resolver_digest.unwrap_or_default())?;
        let wire_tool = row.wire_tool.unwrap_or_default();
        let text = recorded_arguments(wire_tool, row.arguments);
        let arguments = Value::parse(text).map_err(|flaw| flaw.to_string())?;
        let ask = Ask::recorded(wire_tool, &arguments);
        let resolution = resolver
            .resolve(&ask)
            .map_err(|denial| denial.message.to_string())?;
        let context = Context {
            node: &options.node,
            server: row.server.unwrap_or_default(),
            grant: row.grant.unwrap_or_default(),
            session: row.session.unwrap_or_default(),
            client_name: row.client_name.unwrap_or_default(),
            client_version: row.client_version.unwrap_or_default(),
            received_at: Micros(row.received_at),
        };
        Ok(counters.consume(&policy, &resolution, &context, Micros(row.decided_at)))
    }

    fn policy(&mut self, digest: &str) -> Result<Arc<Policy>, String> {
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

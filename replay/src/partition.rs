//! The calls of some grants, judged in the order of the log.

use std::sync::Arc;

use hashbrown::HashSet;

use crate::call::Call;
use crate::chunk::{Chunk, Pending, View};
use crate::kind::{Kind, Way};
use crate::notable::{Notable, Notables, Said};
use crate::order::Span;
use crate::partial::{DRIFTS_LISTED, Listed, Partial};
use crate::report::{Drift, Flip};
use crate::ruled::{Ruled, word};
use crate::twin::Twin;
use crate::{Class, ReplayError, ReplayOptions};

/// One partition under way: counters, and what was found so far. It depends on nothing but its own rows in their order.
pub(crate) struct Partition<'o> {
    options: &'o ReplayOptions,
    /// What stays `same` is noted too.
    everything: bool,
    node: Option<u32>,
    twin: Twin,
    /// Sessions that went another way, by server and grant.
    diverged: HashSet<(Arc<str>, Arc<str>, String)>,
    pub(crate) partial: Partial,
    pub(crate) notables: Notables,
}

impl<'o> Partition<'o> {
    pub(crate) fn one_of(partitions: usize, options: &'o ReplayOptions, everything: bool) -> Self {
        Self {
            options,
            everything,
            node: None,
            twin: Twin::new(options.state, options.counters_per_grant),
            diverged: HashSet::new(),
            partial: Partial::new(options.flips),
            notables: Notables::one_of(partitions),
        }
    }

    /// Judges the next rows.
    pub(crate) fn judge(&mut self, span: &Span) -> Result<(), ReplayError> {
        let chunk = &*span.chunk;
        if self.node != Some(chunk.node) {
            // Counters are per node, and so is everything that follows from them.
            self.node = Some(chunk.node);
            self.twin = Twin::new(self.options.state, self.options.counters_per_grant);
            self.diverged.clear();
        }
        for place in &span.rows {
            if let Some(row) = chunk
                .rows
                .get(*place as usize)
                .and_then(|row| chunk.view(row))
            {
                self.row(chunk, &row)?;
            }
        }
        Ok(())
    }

    fn row(&mut self, chunk: &Chunk, row: &View<'_>) -> Result<(), ReplayError> {
        let View {
            kind,
            pending: Pending {
                seq, decided_at, ..
            },
            ..
        } = row;
        self.twin.catch_up(*seq);
        let judged;
        let ruled = match (row.ruled, &kind.way) {
            (Some(ruled), _) => ruled,
            (None, Way::Noted(ruled)) => &**ruled,
            (None, Way::Alone(plan) | Way::Ordered(plan)) => {
                let call = Call::of(kind, &chunk.node_name, row.details, *decided_at);
                judged = call.judge(plan, &mut self.twin);
                &judged
            }
            (None, Way::Same | Way::Unseen) => &Ruled::Settled,
        };
        let class = ruled.class();
        // Nobody asks it of a row that is `same` and is not noted.
        let is_told = class != Class::Same || self.everything;
        let after_divergence = is_told && self.is_after_divergence(row, class);
        if !self.options.is_in_range(*decided_at) || !kind.is_call() {
            return Ok(());
        }
        if !kind.taken {
            self.partial.flips_outside += u64::from(class.is_flip());
            return Ok(());
        }
        self.partial.count(kind, class, 1);
        self.partial.reach(*decided_at);
        if is_told {
            self.note(chunk, row, ruled, after_divergence)
        } else {
            Ok(())
        }
    }

    fn is_after_divergence(&mut self, row: &View<'_>, class: Class) -> bool {
        if self.diverged.is_empty() && !class.is_flip() {
            return false;
        }
        let Kind { server, grant, .. } = row.kind;
        let session = row.session().to_owned();
        let session = (Arc::clone(server), Arc::clone(grant), session);
        if class.is_flip() {
            !self.diverged.insert(session)
        } else {
            self.diverged.contains(&session)
        }
    }

    fn note(
        &mut self,
        chunk: &Chunk,
        row: &View<'_>,
        ruled: &Ruled,
        after_divergence: bool,
    ) -> Result<(), ReplayError> {
        let (kind, pending) = (row.kind, row.pending);
        let outcome = ruled.outcome(kind);
        let class = outcome.class;
        let call_id = row.call_id();
        let symbols = &mut self.notables.symbols;
        let words = Said {
            reason: symbols.of(outcome.reason),
            would_verdict: symbols.of(outcome.would_verdict),
            would_rule: symbols.of(outcome.would_rule),
            would_message: symbols.of(outcome.would_message),
        };
        self.notables.push(Notable {
            node: chunk.node,
            seq: pending.seq,
            decided_at: pending.decided_at,
            call_id,
            class,
            after_divergence,
            words,
        })?;
        let reason = || outcome.reason.to_owned();
        match class {
            Class::NotReplayable => {
                *self.partial.not_replayable.entry(reason()).or_default() += 1;
            }
            Class::MaybeDenied | Class::MaybeAllowed => {
                *self.partial.in_doubt.entry(reason()).or_default() += 1;
            }
            Class::EngineDrift | Class::EngineChanged => self.list_drift(chunk, row, ruled),
            Class::NewlyDenied | Class::NewlyAllowed | Class::NewlyHeld => {
                let rule = if outcome.would_rule.is_empty() {
                    &*kind.rule
                } else {
                    outcome.would_rule
                };
                self.partial.flip(rule, class);
                if self.partial.lists_another_flip() {
                    let flip = Flip {
                        node: chunk.node_name.to_string(),
                        seq: pending.seq,
                        call_id,
                        decided_at: pending.decided_at,
                        grant: kind.grant.to_string(),
                        session: row.session().to_owned(),
                        tool: kind.tool.to_string(),
                        arguments: row.arguments().map(str::to_owned),
                        class,
                        was_verdict: kind.verdict.to_string(),
                        was_rule: kind.rule.to_string(),
                        would_verdict: outcome.would_verdict.to_owned(),
                        would_rule: outcome.would_rule.to_owned(),
                        would_message: outcome.would_message.to_owned(),
                        after_divergence,
                    };
                    self.partial.flips.push(Listed {
                        node: chunk.node,
                        group: chunk.group,
                        row: pending.row,
                        is_read: row.has_arguments(),
                        flip,
                    });
                }
            }
            Class::Same | Class::SameReasonChanged => {}
        }
        Ok(())
    }

    fn list_drift(&mut self, chunk: &Chunk, row: &View<'_>, ruled: &Ruled) {
        let Some(now) = ruled.now() else { return };
        let kind = row.kind;
        if self.partial.drifts.len() < DRIFTS_LISTED {
            let drift = Drift {
                node: chunk.node_name.to_string(),
                seq: row.pending.seq,
                tool: kind.tool.to_string(),
                was_verdict: kind.verdict.to_string(),
                was_rule: kind.rule.to_string(),
                now_verdict: word(now.verdict).to_owned(),
                now_rule: now.rule.to_string(),
            };
            self.partial.drifts.push((chunk.node, drift));
        }
    }
}

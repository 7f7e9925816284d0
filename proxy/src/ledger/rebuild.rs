//! The counters of candidates, rebuilt from the record: what a candidate would have counted, had it been there from the beginning.
//!
//! Unlike the counters that are enforced, which follow the decisions on record, a candidate's hang on its own: so the calls are judged
//! again, from a moment on before which nothing can matter. Meanwhile the proxy serves; what it decides is overheard, and the candidate
//! takes its place once it has caught up. Nobody waits for it.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_policy::{
    Asked, Context, Counters, Micros, OnRecord, Policy, Resolution, Testimony, evaluate, weigh,
};
use weir_recorder::{CallRow, CallRows, RecordError, RecordReader, Verdict};

use super::Ledger;
use super::fold::{Library, Returns};
use super::heard::{Taking, Would};
use super::overheard::{Entry, Overfull, Overheard};
use super::shadow::{Candidate, Listing, Open, World};

/// So few overheard entries are heard while the ledger is held: about a millisecond, as a slow sync takes.
const FEW: usize = 256;

/// Candidates on their way to be judged alongside.
#[derive(Debug)]
pub struct Rebuild {
    listings: Vec<Listing>,
    fresh: Vec<Rebuilt>,
    /// Places before this one are in the record, the others are overheard.
    until: i64,
    began: i64,
    now: Micros,
    node: String,
    library: Library,
}

/// The world of a new candidate, as far as it has caught up.
#[derive(Debug)]
struct Rebuilt {
    world: World,
    returns: Returns,
    /// What calls took that have not ended, and whether their end will be told.
    open: Open,
}

/// Why candidates are not judged alongside.
#[derive(Debug, thiserror::Error)]
pub enum Unrebuilt {
    /// The record cannot be read.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// Calls came faster than the record could be read.
    #[error("calls came faster than the record could be read; reload when there are fewer")]
    Overfull,
}

impl From<Overfull> for Unrebuilt {
    fn from(Overfull: Overfull) -> Self {
        Self::Overfull
    }
}

/// From where on the record has to be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Start {
    Beginning,
    At(i64),
    /// Nothing counts.
    Never,
}

impl Ledger {
    /// Begins to put these candidates in place of those that are judged alongside. Those that are judged already, for the same grants,
    /// go on as they are. From here on calls are overheard for the others: once an entry that is written after this is durable,
    /// [`Rebuild::read`] reads what came before.
    pub fn begin_candidates(&self, listings: Vec<Listing>, reader: RecordReader) -> Rebuild {
        let mut books = self.books();
        let now = self.clock.now();
        let is_new = |listing: &&Listing| !books.shadows.has(listing);
        let fresh: Vec<_> = listings.iter().filter(is_new).cloned().collect();
        let fresh: Vec<_> = fresh
            .into_iter()
            .map(|listing| Rebuilt {
                world: World::new(listing, self.counters_per_grant),
                returns: Returns::default(),
                open: Open::new(),
            })
            .collect();
        let until = books.log.stamp(now.0).seq;
        books.overheard = (!fresh.is_empty()).then(|| Overheard::of(grants(&fresh)));
        Rebuild {
            listings,
            fresh,
            until,
            began: self.began,
            now,
            node: self.node.clone(),
            library: Library::of(reader),
        }
    }

    /// Puts the candidates in place, once they have heard everything. An error leaves those that are judged already and still listed.
    pub fn put_candidates_in_place(&self, mut rebuild: Rebuild) -> Result<(), Unrebuilt> {
        loop {
            let entries = {
                let mut books = self.books();
                let books = &mut *books;
                let overheard = books.overheard.as_mut();
                let entries = match overheard.map(|it| (it.len() <= FEW, it.take())) {
                    Some((is_last, entries)) => (is_last, entries?),
                    None => (true, Vec::new()),
                };
                if let (true, entries) = entries {
                    rebuild.hear(&entries);
                    books.overheard = None;
                    let (log, now) = (&mut books.log, self.clock.now().0);
                    let fresh = rebuild.fresh.into_iter().map(Rebuilt::finish).collect();
                    books.shadows.replace(&rebuild.listings, fresh, log, now);
                    return Ok(());
                }
                entries.1
            };
            rebuild.hear(&entries);
        }
    }

    /// Gives candidates up that were on their way; `listings` are those that stay.
    pub fn give_candidates_up(&self, listings: &[Listing]) {
        let mut books = self.books();
        let books = &mut *books;
        books.overheard = None;
        let now = self.clock.now().0;
        let (shadows, log) = (&mut books.shadows, &mut books.log);
        shadows.replace(listings, Vec::new(), log, now);
    }
}

impl Rebuild {
    /// Whether there is any candidate that has yet to catch up.
    pub fn is_behind(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Hears the record, as far back as it can matter.
    pub fn read(&mut self) -> Result<(), RecordError> {
        let mut start = Start::Never;
        for rebuilt in &self.fresh {
            start = start.min(rebuilt.world.start(&self.library.reader, self.now)?);
        }
        let from = match start {
            Start::Never => return Ok(()),
            Start::At(at) => Some(at),
            Start::Beginning => None,
        };
        let columns: Vec<&str> = CallRows::COLUMNS
            .iter()
            .copied()
            .chain([CallRows::SHADOW])
            .collect();
        for batch in self.library.reader.calls_between(&columns, from, None)? {
            let batch = batch?;
            for row in CallRows::new(&batch)?.iter() {
                if row.seq < self.until {
                    self.hear_row(&row);
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, entries: &[Entry]) {
        for entry in entries {
            match entry {
                Entry::Decided(said) => self.hear_row(&said.row()),
                Entry::Ended { seq, given_back } => {
                    for rebuilt in &mut self.fresh {
                        rebuilt.end(*seq, *given_back, |_| true);
                    }
                }
                Entry::Unapproved { seq, given_back } => {
                    for rebuilt in &mut self.fresh {
                        rebuilt.end(*seq, *given_back, |taking| taking.waits);
                    }
                }
            }
        }
    }

    fn hear_row(&mut self, row: &CallRow<'_>) {
        for rebuilt in &mut self.fresh {
            rebuilt.hear(row, &self.node, &mut self.library, self.began);
        }
    }
}

impl World {
    fn start(&self, reader: &RecordReader, now: Micros) -> Result<Start, RecordError> {
        let policy = &self.listing.candidate.policy;
        let Some(longest) = policy.longest_window() else {
            return Ok(Start::Never);
        };
        if self.is_shared {
            // What other grants were under, and so its windows, is known only when it is met.
            return Ok(Start::Beginning);
        }
        if let Some(cycle) = policy.cycle() {
            return Ok(Start::At(now.0.saturating_sub(now.0.rem_euclid(cycle.0))));
        }
        let silent = reader.silent_until(longest.0, now.0)?;
        Ok(silent.map_or(Start::Beginning, Start::At))
    }
}

impl Rebuilt {
    fn hear(&mut self, row: &CallRow<'_>, node: &str, library: &mut Library, began: i64) {
        let World {
            listing,
            is_shared,
            counters,
            ..
        } = &mut self.world;
        self.returns.before(row.seq, counters);
        let is_listed = listing.grants.contains_key(row.grant.unwrap_or_default());
        if !was_judged(row) || !(is_listed || *is_shared) {
            return;
        }
        let candidate = &listing.candidate;
        let (policy, own) = if is_listed {
            (Arc::clone(&candidate.policy), Some(candidate))
        } else {
            // A policy that is not kept or does not load any more consumes nothing, as in a replay.
            match library.policy(row.policy_digest.unwrap_or_default()) {
                Ok(policy) => (policy, None),
                Err(_) => return,
            }
        };
        if policy.longest_window().is_none() {
            return;
        }
        let settled = library.read(node, row, |resolution, context| {
            settle(counters, &policy, own, row, (resolution, context))
        });
        // What cannot be read any more consumes nothing either.
        let Some(Taking { reservation, waits }) = settled.ok().flatten() else {
            return;
        };
        let is_open = row.finish_seq.is_none();
        let unapproved = asked(row) == Asked::Unapproved;
        if unapproved && !waits && !is_open {
            // It never went out, but would have here.
            return;
        }
        let reservation = self.returns.expect(row, reservation);
        if let Some(reservation) = reservation.filter(|_| is_open && row.seq >= began) {
            let may_end = row.verdict == Verdict::Allow || unapproved;
            let taking = Taking { reservation, waits };
            self.open.insert(row.seq, (may_end, taking));
        }
    }

    fn end(&mut self, seq: i64, given_back: Option<i64>, returns: fn(&Taking) -> bool) {
        if let Some((_, taking)) = self.open.remove(&seq)
            && let Some(at) = given_back.filter(|_| returns(&taking))
        {
            let counters = &mut self.world.counters;
            counters.give_back(&taking.reservation, Micros(at));
        }
    }

    fn finish(mut self) -> (World, Open) {
        self.returns.before(i64::MAX, &mut self.world.counters);
        (self.world, self.open)
    }
}

/// Judges a call on record by the policy that it is under in a world, and takes what it takes there.
fn settle(
    counters: &mut Counters,
    policy: &Policy,
    own: Option<&Candidate>,
    row: &CallRow<'_>,
    (resolution, context): (&Resolution<'_>, &Context<'_>),
) -> Option<Taking> {
    let at = Micros(row.decided_at);
    let asked = asked(row);
    let mut consume = |waits| {
        let reservation = counters.consume(policy, resolution, context, at);
        Taking { reservation, waits }
    };
    if row.redacted.is_empty() {
        let evaluation = evaluate(Some(policy), resolution, context);
        return Would::settle(counters, evaluation, asked, at).taken;
    }
    // Live saw what was replaced, so what it said stands.
    let said = own.and_then(|candidate| {
        let mut shadow = row.shadow.iter();
        shadow.find(|entry| *entry.policy_digest == *candidate.digest)
    });
    if let Some(said) = said {
        let asks =
            said.verdict == Verdict::Deny && said.rule.split('/').nth(3) == Some("approve_if");
        let passes = said.verdict == Verdict::Allow || (asks && asked != Asked::InVain);
        return passes.then(|| consume(asks && asked == Asked::Unapproved));
    }
    let kept = if row.redacted.contains(&"") {
        OnRecord::Nothing
    } else {
        OnRecord::Values
    };
    let weighed = weigh(
        Some(policy),
        resolution,
        context,
        kept,
        &Testimony::default(),
    );
    if weighed.doubts.is_empty() && !row.redacted.contains(&"/uri") {
        return Would::settle(counters, weighed.evaluation, asked, at).taken;
    }
    // Nobody can tell: the verdict on record stands.
    let waits = asked == Asked::Unapproved;
    let passes = row.verdict == Verdict::Allow || waits;
    passes.then(|| consume(waits))
}

/// What the record says of a person who was to be asked.
fn asked(row: &CallRow<'_>) -> Asked {
    Asked::of(row.reason.unwrap_or_default())
}

/// Whether policy was asked about a call, and its decision is not void.
fn was_judged(row: &CallRow<'_>) -> bool {
    let rule = row.rule.unwrap_or_default();
    let is_settled = matches!(rule, "(malformed)" | "(arguments)" | "(unrecorded)");
    !is_settled && (row.policy_digest.is_some() || rule == "(no policy)")
}

/// Whose calls matter to these; everybody's if left out.
fn grants(fresh: &[Rebuilt]) -> Option<BTreeSet<Arc<str>>> {
    let worlds = || fresh.iter().map(|rebuilt| &rebuilt.world);
    if worlds().any(|world| world.is_shared) {
        return None;
    }
    let grants = worlds().flat_map(|world| world.listing.grants.keys());
    Some(grants.cloned().collect())
}

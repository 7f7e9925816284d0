//! How much of every limit is used up: exact, deterministic, bounded.

#![expect(
    clippy::inline_always,
    reason = "the hot path: its results are large, and must not be moved"
)]

mod holders;
mod store;

use std::convert::Infallible;
use std::sync::Arc;

use self::store::{Claim, Counter, Handle, Store};
use crate::evaluate::{Admission, Demand, Hearing, Judged};
use crate::explain::{Unwatched, Watch};
use crate::few::Few;
use crate::limit::{Limit, Scope, Uncountable};
use crate::path::Facts;
use crate::{Context, Decision, Evaluation, Judgement, Micros, Policy, Reason, Resolution};

/// With fewer counters than this, only a grant at its capacity is a reason to sweep.
const SWEEP_MIN: usize = 1_024;

/// The counters of one node. A fold of its log: the same entries in the same order give the same
/// counters. A counter is held while its window runs, and a grant holds a bounded number of them.
#[derive(Debug, Clone)]
pub struct Counters {
    keys_per_grant_max: usize,
    store: Store,
    /// With so many counters, those that ended are removed before the next call.
    sweep_at: usize,
    /// Room for the call at hand, kept so that a call allocates nothing: the values of a key, the keys it
    /// claims, and what it takes.
    values: Vec<u8>,
    keys: Vec<u8>,
    pendings: Vec<Pending>,
}

/// What one call took from the counters; can be given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    at: Micros,
    taken: Few<Taken>,
}

/// Nothing was taken.
impl Default for Reservation {
    fn default() -> Self {
        Self {
            at: Micros::default(),
            taken: Few::NONE,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    counter: Handle,
    amount: u128,
}

/// A counter and its value after a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitCount {
    /// The counter's key as text: `server=truenas/grant=ops-agent/tool=vm_stop/counter=vm_stop_rate/window=60s`.
    pub key: Arc<str>,
    /// Its value: calls, or millionths of the amount where the limit has `increment_from`.
    pub value: u128,
}

/// What the call at hand takes from one counter.
#[derive(Debug, Clone)]
struct Pending {
    amount: u128,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    /// A live counter that the caller's grant holds already.
    Held(Handle),
    /// A counter that comes to the caller's grant with this call, if there is one, and its key.
    Claimed(Option<Handle>, Claim),
}

/// What a call asks of one limit, and the counter as it is.
#[derive(Clone, Copy)]
struct Found {
    /// What the call takes; without an amount no counter is asked.
    amount: u128,
    used: u128,
    counter: Option<Handle>,
    /// Whether the counter counts something, and against the capacity of the caller's grant.
    is_held: bool,
}

/// Why a limit refuses.
struct Refusal {
    reason: Reason,
    count: Count,
    retry_after_ms: Option<u64>,
}

/// What one limit found: how much was used, and how much the call takes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    pub(crate) used: u128,
    pub(crate) amount: u128,
}

impl Counters {
    /// No counters yet; a grant may hold `keys_per_grant_max` live ones.
    pub fn new(keys_per_grant_max: usize) -> Self {
        Self {
            keys_per_grant_max,
            store: Store::default(),
            sweep_at: SWEEP_MIN,
            values: Vec::new(),
            keys: Vec::new(),
            pendings: Vec::new(),
        }
    }

    /// Asks the limits of an evaluated call at `at` and takes from all of them, or from none.
    pub fn settle(&mut self, evaluation: Evaluation<'_>, at: Micros) -> Judgement {
        match evaluation {
            Evaluation::Deny(decision) => Judgement::denied(decision),
            Evaluation::Admit(admission) => match admission.apart() {
                None => self.settle_hearing(&admission.hearing(), at, &mut Unwatched),
                Some((hearing, approval)) => self.settle_apart(&hearing, approval, at),
            },
        }
    }

    /// Settles a call whose limits count by what the record keeps of it.
    fn settle_apart(
        &mut self,
        hearing: &Hearing<'_, '_, [Judged<'_>]>,
        approval: &Result<(), Decision>,
        at: Micros,
    ) -> Judgement {
        self.begin(at);
        let facts = hearing.facts;
        let asked = hearing.demands(|demand| self.ask(&demand, facts, at, &mut Unwatched));
        match asked {
            Ok(()) => self.take_approved(approval.clone(), facts, at),
            Err(decision) => Judgement::denied(decision),
        }
    }

    /// Takes what was noted, where the rules behind the limits let the call pass or ask a person.
    #[inline(always)]
    fn take_approved(
        &mut self,
        approval: Result<(), Decision>,
        facts: &Facts<'_>,
        at: Micros,
    ) -> Judgement {
        match approval {
            Ok(()) => Judgement::allowed(self.take_pendings(facts, at)),
            Err(decision) if decision.is_pending() => {
                Judgement::held(decision, self.take_pendings(facts, at))
            }
            Err(decision) => Judgement::denied(decision),
        }
    }

    #[inline(always)]
    pub(crate) fn settle_hearing<'a, J: AsRef<[Judged<'a>]> + ?Sized>(
        &mut self,
        hearing: &Hearing<'_, 'a, J>,
        at: Micros,
        watch: &mut impl Watch,
    ) -> Judgement {
        self.begin(at);
        let facts = hearing.facts;
        if let Some(demand) = hearing.only_demand() {
            return self.settle_only(&demand, facts, at, watch);
        }
        let asked = hearing.demands(|demand| self.ask(&demand, facts, at, watch));
        match asked {
            Ok(()) => self.take_approved(hearing.approve(watch), facts, at),
            Err(decision) => Judgement::denied(decision),
        }
    }

    /// Takes what a call takes, beyond every `max`: for calls of which the log says that they were
    /// admitted. An amount or a key that cannot be read takes nothing.
    pub fn consume(
        &mut self,
        policy: &Policy,
        resolution: &Resolution<'_>,
        context: &Context<'_>,
        at: Micros,
    ) -> Reservation {
        let Some(admission) = Admission::new(policy, resolution, context) else {
            return Reservation {
                at,
                taken: Few::NONE,
            };
        };
        let hearing = admission.hearing();
        self.begin(at);
        let Ok(()) = hearing.demands(|demand| {
            match self.find(&demand, hearing.facts, at) {
                Ok(found) if found.amount > 0 => match found.held() {
                    Some(handle) => self.join(handle, found.amount),
                    None => self.claim(&demand, hearing.facts, found),
                },
                Ok(_) | Err(_) => {}
            }
            Ok::<(), Infallible>(())
        });
        self.take(hearing.facts, at)
    }

    /// Gives back what a call took, as far as it still counts at `at`.
    pub fn give_back(&mut self, reservation: &Reservation, at: Micros) {
        for taken in reservation.taken.as_slice() {
            let Some(counter) = self.store.get_mut(taken.counter) else {
                continue;
            };
            counter.tally.give_back(reservation.at, at, taken.amount);
            let end = counter.tally.ends();
            if counter.tally.used(at) == 0 {
                self.store.remove(taken.counter);
            } else {
                self.store.note_end(end);
            }
        }
    }

    /// The counters a call took from, with their values after it: ask before the next call is settled.
    pub fn limit_counts(&self, reservation: &Reservation) -> Vec<LimitCount> {
        let count = |taken: &Taken| {
            let counter = self.store.get(taken.counter)?;
            Some(LimitCount {
                key: Arc::clone(counter.name()),
                value: counter.tally.sum(),
            })
        };
        reservation
            .taken
            .as_slice()
            .iter()
            .filter_map(count)
            .collect()
    }

    /// How many counters are held, ended ones that are not yet swept included.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether nothing is counted.
    pub fn is_empty(&self) -> bool {
        self.store.len() == 0
    }

    #[inline(always)]
    fn begin(&mut self, at: Micros) {
        self.keys.clear();
        self.pendings.clear();
        if self.store.len() >= self.sweep_at {
            self.store.sweep(at);
            self.sweep_at = SWEEP_MIN.max(2 * self.store.len());
        }
    }

    /// Settles a call with one limit and nobody to ask: what its grant holds is taken from at once.
    #[inline(always)]
    fn settle_only(
        &mut self,
        demand: &Demand<'_>,
        facts: &Facts<'_>,
        at: Micros,
        watch: &mut impl Watch,
    ) -> Judgement {
        let found = self.find(demand, facts, at);
        if let Ok(found) = found
            && let Some(counter) = found.held()
            && found.fits(demand.limit)
        {
            if let Some(held) = self.store.get_mut(counter) {
                held.tally.count(at, found.amount);
            }
            watch.limit(demand, found.count(), None);
            let taken = Taken {
                counter,
                amount: found.amount,
            };
            return Judgement::allowed(Some(Reservation {
                at,
                taken: Few::One([taken]),
            }));
        }
        match self.note(demand, facts, found, at, watch) {
            Ok(()) => Judgement::allowed(self.take_pendings(facts, at)),
            Err(decision) => Judgement::denied(decision),
        }
    }

    /// Asks one limit; takes nothing yet.
    #[inline(always)]
    fn ask(
        &mut self,
        demand: &Demand<'_>,
        facts: &Facts<'_>,
        at: Micros,
        watch: &mut impl Watch,
    ) -> Result<(), Decision> {
        let found = self.find(demand, facts, at);
        if let Ok(found) = found
            && let Some(counter) = found.held()
            && found.fits(demand.limit)
        {
            self.join(counter, found.amount);
            watch.limit(demand, found.count(), None);
            return Ok(());
        }
        self.note(demand, facts, found, at, watch)
    }

    /// What is left of a limit's answers: it refuses, the call takes nothing, or a counter comes to the
    /// grant with it.
    #[inline(never)]
    fn note(
        &mut self,
        demand: &Demand<'_>,
        facts: &Facts<'_>,
        found: Result<Found, Uncountable>,
        at: Micros,
        watch: &mut impl Watch,
    ) -> Result<(), Decision> {
        let refusal = match found {
            Err(uncountable) => Refusal::from(uncountable),
            Ok(found) if !found.fits(demand.limit) => self.exceeded(demand.limit, found, at),
            Ok(found) => {
                if found.amount > 0 {
                    self.claim(demand, facts, found);
                }
                if found.amount == 0 || self.has_capacity(facts, at) {
                    watch.limit(demand, found.count(), None);
                    return Ok(());
                }
                Refusal {
                    reason: Reason::CounterCapacity,
                    count: found.count(),
                    retry_after_ms: None,
                }
            }
        };
        watch.limit(demand, refusal.count, Some(refusal.reason));
        Err(refusal.decision(demand.limit))
    }

    fn exceeded(&self, limit: &Limit, found: Found, at: Micros) -> Refusal {
        let counter = found.counter.and_then(|handle| self.store.get(handle));
        let retry = |counter: &Counter| {
            let tally = &counter.tally;
            tally.retry_after_ms(at, found.amount, limit.ceiling())
        };
        Refusal {
            reason: Reason::LimitExceeded,
            count: found.count(),
            retry_after_ms: counter.and_then(retry),
        }
    }

    /// What the call takes from a limit, and the counter it asks.
    #[inline(always)]
    fn find(
        &mut self,
        demand: &Demand<'_>,
        facts: &Facts<'_>,
        at: Micros,
    ) -> Result<Found, Uncountable> {
        let limit = demand.limit;
        let mut key = limit.blank_key();
        limit.fill(&mut key, facts, demand.arguments, &mut self.values)?;
        let amount = limit.amount(facts, demand.arguments)?;
        let mut found = Found {
            amount,
            used: 0,
            counter: None,
            is_held: false,
        };
        if amount == 0 {
            return Ok(found);
        }
        if let Some(counter) = self.store.find(&key) {
            found.used = counter.tally.used(at);
            found.counter = Some(counter.handle);
            let holder = counter.holder;
            // a key that names its grant is held by it
            found.is_held = found.used > 0
                && (limit.scope == Scope::Grant
                    || self.store.holders.is(holder, facts.context.grant));
        }
        Ok(found)
    }

    /// Takes from a counter that the grant holds. Limits with equal keys take once: the larger amount.
    #[inline(always)]
    fn join(&mut self, counter: Handle, amount: u128) {
        let same = |earlier: &&mut Pending| matches!(earlier.source, Source::Held(held) if held == counter);
        match self.pendings.iter_mut().find(same) {
            Some(earlier) => earlier.amount = earlier.amount.max(amount),
            None => self.pendings.push(Pending {
                amount,
                source: Source::Held(counter),
            }),
        }
    }

    /// Takes from a counter that comes to the grant with this call.
    #[cold]
    fn claim(&mut self, demand: &Demand<'_>, facts: &Facts<'_>, found: Found) {
        let Found {
            amount, counter, ..
        } = found;
        let limit = demand.limit;
        let mut key = limit.blank_key();
        let filled = limit.fill(&mut key, facts, demand.arguments, &mut self.values);
        if filled.is_err() {
            return;
        }
        let hash = self.store.hash(&key);
        let keys = &self.keys;
        let same = |earlier: &&mut Pending| match &earlier.source {
            Source::Held(_) => false,
            Source::Claimed(_, claim) => {
                claim.hash == hash
                    && key.is(
                        &claim.head,
                        keys.get(claim.rest.clone()).unwrap_or_default(),
                    )
            }
        };
        let earlier = self.pendings.iter_mut().find(same);
        if let Some(earlier) = earlier {
            earlier.amount = earlier.amount.max(amount);
            return;
        }
        let start = self.keys.len();
        key.write_rest(&mut self.keys);
        let claim = Claim {
            hash,
            head: Arc::clone(key.head),
            window: limit.window,
            rest: start..self.keys.len(),
        };
        self.pendings.push(Pending {
            amount,
            source: Source::Claimed(counter, claim),
        });
    }

    /// Whether the grant may hold the keys that come to it with this call.
    #[cold]
    fn has_capacity(&mut self, facts: &Facts<'_>, at: Micros) -> bool {
        let grant = self.store.holders.number(facts.context.grant);
        let is_claim = |pending: &&Pending| matches!(pending.source, Source::Claimed(..));
        let claims = self.pendings.iter().filter(is_claim).count();
        if self.store.holders.held(grant) + claims > self.keys_per_grant_max {
            self.store.sweep(at);
            for pending in &mut self.pendings {
                if let Source::Claimed(counter, _) = &mut pending.source {
                    *counter = counter.filter(|counter| self.store.get(*counter).is_some());
                }
            }
        }
        self.store.holders.held(grant) + claims <= self.keys_per_grant_max
    }

    /// Takes what was noted, if anything was.
    #[inline(always)]
    fn take_pendings(&mut self, facts: &Facts<'_>, at: Micros) -> Option<Reservation> {
        if self.pendings.is_empty() {
            return None;
        }
        Some(self.take(facts, at))
    }

    fn take(&mut self, facts: &Facts<'_>, at: Micros) -> Reservation {
        let (keys, store) = (&self.keys, &mut self.store);
        let taken = Few::map(&self.pendings, |pending| {
            let counter = match &pending.source {
                Source::Held(counter) => *counter,
                Source::Claimed(counter, claim) => hold(keys, store, *counter, claim, facts, at),
            };
            if let Some(held) = store.get_mut(counter) {
                held.tally.add(at, pending.amount);
            }
            Taken {
                counter,
                amount: pending.amount,
            }
        });
        Reservation { at, taken }
    }
}

/// The counter of a key that comes to the caller's grant.
#[cold]
fn hold(
    keys: &[u8],
    store: &mut Store,
    counter: Option<Handle>,
    claim: &Claim,
    facts: &Facts<'_>,
    at: Micros,
) -> Handle {
    let grant = store.holders.number(facts.context.grant);
    let counter = match counter {
        Some(counter) => {
            store.pass(counter, grant);
            counter
        }
        None => store.insert(
            claim,
            keys.get(claim.rest.clone()).unwrap_or_default(),
            grant,
            at,
        ),
    };
    // what it counts from now on ends no sooner than a window that begins now
    store.note_end(claim.window.first_end(at));
    counter
}

impl Found {
    /// The counter, if the caller's grant holds it: nothing has to be noted before it is taken from.
    #[inline(always)]
    fn held(self) -> Option<Handle> {
        self.counter.filter(|_| self.is_held)
    }

    /// Whether the limit has room for what the call takes; nothing always fits.
    #[inline(always)]
    fn fits(self, limit: &Limit) -> bool {
        self.amount == 0 || self.used.saturating_add(self.amount) <= limit.ceiling()
    }

    fn count(self) -> Count {
        Count {
            used: self.used,
            amount: self.amount,
        }
    }
}

impl Refusal {
    #[cold]
    fn decision(self, limit: &Limit) -> Decision {
        let Self {
            reason,
            retry_after_ms,
            ..
        } = self;
        Decision {
            retry_after_ms,
            ..Decision::deny(reason, limit.id.clone(), limit.message.clone())
        }
    }
}

impl From<Uncountable> for Refusal {
    fn from(uncountable: Uncountable) -> Self {
        let reason = match uncountable {
            Uncountable::MissingKey => Reason::MissingKey,
            Uncountable::BadAmount => Reason::BadAmount,
        };
        Self {
            reason,
            count: Count::default(),
            retry_after_ms: None,
        }
    }
}

//! How much of every limit is used up: exact, deterministic, bounded.

#![expect(
    clippy::inline_always,
    reason = "the hot path: its results are large, and must not be moved"
)]

mod store;

use std::convert::Infallible;

use self::store::{Handle, Store};
use crate::evaluate::{Admission, Demand};
use crate::explain::{Unwatched, Watch};
use crate::few::Few;
use crate::key;
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
    /// The values in the keys of the call at hand; kept to allocate nothing per call.
    values: Vec<u8>,
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
    pub key: String,
    /// Its value: calls, or millionths of the amount where the limit has `increment_from`.
    pub value: u128,
}

/// One limit of the call at hand from which the call takes something.
#[derive(Clone, Copy)]
struct Pending<'a> {
    limit: &'a Limit,
    amount: u128,
    hash: u64,
    /// Where the values of its key stand in `Counters::values`.
    start: u32,
    end: u32,
    counter: Option<Handle>,
    /// Whether the key comes to the caller's grant with this call.
    claims: bool,
}

type Pendings<'a> = Few<Pending<'a>>;

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
        }
    }

    /// Asks the limits of an evaluated call at `at` and takes from all of them, or from none.
    pub fn settle(&mut self, evaluation: Evaluation<'_>, at: Micros) -> Judgement {
        match evaluation {
            Evaluation::Deny(decision) => Judgement::denied(decision),
            Evaluation::Admit(admission) => self.settle_admission(&admission, at, &mut Unwatched),
        }
    }

    #[inline(always)]
    pub(crate) fn settle_admission(
        &mut self,
        admission: &Admission<'_>,
        at: Micros,
        watch: &mut impl Watch,
    ) -> Judgement {
        let mut pendings = Pendings::NONE;
        self.begin(at);
        let asked =
            admission.demands(|demand| self.ask(&demand, admission, &mut pendings, at, watch));
        if let Err(decision) = asked.and_then(|()| admission.approve(watch)) {
            return Judgement::denied(decision);
        }
        let reservation =
            (!pendings.as_slice().is_empty()).then(|| self.take(&pendings, &admission.facts, at));
        Judgement {
            decision: Decision::allow(),
            reservation,
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
        self.begin(at);
        let mut pendings = Pendings::NONE;
        let Ok(()) = admission.demands(|demand| {
            if let Ok(Some(pending)) = self.pend(&demand, &admission) {
                self.join(
                    &mut pendings,
                    &admission.facts,
                    Pending {
                        claims: true,
                        ..pending
                    },
                );
            }
            Ok::<(), Infallible>(())
        });
        self.take(&pendings, &admission.facts, at)
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
                key: key::describe(&counter.key),
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

    fn begin(&mut self, at: Micros) {
        self.values.clear();
        if self.store.len() >= self.sweep_at {
            self.store.sweep(at);
            self.sweep_at = SWEEP_MIN.max(2 * self.store.len());
        }
    }

    /// Asks one limit; takes nothing yet.
    #[inline(always)]
    fn ask<'a>(
        &mut self,
        demand: &Demand<'a>,
        admission: &Admission<'a>,
        pendings: &mut Pendings<'a>,
        at: Micros,
        watch: &mut impl Watch,
    ) -> Result<(), Decision> {
        match self.find_room(demand, admission, pendings, at) {
            Ok(count) => {
                watch.limit(demand, count, None);
                Ok(())
            }
            Err(Refusal {
                reason,
                count,
                retry_after_ms,
            }) => {
                watch.limit(demand, count, Some(reason));
                let Limit { id, message, .. } = demand.limit;
                Err(Decision {
                    retry_after_ms,
                    ..Decision::deny(reason, id.clone(), message.clone())
                })
            }
        }
    }

    #[inline(always)]
    fn find_room<'a>(
        &mut self,
        demand: &Demand<'a>,
        admission: &Admission<'a>,
        pendings: &mut Pendings<'a>,
        at: Micros,
    ) -> Result<Count, Refusal> {
        let limit = demand.limit;
        let Some(pending) = self.pend(demand, admission)? else {
            return Ok(Count::default());
        };
        let (amount, ceiling) = (pending.amount, limit.ceiling());
        let mut counter = pending
            .counter
            .and_then(|counter| self.store.get_mut(counter));
        let used = counter.as_mut().map_or(0, |counter| counter.tally.used(at));
        let count = Count { used, amount };
        if used.saturating_add(amount) > ceiling {
            let wait =
                counter.and_then(|counter| counter.tally.retry_after_ms(at, amount, ceiling));
            return Err(Refusal {
                reason: Reason::LimitExceeded,
                count,
                retry_after_ms: wait,
            });
        }
        if used > 0 && limit.scope == Scope::Grant {
            self.join(pendings, &admission.facts, pending); // the key names the grant, so the grant holds it already
            return Ok(count);
        }
        let holder = counter.map(|counter| counter.holder);
        let grant = self.store.grant(admission.context().grant);
        let claims = used == 0 || holder != Some(grant);
        self.join(pendings, &admission.facts, Pending { claims, ..pending });
        if claims && !self.has_capacity(pendings, grant, at) {
            return Err(Refusal {
                reason: Reason::CounterCapacity,
                count,
                retry_after_ms: None,
            });
        }
        Ok(count)
    }

    /// Finds the counter of one limit; `None` if the call takes nothing from it.
    #[inline(always)]
    fn pend<'a>(
        &mut self,
        demand: &Demand<'a>,
        admission: &Admission<'_>,
    ) -> Result<Option<Pending<'a>>, Uncountable> {
        let (limit, facts) = (demand.limit, &admission.facts);
        let start = self.values.len();
        limit.write_values(facts, demand.arguments, &mut self.values)?;
        let amount = limit.amount(facts, demand.arguments)?;
        if amount == 0 {
            self.values.truncate(start);
            return Ok(None);
        }
        let (start, end) = (start as u32, self.values.len() as u32);
        let key = limit.key(facts, slice(&self.values, start, end));
        let hash = self.store.hash(&key);
        let counter = self.store.find(hash, &key);
        Ok(Some(Pending {
            limit,
            amount,
            hash,
            start,
            end,
            counter,
            claims: false,
        }))
    }

    /// Limits with equal keys take once: the larger amount.
    #[inline(always)]
    fn join<'a>(&mut self, pendings: &mut Pendings<'a>, facts: &Facts<'_>, pending: Pending<'a>) {
        for earlier in pendings.as_mut_slice() {
            let key = |of: &Pending<'a>| {
                of.limit
                    .key(facts, slice(&self.values, of.start, of.end))
                    .to_bytes()
            };
            if earlier.hash == pending.hash && key(earlier) == key(&pending) {
                earlier.amount = earlier.amount.max(pending.amount);
                self.values.truncate(pending.start as usize);
                return;
            }
        }
        pendings.push(pending);
    }

    /// Whether the grant may hold the keys that come to it with this call.
    fn has_capacity(&mut self, pendings: &mut Pendings<'_>, grant: u32, at: Micros) -> bool {
        let claims = pendings
            .as_slice()
            .iter()
            .filter(|pending| pending.claims)
            .count();
        if self.store.held(grant) + claims > self.keys_per_grant_max {
            self.store.sweep(at);
            for pending in pendings.as_mut_slice() {
                pending.counter = pending
                    .counter
                    .filter(|counter| self.store.get(*counter).is_some());
            }
        }
        self.store.held(grant) + claims <= self.keys_per_grant_max
    }

    #[inline(always)]
    fn take(&mut self, pendings: &Pendings<'_>, facts: &Facts<'_>, at: Micros) -> Reservation {
        let taken = Few::map(pendings.as_slice(), |pending| Taken {
            counter: self.take_one(pending, facts, at),
            amount: pending.amount,
        });
        Reservation { at, taken }
    }

    #[inline(always)]
    fn take_one(&mut self, pending: &Pending<'_>, facts: &Facts<'_>, at: Micros) -> Handle {
        let counter = match pending.counter {
            Some(counter) if !pending.claims => counter,
            found => self.hold(found, pending, facts, at),
        };
        if let Some(held) = self.store.get_mut(counter) {
            held.tally.add(at, pending.amount);
            if pending.claims {
                let end = held.tally.ends();
                self.store.note_end(end);
            }
        }
        counter
    }

    /// The counter of a key that comes to the caller's grant.
    #[cold]
    fn hold(
        &mut self,
        found: Option<Handle>,
        pending: &Pending<'_>,
        facts: &Facts<'_>,
        at: Micros,
    ) -> Handle {
        let grant = self.store.grant(facts.context.grant);
        if let Some(counter) = found {
            self.store.pass(counter, grant);
            return counter;
        }
        let key = pending
            .limit
            .key(facts, slice(&self.values, pending.start, pending.end));
        self.store
            .insert(pending.hash, &key, pending.limit.window, grant, at)
    }
}

#[inline(always)]
fn slice(values: &[u8], start: u32, end: u32) -> &[u8] {
    values.get(start as usize..end as usize).unwrap_or_default()
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

//! How much of every limit is used up: exact, deterministic, bounded.

#![expect(
    clippy::inline_always,
    reason = "the hot path: its results are large, and must not be moved"
)]

mod store;

use std::convert::Infallible;
use std::sync::Arc;

use self::store::{Claim, Handle, Store};
use crate::evaluate::{Admission, Demand, Hearing, Judged};
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
    pub key: String,
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
            Evaluation::Admit(admission) => {
                self.settle_hearing(&admission.hearing(), at, &mut Unwatched)
            }
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
        if let Some(demand) = hearing.only_demand()
            && let Some(reservation) = self.take_held(&demand, hearing.facts, at, watch)
        {
            return Judgement {
                decision: Decision::allow(),
                reservation: Some(reservation),
            };
        }
        let asked = hearing.demands(|demand| self.ask(&demand, hearing.facts, at, watch));
        if let Err(decision) = asked.and_then(|()| hearing.approve(watch)) {
            return Judgement::denied(decision);
        }
        let reservation = if self.pendings.is_empty() {
            None
        } else {
            Some(self.take(hearing.facts, at))
        };
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
        let hearing = admission.hearing();
        self.begin(at);
        let Ok(()) = hearing.demands(|demand| {
            if let Ok((amount @ 1.., hash, counter)) = self.find(&demand, hearing.facts) {
                self.claim(&demand, hearing.facts, amount, hash, counter);
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
                key: key::describe(&counter.head, &counter.rest),
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

    /// Takes from the only limit of a call at once, in the common case that it has room and its counter
    /// is the grant's own; `None` leaves every other case to the long way.
    #[inline(always)]
    fn take_held(
        &mut self,
        demand: &Demand<'_>,
        facts: &Facts<'_>,
        at: Micros,
        watch: &mut impl Watch,
    ) -> Option<Reservation> {
        let (amount @ 1.., _, Some(counter)) = self.find(demand, facts).ok()? else {
            return None;
        };
        let tally = &mut self.store.get_mut(counter)?.tally;
        let used = tally.used(at);
        let has_room = used.saturating_add(amount) <= demand.limit.ceiling();
        if used == 0 || !has_room || demand.limit.scope != Scope::Grant {
            return None;
        }
        tally.add(at, amount);
        watch.limit(demand, Count { used, amount }, None);
        Some(Reservation {
            at,
            taken: Few::One([Taken { counter, amount }]),
        })
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
        match self.find_room(demand, facts, at) {
            Ok(count) => {
                watch.limit(demand, count, None);
                Ok(())
            }
            Err(refusal) => {
                watch.limit(demand, refusal.count, Some(refusal.reason));
                Err(refusal.decision(demand.limit))
            }
        }
    }

    #[inline(always)]
    fn find_room(
        &mut self,
        demand: &Demand<'_>,
        facts: &Facts<'_>,
        at: Micros,
    ) -> Result<Count, Refusal> {
        let limit = demand.limit;
        let (amount, hash, handle) = self.find(demand, facts)?;
        if amount == 0 {
            return Ok(Count::default());
        }
        let mut counter = handle.and_then(|handle| self.store.get_mut(handle));
        let used = counter.as_mut().map_or(0, |counter| counter.tally.used(at));
        let (count, ceiling) = (Count { used, amount }, limit.ceiling());
        if used.saturating_add(amount) > ceiling {
            let retry_after_ms =
                counter.and_then(|counter| counter.tally.retry_after_ms(at, amount, ceiling));
            return Err(Refusal {
                reason: Reason::LimitExceeded,
                count,
                retry_after_ms,
            });
        }
        let holder = counter.map(|counter| counter.holder);
        // a key that names its grant is held by it
        let is_held = used > 0
            && (limit.scope == Scope::Grant
                || holder == Some(self.store.grant(facts.context.grant)));
        match handle {
            Some(handle) if is_held => self.join(handle, amount),
            _ => {
                self.claim(demand, facts, amount, hash, handle);
                if !self.has_capacity(facts, at) {
                    return Err(Refusal {
                        reason: Reason::CounterCapacity,
                        count,
                        retry_after_ms: None,
                    });
                }
            }
        }
        Ok(count)
    }

    /// What the call takes from a limit, and the counter with its hash. The key is left in `values`.
    #[inline(always)]
    fn find(
        &mut self,
        demand: &Demand<'_>,
        facts: &Facts<'_>,
    ) -> Result<(u128, u64, Option<Handle>), Uncountable> {
        let key = demand
            .limit
            .key(facts, demand.arguments, &mut self.values)?;
        let amount = demand.limit.amount(facts, demand.arguments)?;
        let hash = self.store.hash(&key);
        Ok((amount, hash, self.store.find(hash, &key)))
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
    fn claim(
        &mut self,
        demand: &Demand<'_>,
        facts: &Facts<'_>,
        amount: u128,
        hash: u64,
        counter: Option<Handle>,
    ) {
        let limit = demand.limit;
        let Ok(key) = limit.key(facts, demand.arguments, &mut self.values) else {
            return;
        };
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
        let grant = self.store.grant(facts.context.grant);
        let is_claim = |pending: &&Pending| matches!(pending.source, Source::Claimed(..));
        let claims = self.pendings.iter().filter(is_claim).count();
        if self.store.held(grant) + claims > self.keys_per_grant_max {
            self.store.sweep(at);
            for pending in &mut self.pendings {
                if let Source::Claimed(counter, _) = &mut pending.source {
                    *counter = counter.filter(|counter| self.store.get(*counter).is_some());
                }
            }
        }
        self.store.held(grant) + claims <= self.keys_per_grant_max
    }

    #[inline(always)]
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
    let grant = store.grant(facts.context.grant);
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

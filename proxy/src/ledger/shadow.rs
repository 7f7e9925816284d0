//! Candidates judged alongside: each in a world of its own, in which it was in force for the grants that list it.
//!
//! In the world of a candidate those grants are under it, and all others under the policy that was in force for them; a call consumes
//! where the policy it is under there lets it pass. That is what `weir replay --policy candidate.json --grant …` makes of the same log, so
//! the two say the same of every call. Nothing that is here can deny a call or take from the counters that are enforced.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use weir_policy::{Asked, Counters, Decision, Evaluation, Micros, Policy, Scope, Verdict};
use weir_recorder::{Event, EventKind, Log, Shadow};

use super::heard::{Heard, Opinion, Taking, Would};

/// What a denied call took is kept for so many places of the log, in case that its decision becomes void: more never wait for the disk.
const UNDECIDED_MAX: i64 = 1 << 16;

/// A policy that is judged alongside the one in force, and never enforced.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// What the configuration calls it.
    pub name: Arc<str>,
    /// The digest of its document.
    pub digest: Arc<str>,
    /// Its rules.
    pub policy: Arc<Policy>,
}

/// A candidate and the grants that list it, each with the server that it opens.
#[derive(Debug, Clone)]
pub struct Listing {
    /// What is listed.
    pub candidate: Candidate,
    /// By whom.
    pub grants: BTreeMap<Arc<str>, Arc<str>>,
}

/// What would have been, had a candidate been in force for the grants that list it.
#[derive(Debug)]
pub(super) struct World {
    number: u64,
    pub(super) listing: Listing,
    /// A limit counts calls of several grants together, so calls of other grants matter here too.
    pub(super) is_shared: bool,
    pub(super) counters: Counters,
}

/// All candidates judged alongside.
#[derive(Debug, Default)]
pub(super) struct Shadows {
    worlds: Vec<World>,
    taken: BTreeMap<i64, Taken>,
    /// The places in `taken` of calls that were denied, in order: nothing but a void gives back what they took.
    denied: VecDeque<i64>,
    worlds_made: u64,
}

/// What calls took that have not ended, by their place, and whether their end will be told.
pub(super) type Open = BTreeMap<i64, (bool, Taking)>;
/// What a call took, by the number of the world.
type Taken = Vec<(u64, Taking)>;

/// What the candidates said of one call.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub(super) opinions: Vec<Opinion>,
    taken: Taken,
}

impl Candidate {
    /// A candidate, and what to call it.
    pub fn new(name: &str, policy: Arc<Policy>) -> Self {
        Self {
            name: Arc::from(name),
            digest: Arc::from(policy.digest().to_string()),
            policy,
        }
    }
}

impl World {
    pub(super) fn new(listing: Listing, counters_per_grant: usize) -> Self {
        // Nothing on record says that sessions belong to one grant, so replay joins them too.
        let joins = |scope| scope != Scope::Grant;
        let is_shared = listing.candidate.policy.scopes().any(joins);
        Self {
            number: 0,
            is_shared,
            listing,
            counters: Counters::new(counters_per_grant),
        }
    }

    pub(super) fn lists(&self, grant: &str) -> bool {
        self.listing.grants.contains_key(grant)
    }
}

impl Shadows {
    /// Whether somebody must be asked what the policy in force says of a grant's calls in another world.
    pub(super) fn hear_of_others(&self, grant: &str) -> bool {
        self.worlds
            .iter()
            .any(|world| world.is_shared && !world.lists(grant))
    }

    /// Asks every candidate about a call. `evaluation` is what the policy in force says of it, where [`Shadows::hear_of_others`].
    pub(super) fn judge(
        &mut self,
        heard: &mut Heard<'_, '_, '_>,
        decided: &Decision,
        evaluation: Option<&Evaluation<'_>>,
        at: Micros,
    ) -> Beside {
        let mut beside = Beside::default();
        let asked = Asked::of(decided.reason.as_str());
        for world in &mut self.worlds {
            let is_listed = world.lists(heard.grant());
            let World {
                number,
                listing: Listing { candidate, .. },
                is_shared,
                counters,
            } = world;
            let would = if is_listed {
                let policy = Some(&*candidate.policy);
                let would = match heard.take(&candidate.digest) {
                    Some(evaluation) => Would::settle(counters, evaluation, asked, at),
                    // It came under the grant as it was before a reload.
                    None => Would::settle(counters, heard.evaluate(policy), asked, at),
                };
                beside
                    .opinions
                    .push(Opinion::of(candidate, &would, decided));
                would
            } else if let (true, Some(evaluation)) = (*is_shared, evaluation) {
                Would::settle(counters, evaluation.clone(), asked, at)
            } else {
                continue;
            };
            beside
                .taken
                .extend(would.taken.map(|taken| (*number, taken)));
        }
        beside
    }

    /// Keeps what a call took, now that it has a place in the log; what was said of it comes back.
    pub(super) fn keep(&mut self, seq: i64, decided: &Decision, beside: Beside) -> Vec<Opinion> {
        let Beside { opinions, taken } = beside;
        if !taken.is_empty() {
            self.keep_taken(seq, decided.is_allow() || decided.is_pending(), taken);
        }
        opinions
    }

    fn keep_taken(&mut self, seq: i64, may_end: bool, taken: Taken) {
        self.taken.entry(seq).or_default().extend(taken);
        if may_end {
            return;
        }
        self.denied.push_back(seq);
        while let Some(oldest) = self.denied.front()
            && *oldest < seq.saturating_sub(UNDECIDED_MAX)
        {
            self.taken.remove(oldest);
            self.denied.pop_front();
        }
    }

    /// Gives back what a call took that has no place in the log.
    pub(super) fn undo(&mut self, beside: &Beside, at: Micros) {
        self.give_back(&beside.taken, at);
    }

    /// A call ended; at `given_back` what it took is returned.
    pub(super) fn end(&mut self, seq: i64, given_back: Option<Micros>) {
        if let Some(taken) = self.taken.remove(&seq)
            && let Some(at) = given_back
        {
            self.give_back(&taken, at);
        }
    }

    /// Nobody approved a held call; at `given_back` what waited for that is returned.
    pub(super) fn unapproved(&mut self, seq: i64, given_back: Option<Micros>) {
        if let Some(mut taken) = self.taken.remove(&seq)
            && let Some(at) = given_back
        {
            taken.retain(|(_, taking)| taking.waits);
            self.give_back(&taken, at);
        }
    }

    fn give_back(&mut self, taken: &[(u64, Taking)], at: Micros) {
        for (number, taking) in taken {
            let world = self.worlds.iter_mut().find(|world| world.number == *number);
            if let Some(world) = world {
                world.counters.give_back(&taking.reservation, at);
            }
        }
    }

    /// Whether this is judged alongside already, for the same grants.
    pub(super) fn has(&self, listing: &Listing) -> bool {
        self.worlds.iter().any(|world| world.is_of(listing))
    }

    /// Puts other candidates in place of these; of those that stay, what they counted stays too. `open` is what calls took in each new
    /// world, with whether their end will be told. The log is told who came and who went.
    pub(super) fn replace(
        &mut self,
        listings: &[Listing],
        fresh: Vec<(World, Open)>,
        log: &mut Log,
        now: i64,
    ) {
        let before = pairs(&self.worlds);
        self.worlds
            .retain(|world| listings.iter().any(|listing| world.is_of(listing)));
        for (mut world, open) in fresh {
            self.worlds_made += 1;
            world.number = self.worlds_made;
            for (seq, (may_end, taking)) in open {
                self.keep_taken(seq, may_end, vec![(world.number, taking)]);
            }
            self.worlds.push(world);
        }
        let place = |world: &World| listings.iter().position(|listing| world.is_of(listing));
        self.worlds.sort_by_key(place);
        let after = pairs(&self.worlds);
        let gone = before.difference(&after).map(|pair| (pair, GONE));
        let come = after.difference(&before).map(|pair| (pair, COME));
        for ((grant, server, digest), text) in gone.chain(come) {
            drop(log.event(
                now,
                &Event {
                    grant: Some(&**grant),
                    server: Some(&**server),
                    digest: Some(&**digest),
                    text: Some(text),
                    ..Event::of(EventKind::Shadow)
                },
            ));
        }
    }
}

const COME: &str = "judged alongside from here on, and never enforced";
const GONE: &str = "no longer judged alongside";

impl World {
    fn is_of(&self, listing: &Listing) -> bool {
        self.listing.candidate.digest == listing.candidate.digest
            && self.listing.candidate.name == listing.candidate.name
            && self.listing.grants == listing.grants
    }
}

/// Who is judged alongside whom: grant, server and candidate.
fn pairs(worlds: &[World]) -> BTreeSet<(Arc<str>, Arc<str>, Arc<str>)> {
    let listings = worlds.iter().map(|world| &world.listing);
    let pairs = listings.flat_map(|Listing { candidate, grants }| {
        grants.iter().map(|(grant, server)| {
            let digest = Arc::clone(&candidate.digest);
            (Arc::clone(grant), Arc::clone(server), digest)
        })
    });
    pairs.collect()
}

impl Beside {
    /// The entries of the column `shadow`.
    pub(super) fn entries(&self) -> Vec<Shadow<&str>> {
        let entries = self.opinions.iter().map(|opinion| Shadow {
            verdict: match opinion.decision.verdict {
                Verdict::Allow => weir_recorder::Verdict::Allow,
                Verdict::Deny => weir_recorder::Verdict::Deny,
            },
            rule: &*opinion.decision.rule,
            policy_digest: &*opinion.digest,
        });
        entries.collect()
    }
}

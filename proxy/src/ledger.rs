//! The one mutex that owns the clock, the counters and the next place in the log (DESIGN 4).
//!
//! A decision takes its time, asks its limits, consumes them and takes its place in the log in one step, so that
//! judging the recorded calls again in `seq` order at their recorded times meets every limit in the state in which the
//! live call met it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_policy::{Counters, Decision, Evaluation, Micros, Reason, Reservation, Verdict};
use weir_recorder::{
    Call, Commit, Event, EventKind, Finish, LimitCount, Log, Recovered, Unrecorded,
};

pub use clock::{Clock, ClockStep};
pub use fold::{Folded, Unfoldable};

mod clock;
mod fold;

/// How counters are kept.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// This proxy's name in the record.
    pub node: String,
    /// Live counters a grant may hold.
    pub counters_per_grant: usize,
    /// The longest window of any limit in force: how far back the record is read.
    pub longest_window: Option<Micros>,
    /// Whether limits start empty where the record does not say what they counted. Otherwise that is an error.
    pub gaps_start_empty: bool,
}

/// Clock, counters and log under one lock.
#[derive(Debug)]
pub struct Ledger {
    clock: Clock,
    node: String,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    counters: Counters,
    log: Log,
    /// What the calls under way took, by their place in the log, so that it can be given back.
    taken: BTreeMap<i64, Reservation>,
}

/// What became of a call in the step that decided it.
#[derive(Debug)]
#[must_use]
pub struct Decided {
    /// The decision as it stands in the log.
    pub decision: Decision,
    /// Wait for it before anything is forwarded or answered.
    pub commit: Commit,
}

impl Ledger {
    /// Rebuilds the counters from the record, then opens the books. Nothing may be served before.
    pub fn open(
        options: &LedgerOptions,
        clock: Clock,
        log: Log,
        recovered: &Recovered,
    ) -> Result<(Self, Folded), Unfoldable> {
        let mut counters = Counters::new(options.counters_per_grant);
        let folded = fold::fold(options, clock.now(), recovered, &mut counters)?;
        let books = Mutex::new(Books {
            counters,
            log,
            taken: BTreeMap::new(),
        });
        Ok((
            Self {
                clock,
                node: options.node.clone(),
                books,
            },
            folded,
        ))
    }

    /// This proxy's name in the record.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// The clock of the log.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Settles an evaluated call and writes the decision down: time, limits and place in one step.
    ///
    /// `call` holds everything but the decision. An error means that nothing was taken and nothing written: refuse the call.
    pub fn decide(
        &self,
        evaluation: Evaluation<'_>,
        call: Call<&str>,
    ) -> Result<Decided, Unrecorded> {
        let mut books = self.books();
        let books = &mut *books;
        books.settle_voids()?;
        let stamp = books.log.stamp(self.clock.now().0);
        let (seq, at) = (stamp.seq, Micros(stamp.decided_at));
        let judgement = books.counters.settle(evaluation, at);
        let counts = judgement
            .reservation
            .as_ref()
            .map_or_else(Vec::new, |taken| books.counters.limit_counts(taken));
        let commit = books
            .log
            .decide(stamp, &filled(call, &judgement.decision, &counts));
        if let Some(why) = commit.refused() {
            let why = why.clone();
            if let Some(taken) = &judgement.reservation {
                books.counters.give_back(taken, at);
            }
            return Err(why);
        }
        if let Some(taken) = judgement.reservation {
            books.taken.insert(seq, taken);
        }
        Ok(Decided {
            decision: judgement.decision,
            commit,
        })
    }

    /// Writes down a call on which no policy was asked: one that passes, or one that could not be read.
    pub fn record(&self, decision: &Decision, call: Call<&str>) -> Result<Commit, Unrecorded> {
        let mut books = self.books();
        books.settle_voids()?;
        let stamp = books.log.stamp(self.clock.now().0);
        let commit = books.log.decide(stamp, &filled(call, decision, &[]));
        match commit.refused() {
            Some(why) => Err(why.clone()),
            None => Ok(commit),
        }
    }

    /// Writes down how a call ended; with `given_back`, what it took is returned at the time of this entry.
    pub fn finish(&self, call_seq: i64, finish: &Finish<&str>) -> Commit {
        let mut books = self.books();
        let commit = books.log.finish(self.clock.now().0, call_seq, finish);
        if matches!(commit.refused(), Some(Unrecorded::NotOpen)) {
            // The disk gave the call up, and its void is on the way: that entry returns what it took, here and on replay.
            return commit;
        }
        let taken = books.taken.remove(&call_seq);
        if let Some(taken) = taken.filter(|_| finish.given_back && commit.refused().is_none()) {
            books.counters.give_back(&taken, Micros(commit.at()));
        }
        commit
    }

    /// Writes an event down.
    pub fn event(&self, event: &Event<&str>) -> Commit {
        let mut books = self.books();
        books.log.event(self.clock.now().0, event)
    }

    /// Looks at the wall clock; a step is written down.
    pub fn check_clock(&self) -> Option<ClockStep> {
        let step = self.clock.check()?;
        let text = if step.adopted {
            "the wall clock stepped and was followed"
        } else {
            "the wall clock stepped and was not followed"
        };
        let event = Event {
            count: Some(step.by),
            text: Some(text),
            ..Event::of(EventKind::ClockStep)
        };
        drop(self.event(&event));
        Some(step)
    }

    /// Calls under way that hold a reservation.
    pub fn reservations(&self) -> usize {
        self.books().taken.len()
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        // A panic while the lock was held would be a bug; the counters are then at worst too full, so go on closed.
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// Asks whether a decision can be written at all, and gives back what the log declared void.
    fn settle_voids(&mut self) -> Result<(), Unrecorded> {
        let Some(void) = self.log.ready()? else {
            return Ok(());
        };
        for seq in &void.seqs {
            if let Some(taken) = self.taken.remove(seq) {
                self.counters.give_back(&taken, Micros(void.at));
            }
        }
        Ok(())
    }
}

/// The call as it is written, with what was decided of it.
fn filled<'c>(
    call: Call<&'c str>,
    decision: &'c Decision,
    counts: &'c [weir_policy::LimitCount],
) -> Call<&'c str> {
    let count = |count: &'c weir_policy::LimitCount| LimitCount {
        counter: count.key.as_str(),
        value: i64::try_from(count.value).unwrap_or(i64::MAX),
    };
    Call {
        verdict: match decision.verdict {
            Verdict::Allow => weir_recorder::Verdict::Allow,
            Verdict::Deny => weir_recorder::Verdict::Deny,
        },
        reason: Some(decision.reason.as_str()),
        rule: Some(&decision.rule),
        message: (!decision.message.is_empty()).then_some(&*decision.message),
        limit_counts: counts.iter().map(count).collect(),
        ..call
    }
}

/// What a caller is told when the record cannot be written: refused, and not forwarded.
pub fn unrecorded() -> Decision {
    Decision {
        verdict: Verdict::Deny,
        reason: Reason::Unrecorded,
        rule: "(unrecorded)".into(),
        message: "This call could not be recorded, so it was not forwarded.".into(),
        retry_after_ms: None,
    }
}

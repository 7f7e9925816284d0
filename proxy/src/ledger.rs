//! The one mutex that owns the clock, the counters and the next place in the log (DESIGN 4).
//!
//! A decision takes its time, asks its limits, consumes them and takes its place in the log in one step, so that
//! judging the recorded calls again in `seq` order at their recorded times meets every limit in the state in which the
//! live call met it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use weir_policy::{
    Counters, Decision, Evaluation, Judgement, Micros, Reason, Reservation, Verdict,
};
use weir_recorder::{
    Answer, Approval, Call, Commit, Event, EventKind, Finish, LimitCount, Log, Recovered,
    Unrecorded,
};

pub use clock::{Clock, ClockStep};
pub use fold::{Folded, Unfoldable};
pub use heard::{Heard, Opinion};
pub use rebuild::{Rebuild, Unrebuilt};
pub use shadow::{Candidate, Listing};

use overheard::Overheard;
use shadow::Shadows;

mod clock;
mod fold;
mod heard;
mod overheard;
mod rebuild;
mod shadow;

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
    counters_per_grant: usize,
    /// The first place of this proxy's: calls before it have ended.
    began: i64,
    books: Mutex<Books>,
}

#[derive(Debug)]
struct Books {
    counters: Counters,
    log: Log,
    /// What the calls under way took, by their place in the log, so that it can be given back.
    taken: BTreeMap<i64, Reservation>,
    shadows: Shadows,
    /// What is kept for candidates that have yet to catch up with the log.
    overheard: Option<Overheard>,
}

/// What became of a call in the step that decided it.
#[derive(Debug)]
#[must_use]
pub struct Decided {
    /// The decision as it stands in the log.
    pub decision: Decision,
    /// What candidates judged alongside say of it.
    pub opinions: Vec<Opinion>,
    /// Wait for it before anything is forwarded or answered.
    pub commit: Commit,
}

impl Ledger {
    /// Rebuilds the counters from the record, then opens the books. Nothing may be served before.
    pub fn open(
        options: &LedgerOptions,
        clock: Clock,
        mut log: Log,
        recovered: &Recovered,
    ) -> Result<(Self, Folded), Unfoldable> {
        let mut counters = Counters::new(options.counters_per_grant);
        let folded = fold::fold(options, clock.now(), recovered, &mut counters)?;
        let began = log.stamp(clock.now().0).seq;
        let books = Mutex::new(Books {
            counters,
            log,
            taken: BTreeMap::new(),
            shadows: Shadows::default(),
            overheard: None,
        });
        Ok((
            Self {
                clock,
                node: options.node.clone(),
                counters_per_grant: options.counters_per_grant,
                began,
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

    /// Settles an evaluated call and writes the decision down: time, limits and place in one step. Candidates judge it in the same
    /// step, each with its own counters.
    ///
    /// `call` holds everything but the decision. An error means that nothing was taken and nothing written: refuse the call. Where
    /// a person would have to be asked, nobody is: the call is denied.
    pub fn decide(
        &self,
        evaluation: Evaluation<'_>,
        heard: Heard<'_, '_, '_>,
        call: Call<&str>,
    ) -> Result<Decided, Unrecorded> {
        self.decide_or_hold(evaluation, heard, call, |_| Err(NOBODY))
    }

    /// As [`Ledger::decide`]; where a person is to be asked, `ask` says whether that can be done, or why not. If so, the call is held:
    /// it keeps what it took until [`Ledger::answer`].
    pub fn decide_or_hold(
        &self,
        evaluation: Evaluation<'_>,
        mut heard: Heard<'_, '_, '_>,
        call: Call<&str>,
        ask: impl FnOnce(&Decision) -> Result<(), &'static str>,
    ) -> Result<Decided, Unrecorded> {
        let mut books = self.books();
        let books = &mut *books;
        books.settle_voids()?;
        let stamp = books.log.stamp(self.clock.now().0);
        let at = Micros(stamp.decided_at);
        let of_others = books.shadows.hear_of_others(heard.grant());
        let elsewhere = of_others.then(|| evaluation.clone());
        let Judgement {
            mut decision,
            mut reservation,
        } = books.counters.settle(evaluation, at);
        if decision.reason == Reason::CounterCapacity {
            decision.message = self.too_many_counters().into();
        }
        let mut call = call;
        if decision.is_pending() {
            match ask(&decision) {
                Ok(()) => {
                    call.approval = Some(Approval {
                        asked_at: at.0,
                        ..Approval::default()
                    });
                }
                Err(why) => {
                    decision = decision.unapproved(Reason::ApprovalUnavailable, why);
                    if let Some(taken) = reservation.take() {
                        books.counters.give_back(&taken, at);
                    }
                }
            }
        }
        let counts = reservation
            .as_ref()
            .map_or_else(Vec::new, |taken| books.counters.limit_counts(taken));
        let beside = books
            .shadows
            .judge(&mut heard, &decision, elsewhere.as_ref(), at);
        let call = Call {
            shadow: beside.entries(),
            ..filled(call, &decision, &counts)
        };
        let commit = books.log.decide(stamp, &call);
        if let Some(why) = commit.refused() {
            let why = why.clone();
            books.shadows.undo(&beside, at);
            if let Some(taken) = &reservation {
                books.counters.give_back(taken, at);
            }
            return Err(why);
        }
        if let Some(overheard) = &mut books.overheard {
            overheard.decided(commit.seq(), at.0, &call);
        }
        let opinions = books.shadows.keep(commit.seq(), &decision, beside);
        if let Some(taken) = reservation {
            books.taken.insert(commit.seq(), taken);
        }
        Ok(Decided {
            decision,
            opinions,
            commit,
        })
    }

    /// Writes down what came of a held call: one that may not pass gives back what it took, at the time of this entry. The permit
    /// of one that may comes from the commit.
    pub fn answer(
        &self,
        (call_seq, call_id): (i64, [u8; 16]),
        decision: &Decision,
        (by, answer): (Option<&str>, &str),
    ) -> Commit {
        let given_back = !decision.is_allow();
        let answer = Answer {
            verdict: verdict(decision),
            reason: Some(decision.reason.as_str()),
            message: message(decision),
            by,
            answer: Some(answer),
            given_back,
        };
        let mut books = self.books();
        let commit = books
            .log
            .answer(self.clock.now().0, (call_seq, call_id), &answer);
        if commit.refused().is_none() && !given_back {
            return commit;
        }
        if matches!(commit.refused(), Some(Unrecorded::NotOpen)) {
            return commit;
        }
        let at = commit.refused().is_none().then(|| commit.at());
        if let (Some(taken), Some(at)) = (books.taken.remove(&call_seq), at) {
            books.counters.give_back(&taken, Micros(at));
        }
        books.unapproved_alongside(call_seq, at);
        commit
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
        let given_back = (finish.given_back && commit.refused().is_none()).then(|| commit.at());
        if let (Some(taken), Some(at)) = (taken, given_back) {
            books.counters.give_back(&taken, Micros(at));
        }
        books.end_alongside(call_seq, given_back);
        commit
    }

    /// Somebody waits for what [`Ledger::finish`] wrote last.
    pub fn hurry(&self) {
        self.books().log.hurry();
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

    /// Live counters, those that ended and are not swept yet included; those of candidates are not.
    pub fn counters(&self) -> usize {
        self.books().counters.len()
    }

    /// Calls under way that hold a reservation.
    pub fn reservations(&self) -> usize {
        self.books().taken.len()
    }

    /// The limit that would count this call is not what refuses it.
    fn too_many_counters(&self) -> String {
        format!(
            "too many counters of this grant: it may have {} (counters_per_grant in [limits])",
            self.counters_per_grant
        )
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
            self.end_alongside(*seq, Some(void.at));
        }
        Ok(())
    }

    /// Tells them that nobody approved a held call.
    fn unapproved_alongside(&mut self, seq: i64, given_back: Option<i64>) {
        self.shadows.unapproved(seq, given_back.map(Micros));
        if let Some(overheard) = &mut self.overheard {
            overheard.unapproved(seq, given_back);
        }
    }

    /// Tells the candidates, those that judge and those that are being rebuilt, that a call ended or is void.
    fn end_alongside(&mut self, seq: i64, given_back: Option<i64>) {
        self.shadows.end(seq, given_back.map(Micros));
        if let Some(overheard) = &mut self.overheard {
            overheard.ended(seq, given_back);
        }
    }
}

/// The call as it is written, with what was decided of it.
fn filled<'c>(
    call: Call<&'c str>,
    decision: &'c Decision,
    counts: &'c [weir_policy::LimitCount],
) -> Call<&'c str> {
    let count = |count: &'c weir_policy::LimitCount| LimitCount {
        counter: &*count.key,
        value: i64::try_from(count.value).unwrap_or(i64::MAX),
    };
    Call {
        verdict: verdict(decision),
        reason: Some(decision.reason.as_str()),
        rule: Some(&decision.rule),
        message: message(decision).filter(|_| !decision.is_pending()),
        limit_counts: counts.iter().map(count).collect(),
        ..call
    }
}

fn verdict(decision: &Decision) -> weir_recorder::Verdict {
    match decision.verdict {
        Verdict::Allow => weir_recorder::Verdict::Allow,
        Verdict::Deny => weir_recorder::Verdict::Deny,
    }
}

fn message(decision: &Decision) -> Option<&str> {
    (!decision.message.is_empty()).then_some(&*decision.message)
}

/// Why nobody is asked where nobody can be.
pub const NOBODY: &str = "Nobody can be asked here.";

/// What a caller is told when the record cannot be written: refused, and not forwarded.
pub fn unrecorded(why: Option<&Unrecorded>) -> Decision {
    let message = match why {
        Some(Unrecorded::DiskFull | Unrecorded::BudgetUsedUp { .. }) => {
            "The record has no room for this call, so it was not forwarded."
        }
        _ => "This call could not be recorded, so it was not forwarded.",
    };
    Decision {
        verdict: Verdict::Deny,
        reason: Reason::Unrecorded,
        rule: "(unrecorded)".into(),
        message: message.into(),
        retry_after_ms: None,
    }
}

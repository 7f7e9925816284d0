//! The book of held calls: each waits, within bounds, until a person answers, its time runs out, its caller leaves, or the proxy
//! stops. Whichever comes first takes the call out of the book, and nobody else can answer it any more.
//!
//! An answer is an entry of the log. The leave to forward comes from that entry's commit, and from nowhere else.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use weir_policy::{Decision, Micros, Reason};

use crate::config::ApprovalsConfig;

pub(crate) use answer::{Answered, Ending};
pub(crate) use approver::{Approver, Approvers};
pub(crate) use waiter::Waiter;

mod answer;
mod approver;
mod waiter;

/// Answered calls that are remembered, so that whoever comes second is told what was answered.
const ANSWERED_MAX: usize = 1024;

/// The book, and who may answer.
#[derive(Debug)]
pub(crate) struct Approvals {
    pub(crate) config: ApprovalsConfig,
    pub(crate) approvers: Approvers,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    held: HashMap<String, Held>,
    /// By grant, places that are given included.
    places: HashMap<Arc<str>, usize>,
    answered: VecDeque<Arc<Past>>,
}

/// A call that waits.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) question: Arc<Question>,
    /// What the policy said: denied, until this is answered.
    decision: Decision,
    /// The request as its client names it: grant and session, and the id.
    request: (Arc<str>, String),
    reply: oneshot::Sender<Answered>,
    since: Instant,
    _place: Place,
}

/// What a person is asked.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// Names the question; nobody can guess it.
    pub(crate) id: String,
    pub(crate) call_id: [u8; 16],
    pub(crate) seq: i64,
    pub(crate) asked_at: Micros,
    pub(crate) expires_at: Micros,
    pub(crate) wait: Duration,
    pub(crate) server: Arc<str>,
    pub(crate) grant: Arc<str>,
    pub(crate) session: Arc<str>,
    pub(crate) client: String,
    pub(crate) address: Arc<str>,
    pub(crate) tool: String,
    pub(crate) wire_tool: String,
    pub(crate) risk: &'static str,
    pub(crate) rule: String,
    pub(crate) message: String,
    /// As they came, but for what is redacted.
    pub(crate) arguments: Option<String>,
    pub(crate) effective_arguments: Option<String>,
    pub(crate) redacted: Vec<String>,
    /// Of the arguments as they came, as in the record; names what is approved.
    pub(crate) digest: String,
}

/// What became of a question.
#[derive(Debug, Clone)]
pub(crate) struct Past {
    pub(crate) question: Arc<Question>,
    pub(crate) reason: Reason,
    pub(crate) by: Option<String>,
    pub(crate) answered_at: Micros,
}

/// A question cannot be answered.
#[derive(Debug, Clone)]
pub(crate) enum Unanswerable {
    /// There is none of that name, or it is long gone.
    Unknown,
    /// Somebody was first.
    Answered(Arc<Past>),
    /// What was shown was something else.
    OtherArguments,
}

/// A place in the book, given up when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    approvals: Arc<Approvals>,
    grant: Arc<str>,
}

impl Approvals {
    pub(crate) fn new(config: ApprovalsConfig, approvers: Approvers) -> Arc<Self> {
        Arc::new(Self {
            config,
            approvers,
            book: Mutex::default(),
        })
    }

    /// A place for one more call of this grant; or why there is none, as the caller is told.
    pub(crate) fn place(self: &Arc<Self>, grant: &Arc<str>) -> Result<Place, &'static str> {
        if self.approvers.is_empty() {
            return Err(crate::ledger::NOBODY);
        }
        let mut book = self.book();
        let all: usize = book.places.values().sum();
        let own = book.places.entry(Arc::clone(grant)).or_default();
        if all >= self.config.held_max || *own >= self.config.held_per_grant_max {
            return Err("Too many calls wait for a person already; try again later.");
        }
        *own += 1;
        drop(book);
        Ok(Place {
            approvals: Arc::clone(self),
            grant: Arc::clone(grant),
        })
    }

    /// Puts a call into the book. Its decision is durable: what a person is asked is in the record.
    fn hold(
        self: &Arc<Self>,
        (question, decision): (Arc<Question>, Decision),
        request: (Arc<str>, String),
        place: Place,
    ) -> oneshot::Receiver<Answered> {
        let (reply, answer) = oneshot::channel();
        let id = question.id.clone();
        let held = Held {
            question,
            decision,
            request,
            reply,
            since: Instant::now(),
            _place: place,
        };
        self.book().held.insert(id, held);
        answer
    }

    /// The questions that wait, the oldest first.
    pub(crate) fn waiting(&self) -> Vec<Arc<Question>> {
        let book = self.book();
        let mut questions: Vec<_> = book
            .held
            .values()
            .map(|held| Arc::clone(&held.question))
            .collect();
        drop(book);
        questions.sort_by_key(|question| question.seq);
        questions
    }

    /// How many wait.
    pub(crate) fn held(&self) -> usize {
        self.book().held.len()
    }

    /// One question, and what became of it.
    pub(crate) fn find(&self, id: &str) -> Option<(Arc<Question>, Option<Arc<Past>>)> {
        let book = self.book();
        if let Some(held) = book.held.get(id) {
            return Some((Arc::clone(&held.question), None));
        }
        let past = book.answered.iter().find(|past| past.question.id == id)?;
        Some((Arc::clone(&past.question), Some(Arc::clone(past))))
    }

    /// The question that a request of this session waits for.
    pub(crate) fn of_request(&self, session: &str, request_id: &str) -> Option<String> {
        let book = self.book();
        let mut held = book.held.values();
        let asked = held.find(|held| {
            let (of_session, of_id) = &held.request;
            **of_session == *session && of_id == request_id
        });
        asked.map(|held| held.question.id.clone())
    }

    /// Takes a call out of the book, and remembers in the same step what became of it: whoever comes second is told. With a digest,
    /// only if these are its arguments.
    fn take(
        &self,
        id: &str,
        digest: Option<&str>,
        ending: &Ending,
        answered_at: Micros,
    ) -> Result<Held, Unanswerable> {
        let mut book = self.book();
        let Some(held) = book.held.get(id) else {
            let past = book.answered.iter().find(|past| past.question.id == id);
            return Err(past.map_or(Unanswerable::Unknown, |past| {
                Unanswerable::Answered(Arc::clone(past))
            }));
        };
        if digest.is_some_and(|digest| digest != held.question.digest) {
            return Err(Unanswerable::OtherArguments);
        }
        let past = Past {
            question: Arc::clone(&held.question),
            reason: ending.reason(),
            by: ending.by().map(str::to_owned),
            answered_at,
        };
        if book.answered.len() >= ANSWERED_MAX {
            book.answered.pop_front();
        }
        book.answered.push_back(Arc::new(past));
        book.held.remove(id).ok_or(Unanswerable::Unknown)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // A panic while the lock was held would be a bug; whoever waits is then told so by its deadline.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut book = self.approvals.book();
        if let Some(places) = book.places.get_mut(&self.grant) {
            *places = places.saturating_sub(1);
            if *places == 0 {
                book.places.remove(&self.grant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn approvals(held_max: usize, held_per_grant_max: usize) -> Arc<Approvals> {
        let config = ApprovalsConfig {
            held_max,
            held_per_grant_max,
            wait_max: Duration::from_secs(1),
            keep_alive: Duration::from_secs(1),
        };
        let anna = Approver {
            name: "anna".into(),
            token_sha256: [7; 32],
        };
        Approvals::new(config, Approvers(vec![anna]))
    }

    #[test]
    fn places_are_bounded_by_grant_and_in_all_and_come_back() {
        let book = approvals(3, 2);
        let (ops, night): (Arc<str>, Arc<str>) = ("ops".into(), "night".into());
        let first = book.place(&ops).unwrap();
        let second = book.place(&ops).unwrap();
        assert!(book.place(&ops).is_err(), "a grant has two");
        let third = book.place(&night).unwrap();
        assert!(book.place(&night).is_err(), "there are three in all");
        drop(first);
        let fourth = book.place(&ops).unwrap();
        drop((second, third, fourth));
        assert!(book.book().places.is_empty());
    }

    #[test]
    fn without_approvers_there_is_no_place() {
        let config = approvals(3, 2).config.clone();
        let book = Approvals::new(config, Approvers(Vec::new()));
        assert_eq!(
            book.place(&"ops".into()).unwrap_err(),
            crate::ledger::NOBODY
        );
    }
}

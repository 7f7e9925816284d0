//! Who waits for what from one peer: open requests, the streams of sessions, and where each message goes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::{self, OwnedPermit};

use super::message::{self, Concerns, Spoken};
use crate::upstream::{Cause, Reached};

/// Messages that may lie ready for one client that reads slowly; further ones are dropped, the answer never is.
const QUEUE_MAX: usize = 256;
/// Requests that may be open at once, those counted whose client has gone.
const OPEN_MAX: usize = 1024;
/// Messages kept for a session whose client has no stream open.
const KEPT_MAX: usize = 64;

/// What reaches a client of its open request.
#[derive(Debug)]
pub(super) enum Delivery {
    /// A message before the answer.
    Before(Bytes),
    /// The answer.
    Answer { message: Bytes, is_error: bool },
    /// The server closed a subscription, which has no answer.
    Closed,
    /// There will be no answer.
    Lost(Lost),
}

/// Why there will be no answer.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    /// Whether the server can have seen what waits for an answer.
    pub(super) reached: Reached,
    pub(super) cause: Cause,
    pub(super) detail: String,
}

impl Lost {
    pub(super) fn never(cause: Cause, detail: impl Into<String>) -> Self {
        Self {
            reached: Reached::Never,
            cause,
            detail: detail.into(),
        }
    }

    pub(super) fn maybe(cause: Cause, detail: impl Into<String>) -> Self {
        Self {
            reached: Reached::Maybe,
            cause,
            detail: detail.into(),
        }
    }
}

/// The open requests and the streams of one peer.
#[derive(Debug, Default)]
pub(super) struct Desk {
    last_own: u64,
    open: BTreeMap<u64, Open>,
    /// One for each session that listens; where nothing is shared there is one.
    streams: Vec<(Arc<str>, mpsc::Sender<Bytes>)>,
    kept: VecDeque<Bytes>,
    lost: Option<Lost>,
}

/// What is known of a request while it is open.
#[derive(Debug)]
pub(super) struct Asked {
    /// The client's id as it stood.
    pub(super) id: Arc<str>,
    /// Which session asks.
    pub(super) session: Arc<str>,
    /// The token it wants to hear of its progress under.
    pub(super) progress: Option<Token>,
    /// The client takes messages before the answer.
    pub(super) streams: bool,
    /// The request opens a subscription.
    pub(super) subscribes: bool,
}

/// A progress token as the client wrote it.
#[derive(Debug)]
pub(super) struct Token {
    pub(super) raw: Arc<str>,
    /// The request went out with an id of ours in its place, since other sessions may use the same.
    pub(super) is_replaced: bool,
}

#[derive(Debug)]
struct Open {
    asked: Asked,
    before: mpsc::Sender<Delivery>,
    /// The place for the answer, reserved from the start.
    answer: OwnedPermit<Delivery>,
}

impl Desk {
    /// Opens a request: the id it goes out under, and where its answer comes in.
    pub(super) fn open(&mut self, asked: Asked) -> Result<(u64, mpsc::Receiver<Delivery>), Lost> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        if self.open.len() >= OPEN_MAX {
            self.open.retain(|_, open| !open.before.is_closed());
        }
        if self.open.len() >= OPEN_MAX {
            return Err(Lost::never(
                Cause::Busy,
                format!("the server has {OPEN_MAX} requests open"),
            ));
        }
        let (before, deliveries) = mpsc::channel(QUEUE_MAX);
        let answer = before
            .clone()
            .try_reserve_owned()
            .map_err(|fault| Lost::never(Cause::Busy, fault.to_string()))?;
        self.last_own += 1;
        self.open.insert(
            self.last_own,
            Open {
                asked,
                before,
                answer,
            },
        );
        Ok((self.last_own, deliveries))
    }

    /// Lets a request go; false if it was answered already.
    pub(super) fn let_go(&mut self, own: u64) -> bool {
        self.open.remove(&own).is_some()
    }

    /// The request that a session's cancel names, closed with `why`.
    pub(super) fn cancel(&mut self, session: &str, id: &str, why: Lost) -> Option<u64> {
        let names =
            |open: &Open| *open.asked.session == *session && message::same_id(&open.asked.id, id);
        let own = *self.open.iter().rev().find(|(_, open)| names(open))?.0;
        self.fail(own, why);
        Some(own)
    }

    /// There will be no answer to this request, if it is open.
    pub(super) fn fail(&mut self, own: u64, why: Lost) {
        if let Some(open) = self.open.remove(&own) {
            open.answer.send(Delivery::Lost(why));
        }
    }

    /// Opens the session's stream, with what was kept for it; `None` if it is open already.
    pub(super) fn listen(&mut self, session: &Arc<str>) -> Option<mpsc::Receiver<Bytes>> {
        self.streams.retain(|(_, stream)| !stream.is_closed());
        let has_one = self.streams.iter().any(|(other, _)| other == session);
        if self.lost.is_some() || has_one {
            return None;
        }
        let (sender, stream) = mpsc::channel(QUEUE_MAX);
        for message in self.kept.drain(..) {
            // Fewer than the queue holds, and its receiver is alive: none can be refused.
            drop(sender.try_send(message));
        }
        self.streams.push((Arc::clone(session), sender));
        Some(stream)
    }

    /// Nobody waits for anything: what is open belongs to clients that have gone.
    pub(super) fn is_quiet(&self) -> bool {
        self.open.values().all(|open| open.before.is_closed()) && !self.is_listening()
    }

    /// Nothing more will come: everyone who waits is told why.
    pub(super) fn lose(&mut self, lost: Lost) {
        for open in std::mem::take(&mut self.open).into_values() {
            open.answer.send(Delivery::Lost(lost.clone()));
        }
        self.streams.clear();
        self.lost.get_or_insert(lost);
    }

    /// Why nothing more will come, if that is so.
    pub(super) fn why_lost(&self) -> Option<String> {
        self.lost.as_ref().map(|lost| lost.detail.clone())
    }

    /// Takes one message of the peer to whom it concerns; false if it is none.
    pub(super) fn take(&mut self, line: Bytes) -> bool {
        match Spoken::read(&line) {
            None => return false,
            Some(Spoken::Answer {
                own,
                marks,
                is_error,
            }) => {
                if let Some(open) = self.open.remove(&own) {
                    let message = restored(line, &marks, &open.asked.id);
                    open.answer.send(Delivery::Answer { message, is_error });
                }
            }
            Some(Spoken::Request) => self.offer(line, true),
            Some(Spoken::Notification(Concerns::Session)) => self.offer(line, false),
            Some(Spoken::Notification(Concerns::Progress { token, mark })) => {
                let owner = self
                    .open
                    .iter()
                    .rev()
                    .find_map(|(own, open)| Some((open, open.expects(*own, &token)?)));
                // Without an owner its request is over.
                if let Some((open, expected)) = owner {
                    let is_replaced = expected.is_replaced;
                    let told = if is_replaced {
                        restored(line, &[mark], &expected.raw)
                    } else {
                        line
                    };
                    if let Err(line) = open.give(told)
                        && !is_replaced
                    {
                        self.offer(line, false);
                    }
                }
            }
            Some(Spoken::Notification(Concerns::Subscription { own, marks })) => {
                if let Some(open) = self.open.get(&own) {
                    let message = restored(line, &marks, &open.asked.id);
                    drop(open.give(message)); // nobody else has subscribed
                }
            }
            Some(Spoken::Notification(Concerns::Cancelled { own })) => {
                match own.filter(|own| self.open.get(own).is_some_and(|open| open.asked.subscribes))
                {
                    Some(own) => {
                        if let Some(open) = self.open.remove(&own) {
                            open.answer.send(Delivery::Closed);
                        }
                    }
                    None => self.offer(line, false),
                }
            }
        }
        true
    }

    /// Finds a place for a message that names no request. A request of the server most likely belongs to the only open
    /// one, and where several sessions listen to one that is open; a notification rather to the session, or to all of them.
    fn offer(&mut self, line: Bytes, asks: bool) {
        let rather = self.open.len() == 1 || self.streams.len() > 1;
        let line = match (asks && rather).then(|| self.to_newest(line.clone())) {
            Some(Ok(())) => return,
            Some(Err(line)) => line,
            None => line,
        };
        let Err(line) = self.to_streams(line, asks) else {
            return;
        };
        let Err(line) = self.to_newest(line) else {
            return;
        };
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(line);
    }

    /// A request goes to one of them, since it is answered once.
    fn to_streams(&self, line: Bytes, asks: bool) -> Result<(), Bytes> {
        let mut taken = self
            .streams
            .iter()
            .map(|(_, stream)| stream.try_send(line.clone()).is_ok());
        let is_taken = if asks {
            taken.any(|is_taken| is_taken)
        } else {
            taken.fold(false, |any, is_taken| any | is_taken)
        };
        if is_taken { Ok(()) } else { Err(line) }
    }

    fn to_newest(&self, line: Bytes) -> Result<(), Bytes> {
        match self.open.values().rev().find(|open| open.asked.streams) {
            Some(open) => open.give(line),
            None => Err(line),
        }
    }

    fn is_listening(&self) -> bool {
        self.streams.iter().any(|(_, stream)| !stream.is_closed())
    }
}

impl Open {
    /// The token, if it is the one under which this request's progress is told.
    fn expects(&self, own: u64, token: &serde_json::Value) -> Option<&Token> {
        let expected = self.asked.progress.as_ref()?;
        let is_it = if expected.is_replaced {
            token.as_u64() == Some(own)
        } else {
            serde_json::from_str::<serde_json::Value>(&expected.raw).is_ok_and(|own| own == *token)
        };
        is_it.then_some(expected)
    }

    fn give(&self, line: Bytes) -> Result<(), Bytes> {
        if !self.asked.streams {
            return Err(line);
        }
        match self.before.try_send(Delivery::Before(line.clone())) {
            Ok(()) => Ok(()),
            Err(_) => Err(line),
        }
    }
}

/// The line with the client's id where ours stands.
fn restored(line: Bytes, marks: &[std::ops::Range<usize>], id: &str) -> Bytes {
    message::splice(&line, marks, id).map_or(line, Bytes::from)
}

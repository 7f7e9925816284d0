//! Who waits for what from one child: its open requests, the stream of its session, and where each line goes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::{self, OwnedPermit};

use super::message::{self, Concerns, Spoken};
use crate::upstream::Cause;

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
    pub(super) cause: Cause,
    pub(super) detail: String,
}

/// The open requests and the stream of one child.
#[derive(Debug, Default)]
pub(super) struct Desk {
    last_own: u64,
    open: BTreeMap<u64, Open>,
    stream: Option<mpsc::Sender<Bytes>>,
    kept: VecDeque<Bytes>,
    lost: Option<Lost>,
}

/// What is known of a request while it is open.
#[derive(Debug)]
pub(super) struct Asked {
    /// The client's id as it stood.
    pub(super) id: Arc<str>,
    /// The token it wants to hear of its progress under.
    pub(super) progress_token: Option<serde_json::Value>,
    /// The client takes messages before the answer.
    pub(super) streams: bool,
    /// The request opens a subscription.
    pub(super) subscribes: bool,
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
            return Err(Lost {
                cause: Cause::Busy,
                detail: format!("the child has {OPEN_MAX} requests open"),
            });
        }
        let (before, deliveries) = mpsc::channel(QUEUE_MAX);
        let answer = before.clone().try_reserve_owned().map_err(|fault| Lost {
            cause: Cause::Busy,
            detail: fault.to_string(),
        })?;
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

    /// The request that a client's cancel names, closed with `why`.
    pub(super) fn cancel(&mut self, id: &str, why: Lost) -> Option<u64> {
        let own = *self
            .open
            .iter()
            .rev()
            .find(|(_, open)| message::same_id(&open.asked.id, id))?
            .0;
        self.open.remove(&own)?.answer.send(Delivery::Lost(why));
        Some(own)
    }

    /// Opens the session's stream, with what was kept for it; `None` if it is open already.
    pub(super) fn listen(&mut self) -> Option<mpsc::Receiver<Bytes>> {
        if self.lost.is_some() || self.is_listening() {
            return None;
        }
        let (sender, stream) = mpsc::channel(QUEUE_MAX);
        for message in self.kept.drain(..) {
            // Fewer than the queue holds, and its receiver is alive: none can be refused.
            drop(sender.try_send(message));
        }
        self.stream = Some(sender);
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
        self.stream = None;
        self.lost.get_or_insert(lost);
    }

    /// Takes one line of the child to whom it concerns; false if it is no message.
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
            Some(Spoken::Notification(Concerns::Progress(token))) => {
                let owner = self
                    .open
                    .values()
                    .rev()
                    .find(|open| open.asked.progress_token.as_ref() == Some(&token));
                // Without an owner its request is over.
                if let Some(Err(line)) = owner.map(|open| open.give(line)) {
                    self.offer(line, false);
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
    /// one; a notification rather to the session.
    fn offer(&mut self, line: Bytes, asks: bool) {
        let only = self.open.len() == 1;
        let line = match (asks && only).then(|| self.to_newest(line.clone())) {
            Some(Ok(())) => return,
            Some(Err(line)) => line,
            None => line,
        };
        let Err(line) = self.to_stream(line) else {
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

    fn to_stream(&self, line: Bytes) -> Result<(), Bytes> {
        let Some(stream) = &self.stream else {
            return Err(line);
        };
        stream
            .try_send(line)
            .map_err(mpsc::error::TrySendError::into_inner)
    }

    fn to_newest(&self, line: Bytes) -> Result<(), Bytes> {
        match self.open.values().rev().find(|open| open.asked.streams) {
            Some(open) => open.give(line),
            None => Err(line),
        }
    }

    fn is_listening(&self) -> bool {
        self.stream
            .as_ref()
            .is_some_and(|stream| !stream.is_closed())
    }
}

impl Open {
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

//! What is at the other end of a two-way line: a queue of messages towards it, a desk for what it says, and an end that is asked
//! for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::desk::{Desk, Lost};
use crate::upstream::Cause;

/// Messages on their way to a peer that does not take them; further ones are refused.
const QUEUE_MAX: usize = 64;
/// How long a child may take to act on each of: stdin closed, TERM.
const GRACE: Duration = Duration::from_secs(2);
/// A peer nobody has used for this long is let go; DESIGN lets a session end after the same silence.
const IDLE_MAX: Duration = Duration::from_mins(30);
const IDLE_LOOK: Duration = Duration::from_mins(1);

/// One message towards a peer.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// One line, with its end.
    pub(super) line: Bytes,
    /// The id of ours that the request has.
    pub(super) own: Option<u64>,
}

/// A peer that is there, or was.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) server: Arc<str>,
    /// Told apart from those before and after it.
    name: Arc<str>,
    desk: Mutex<Desk>,
    queue: mpsc::Sender<Outgoing>,
    used: Mutex<Instant>,
    grace: OnceLock<Duration>,
    pub(super) ending: CancellationToken,
    ended: CancellationToken,
    asked_to_end: AtomicBool,
    /// It has got a message, and may repeat what stood in it.
    spoken_to: AtomicBool,
}

impl Peer {
    /// A peer, and what is to be taken to it.
    pub(super) fn new(server: &Arc<str>) -> (Arc<Self>, mpsc::Receiver<Outgoing>) {
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let peer = Self {
            server: Arc::clone(server),
            name: uuid::Uuid::new_v4().to_string().into(),
            desk: Mutex::default(),
            queue: sender,
            used: Mutex::new(Instant::now()),
            grace: OnceLock::new(),
            ending: CancellationToken::new(),
            ended: CancellationToken::new(),
            asked_to_end: AtomicBool::new(false),
            spoken_to: AtomicBool::new(false),
        };
        (Arc::new(peer), queue)
    }

    /// The id of a new session among those that share it. It tells by itself which peer it belongs to.
    pub(super) fn new_session(&self) -> Arc<str> {
        format!("{}.{}", self.name, uuid::Uuid::new_v4()).into()
    }

    /// Whether a session was begun with this peer, and not with one before it.
    pub(super) fn knows(&self, session: &str) -> bool {
        session
            .split_once('.')
            .is_some_and(|(name, _)| *name == *self.name)
    }

    /// Who waits for what. Held only to look something up, never across an await.
    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        // A panic while it was held left at worst a request without its answer, which its timeout ends.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues one message; an error means that the peer will never see it. `own` is the id of ours that a request has.
    pub(super) fn write(&self, line: Bytes, own: Option<u64>) -> Result<(), Lost> {
        self.touch();
        self.spoken_to.store(true, Ordering::Relaxed);
        self.queue
            .try_send(Outgoing { line, own })
            .map_err(|fault| match fault {
                mpsc::error::TrySendError::Full(_) => {
                    Lost::never(Cause::Busy, "the server does not read")
                }
                mpsc::error::TrySendError::Closed(_) => {
                    Lost::never(Cause::Unreachable, "the server has ended")
                }
            })
    }

    /// Whether it has got a message.
    pub(super) fn is_spoken_to(&self) -> bool {
        self.spoken_to.load(Ordering::Relaxed)
    }

    /// How long a child may take to act on being asked to end.
    pub(super) fn grace(&self) -> Duration {
        *self.grace.get_or_init(|| GRACE)
    }

    /// Done when it has been silent for too long, and nobody waits for it.
    pub(super) async fn is_forgotten(&self) {
        while self.idle().is_none_or(|idle| idle <= IDLE_MAX) {
            tokio::time::sleep(IDLE_LOOK).await;
        }
    }

    /// Everyone who waited was told that nothing more comes.
    pub(super) fn has_ended(&self) {
        self.ended.cancel();
    }

    /// Marks the peer as in use.
    pub(super) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// For how long nobody has used it; `None` while somebody waits for it.
    pub(super) fn idle(&self) -> Option<Duration> {
        let quiet = self.desk().is_quiet();
        quiet.then(|| {
            self.used
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .elapsed()
        })
    }

    /// Asks it to end; a child: stdin closed, after `grace` TERM, after as much again KILL.
    pub(super) fn end(&self, grace: Option<Duration>) {
        if let Some(grace) = grace {
            self.grace.get_or_init(|| grace.min(GRACE));
        }
        self.asked_to_end.store(true, Ordering::Relaxed);
        self.ending.cancel();
    }

    /// Whether somebody asked it to end, before it did so by itself.
    pub(super) fn is_asked_to_end(&self) -> bool {
        self.asked_to_end.load(Ordering::Relaxed)
    }

    /// It has ended or been asked to.
    pub(super) fn is_over(&self) -> bool {
        self.ending.is_cancelled()
    }

    /// Done when it is gone and everyone who waited was told, with how it ended.
    pub(super) async fn ended(&self) -> String {
        self.ended.cancelled().await;
        self.desk().why_lost().unwrap_or_default()
    }

    /// Ends it because of what it did.
    pub(super) fn lose(&self, lost: Lost) {
        self.desk().lose(lost);
        self.ending.cancel();
    }
}

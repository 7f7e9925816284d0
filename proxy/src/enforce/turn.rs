//! The order of messages, where the way they came has one.
//!
//! Over HTTP each message is a request of its own, and two of them may overtake each other on the way. Lines of a pipe have an
//! order that a server may count on: a cancel comes after what it cancels. So a line has the turn until it is on its way to the
//! server, or will never be; the next line waits for that.

use std::future::poll_fn;
use std::pin::pin;

use tokio::sync::oneshot;

/// Held by a message until it is on its way. Dropped, it is the next one's turn.
#[derive(Debug)]
pub(crate) struct Turn(Option<oneshot::Sender<()>>);

impl Turn {
    /// Of a message that keeps nobody waiting.
    pub(crate) fn of_none() -> Self {
        Self(None)
    }

    /// A turn, and what is done when it ends.
    pub(crate) fn new() -> (Self, oneshot::Receiver<()>) {
        let (turn, ended) = oneshot::channel();
        (Self(Some(turn)), ended)
    }

    /// Awaits `forwarding`. What it hands to a child's stdin it hands over when it is first asked, so then the turn ends.
    pub(super) async fn ends_with_start_of<F: Future>(mut self, forwarding: F) -> F::Output {
        let mut forwarding = pin!(forwarding);
        poll_fn(|context| {
            let polled = forwarding.as_mut().poll(context);
            drop(self.0.take());
            polled
        })
        .await
    }
}

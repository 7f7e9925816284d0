//! One request that waits for its answer from a child.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::desk::Delivery;
use super::peer::Peer;
use super::{events_answer, json_answer, message};
use crate::sse::Event;
use crate::upstream::{Answer, Cause, Era, Exchange, ForwardError, Reached, StreamFault};

/// How long a server may think about `server/discover`. Legacy servers may leave it unanswered, and its client then
/// waits for leave to fall back to `initialize`; a modern one may have to be loaded first (5 s were seen to be too few).
const DISCOVER_PATIENCE: Duration = Duration::from_secs(20);

/// An open request. Dropped before its answer, it is cancelled at the child if that is what a lost client means.
pub(super) struct Waiting {
    child: Arc<Peer>,
    own: u64,
    deliveries: mpsc::Receiver<Delivery>,
    patience: Option<Duration>,
    gone_is_cancel: bool,
    _place: OwnedSemaphorePermit,
}

impl Waiting {
    pub(super) fn new(
        child: Arc<Peer>,
        own: u64,
        deliveries: mpsc::Receiver<Delivery>,
        exchange: &Exchange,
        answer_timeout: Duration,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let patience = match &*exchange.rpc_method {
            "subscriptions/listen" => None,
            "server/discover" => Some(answer_timeout.min(DISCOVER_PATIENCE)),
            _ => Some(answer_timeout),
        };
        let gone_is_cancel = exchange.era == Era::Modern;
        Self {
            child,
            own,
            deliveries,
            patience,
            gone_is_cancel,
            _place: place,
        }
    }

    /// The answer; as events, with the rest to come, if something comes before it.
    pub(super) async fn answer(mut self, exchange: &Exchange) -> Result<Answer, ForwardError> {
        let discovers = &*exchange.rpc_method == "server/discover";
        match self.next().await {
            Some(Delivery::Answer { message, is_error }) => {
                // A failed probe must not look like an answer, or the client takes a legacy server for a modern one.
                let status = if discovers && is_error {
                    StatusCode::BAD_REQUEST
                } else {
                    StatusCode::OK
                };
                Ok(json_answer(status, message))
            }
            Some(Delivery::Before(message)) => Ok(events_answer(self.events(&message))),
            Some(Delivery::Closed) => Ok(events_answer(stream::empty().boxed())),
            Some(Delivery::Lost(lost)) => Err(ForwardError {
                reached: lost.reached,
                cause: lost.cause,
                detail: lost.detail,
            }),
            None if discovers => Ok(unknown_method(exchange)),
            None => Err(ForwardError {
                reached: Reached::Maybe,
                cause: Cause::Timeout,
                detail: "the child did not answer in time".into(),
            }),
        }
    }

    fn events(self, first: &Bytes) -> stream::BoxStream<'static, Result<Event, StreamFault>> {
        let rest = stream::unfold(Some(self), async |waiting| {
            let mut waiting = waiting?;
            let event = match waiting.next().await {
                Some(Delivery::Before(message)) => {
                    return Some((Ok(Event::message(&message)), Some(waiting)));
                }
                Some(Delivery::Answer { message, .. }) => Ok(Event::message(&message)),
                Some(Delivery::Closed) => return None,
                Some(Delivery::Lost(lost)) => Err(StreamFault {
                    cause: lost.cause,
                    detail: lost.detail,
                }),
                None => Err(StreamFault {
                    cause: Cause::Timeout,
                    detail: "the child fell silent".into(),
                }),
            };
            Some((event, None))
        });
        stream::iter([Ok(Event::message(first))])
            .chain(rest)
            .boxed()
    }

    /// What comes next; `None` if nothing does in time, and then the child is told that nobody waits any more.
    async fn next(&mut self) -> Option<Delivery> {
        let delivery = match self.patience {
            None => self.deliveries.recv().await,
            Some(patience) => tokio::time::timeout(patience, self.deliveries.recv())
                .await
                .ok()
                .flatten(),
        };
        if delivery.is_none() {
            self.cancel();
        }
        delivery
    }

    /// Tells the child that nobody waits for the answer, if it has not been given.
    fn cancel(&self) {
        if self.child.desk().let_go(self.own) {
            let cancelled = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{}}}}}"#,
                self.own
            );
            // A child that takes no more lines is past being told.
            drop(
                self.child
                    .write(message::line(cancelled.into_bytes()), None),
            );
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.child.touch();
        if self.gone_is_cancel {
            self.cancel();
        }
    }
}

fn unknown_method(exchange: &Exchange) -> Answer {
    let id = exchange.request_id.as_ref().map_or("null", |id| &*id.raw);
    let error = format!(
        r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"Method not found"}}}}"#
    );
    json_answer(StatusCode::BAD_REQUEST, error.into())
}

//! A server's body as events, each handed on as soon as it is complete.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::sse::{Event, Splitter};
use crate::upstream::{Cause, StreamFault};

/// How long the answer to a legacy client that went away is still read, so that the server can finish its work.
const KEPT: Duration = Duration::from_mins(5);

/// The events of `body`; between two of them no more than `patience`, if given. Holds `place` until it is dropped.
///
/// What stands after the last complete event is left out, as a client would.
pub(in crate::upstream) fn of(
    body: Incoming,
    event_bytes_max: usize,
    patience: Option<Duration>,
    place: impl Send + 'static,
) -> BoxStream<'static, Result<Event, StreamFault>> {
    let reading = Reading {
        body,
        splitter: Splitter::new(event_bytes_max),
        patience,
        _place: place,
    };
    stream::unfold(Some(reading), async |reading| {
        let mut reading = reading?;
        match reading.next().await {
            Ok(Some(event)) => Some((Ok(event), Some(reading))),
            Ok(None) => None,
            Err(fault) => Some((Err(fault), None)),
        }
    })
    .boxed()
}

/// The same events, and read to their end if nobody wants them any more: a legacy disconnect is not a cancel. Where they have ids
/// the server keeps the rest, and gives it to who asks, once this stream is let go.
pub(super) fn kept(
    events: BoxStream<'static, Result<Event, StreamFault>>,
    tasks: TaskTracker,
    closing: CancellationToken,
) -> BoxStream<'static, Result<Event, StreamFault>> {
    Kept {
        events: Some(events),
        have_ids: false,
        tasks,
        closing,
    }
    .boxed()
}

struct Reading<P> {
    body: Incoming,
    splitter: Splitter,
    patience: Option<Duration>,
    _place: P,
}

impl<P> Reading<P> {
    async fn next(&mut self) -> Result<Option<Event>, StreamFault> {
        loop {
            let event = self.splitter.next_event().map_err(|fault| StreamFault {
                cause: Cause::BadAnswer,
                detail: fault.to_string(),
            })?;
            if event.is_some() {
                return Ok(event);
            }
            let frame = match self.patience {
                None => self.body.frame().await,
                Some(patience) => tokio::time::timeout(patience, self.body.frame())
                    .await
                    .map_err(|_| StreamFault {
                        cause: Cause::Timeout,
                        detail: "the stream fell silent".into(),
                    })?,
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|fault| StreamFault {
                cause: Cause::Broken,
                detail: super::chain(&fault),
            })?;
            if let Some(data) = frame.data_ref() {
                self.splitter.push(data);
            }
        }
    }
}

struct Kept {
    events: Option<BoxStream<'static, Result<Event, StreamFault>>>,
    have_ids: bool,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Stream for Kept {
    type Item = Result<Event, StreamFault>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(events) = &mut self.events else {
            return Poll::Ready(None);
        };
        let polled = events.poll_next_unpin(context);
        match &polled {
            Poll::Ready(Some(Ok(event))) => {
                self.have_ids |= event.id().is_some_and(|id| !id.is_empty());
            }
            Poll::Ready(None | Some(Err(_))) => self.events = None,
            Poll::Pending => {}
        }
        polled
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let (Some(events), Ok(runtime)) =
            (self.events.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        if self.have_ids {
            return;
        }
        let closing = self.closing.clone();
        let reading_on = async move {
            tokio::select! {
                _ = tokio::time::timeout(KEPT, events.for_each(async |_| ())) => {}
                () = closing.cancelled() => {}
            }
        };
        drop(self.tasks.spawn_on(reading_on, &runtime));
    }
}

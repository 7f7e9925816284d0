//! A server's body as events, each handed on as soon as it is complete.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::BodyExt;

use super::AnswerStream;
use crate::sse::{Event, Splitter};
use crate::upstream::{Cause, StreamFault};

/// The events of `body`; between two of them no more than `patience`, if given. Holds `place` until it is dropped.
///
/// What stands after the last complete event is left out, as a client would.
pub(in crate::upstream) fn of(
    body: AnswerStream,
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

struct Reading<P> {
    body: AnswerStream,
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

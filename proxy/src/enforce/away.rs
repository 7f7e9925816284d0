//! A call whose client went away and may come back: the server keeps the rest of its stream meanwhile.
//!
//! The stream was let go, or the client would get nothing of it. If nobody comes for it, Weir asks for it itself, for the
//! record's sake: only how the call ended is looked at. A client that comes later still takes precedence.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::Instant;
use weir_recorder::Outcome;

use super::open_call::end;
use super::outcome::{Ending, Said, look};
use super::resume::{LAST_EVENT, Rest, Stream};
use super::tap::Tap;
use crate::leave::{Leave, Pass};
use crate::upstream::{AnswerBody, Era, Exchange, MessageKind};

/// How long a client is waited for before Weir listens in its stead. Clients come back after one second or a few.
const AWAY_MAX: Duration = Duration::from_secs(10);
/// How soon a server is asked again.
const AGAIN: Duration = Duration::from_millis(500);
/// How long it is listened to at a time: some give what they kept, and then nothing more.
const LISTEN_MAX: Duration = Duration::from_secs(30);

/// What came of listening.
enum Heard {
    End(Ending, StatusCode),
    /// The server has no such stream.
    Gone,
    /// Nothing yet.
    Nothing,
}

impl Tap {
    /// Waits for the client, then for the answer; `outcome` is how the call ended if neither comes.
    pub(super) async fn away(&self, mut rest: Rest, outcome: Outcome) {
        let patience = self.gate.patience();
        let until = Instant::now() + patience;
        let mut pause = AWAY_MAX.min(patience / 4);
        loop {
            let stream = Arc::clone(&rest.held.stream);
            let comer = tokio::select! {
                biased;
                () = self.gate.giving_up.cancelled() => return end(Some(rest.open), Outcome::Unknown, None, false),
                () = rest.open.cancelled() => return, // dropped, it ends so
                comer = rest.held.comer() => Some(comer),
                () = tokio::time::sleep_until(until) => return end(Some(rest.open), outcome, None, false),
                heard = self.listen_after(pause, &stream, &rest.id) => match heard {
                    Heard::End(ending, status) => return rest.open.end(&ending, Some(status), false),
                    Heard::Gone => return end(Some(rest.open), outcome, None, false),
                    Heard::Nothing => None,
                },
            };
            pause = Duration::ZERO;
            if let Some(comer) = comer {
                match comer.give(rest) {
                    Ok(()) => return,
                    Err(back) => (rest, pause) = (*back, AWAY_MAX.min(patience / 4)),
                }
            }
        }
    }

    async fn listen_after(&self, pause: Duration, stream: &Stream, id: &str) -> Heard {
        tokio::time::sleep(AGAIN).await;
        tokio::select! {
            // Nobody can come back during the stop.
            () = self.gate.stopping.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
        tokio::time::timeout(LISTEN_MAX, self.listen(stream, id))
            .await
            .unwrap_or(Heard::Nothing)
    }

    /// Asks for the rest, and looks for the answer in it.
    async fn listen(&self, stream: &Stream, id: &str) -> Heard {
        let Some(last) = stream.last() else {
            return Heard::Gone;
        };
        let mut headers = HeaderMap::clone(&self.headers);
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(LAST_EVENT, last);
        let exchange = Exchange {
            method: Method::GET,
            headers: Arc::new(headers),
            body: Bytes::new(),
            request_id: None,
            rpc_method: Arc::from(""),
            kind: MessageKind::Bare,
            era: Era::Legacy,
            session: self.protocol_session.clone(),
            grant: Arc::clone(&self.caller.grant.name),
            caller: Arc::clone(&self.caller_key),
        };
        let upstream = &self.caller.server.upstream;
        let leave = Leave::Pass(Pass::for_bare());
        let Ok(answer) = upstream.forward(leave, exchange).await else {
            return Heard::Nothing;
        };
        let mut events = match answer.body {
            AnswerBody::Events(events) if answer.status.is_success() => events,
            AnswerBody::Events(_) | AnswerBody::Whole(_) => {
                // It may still hold the stream that was let go for open.
                let busy = [StatusCode::CONFLICT, StatusCode::TOO_MANY_REQUESTS];
                let is_final = !answer.status.is_server_error() && !busy.contains(&answer.status);
                return if is_final {
                    Heard::Gone
                } else {
                    Heard::Nothing
                };
            }
        };
        while let Some(Ok(event)) = events.next().await {
            if let Some(id) = event.id().filter(|id| !id.is_empty()) {
                stream.saw(&self.gate, id);
            }
            let Some(data) = event.data() else { continue };
            if let Said::Answer(ending) = look(&data, Some(id), &self.gate.digest_key) {
                return Heard::End(ending, answer.status);
            }
        }
        Heard::Nothing
    }
}

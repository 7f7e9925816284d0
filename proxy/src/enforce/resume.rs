//! Streams that a client may come back for.
//!
//! In the legacy era a client that loses the stream of a call asks by GET with `Last-Event-ID` for the rest of it, where the
//! server's events have ids. A server gives the rest to nobody while it holds the first stream for open, and the call's row is to
//! be ended by whoever hears the answer. So each such stream is listed here, and its call is handed to the connection that
//! comes for it: that of another, of this caller alone.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderValue};
use tokio::sync::{mpsc, oneshot};

use super::open_call::OpenCall;
use crate::gate::Gate;
use crate::headers;

/// Events of one stream by which it is found. A client names the last that it got: one of the newest, less what was on the way.
const IDS_MAX: usize = 256;

/// The streams of calls under way that can be resumed, by caller and session.
#[derive(Debug, Default)]
pub(crate) struct Resumable(Mutex<HashMap<Arc<str>, Vec<Arc<Stream>>>>);

/// One of them.
#[derive(Debug)]
pub(super) struct Stream {
    seen: Mutex<Seen>,
    comers: mpsc::Sender<Comer>,
}

#[derive(Debug, Default)]
struct Seen {
    ids: VecDeque<[u8; 16]>,
    last: Option<HeaderValue>,
}

/// A connection that came for the rest of a stream.
pub(super) struct Comer(oneshot::Sender<Rest>);

/// A call that goes on elsewhere than it began.
pub(super) struct Rest {
    pub(super) open: OpenCall,
    /// The id of its request, as it stood.
    pub(super) id: Arc<str>,
    pub(super) held: Held,
}

/// A stream's place in the list. Dropped, it is found no more.
pub(super) struct Held {
    gate: Arc<Gate>,
    caller: Arc<str>,
    pub(super) stream: Arc<Stream>,
    comers: mpsc::Receiver<Comer>,
}

impl Resumable {
    /// The call whose stream had this event, once whoever held it has let the stream go.
    pub(super) async fn take(&self, caller: &str, event: [u8; 16]) -> Option<Rest> {
        let stream = {
            let streams = self.streams();
            let mut own = streams.get(caller)?.iter();
            Arc::clone(own.find(|stream| stream.seen().ids.contains(&event))?)
        };
        let (comer, rest) = oneshot::channel();
        // Its answer may come at this very time: then there is nothing to take.
        stream.comers.send(Comer(comer)).await.ok()?;
        drop(stream);
        rest.await.ok()
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Arc<Stream>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    pub(super) fn new(gate: &Arc<Gate>, caller: &Arc<str>) -> Self {
        let (sender, comers) = mpsc::channel(1);
        let stream = Arc::new(Stream {
            seen: Mutex::default(),
            comers: sender,
        });
        let mut streams = gate.resumable.streams();
        let own = streams.entry(Arc::clone(caller)).or_default();
        own.push(Arc::clone(&stream));
        drop(streams);
        Self {
            gate: Arc::clone(gate),
            caller: Arc::clone(caller),
            stream,
            comers,
        }
    }

    /// Done when somebody comes for the rest.
    pub(super) async fn comer(&mut self) -> Comer {
        match self.comers.recv().await {
            Some(comer) => comer,
            // It has a sender of its own.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut streams = self.gate.resumable.streams();
        if let Some(own) = streams.get_mut(&self.caller) {
            own.retain(|stream| !Arc::ptr_eq(stream, &self.stream));
            if own.is_empty() {
                streams.remove(&self.caller);
            }
        }
    }
}

impl Stream {
    /// An event with this id was heard.
    pub(super) fn saw(&self, gate: &Gate, id: &[u8]) {
        let Ok(value) = HeaderValue::from_bytes(id) else {
            return; // no client can name it
        };
        let mut seen = self.seen();
        if seen.ids.len() == IDS_MAX {
            seen.ids.pop_front();
        }
        seen.ids.push_back(gate.digest_key.digest(id));
        seen.last = Some(value);
    }

    /// The newest event's id.
    pub(super) fn last(&self) -> Option<HeaderValue> {
        self.seen().last.clone()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Comer {
    /// Gives it the call, or back if it went meanwhile.
    pub(super) fn give(self, rest: Rest) -> Result<(), Box<Rest>> {
        self.0.send(rest).map_err(Box::new)
    }
}

/// The event after which a client wants to hear; an error if it names two.
pub(super) fn last_event(headers: &HeaderMap) -> Result<Option<&HeaderValue>, ()> {
    let mut values = headers.get_all(&headers::LAST_EVENT).iter();
    match (values.next(), values.next()) {
        (event, None) => Ok(event),
        (_, Some(_)) => Err(()),
    }
}

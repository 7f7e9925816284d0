//! Calls that a client may cancel by a message of its own.
//!
//! In the legacy era `notifications/cancelled` names the request, and the server then gives it no answer. Servers on a two-way
//! line are seen to ([`crate::upstream`]); over HTTP the message goes by its own way, so that the call is told of it here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::outcome::same_id;
use crate::gate::Gate;

/// The calls under way that can be cancelled so, by caller and session.
#[derive(Debug, Default)]
pub(crate) struct Cancellable(Mutex<HashMap<Arc<str>, Vec<Arc<Named>>>>);

/// One of them, by the id of its request as it stood.
#[derive(Debug)]
struct Named {
    id: Arc<str>,
    cancelled: CancellationToken,
}

/// A call's place in the list. Dropped, it is found no more.
pub(super) struct Cancel {
    gate: Arc<Gate>,
    caller: Arc<str>,
    named: Arc<Named>,
}

impl Cancellable {
    /// The caller wants no answer to this request any more.
    pub(super) fn cancel(&self, caller: &str, id: &str) {
        let calls = self.calls();
        let mut newest = calls.get(caller).into_iter().flatten().rev();
        if let Some(named) = newest.find(|named| same_id(&named.id, id)) {
            named.cancelled.cancel();
        }
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Arc<Named>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cancel {
    pub(super) fn new(gate: &Arc<Gate>, caller: &Arc<str>, id: &Arc<str>) -> Self {
        let named = Arc::new(Named {
            id: Arc::clone(id),
            cancelled: CancellationToken::new(),
        });
        let mut calls = gate.cancellable.calls();
        let own = calls.entry(Arc::clone(caller)).or_default();
        own.push(Arc::clone(&named));
        drop(calls);
        Self {
            gate: Arc::clone(gate),
            caller: Arc::clone(caller),
            named,
        }
    }

    /// Done when the client cancels it.
    pub(super) async fn done(&self) {
        self.named.cancelled.cancelled().await;
    }

    pub(super) fn is_done(&self) -> bool {
        self.named.cancelled.is_cancelled()
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        let mut calls = self.gate.cancellable.calls();
        if let Some(own) = calls.get_mut(&self.caller) {
            own.retain(|named| !Arc::ptr_eq(named, &self.named));
            if own.is_empty() {
                calls.remove(&self.caller);
            }
        }
    }
}

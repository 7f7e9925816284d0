//! Who calls, and whom.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::gate::{Gate, Served};
use crate::grants::{Grant, Identity};
use crate::peer::Peer;
use crate::sessions::Owner;

/// Who calls, and whom.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) grant: Arc<Grant>,
    pub(crate) identity: Identity,
    pub(crate) server: Arc<Served>,
    pub(crate) peer: Arc<Peer>,
    /// What the client's software calls itself on the HTTP level: tells clients of one address apart.
    pub(crate) agent: Arc<str>,
}

impl Caller {
    /// Whose sessions these are.
    pub(crate) fn owner<'a>(&'a self, gate: &'a Gate) -> Owner<'a> {
        Owner {
            bounds: &gate.bounds,
            grant: &self.grant,
            name: &self.identity.owner,
        }
    }

    /// Done when what the caller showed opens nothing any more: its access token expired, its certificate did or was taken back.
    pub(super) async fn lapsed(&self) {
        let expired = async {
            let Some(until) = self.identity.until else {
                return std::future::pending().await;
            };
            while let Ok(left) = until.duration_since(SystemTime::now()) {
                // Not in one go: a clock that steps is met half a minute later.
                tokio::time::sleep(left.min(Duration::from_secs(30))).await;
            }
        };
        tokio::select! {
            () = expired => {}
            () = self.peer.lapsed() => {}
        }
    }
}

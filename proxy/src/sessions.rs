//! Sessions: the protocol's own where it has them, else what one caller sends from one address and client until 30
//! minutes of silence.
//!
//! A session is never proof of identity: the protocol's ids are bound to the owner that opened them (a grant, and with it the
//! subject of the certificate or access token that opened it), and everyone else gets the same answer as for an id that
//! never was.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Silence after which a derived session has ended.
const SILENCE_MAX: Duration = Duration::from_mins(30);
/// Silence after which a session of the protocol is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);

/// Events of streams that a derived session remembers.
const EVENTS_MAX: usize = 256;

/// Every session that is remembered.
#[derive(Debug)]
pub(crate) struct Sessions {
    sessions_max: usize,
    known: Mutex<HashMap<Key, Entry>>,
}

/// What is known of the one that speaks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Client {
    /// `clientInfo.name`
    pub(crate) name: Option<Arc<str>>,
    /// `clientInfo.version`
    pub(crate) version: Option<Arc<str>>,
    /// The protocol's revision.
    pub(crate) protocol: Option<Arc<str>>,
}

/// A session as calls see it.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// The column `session`.
    pub(crate) id: Arc<str>,
    pub(crate) client: Client,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// `Mcp-Session-Id` of one server.
    Given { server: Arc<str>, id: Arc<str> },
    /// Where there is none.
    Derived {
        owner: Arc<str>,
        address: IpAddr,
        agent: Arc<str>,
    },
}

#[derive(Debug)]
struct Entry {
    owner: Arc<str>,
    session: Session,
    seen: Instant,
    /// Of the events that it was told, the newest that had ids; only where the protocol has no session.
    events: VecDeque<[u8; 16]>,
}

/// The session id names no session of this owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoSuchSession;

impl Sessions {
    pub(crate) fn new(sessions_max: usize) -> Self {
        Self {
            sessions_max,
            known: Mutex::default(),
        }
    }

    /// The session that this owner opened under this id.
    pub(crate) fn given(
        &self,
        server: &Arc<str>,
        owner: &Arc<str>,
        id: &str,
    ) -> Result<Session, NoSuchSession> {
        let key = Key::Given {
            server: Arc::clone(server),
            id: Arc::from(id),
        };
        let mut known = self.known();
        let entry = known
            .get_mut(&key)
            .filter(|entry| entry.owner == *owner)
            .ok_or(NoSuchSession)?;
        entry.seen = Instant::now();
        Ok(entry.session.clone())
    }

    /// The session of a caller that has no id: the one of its owner, address and client, until it has been silent.
    pub(crate) fn derived(&self, owner: &Arc<str>, address: IpAddr, agent: &str) -> Session {
        let key = Key::Derived {
            owner: Arc::clone(owner),
            address,
            agent: Arc::from(agent),
        };
        let now = Instant::now();
        let mut known = self.known();
        if let Some(entry) = known.get_mut(&key)
            && now.duration_since(entry.seen) < SILENCE_MAX
        {
            entry.seen = now;
            return entry.session.clone();
        }
        let session = Session {
            id: fresh_id(),
            client: Client::default(),
        };
        self.make_room(&mut known, now);
        known.insert(
            key,
            Entry {
                owner: Arc::clone(owner),
                session: session.clone(),
                seen: now,
                events: VecDeque::new(),
            },
        );
        session
    }

    /// Binds the id that a server gave to the owner that asked for it. An id that another one holds stays with that one.
    pub(crate) fn bind(
        &self,
        server: &Arc<str>,
        owner: &Arc<str>,
        id: &str,
        client: Client,
    ) -> Result<(), NoSuchSession> {
        let id: Arc<str> = Arc::from(id);
        let key = Key::Given {
            server: Arc::clone(server),
            id: Arc::clone(&id),
        };
        let now = Instant::now();
        let mut known = self.known();
        if known.get(&key).is_some_and(|entry| entry.owner != *owner) {
            return Err(NoSuchSession);
        }
        self.make_room(&mut known, now);
        known.insert(
            key,
            Entry {
                owner: Arc::clone(owner),
                session: Session { id, client },
                seen: now,
                events: VecDeque::new(),
            },
        );
        Ok(())
    }

    /// Remembers who speaks in a derived session, for the calls that follow.
    pub(crate) fn introduce(&self, owner: &Arc<str>, address: IpAddr, agent: &str, client: Client) {
        let key = Key::Derived {
            owner: Arc::clone(owner),
            address,
            agent: Arc::from(agent),
        };
        if let Some(entry) = self.known().get_mut(&key) {
            entry.session.client = client;
        }
    }

    /// Remembers that a derived session was told an event.
    pub(crate) fn told(&self, owner: &Arc<str>, address: IpAddr, agent: &str, event: [u8; 16]) {
        let key = Key::Derived {
            owner: Arc::clone(owner),
            address,
            agent: Arc::from(agent),
        };
        if let Some(entry) = self.known().get_mut(&key) {
            if entry.events.len() == EVENTS_MAX {
                entry.events.pop_front();
            }
            entry.events.push_back(event);
        }
    }

    /// Whether it was.
    pub(crate) fn was_told(
        &self,
        owner: &Arc<str>,
        address: IpAddr,
        agent: &str,
        event: [u8; 16],
    ) -> bool {
        let key = Key::Derived {
            owner: Arc::clone(owner),
            address,
            agent: Arc::from(agent),
        };
        let known = self.known();
        known
            .get(&key)
            .is_some_and(|entry| entry.events.contains(&event))
    }

    /// Forgets a session that was ended.
    pub(crate) fn end(&self, server: &Arc<str>, id: &str) {
        self.known().remove(&Key::Given {
            server: Arc::clone(server),
            id: Arc::from(id),
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.known().len()
    }

    /// Makes room for one more: first what is forgotten anyway, then what was silent longest.
    fn make_room(&self, known: &mut HashMap<Key, Entry>, now: Instant) {
        if known.len() < self.sessions_max {
            return;
        }
        known.retain(|key, entry| {
            let silence_max = match key {
                Key::Given { .. } => FORGOTTEN_AFTER,
                Key::Derived { .. } => SILENCE_MAX,
            };
            now.duration_since(entry.seen) < silence_max
        });
        while known.len() >= self.sessions_max {
            let Some(oldest) = known
                .iter()
                .min_by_key(|(_, entry)| entry.seen)
                .map(|(key, _)| key.clone())
            else {
                return;
            };
            known.remove(&oldest);
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fresh_id() -> Arc<str> {
    Arc::from(uuid::Uuid::now_v7().to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn an_id_opens_nothing_for_another_grant() {
        let (server, ops, dev): (Arc<str>, Arc<str>, Arc<str>) =
            ("nas".into(), "ops".into(), "dev".into());
        let sessions = Sessions::new(8);
        sessions
            .bind(&server, &ops, "abc", Client::default())
            .unwrap();
        assert!(sessions.given(&server, &ops, "abc").is_ok());
        assert_eq!(
            sessions.given(&server, &dev, "abc").err(),
            Some(NoSuchSession)
        );
        assert!(
            sessions
                .bind(&server, &dev, "abc", Client::default())
                .is_err()
        );
    }

    #[test]
    fn one_grant_address_and_client_is_one_session() {
        let ops: Arc<str> = "ops".into();
        let sessions = Sessions::new(8);
        let first = sessions.derived(&ops, HERE, "agent/1");
        assert_eq!(sessions.derived(&ops, HERE, "agent/1").id, first.id);
        assert_ne!(sessions.derived(&ops, HERE, "agent/2").id, first.id);
    }

    #[test]
    fn more_sessions_than_may_be_are_never_held() {
        let ops: Arc<str> = "ops".into();
        let sessions = Sessions::new(3);
        for agent in 0..10 {
            sessions.derived(&ops, HERE, &agent.to_string());
        }
        assert_eq!(sessions.len(), 3);
    }
}

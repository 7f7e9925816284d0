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

use crate::bounds::{Bounds, Full, Place, Resource};
use crate::grants::Grant;

/// Silence after which a derived session has ended.
const SILENCE_MAX: Duration = Duration::from_mins(30);
/// Silence after which a session of the protocol is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);
/// Silence after which a session makes way for a new one, where there may be no more: clients that never end theirs are common.
const MAKES_WAY: Duration = Duration::from_mins(5);

/// Events of streams that a derived session remembers.
const EVENTS_MAX: usize = 256;

/// Every session that is remembered.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
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
    grant: Arc<str>,
    session: Session,
    seen: Instant,
    /// Of the events that it was told, the newest that had ids; only where the protocol has no session.
    events: VecDeque<[u8; 16]>,
    _place: Place,
}

/// The session id names no session of this owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoSuchSession;

/// Why a session that a server gave is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unbound {
    /// Its id is another one's.
    Taken,
    /// There are as many as may be.
    Full(Full),
}

/// Whose sessions these are, and what bounds them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) bounds: &'a Bounds,
    pub(crate) grant: &'a Grant,
    pub(crate) name: &'a Arc<str>,
}

impl Sessions {
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
    pub(crate) fn derived(
        &self,
        owner: Owner<'_>,
        address: IpAddr,
        agent: &str,
    ) -> Result<Session, Full> {
        let key = Key::Derived {
            owner: Arc::clone(owner.name),
            address,
            agent: Arc::from(agent),
        };
        let now = Instant::now();
        let mut known = self.known();
        if let Some(entry) = known.get_mut(&key)
            && now.duration_since(entry.seen) < SILENCE_MAX
        {
            entry.seen = now;
            return Ok(entry.session.clone());
        }
        // One that has ended gives its place up first.
        known.remove(&key);
        let session = Session {
            id: fresh_id(),
            client: Client::default(),
        };
        let entry = owner.entry(&mut known, session.clone(), now)?;
        known.insert(key, entry);
        Ok(session)
    }

    /// Whether one more of this owner would have a place.
    pub(crate) fn has_room(&self, owner: Owner<'_>) -> Result<(), Full> {
        owner.place(&mut self.known(), Instant::now()).map(drop)
    }

    /// Binds the id that a server gave to the owner that asked for it. An id that another one holds stays with that one.
    pub(crate) fn bind(
        &self,
        server: &Arc<str>,
        owner: Owner<'_>,
        id: &str,
        client: Client,
    ) -> Result<(), Unbound> {
        let id: Arc<str> = Arc::from(id);
        let key = Key::Given {
            server: Arc::clone(server),
            id: Arc::clone(&id),
        };
        let now = Instant::now();
        let mut known = self.known();
        if known
            .get(&key)
            .is_some_and(|entry| entry.owner != *owner.name)
        {
            return Err(Unbound::Taken);
        }
        known.remove(&key);
        let entry = owner
            .entry(&mut known, Session { id, client }, now)
            .map_err(Unbound::Full)?;
        known.insert(key, entry);
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

    fn known(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owner<'_> {
    fn entry(
        self,
        known: &mut HashMap<Key, Entry>,
        session: Session,
        now: Instant,
    ) -> Result<Entry, Full> {
        Ok(Entry {
            _place: self.place(known, now)?,
            owner: Arc::clone(self.name),
            grant: Arc::clone(&self.grant.name),
            session,
            seen: now,
            events: VecDeque::new(),
        })
    }

    /// A place for one more. Where there is none, first those go that are forgotten anyway, then the one that was silent longest: of
    /// this grant, if it is this grant that has too many. One that was heard of lately is nobody's to take.
    fn place(self, known: &mut HashMap<Key, Entry>, now: Instant) -> Result<Place, Full> {
        let take = || self.bounds.take(Resource::Sessions, self.grant);
        let full = match take() {
            Ok(place) => return Ok(place),
            Err(full) => full,
        };
        known.retain(|key, entry| {
            let silence_max = match key {
                Key::Given { .. } => FORGOTTEN_AFTER,
                Key::Derived { .. } => SILENCE_MAX,
            };
            now.duration_since(entry.seen) < silence_max
        });
        let is_its = |entry: &Entry| !full.of_grant || entry.grant == self.grant.name;
        let oldest = known
            .iter()
            .filter(|(_, entry)| is_its(entry) && now.duration_since(entry.seen) >= MAKES_WAY)
            .min_by_key(|(_, entry)| entry.seen)
            .map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            known.remove(&oldest);
        }
        take()
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
    use crate::config::{GrantLimits, Limits};

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn bounds(in_all: usize, of_grant: usize) -> (Bounds, GrantLimits) {
        let limits = Limits {
            sessions_max: in_all,
            sessions_per_grant_max: of_grant,
            ..Limits::default()
        };
        (Bounds::new(&limits), GrantLimits::of(&limits))
    }

    fn owner<'a>(bounds: &'a Bounds, grant: &'a Grant) -> Owner<'a> {
        Owner {
            bounds,
            grant,
            name: &grant.name,
        }
    }

    #[test]
    fn an_id_opens_nothing_for_another_grant() {
        let (bounds, limits) = bounds(8, 8);
        let (ops, dev) = (Grant::bare("ops", &limits), Grant::bare("dev", &limits));
        let server: Arc<str> = "nas".into();
        let sessions = Sessions::default();
        let bind = |grant| sessions.bind(&server, owner(&bounds, grant), "abc", Client::default());
        bind(&ops).unwrap();
        assert!(sessions.given(&server, &ops.name, "abc").is_ok());
        assert_eq!(
            sessions.given(&server, &dev.name, "abc").err(),
            Some(NoSuchSession)
        );
        assert_eq!(bind(&dev), Err(Unbound::Taken));
    }

    #[test]
    fn one_grant_address_and_client_is_one_session() {
        let (bounds, limits) = bounds(8, 8);
        let ops = Grant::bare("ops", &limits);
        let sessions = Sessions::default();
        let id = |agent| {
            sessions
                .derived(owner(&bounds, &ops), HERE, agent)
                .unwrap()
                .id
        };
        let first = id("agent/1");
        assert_eq!(id("agent/1"), first);
        assert_ne!(id("agent/2"), first);
        assert_eq!(bounds.in_use(Resource::Sessions), 2);
    }

    #[test]
    fn a_grant_that_has_its_sessions_gets_no_more_and_others_do() {
        let (bounds, limits) = bounds(4, 3);
        let (ops, dev) = (Grant::bare("ops", &limits), Grant::bare("dev", &limits));
        let sessions = Sessions::default();
        let derive = |grant, agent: &str| sessions.derived(owner(&bounds, grant), HERE, agent);
        for agent in ["1", "2", "3"] {
            derive(&ops, agent).unwrap();
        }
        let full = derive(&ops, "4").unwrap_err();
        assert_eq!((full.of_grant, full.most), (true, 3));
        assert_eq!(sessions.has_room(owner(&bounds, &ops)), Err(full));
        assert!(derive(&ops, "1").is_ok(), "one that is there goes on");
        derive(&dev, "1").unwrap();
        let full = derive(&dev, "2").unwrap_err();
        assert_eq!((full.of_grant, full.most), (false, 4));
        assert_eq!(bounds.in_use(Resource::Sessions), 4);
        assert_eq!(bounds.in_use_of(Resource::Sessions, "dev"), 1);
    }

    #[test]
    fn one_that_was_silent_for_long_makes_way_for_one_of_its_grant() {
        let (bounds, limits) = bounds(8, 2);
        let (ops, dev) = (Grant::bare("ops", &limits), Grant::bare("dev", &limits));
        let sessions = Sessions::default();
        let derive = |grant, agent: &str| sessions.derived(owner(&bounds, grant), HERE, agent);
        let id = |agent| derive(&ops, agent).map(|session| session.id);
        derive(&dev, "1").unwrap();
        let (silent, lively) = (id("1").unwrap(), id("2").unwrap());
        let long_ago = Instant::now().checked_sub(MAKES_WAY).unwrap();
        for entry in sessions.known().values_mut() {
            if entry.session.id != lively {
                entry.seen = long_ago;
            }
        }
        let third = id("3").unwrap();
        assert_eq!((id("2"), id("3")), (Ok(lively), Ok(third)));
        assert!(
            id("1").is_err_and(|full| full.of_grant),
            "{silent} made way, and nobody does for it"
        );
        assert_eq!(bounds.in_use_of(Resource::Sessions, "dev"), 1);
    }
}

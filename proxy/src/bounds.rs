//! How many of everything there may be at once, in all and for each grant: connections, requests under way, open streams, sessions.
//!
//! What is taken is given back by dropping its [`Place`], so nothing can be forgotten. A grant's places are counted by its name: a
//! reload that exchanges the grant neither frees nor doubles them.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::Limits;
use crate::grants::Grant;

/// What there may be so many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Connections to clients.
    Connections,
    /// Requests under way.
    InFlight,
    /// Streams that wait for nothing in particular.
    Streams,
    /// Sessions remembered.
    Sessions,
}

impl Resource {
    pub(crate) const ALL: [Self; 4] = [
        Self::Connections,
        Self::InFlight,
        Self::Streams,
        Self::Sessions,
    ];

    /// The label in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::InFlight => "in_flight",
            Self::Streams => "streams",
            Self::Sessions => "sessions",
        }
    }

    /// What there are too many of, in words.
    fn words(self) -> &'static str {
        match self {
            Self::Connections => "open connections",
            Self::InFlight => "requests under way",
            Self::Streams => "open streams",
            Self::Sessions => "sessions",
        }
    }

    /// How many there may be in all.
    pub(crate) fn most(self, limits: &Limits) -> usize {
        match self {
            Self::Connections => limits.connections_max,
            Self::InFlight => limits.in_flight_max,
            Self::Streams => limits.streams_max,
            Self::Sessions => limits.sessions_max,
        }
    }

    /// How many of one grant there may be.
    pub(crate) fn most_of(self, grant: &Grant) -> usize {
        let limits = &grant.limits;
        match self {
            Self::Connections => limits.connections_max,
            Self::InFlight => limits.in_flight_max,
            Self::Streams => limits.streams_max,
            Self::Sessions => limits.sessions_max,
        }
    }

    /// Seconds after which trying again makes sense.
    pub(crate) fn retry_after(self) -> &'static str {
        match self {
            // One ends every few milliseconds.
            Self::InFlight => "1",
            Self::Connections | Self::Streams | Self::Sessions => "10",
        }
    }
}

/// A bound that is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) resource: Resource,
    pub(crate) most: usize,
    /// Whether it is that of one grant.
    pub(crate) of_grant: bool,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, key, most) = (self.resource.words(), self.resource.as_str(), self.most);
        if self.of_grant {
            write!(
                f,
                "too many {what} of this grant: it may have {most} ({key}_per_grant_max in [limits], or {key}_max in `limits` of its [[grant]])"
            )
        } else {
            write!(
                f,
                "too many {what}: there may be {most} in all ({key}_max in [limits])"
            )
        }
    }
}

/// How many there are of each.
#[derive(Debug, Default)]
struct Tallies {
    connections: Tally,
    in_flight: Tally,
    streams: Tally,
    sessions: Tally,
}

#[derive(Debug, Default)]
struct Tally(Arc<AtomicUsize>);

/// A place that is taken: in all, of a grant, or both.
#[derive(Debug)]
#[must_use = "a place is given back when this is dropped"]
pub(crate) struct Place {
    _all: Option<Counted>,
    _own: Option<Counted>,
}

/// One that is counted; dropped, it is not any more.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Bounds {
    limits: Limits,
    all: Tallies,
    grants: Mutex<HashMap<Arc<str>, Arc<Tallies>>>,
}

impl Bounds {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            all: Tallies::default(),
            grants: Mutex::default(),
        }
    }

    /// A place for one more of a grant.
    pub(crate) fn take(&self, resource: Resource, grant: &Grant) -> Result<Place, Full> {
        let own = self.take_own(resource, grant)?;
        let all = self.take_all(resource)?;
        Ok(Place {
            _all: Some(all),
            _own: Some(own),
        })
    }

    /// A place for one more of nobody knows whom yet.
    pub(crate) fn take_of_nobody(&self, resource: Resource) -> Result<Place, Full> {
        let all = self.take_all(resource)?;
        Ok(Place {
            _all: Some(all),
            _own: None,
        })
    }

    /// A grant's place for what has one in all already.
    pub(crate) fn take_of_grant(&self, resource: Resource, grant: &Grant) -> Result<Place, Full> {
        let own = self.take_own(resource, grant)?;
        Ok(Place {
            _all: None,
            _own: Some(own),
        })
    }

    /// How many there are in all.
    pub(crate) fn in_use(&self, resource: Resource) -> usize {
        self.all.of(resource).count()
    }

    /// How many there are of a grant.
    pub(crate) fn in_use_of(&self, resource: Resource, grant: &str) -> usize {
        let grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        grants
            .get(grant)
            .map_or(0, |tallies| tallies.of(resource).count())
    }

    /// Every grant that ever had a place.
    pub(crate) fn grants(&self) -> Vec<Arc<str>> {
        let grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        grants.keys().cloned().collect()
    }

    fn take_all(&self, resource: Resource) -> Result<Counted, Full> {
        let most = resource.most(&self.limits);
        let full = Full {
            resource,
            most,
            of_grant: false,
        };
        self.all.of(resource).take(most).ok_or(full)
    }

    fn take_own(&self, resource: Resource, grant: &Grant) -> Result<Counted, Full> {
        let most = resource.most_of(grant);
        let full = Full {
            resource,
            most,
            of_grant: true,
        };
        self.of_grant(&grant.name)
            .of(resource)
            .take(most)
            .ok_or(full)
    }

    fn of_grant(&self, name: &Arc<str>) -> Arc<Tallies> {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(grants.entry(Arc::clone(name)).or_default())
    }
}

impl Tallies {
    fn of(&self, resource: Resource) -> &Tally {
        match resource {
            Resource::Connections => &self.connections,
            Resource::InFlight => &self.in_flight,
            Resource::Streams => &self.streams,
            Resource::Sessions => &self.sessions,
        }
    }
}

impl Tally {
    fn take(&self, most: usize) -> Option<Counted> {
        let one_more = |count: usize| (count < most).then_some(count + 1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        Some(Counted(Arc::clone(&self.0)))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::config::GrantLimits;

    #[test]
    fn places_are_bounded_by_grant_and_in_all_and_come_back() {
        let bounds = Bounds::new(&Limits {
            streams_max: 3,
            ..Limits::default()
        });
        let limits = GrantLimits {
            streams_max: 2,
            ..GrantLimits::of(&Limits::default())
        };
        let (ops, night) = (Grant::bare("ops", &limits), Grant::bare("night", &limits));
        let take = |grant| bounds.take(Resource::Streams, grant);
        let first = take(&ops).unwrap();
        let second = take(&ops).unwrap();
        let full = take(&ops).unwrap_err();
        assert_eq!((full.of_grant, full.most), (true, 2));
        assert_eq!(
            full.to_string(),
            "too many open streams of this grant: it may have 2 (streams_per_grant_max in [limits], or streams_max in `limits` of its [[grant]])"
        );
        let third = take(&night).unwrap();
        let full = take(&night).unwrap_err();
        assert_eq!((full.of_grant, full.most), (false, 3));
        assert_eq!(
            full.to_string(),
            "too many open streams: there may be 3 in all (streams_max in [limits])"
        );
        assert_eq!(
            bounds.in_use_of(Resource::Streams, "night"),
            1,
            "a refusal takes nothing"
        );
        drop(first);
        let fourth = take(&night).unwrap();
        drop((second, third, fourth));
        assert_eq!(bounds.in_use(Resource::Streams), 0);
        assert_eq!(bounds.in_use_of(Resource::Streams, "ops"), 0);
    }
}

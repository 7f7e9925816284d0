//! Who may use what: what each grant asks its caller to show, and the policy it opens.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;
use weir_policy::Policy;

use crate::certificate::ClientCertificate;
use crate::config::{Credential, GrantLimits};
use crate::ledger::{Candidate, Listing};
use crate::oauth::Access;

/// Refusals of one grant that are recorded each second; those above are counted.
const REFUSALS_PER_SECOND: u32 = 20;

/// One caller's leave to use one server.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) name: Arc<str>,
    pub(crate) server: Arc<str>,
    pub(crate) credential: Credential,
    pub(crate) policy: Option<Arc<Policy>>,
    pub(crate) policy_digest: Option<String>,
    /// Judged alongside, and never enforced.
    pub(crate) candidates: Vec<Candidate>,
    /// How many of everything it may have at once.
    pub(crate) limits: GrantLimits,
    /// Since when it is in force as it is.
    pub(crate) since: Timestamp,
    pub(crate) refusals: RefusalBudget,
    /// It opens nothing any more: streams that wait for nothing in particular end.
    pub(crate) revoked: CancellationToken,
}

impl Grant {
    /// One that nothing opens.
    #[cfg(test)]
    pub(crate) fn bare(name: &str, limits: &GrantLimits) -> Self {
        Self {
            name: name.into(),
            server: "nas".into(),
            credential: Credential::default(),
            policy: None,
            policy_digest: None,
            candidates: Vec::new(),
            limits: *limits,
            since: Timestamp::UNIX_EPOCH,
            refusals: RefusalBudget::default(),
            revoked: CancellationToken::new(),
        }
    }

    /// Whether both are opened by the same, on the same server.
    pub(crate) fn opens_as(&self, other: &Self) -> bool {
        self.credential == other.credential && self.server == other.server
    }

    /// Whether the certificate that it asks for, if it does, was shown.
    fn has_its_certificate(&self, shown: Option<&ClientCertificate>) -> bool {
        match (&self.credential.certificate, shown) {
            (None, _) => true,
            (Some(name), Some(shown)) => shown.is_named(name),
            (Some(_), None) => false,
        }
    }

    /// Every policy that judges its calls.
    pub(crate) fn policies(&self) -> impl Iterator<Item = &Arc<Policy>> {
        let candidates = self.candidates.iter();
        let candidates = candidates.map(|candidate| &candidate.policy);
        self.policy.iter().chain(candidates)
    }

    /// Whether both are judged by the same policies.
    pub(crate) fn is_judged_as(&self, other: &Self) -> bool {
        fn named(grant: &Grant) -> impl Iterator<Item = (&str, &str)> {
            let candidates = grant.candidates.iter();
            candidates.map(|candidate| (&*candidate.name, &*candidate.digest))
        }
        self.policy_digest == other.policy_digest && named(self).eq(named(other))
    }
}

/// All grants, in the order of the configuration: of several that one caller could have, the first is its grant.
#[derive(Debug)]
pub(crate) struct Grants(pub(crate) Vec<Arc<Grant>>);

/// Who a caller is, once something it showed opened a grant.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The subject of its certificate or access token, for the record; none for a bearer token, whose grant says it all.
    pub(crate) principal: Option<Arc<str>>,
    /// Whose sessions these are: the grant, and whoever of those that it opens for this is.
    pub(crate) owner: Arc<str>,
    /// When what was shown opens nothing any more.
    pub(crate) until: Option<SystemTime>,
}

/// A grant and who was given it.
pub(crate) type Opened = (Arc<Grant>, Identity);

/// Why what was shown opens nothing; of several reasons the last says most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stranger {
    /// Nobody has this.
    Unknown,
    /// It opens another server.
    OtherServer,
    /// It would open a grant that also asks for a certificate.
    Alone,
}

impl Grants {
    /// The grant of the same name.
    pub(crate) fn named(&self, grant: &Grant) -> Option<&Arc<Grant>> {
        self.0.iter().find(|other| other.name == grant.name)
    }

    /// Every candidate, with the grants that list it.
    pub(crate) fn listings(&self) -> Vec<Listing> {
        let mut listings: Vec<Listing> = Vec::new();
        for grant in &self.0 {
            for candidate in &grant.candidates {
                let place = listings
                    .iter()
                    .position(|listing| listing.candidate.digest == candidate.digest);
                let lister = (Arc::clone(&grant.name), Arc::clone(&grant.server));
                match place.and_then(|place| listings.get_mut(place)) {
                    Some(listing) => listing.grants.extend([lister]),
                    None => listings.push(Listing {
                        candidate: candidate.clone(),
                        grants: [lister].into(),
                    }),
                }
            }
        }
        listings
    }

    /// The longest span over which what was counted can matter to any policy.
    pub(crate) fn window(&self) -> Duration {
        let policies = self.0.iter().flat_map(|grant| grant.policies());
        let windows = policies.flat_map(|policy| [policy.longest_window(), policy.cycle()]);
        let window = windows.flatten().max().map_or(0, |window| window.0);
        Duration::from_micros(window.try_into().unwrap_or(u64::MAX))
    }

    /// The scopes that open something on this server, in the order of the configuration.
    pub(crate) fn scopes(&self, server: &str) -> Option<Vec<&str>> {
        let here = self.0.iter().filter(|grant| *grant.server == *server);
        let mut access = here
            .filter_map(|grant| grant.credential.access.as_ref())
            .peekable();
        access.peek()?;
        let mut scopes: Vec<&str> = Vec::new();
        for scope in access.flat_map(|access| &access.scopes) {
            if !scopes.contains(&scope.as_str()) {
                scopes.push(scope);
            }
        }
        Some(scopes)
    }

    /// The grant that a bearer token opens on this server. Every token is compared in constant time, and all of them are, so
    /// that the time taken tells nothing.
    pub(crate) fn by_token(
        &self,
        server: &str,
        token: &str,
        shown: Option<&ClientCertificate>,
    ) -> Result<Opened, Stranger> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut found = Err(Stranger::Unknown);
        for grant in &self.0 {
            let Some(own) = &grant.credential.token_sha256 else {
                continue;
            };
            let same: bool = own.ct_eq(&digest).into();
            if !same || found.is_ok() {
                continue;
            }
            if *grant.server != *server {
                found = found.map_err(|why| why.max(Stranger::OtherServer));
            } else if grant.has_its_certificate(shown) {
                found = Ok((Arc::clone(grant), Identity::of_grant(grant, shown)));
            } else {
                found = Err(Stranger::Alone);
            }
        }
        found
    }

    /// The grant that a client certificate alone opens on this server.
    pub(crate) fn by_certificate(
        &self,
        server: &str,
        shown: &ClientCertificate,
    ) -> Result<Opened, Stranger> {
        let opened = self.0.iter().filter(|grant| {
            let asked = &grant.credential;
            let alone = asked.token_sha256.is_none() && asked.access.is_none();
            alone && asked.certificate.is_some() && grant.has_its_certificate(Some(shown))
        });
        first_here(opened, server)
            .map(|grant| (Arc::clone(grant), Identity::of_grant(grant, Some(shown))))
    }

    /// The grant that an access token opens on this server.
    pub(crate) fn by_access(
        &self,
        server: &str,
        access: &Access,
        shown: Option<&ClientCertificate>,
    ) -> Result<Opened, Stranger> {
        let opened: Vec<_> = self
            .0
            .iter()
            .filter(|grant| {
                let asked = grant.credential.access.as_ref();
                asked.is_some_and(|name| access.is_named(name))
            })
            .collect();
        let whole = opened
            .iter()
            .copied()
            .filter(|grant| grant.has_its_certificate(shown));
        match first_here(whole, server) {
            Ok(grant) => Ok((Arc::clone(grant), Identity::of_access(grant, access))),
            Err(_) if first_here(opened.into_iter(), server).is_ok() => Err(Stranger::Alone),
            Err(why) => Err(why),
        }
    }
}

fn first_here<'g>(
    mut grants: impl Iterator<Item = &'g Arc<Grant>>,
    server: &str,
) -> Result<&'g Arc<Grant>, Stranger> {
    let mut why = Stranger::Unknown;
    let here = grants.find(|grant| {
        why = Stranger::OtherServer;
        *grant.server == *server
    });
    here.ok_or(why)
}

impl Identity {
    /// One that a token or a certificate tells.
    pub(crate) fn of_grant(grant: &Grant, shown: Option<&ClientCertificate>) -> Self {
        let name = grant.credential.certificate.as_ref();
        let principal = name.zip(shown).map(|(name, shown)| shown.principal(name));
        let owner = match &principal {
            Some(principal) => Arc::from(format!("{}\0{principal}", grant.name)),
            None => Arc::clone(&grant.name),
        };
        Self {
            principal,
            owner,
            until: None,
        }
    }

    fn of_access(grant: &Grant, access: &Access) -> Self {
        Self {
            principal: Some(access.principal()),
            owner: Arc::from(format!("{}\0{}", grant.name, access.holder())),
            until: Some(access.until),
        }
    }
}

/// What a request says in `Authorization`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bearer<'h> {
    /// Nothing.
    None,
    /// One token.
    Token(&'h str),
    /// Something else, or several.
    Unusable,
}

impl<'h> Bearer<'h> {
    pub(crate) fn of(headers: &'h HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Self::None,
            (Some(value), None) => value,
            (Some(_), Some(_)) => return Self::Unusable,
        };
        let split = value.to_str().ok().and_then(|text| text.split_once(' '));
        let Some((scheme, token)) = split else {
            return Self::Unusable;
        };
        let token = token.trim();
        if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() {
            Self::Token(token)
        } else {
            Self::Unusable
        }
    }
}

/// How many refusals a grant may still write this second.
#[derive(Debug, Default)]
pub(crate) struct RefusalBudget(Mutex<Spent>);

#[derive(Debug, Default)]
struct Spent {
    second: i64,
    refusals: u32,
    suppressed: i64,
}

impl RefusalBudget {
    /// Whether one more refusal may be written in this second; if not, it is counted.
    pub(crate) fn take(&self, second: i64) -> bool {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.second != second {
            spent.second = second;
            spent.refusals = 0;
        }
        let fits = spent.refusals < REFUSALS_PER_SECOND;
        if fits {
            spent.refusals += 1;
        } else {
            spent.suppressed += 1;
        }
        fits
    }

    /// The refusals that were counted since this was last asked, if any.
    pub(crate) fn suppressed(&self) -> Option<i64> {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = std::mem::take(&mut spent.suppressed);
        (count > 0).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::config::Limits;

    fn grant(name: &str, server: &str, token: &str) -> Arc<Grant> {
        Arc::new(Grant {
            server: server.into(),
            credential: Credential {
                token_sha256: Some(Sha256::digest(token).into()),
                ..Credential::default()
            },
            ..Grant::bare(name, &GrantLimits::of(&Limits::default()))
        })
    }

    fn with(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, authorization.parse().unwrap())])
    }

    #[test]
    fn a_token_opens_its_server_and_no_other() {
        let grants = Grants(vec![grant("ops", "nas", "one"), grant("dev", "lab", "two")]);
        let (ops, identity) = grants.by_token("nas", "one", None).unwrap();
        assert_eq!(
            (&*ops.name, &*identity.owner, identity.principal),
            ("ops", "ops", None)
        );
        let why = |server, token| grants.by_token(server, token, None).err();
        assert_eq!(why("lab", "one"), Some(Stranger::OtherServer));
        assert_eq!(why("nas", "three"), Some(Stranger::Unknown));
        assert_eq!(why("nas", ""), Some(Stranger::Unknown));
    }

    #[test]
    fn one_bearer_token_is_read_and_nothing_else() {
        assert_eq!(Bearer::of(&with("Bearer one")), Bearer::Token("one"));
        assert_eq!(Bearer::of(&with("bEARER  one ")), Bearer::Token("one"));
        assert_eq!(Bearer::of(&HeaderMap::new()), Bearer::None);
        for wrong in ["Bearer ", "Basic one", "one", "Bearer", "Bearer\tone"] {
            assert_eq!(Bearer::of(&with(wrong)), Bearer::Unusable, "{wrong}");
        }
        let mut twice = with("Bearer one");
        twice.append(AUTHORIZATION, "Bearer one".parse().unwrap());
        assert_eq!(Bearer::of(&twice), Bearer::Unusable);
    }

    #[test]
    fn refusals_above_the_budget_are_counted() {
        let budget = RefusalBudget::default();
        let written = (0..50).filter(|_| budget.take(7)).count();
        assert_eq!(written, 20);
        assert_eq!(budget.suppressed(), Some(30));
        assert_eq!(budget.suppressed(), None);
        assert!(budget.take(8));
    }
}

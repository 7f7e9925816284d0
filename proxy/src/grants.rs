//! Who may use what: bearer tokens, kept as hashes, and the policy each opens.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use weir_policy::Policy;

/// Refusals of one grant that are recorded each second; those above are counted.
const REFUSALS_PER_SECOND: u32 = 20;
/// Addresses of strangers that are told apart at once.
const ADDRESSES_MAX: usize = 1024;

/// One caller's leave to use one server.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) name: Arc<str>,
    pub(crate) server: Arc<str>,
    pub(crate) token_sha256: [u8; 32],
    pub(crate) policy: Option<Arc<Policy>>,
    pub(crate) policy_digest: Option<String>,
    pub(crate) refusals: RefusalBudget,
}

/// All grants.
#[derive(Debug)]
pub(crate) struct Grants(pub(crate) Vec<Arc<Grant>>);

/// Why a request opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// No bearer token, or one that nobody has.
    Unknown,
    /// A good token, for another server.
    OtherServer,
}

impl Grants {
    /// The grant that the request's bearer token opens on this server. Every token is compared in constant time, and all
    /// of them are, so that the time taken tells nothing.
    pub(crate) fn authenticate(
        &self,
        server: &str,
        headers: &HeaderMap,
    ) -> Result<Arc<Grant>, Stranger> {
        let digest: [u8; 32] = Sha256::digest(bearer(headers).ok_or(Stranger::Unknown)?).into();
        let mut found = Err(Stranger::Unknown);
        for grant in &self.0 {
            let same: bool = grant.token_sha256.ct_eq(&digest).into();
            if same && *grant.server == *server {
                found = Ok(Arc::clone(grant));
            } else if same && found.is_err() {
                found = Err(Stranger::OtherServer);
            }
        }
        found
    }
}

/// The one bearer token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
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

/// Strangers by address, so that each is one event a minute however often it knocks.
#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<HashMap<IpAddr, (i64, i64)>>);

impl Strangers {
    /// Notes a stranger; the count to write down, if this minute has none of that address yet.
    pub(crate) fn note(&self, address: IpAddr, minute: i64) -> Option<i64> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= ADDRESSES_MAX && !seen.contains_key(&address) {
            seen.retain(|_, (last, _)| *last >= minute);
            if seen.len() >= ADDRESSES_MAX {
                return None;
            }
        }
        let (last, count) = seen.entry(address).or_insert((i64::MIN, 0));
        *count += 1;
        if *last >= minute {
            return None;
        }
        *last = minute;
        Some(std::mem::take(count))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::net::Ipv4Addr;

    use super::*;

    fn grant(name: &str, server: &str, token: &str) -> Arc<Grant> {
        Arc::new(Grant {
            name: name.into(),
            server: server.into(),
            token_sha256: Sha256::digest(token).into(),
            policy: None,
            policy_digest: None,
            refusals: RefusalBudget::default(),
        })
    }

    fn with(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, authorization.parse().unwrap())])
    }

    #[test]
    fn a_token_opens_its_server_and_no_other() {
        let grants = Grants(vec![grant("ops", "nas", "one"), grant("dev", "lab", "two")]);
        assert_eq!(
            &*grants
                .authenticate("nas", &with("Bearer one"))
                .unwrap()
                .name,
            "ops"
        );
        assert_eq!(
            grants.authenticate("lab", &with("bearer one")).err(),
            Some(Stranger::OtherServer)
        );
        for wrong in ["Bearer three", "Bearer ", "Basic one", "one", "Bearer"] {
            assert_eq!(
                grants.authenticate("nas", &with(wrong)).err(),
                Some(Stranger::Unknown),
                "{wrong}"
            );
        }
    }

    #[test]
    fn two_authorizations_open_nothing() {
        let grants = Grants(vec![grant("ops", "nas", "one")]);
        let mut headers = with("Bearer one");
        headers.append(AUTHORIZATION, "Bearer two".parse().unwrap());
        assert_eq!(
            grants.authenticate("nas", &headers).err(),
            Some(Stranger::Unknown)
        );
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

    #[test]
    fn a_stranger_is_one_event_a_minute() {
        let strangers = Strangers::default();
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(strangers.note(address, 1), Some(1));
        assert_eq!(strangers.note(address, 1), None);
        assert_eq!(strangers.note(address, 1), None);
        assert_eq!(strangers.note(address, 2), Some(3));
    }
}

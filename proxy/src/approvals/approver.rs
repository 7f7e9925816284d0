//! Who may answer: bearer tokens, kept as hashes, with the name that stands in the record.

use http::HeaderMap;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::grants::Bearer;

/// A person who may answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Approver {
    /// Stands in the record as who answered.
    pub(crate) name: String,
    pub(crate) token_sha256: [u8; 32],
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Approvers(pub(crate) Vec<Approver>);

impl Approvers {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose token the request carries. All of them are compared, each in constant time, so that the time taken tells nothing.
    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> Option<&Approver> {
        let Bearer::Token(token) = Bearer::of(headers) else {
            return None;
        };
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for approver in &self.0 {
            let same: bool = approver.token_sha256.ct_eq(&digest).into();
            found = found.or(same.then_some(approver));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn only_the_whole_token_of_an_approver_opens() {
        let approver = |name: &str, token: &str| Approver {
            name: name.to_owned(),
            token_sha256: Sha256::digest(token).into(),
        };
        let approvers = Approvers(vec![approver("anna", "one"), approver("ben", "two")]);
        let by = |value: &str| {
            let headers = [(http::header::AUTHORIZATION, value.parse().unwrap())];
            let found = approvers.authenticate(&headers.into_iter().collect());
            found.map(|approver| approver.name.clone())
        };
        assert_eq!(by("Bearer two").as_deref(), Some("ben"));
        for wrong in [
            "Bearer thr",
            "Bearer ",
            "Basic two",
            "Bearer one two",
            "two",
        ] {
            assert_eq!(by(wrong), None, "{wrong}");
        }
        assert!(approvers.authenticate(&HeaderMap::new()).is_none());
    }
}

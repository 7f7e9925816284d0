//! An issuer's keys (RFC 7517), each with the algorithms that it may be used with.
//!
//! What a key may do is settled when it is read, never by what a token says: an RSA key verifies RSA signatures and nothing
//! else, and a symmetric key is none, so that no public key can be used as a secret.

use std::time::Instant;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use super::token::Head;

/// Keys that a set may have; one with more is not believed.
const KEYS_MAX: usize = 100;
/// Keys that are tried for one token.
const TRIED_MAX: usize = 3;
/// The smallest modulus of an RSA key, in bytes.
const MODULUS_BYTES_MIN: usize = 256;

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// The keys as they were at one moment.
pub(super) struct KeySet {
    keys: Vec<Key>,
    pub(super) read: Instant,
}

/// One key that verifies.
pub(super) struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    pub(super) verifies: DecodingKey,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a serde_json::value::RawValue>,
}

impl KeySet {
    /// Reads a set; a key in it that cannot be used here is passed over.
    pub(super) fn parse(document: &[u8]) -> Result<Self, String> {
        let document: Document<'_> =
            serde_json::from_slice(document).map_err(|_| "not a set of keys".to_owned())?;
        if document.keys.len() > KEYS_MAX {
            let count = document.keys.len();
            return Err(format!("{count} keys; a set has at most {KEYS_MAX} here"));
        }
        let keys: Vec<Key> = document
            .keys
            .iter()
            .filter_map(|key| Key::of(&serde_json::from_str(key.get()).ok()?))
            .collect();
        if keys.is_empty() {
            return Err("no key that verifies a signature".to_owned());
        }
        Ok(Self {
            keys,
            read: Instant::now(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is a key for such a token.
    pub(super) fn knows(&self, head: &Head) -> bool {
        self.fitting(head).next().is_some()
    }

    /// The keys that may have signed such a token. One that names no key is only tried where there is no choice.
    pub(super) fn fitting(&self, head: &Head) -> impl Iterator<Item = &Key> {
        let is_ambiguous =
            head.key_id.is_none() && self.keys.iter().filter(|key| key.fits(head)).count() > 1;
        let count = if is_ambiguous { 0 } else { TRIED_MAX };
        self.keys.iter().filter(|key| key.fits(head)).take(count)
    }
}

impl Key {
    fn fits(&self, head: &Head) -> bool {
        let id = head.key_id.as_ref();
        self.algorithms.contains(&head.algorithm)
            && id.is_none_or(|id| self.id.as_ref() == Some(id))
    }

    fn of(jwk: &Jwk) -> Option<Self> {
        let common = &jwk.common;
        if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let operations = common.key_operations.as_ref();
        if operations.is_some_and(|may| !may.contains(&KeyOperations::Verify)) {
            return None;
        }
        let mut algorithms = algorithms(&jwk.algorithm);
        if let Some(only) = common.key_algorithm {
            let only = Algorithm::try_from(only).ok()?;
            algorithms.retain(|algorithm| *algorithm == only);
        }
        let verifies = DecodingKey::from_jwk(jwk).ok()?;
        if let jsonwebtoken::DecodingKeyKind::RsaModulusExponent { n, .. } = verifies.kind()
            && n.len() < MODULUS_BYTES_MIN
        {
            return None;
        }
        (!algorithms.is_empty()).then(|| Self {
            id: common.key_id.clone(),
            algorithms,
            verifies,
        })
    }
}

/// What a key of this kind may verify; nothing, for a kind that is not taken.
fn algorithms(kind: &AlgorithmParameters) -> Vec<Algorithm> {
    if let AlgorithmParameters::RSA(_) = kind {
        return RSA.to_vec();
    }
    let curve = if let AlgorithmParameters::EllipticCurve(key) = kind {
        Some(&key.curve)
    } else if let AlgorithmParameters::OctetKeyPair(key) = kind {
        Some(&key.curve)
    } else {
        None
    };
    let known = [
        (EllipticCurve::P256, Algorithm::ES256),
        (EllipticCurve::P384, Algorithm::ES384),
        (EllipticCurve::Ed25519, Algorithm::EdDSA),
    ];
    let fits = known.into_iter().filter(|(known, _)| Some(known) == curve);
    fits.map(|(_, algorithm)| algorithm).collect()
}

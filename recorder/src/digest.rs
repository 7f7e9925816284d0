//! Keyed digests of what must not stand in the record in the clear.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The key under which arguments and results are digested: equal bytes have equal digests within one record, and
/// nobody without the key can test a guess.
///
/// The key is made when the record is first opened and kept in `digest.key` in its folder, mode 0600: a record that is
/// moved keeps its equalities. To hand a record to somebody who must not test guesses, leave that file out.
#[derive(Clone)]
pub struct DigestKey {
    bytes: [u8; 32],
    /// HMAC that has taken the key in already.
    keyed: Hmac<Sha256>,
}

impl DigestKey {
    /// HMAC-SHA-256 of the bytes, cut to 16 bytes.
    pub fn digest(&self, bytes: &[u8]) -> [u8; 16] {
        let mut mac = self.keyed.clone();
        mac.update(bytes);
        let whole: [u8; 32] = mac.finalize().into_bytes().into();
        let mut cut = [0; 16];
        cut.copy_from_slice(&whole[..16]);
        cut
    }

    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        // HMAC pads a key with zeros to the block's 64 bytes.
        let mut block = [0; 64];
        block[..32].copy_from_slice(&bytes);
        Self {
            bytes,
            keyed: Hmac::new(&block.into()),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }
}

impl std::fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_depends_on_key_and_bytes_and_on_nothing_else() {
        let (a, b) = (
            DigestKey::from_bytes([1; 32]),
            DigestKey::from_bytes([2; 32]),
        );
        assert_eq!(a.digest(b"x"), a.digest(b"x"));
        assert_ne!(a.digest(b"x"), b.digest(b"x"));
        assert_ne!(a.digest(b"x"), a.digest(b"y"));
    }

    /// RFC 4231, test case 2, with the key padded by zeros as HMAC does.
    #[test]
    fn a_digest_is_hmac_sha256() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let digest = DigestKey::from_bytes(key).digest(b"what do ya want for nothing?");
        assert_eq!(hex::encode(digest), "5bdcc146bf60754e6a042426089575c7");
    }

    #[test]
    fn a_key_does_not_show_itself() {
        assert_eq!(
            format!("{:?}", DigestKey::from_bytes([7; 32])),
            "DigestKey(…)"
        );
    }
}

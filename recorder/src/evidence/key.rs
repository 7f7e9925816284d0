//! Ed25519 keys of signed notes, in the text form of c2sp.org/signed-note and of Go's `golang.org/x/mod/sumdb/note`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, Signer};
use sha2::{Digest, Sha256};

/// Signature type of Ed25519 in key ids and encoded keys.
const ED25519: u8 = 1;

const PRIVATE: &str = "PRIVATE+KEY+";

/// The public key of a log: `<name>+<key id>+<base64>`.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    id: [u8; 4],
    key: ed25519_dalek::VerifyingKey,
}

/// A text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a {kind} key: {why}")]
pub struct KeyError {
    kind: &'static str,
    why: &'static str,
}

impl VerifyingKey {
    /// Reads a key.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let wrong = |why| KeyError {
            kind: "public",
            why,
        };
        let (name, id, bytes) = parts(text).map_err(wrong)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes)
            .map_err(|_| wrong("its bytes are no point of the curve"))?;
        if key.is_weak() {
            return Err(wrong("it is of small order"));
        }
        let read = Self::of(name, key);
        if read.id == id {
            Ok(read)
        } else {
            Err(wrong("its id is not that of its bytes"))
        }
    }

    /// The name that stands in signature lines.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id that stands in front of signatures.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// Whether this key signed these bytes.
    pub fn verifies(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        self.key
            .verify_strict(bytes, &Signature::from_bytes(signature))
            .is_ok()
    }

    fn of(name: &str, key: ed25519_dalek::VerifyingKey) -> Self {
        let hash = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', ED25519])
            .chain_update(key.as_bytes())
            .finalize();
        let hash: [u8; 32] = hash.into();
        let mut id = [0; 4];
        id.copy_from_slice(&hash[..4]);
        Self {
            name: name.to_owned(),
            id,
            key,
        }
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = encoded(self.key.as_bytes());
        write!(f, "{}+{}+{text}", self.name, hex::encode(self.id))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({self})")
    }
}

/// The private key of a log. It does not show itself, and is wiped when dropped.
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    public: VerifyingKey,
}

impl SigningKey {
    /// A key from 32 random bytes. The name has neither white space nor `+`.
    pub fn from_seed(name: &str, seed: [u8; 32]) -> Result<Self, KeyError> {
        check_name(name).map_err(|why| KeyError {
            kind: "private",
            why,
        })?;
        let key = ed25519_dalek::SigningKey::from_bytes(&seed);
        let public = VerifyingKey::of(name, key.verifying_key());
        Ok(Self { key, public })
    }

    /// Reads a key: `PRIVATE+KEY+<name>+<key id>+<base64>`.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let wrong = |why| KeyError {
            kind: "private",
            why,
        };
        let rest = text
            .strip_prefix(PRIVATE)
            .ok_or(wrong("it does not begin with `PRIVATE+KEY+`"))?;
        let (name, id, seed) = parts(rest).map_err(wrong)?;
        let read = Self::from_seed(name, seed)?;
        if read.public.id == id {
            Ok(read)
        } else {
            Err(wrong("its id is not that of its bytes"))
        }
    }

    /// The key as text: to be kept where only its owner can read it.
    pub fn to_text(&self) -> String {
        let (name, id) = (&self.public.name, hex::encode(self.public.id));
        format!("{PRIVATE}{name}+{id}+{}", encoded(self.key.as_bytes()))
    }

    /// The public key.
    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }

    /// Signs bytes.
    pub fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        self.key.sign(bytes).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.name)
    }
}

fn encoded(key: &[u8; 32]) -> String {
    let mut bytes = [ED25519; 33];
    bytes[1..].copy_from_slice(key);
    STANDARD.encode(bytes)
}

/// Name, id and bytes of a key.
fn parts(text: &str) -> Result<(&str, [u8; 4], [u8; 32]), &'static str> {
    let form = "it does not read `name+id+base64`";
    let (name, rest) = text.split_once('+').ok_or(form)?;
    let (id, key) = rest.split_once('+').ok_or(form)?;
    check_name(name)?;
    let mut bytes = [0; 4];
    if id.bytes().any(|b| b.is_ascii_uppercase()) || hex::decode_to_slice(id, &mut bytes).is_err() {
        return Err("its id is not eight lower-case hex digits");
    }
    let key = STANDARD
        .decode(key)
        .map_err(|_| "its last part is no base64")?;
    match key.split_first() {
        Some((&ED25519, key)) => {
            let key = key.try_into().map_err(|_| "it has not 32 bytes")?;
            Ok((name, bytes, key))
        }
        _ => Err("it is not an Ed25519 key"),
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let fine = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    if !name.is_empty() && name.chars().all(fine) {
        Ok(())
    } else {
        Err("its name is empty, or has white space or `+`")
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// The keys of the documentation of `golang.org/x/mod/sumdb/note`.
    pub(in super::super) const GO_PRIVATE: &str =
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    pub(in super::super) const GO_PUBLIC: &str =
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn keys_are_read_and_written_as_go_does() {
        let private = SigningKey::parse(GO_PRIVATE).unwrap();
        assert_eq!(private.to_text(), GO_PRIVATE);
        assert_eq!(private.public().to_string(), GO_PUBLIC);
        assert_eq!(
            VerifyingKey::parse(GO_PUBLIC).as_ref(),
            Ok(private.public())
        );
    }

    #[test]
    fn no_part_of_a_key_and_no_changed_key_is_a_key() {
        for end in 0..GO_PUBLIC.len() {
            assert!(VerifyingKey::parse(GO_PUBLIC.get(..end).unwrap()).is_err());
            assert!(VerifyingKey::parse(GO_PUBLIC.get(end + 1..).unwrap()).is_err());
            let mut changed = GO_PUBLIC.as_bytes().to_vec();
            *changed.get_mut(end).unwrap() += 1;
            assert!(VerifyingKey::parse(&String::from_utf8_lossy(&changed)).is_err());
        }
        for other in [
            "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
            "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        ] {
            assert!(VerifyingKey::parse(other).is_err());
        }
    }

    #[test]
    fn a_private_key_does_not_show_itself() {
        let key = SigningKey::parse(GO_PRIVATE).unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(PeterNeumann)");
    }
}

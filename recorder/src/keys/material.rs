//! Data keys: each file has one of its own, which lies in the file itself, wrapped by a record key.
//!
//! How it is written there is the key material that the key tools of parquet-mr and pyarrow know (`PKMT1`, single wrapping): JSON
//! that names the record key as `masterKeyID`, and has in `wrappedDEK` the base64 of a nonce of 12 bytes, and the data key in AES-256-GCM
//! with the id as additional data, as parquet-mr wraps keys by itself.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};

use super::{KeyFault, RecordKey, RecordKeys};
use crate::{RecordError, identity};

/// The key of one file.
pub(crate) struct DataKey {
    secret: [u8; 32],
    record_key: String,
    wrapped: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    key_material_type: String,
    internal_storage: bool,
    #[serde(default)]
    is_footer_key: bool,
    #[serde(rename = "kmsInstanceID", skip_serializing_if = "Option::is_none")]
    kms_instance_id: Option<String>,
    #[serde(rename = "kmsInstanceURL", skip_serializing_if = "Option::is_none")]
    kms_instance_url: Option<String>,
    #[serde(rename = "masterKeyID")]
    master_key_id: String,
    #[serde(rename = "wrappedDEK")]
    wrapped_dek: String,
    double_wrapping: bool,
}

impl DataKey {
    /// A new one, wrapped by this record key.
    pub(crate) fn draw(by: &RecordKey) -> Result<Self, RecordError> {
        let secret: [u8; 32] = identity::random()?;
        let wrapped = seal(&by.secret, by.id.as_bytes(), &secret)?;
        Ok(Self {
            secret,
            record_key: by.id.clone(),
            wrapped: STANDARD.encode(wrapped),
        })
    }

    /// The one that this material tells of.
    pub(crate) fn unwrap(material: &[u8], keys: &RecordKeys) -> Result<Self, KeyFault> {
        let read: Option<Material> = serde_json::from_slice(material).ok();
        let read = read
            .filter(|m| m.key_material_type == TYPE && m.internal_storage && !m.double_wrapping)
            .ok_or(KeyFault::Unknown)?;
        let (id, wrapped) = (read.master_key_id, read.wrapped_dek);
        let Some(by) = keys.find(&id) else {
            return Err(KeyFault::Missing(id));
        };
        let opened = STANDARD.decode(&wrapped).ok();
        let opened = opened.and_then(|wrapped| open(&by.secret, id.as_bytes(), &wrapped));
        match opened.and_then(|secret| secret.try_into().ok()) {
            Some(secret) => Ok(Self {
                secret,
                record_key: id,
                wrapped,
            }),
            None => Err(KeyFault::Wrong(id)),
        }
    }

    pub(crate) fn secret(&self) -> &[u8; 32] {
        &self.secret
    }

    /// What is written of it where a column is told to be encrypted with it.
    pub(crate) fn material(&self) -> Result<Vec<u8>, RecordError> {
        self.written(None)
    }

    /// What is written of it where the footer is told to be signed with it.
    pub(crate) fn footer_material(&self) -> Result<Vec<u8>, RecordError> {
        self.written(Some("DEFAULT"))
    }

    fn written(&self, service: Option<&str>) -> Result<Vec<u8>, RecordError> {
        let material = Material {
            key_material_type: TYPE.into(),
            internal_storage: true,
            is_footer_key: service.is_some(),
            kms_instance_id: service.map(str::to_owned),
            kms_instance_url: service.map(str::to_owned),
            master_key_id: self.record_key.clone(),
            wrapped_dek: self.wrapped.clone(),
            double_wrapping: false,
        };
        serde_json::to_vec(&material).map_err(|e| RecordError::Unwritable(e.to_string()))
    }
}

const TYPE: &str = "PKMT1";

/// Encrypts under a nonce that is drawn for it and goes before it.
pub(super) fn seal(secret: &[u8; 32], about: &[u8], plain: &[u8]) -> Result<Vec<u8>, RecordError> {
    let unfit = |_| RecordError::Unwritable("it is too long to be encrypted".into());
    let nonce: [u8; NONCE_LEN] = identity::random()?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret).map_err(unfit)?);
    let mut sealed = plain.to_vec();
    let place = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(place, Aad::from(about), &mut sealed)
        .map_err(unfit)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// Decrypts what [`seal`] gave; none if it is not that.
pub(super) fn open(secret: &[u8; 32], about: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, secret).ok()?);
    let mut sealed = sealed.to_vec();
    let place = Nonce::assume_unique_for_key(*nonce);
    let plain = key.open_in_place(place, Aad::from(about), &mut sealed);
    let length = plain.ok()?.len();
    sealed.truncate(length);
    Some(sealed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    fn keys(ids: &[&str]) -> RecordKeys {
        let lines: Vec<_> = ids
            .iter()
            .map(|id| RecordKeys::new_line(id).unwrap())
            .collect();
        RecordKeys::parse(&lines.concat()).unwrap()
    }

    #[test]
    fn a_data_key_is_unwrapped_by_the_key_that_wrapped_it_and_by_no_other() {
        let ours = keys(&["old", "new"]);
        let data = DataKey::draw(ours.find("old").unwrap()).unwrap();
        for material in [data.material().unwrap(), data.footer_material().unwrap()] {
            assert_eq!(
                DataKey::unwrap(&material, &ours).unwrap().secret(),
                data.secret()
            );
            let fault = |ids: &[&str]| {
                let unwrapped = DataKey::unwrap(&material, &keys(ids));
                unwrapped.map(drop).unwrap_err()
            };
            assert_eq!(fault(&["new"]), KeyFault::Missing("old".into()));
            assert_eq!(fault(&["old"]), KeyFault::Wrong("old".into()));
        }
    }

    #[test]
    fn what_is_said_of_a_data_key_is_what_the_key_tools_of_parquet_read() {
        let ours = keys(&["k1"]);
        let data = DataKey::draw(ours.active().unwrap()).unwrap();
        let json = |bytes: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
        let column = json(data.material().unwrap());
        assert_eq!(column["keyMaterialType"], "PKMT1");
        assert_eq!(column["masterKeyID"], "k1");
        assert_eq!(column["isFooterKey"], false);
        assert_eq!(column.get("kmsInstanceID"), None);
        let footer = json(data.footer_material().unwrap());
        assert_eq!(footer["isFooterKey"], true);
        assert_eq!(footer["kmsInstanceID"], "DEFAULT");
        assert_eq!(footer["wrappedDEK"], column["wrappedDEK"]);
    }

    #[test]
    fn what_was_sealed_opens_only_as_it_was() {
        let (secret, other) = ([7; 32], [8; 32]);
        let sealed = seal(&secret, b"about", b"plain").unwrap();
        assert_eq!(open(&secret, b"about", &sealed).unwrap(), b"plain");
        assert_eq!(open(&other, b"about", &sealed), None);
        assert_eq!(open(&secret, b"another", &sealed), None);
        for i in 0..sealed.len() {
            let mut flipped = sealed.clone();
            flipped[i] ^= 1;
            assert_eq!(open(&secret, b"about", &flipped), None, "byte {i}");
            assert_eq!(open(&secret, b"about", &sealed[..i]), None, "cut at {i}");
        }
    }
}

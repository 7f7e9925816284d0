//! A document of its own, encrypted: JSON that says with which key, and holds nonce and ciphertext in base64.
//!
//! ```json
//! {"weir/encrypted": {"keyMaterialType": "PKMT1", "masterKeyID": "…", "wrappedDEK": "…"}, "sealed": "…"}
//! ```
//!
//! Its data key is wrapped as that of a Parquet file is ([`super::material`]); the document is in AES-256-GCM under it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::material::{DataKey, open, seal};
use super::{KeyFault, RecordKey, RecordKeys};
use crate::RecordError;

/// What the ciphertext is bound to.
const ABOUT: &[u8] = b"weir/result";

#[derive(Serialize, Deserialize)]
struct Parcel {
    #[serde(rename = "weir/encrypted")]
    material: Box<RawValue>,
    sealed: String,
}

/// Encrypts a document.
pub(crate) fn wrap(document: &[u8], by: &RecordKey) -> Result<Vec<u8>, RecordError> {
    let unwritable = |e: serde_json::Error| RecordError::Unwritable(e.to_string());
    let data = DataKey::draw(by)?;
    let material = String::from_utf8_lossy(&data.material()?).into_owned();
    let parcel = Parcel {
        material: RawValue::from_string(material).map_err(unwritable)?,
        sealed: STANDARD.encode(seal(data.secret(), ABOUT, document)?),
    };
    serde_json::to_vec(&parcel).map_err(unwritable)
}

/// Decrypts a document; none if it is not what was encrypted.
pub(crate) fn unwrap(bytes: &[u8], keys: &RecordKeys) -> Result<Option<Vec<u8>>, KeyFault> {
    let Ok(parcel) = serde_json::from_slice::<Parcel>(bytes) else {
        return Ok(None);
    };
    let data = DataKey::unwrap(parcel.material.get().as_bytes(), keys)?;
    let sealed = STANDARD.decode(&parcel.sealed).ok();
    Ok(sealed.and_then(|sealed| open(data.secret(), ABOUT, &sealed)))
}

//! The phase `read`: from a body in pieces to bounded bytes.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::refusal::Refusal;
use crate::gate::Gate;

/// Of a body that is not looked at, strangers' above all.
const DRAINED_BYTES_MAX: usize = 64 * 1024;
const DRAINED_WITHIN: Duration = Duration::from_secs(1);

/// The whole body, if it is JSON, not compressed, not too large, and comes in time.
pub(super) async fn whole(gate: &Gate, head: &Parts, body: Incoming) -> Result<Bytes, Refusal> {
    if head
        .headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .any(|coding| coding != "identity")
    {
        drain(body).await;
        return Err(Refusal::Compressed);
    }
    if !is_json(head) {
        drain(body).await;
        return Err(Refusal::ContentType);
    }
    let length = head
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let bytes_max = gate.limits.body_bytes_max;
    if length.is_some_and(|length| length > bytes_max as u64) {
        return Err(Refusal::TooLarge { length });
    }
    let collected = tokio::time::timeout(
        gate.limits.body_read_timeout,
        Limited::new(body, bytes_max).collect(),
    )
    .await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge { length }),
        Ok(Err(_)) | Err(_) => Err(Refusal::Incomplete),
    }
}

/// Reads a body that nobody will look at, as far as it is short and comes at once. An HTTP/2 stream whose request was not read to
/// its end is reset with its answer, and some clients (curl 7.88) then see the reset alone.
pub(super) async fn drain(body: Incoming) {
    let reading = Limited::new(body, DRAINED_BYTES_MAX).collect();
    drop(tokio::time::timeout(DRAINED_WITHIN, reading).await);
}

fn is_json(head: &Parts) -> bool {
    let mut values = head.headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let Some(kind) = value
        .to_str()
        .ok()
        .and_then(|value| value.split(';').next())
    else {
        return false;
    };
    kind.trim().eq_ignore_ascii_case("application/json")
}

//! Where a copy is, and how it is reached.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::ObjectStorageError;

/// A folder in a bucket, and how it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The bucket's name.
    pub bucket: String,
    /// The folder in it; empty for the bucket itself.
    pub prefix: String,
    /// Where the service is, if it is not Amazon's: `https://minio.local:9000`.
    pub endpoint: Option<String>,
    /// The region; `us-east-1` if left out, which other services mostly accept.
    pub region: Option<String>,
    /// Who asks. None: whoever this machine is (instance metadata).
    pub credentials: Option<Credentials>,
    /// Certificates to trust besides the system's, as PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Lets an endpoint without TLS be used that is not on this host.
    pub allow_http: bool,
    /// How long an object may be neither changed nor removed, where the bucket has Object Lock.
    pub retention: Option<Retention>,
    /// Longest that one request may take. Default five minutes.
    pub request_timeout: Duration,
    /// Size of the parts that a large file is sent in, at least 5 MiB; a smaller file is one request. Default 8 MiB. Four times
    /// this is what shipping holds in memory.
    pub part_bytes: usize,
}

/// An access key. It does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Its id.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: String,
    /// The token of a session, where the key is of one.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// How long an object may be neither changed nor removed (S3 Object Lock).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Who may lift it.
    pub mode: RetentionMode,
    /// For so many days from its writing.
    pub days: u32,
}

/// Who may lift a retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetentionMode {
    /// Whoever has a permission of its own for it.
    Governance,
    /// Nobody.
    Compliance,
}

impl RetentionMode {
    /// As S3 writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Governance => "GOVERNANCE",
            Self::Compliance => "COMPLIANCE",
        }
    }
}

impl Place {
    /// The place that an address like `s3://bucket/folder` names, with everything else as it is by default.
    pub fn parse(url: &str) -> Result<Self, ObjectStorageError> {
        let wrong = |why: &str| {
            ObjectStorageError::Place(format!("`{url}` {why}: write it as `s3://bucket/folder`"))
        };
        let rest = url
            .strip_prefix("s3://")
            .ok_or_else(|| wrong("is no address of object storage"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(fine) {
            return Err(wrong("names no bucket"));
        }
        let prefix = prefix.trim_matches('/');
        if object_store::path::Path::parse(prefix).is_err() || prefix.contains(['?', '#']) {
            return Err(wrong("names no folder"));
        }
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            endpoint: None,
            region: None,
            credentials: None,
            ca_pem: None,
            allow_http: false,
            retention: None,
            request_timeout: Duration::from_mins(5),
            part_bytes: 8 << 20,
        })
    }

    /// Whether requests may go to the endpoint as it is: credentials and arguments do not travel in the clear.
    pub(crate) fn check_endpoint(&self) -> Result<(), ObjectStorageError> {
        let Some(endpoint) = &self.endpoint else {
            return Ok(());
        };
        let uri: Option<http::Uri> = endpoint.parse().ok();
        let uri = uri.filter(|uri| uri.host().is_some());
        let wrong = |why: &str| {
            Err(ObjectStorageError::Place(format!(
                "the endpoint `{endpoint}` {why}"
            )))
        };
        match uri.as_ref().and_then(http::Uri::scheme_str) {
            Some("https") => Ok(()),
            Some("http") if self.allow_http || uri.as_ref().is_some_and(is_loopback) => Ok(()),
            Some("http") => {
                wrong("has no TLS and is not on this host: use https, or say `allow_http`")
            }
            _ => wrong("is no http or https address"),
        }
    }
}

fn is_loopback(uri: &http::Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "s3://{}{slash}{}", self.bucket, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn an_address_names_a_bucket_and_a_folder() {
        let place = Place::parse("s3://records/nas/one/").unwrap();
        assert_eq!((&*place.bucket, &*place.prefix), ("records", "nas/one"));
        assert_eq!(place.to_string(), "s3://records/nas/one");
        assert_eq!(
            Place::parse("s3://records").unwrap().to_string(),
            "s3://records"
        );
        for wrong in [
            "records",
            "https://records/x",
            "s3://",
            "s3://a b/x",
            "s3://records//x//y",
            "s3://records/../x",
        ] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nothing_travels_in_the_clear_unless_it_is_said() {
        let with = |endpoint: &str, allow_http| {
            let place = Place::parse("s3://records").unwrap();
            Place {
                endpoint: Some(endpoint.into()),
                allow_http,
                ..place
            }
            .check_endpoint()
            .is_ok()
        };
        assert!(with("https://minio.local:9000", false));
        assert!(with("http://127.0.0.1:9000", false));
        assert!(with("http://[::1]:9000", false));
        assert!(!with("http://minio.local:9000", false));
        assert!(with("http://minio.local:9000", true));
        assert!(!with("minio.local", true));
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let credentials = Credentials {
            access_key_id: "canary".into(),
            secret_access_key: "canary".into(),
            session_token: Some("canary".into()),
        };
        let place = Place {
            credentials: Some(credentials),
            ..Place::parse("s3://records").unwrap()
        };
        assert!(!format!("{place:?}").contains("canary"));
    }
}

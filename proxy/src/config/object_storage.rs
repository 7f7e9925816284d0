//! `[object_storage]`: where a copy of the record is shipped to. The proxy hands it on; it ships nothing itself.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::read::Environment;
use super::section::{Found, Section, nearest};
use super::server::read_values;

/// Where a copy of the record is shipped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectStorageConfig {
    /// `s3://bucket/folder`.
    pub url: String,
    /// Where the service is, if it is not Amazon's.
    pub endpoint: Option<String>,
    /// The region, if it is not `us-east-1`.
    pub region: Option<String>,
    /// Who asks; none is whoever this machine is.
    pub access_key: Option<AccessKey>,
    /// A file of certificates to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// An endpoint without TLS that is not on this host may be used.
    pub allow_http: bool,
    /// How often what is new is shipped.
    pub every: Duration,
    /// How long a stop waits for what is left to be shipped.
    pub stop_wait_max: Duration,
    /// For how long objects are locked, if they are.
    pub retention: Option<RetentionConfig>,
}

/// An access key. It does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessKey {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
    /// The token of a session, where the key is of one.
    pub session_token: Option<String>,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey(…)")
    }
}

/// For how long objects are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Nobody can lift it; else whoever has a permission of its own for it.
    pub compliance: bool,
    /// For so many days from their writing.
    pub days: u32,
}

const KEYS: [&str; 3] = ["access_key_id", "secret_access_key", "session_token"];

pub(super) fn read_object_storage(
    section: &Section<'_, '_>,
    environment: Environment<'_>,
) -> ObjectStorageConfig {
    let allow_http = section.flag("allow_http").unwrap_or(false);
    let config = ObjectStorageConfig {
        url: read_url(section),
        allow_http,
        endpoint: section
            .string("endpoint")
            .map(|found| read_endpoint(section, &found, allow_http)),
        region: section.string("region").map(|found| found.value.to_owned()),
        access_key: read_access_key(section, environment),
        ca: section.file("ca"),
        every: section.duration("every", Duration::from_secs(30)),
        stop_wait_max: section.duration("stop_wait_max", Duration::from_secs(30)),
        retention: section
            .table("retention")
            .map(|table| read_retention(&table)),
    };
    section.finish();
    config
}

fn read_url(section: &Section<'_, '_>) -> String {
    let hint = "write it as \"s3://bucket/folder\"";
    let url = section.needed_string("url", hint);
    let bucket = url
        .value
        .strip_prefix("s3://")
        .map(|rest| rest.split('/').next().unwrap_or_default());
    if !url.value.is_empty() && bucket.is_none_or(str::is_empty) {
        let message = format!("`{}` names no bucket", url.value);
        section
            .source
            .problem(&url.span, message, Some(hint.to_owned()));
    }
    url.value.to_owned()
}

fn read_endpoint(section: &Section<'_, '_>, found: &Found<&str>, allow_http: bool) -> String {
    let uri: Option<http::Uri> = found.value.parse().ok();
    let uri = uri.filter(|uri| uri.host().is_some());
    let scheme = uri.as_ref().and_then(http::Uri::scheme_str);
    match scheme {
        Some("https") => {}
        Some("http") if allow_http || uri.as_ref().is_some_and(is_loopback) => {}
        Some("http") => {
            let hint = "use https, or say `allow_http = true`: arguments and results would travel in the clear";
            section.source.problem(
                &found.span,
                format!("`{}` has no TLS and is not on this host", found.value),
                Some(hint.to_owned()),
            );
        }
        _ => section.source.problem(
            &found.span,
            format!("`{}` is not an http or https address", found.value),
            None,
        ),
    }
    found.value.to_owned()
}

fn is_loopback(uri: &http::Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// The keys of `credentials`, those that Amazon's tools read from the environment if it is left out, and none for `"machine"`.
fn read_access_key(section: &Section<'_, '_>, environment: Environment<'_>) -> Option<AccessKey> {
    let mut values = match section.raw("credentials") {
        Some(found) if found.get_ref().as_str() == Some("machine") => return None,
        Some(_) => read_values(section, "credentials", environment),
        None => KEYS
            .into_iter()
            .filter_map(|key| {
                let value = environment(&format!("AWS_{}", key.to_ascii_uppercase()))?;
                Some((key.to_owned(), value))
            })
            .collect(),
    };
    let session_token = values.remove("session_token");
    let id = values.remove("access_key_id");
    let key = id.zip(values.remove("secret_access_key"));
    if key.is_none() {
        section.problem(
            "there is no access key for the object storage",
            Some(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write `credentials = { access_key_id = { env = \"…\" }, \
                 secret_access_key = { env = \"…\" } }`, or `credentials = \"machine\"` for those of this machine",
            ),
        );
    }
    report_unknown(section, &values);
    key.map(|(id, secret)| AccessKey {
        id,
        secret,
        session_token,
    })
}

fn report_unknown(section: &Section<'_, '_>, values: &BTreeMap<String, String>) {
    for key in values.keys() {
        let near = nearest(key, &KEYS).map(|near| format!("did you mean `{near}`?"));
        let message = format!("unknown key `{key}` in `credentials`");
        section.problem(message, near.as_deref());
    }
}

fn read_retention(section: &Section<'_, '_>) -> RetentionConfig {
    let hint = "`mode` is \"governance\" or \"compliance\"";
    let mode = section.needed_string("mode", hint);
    if !matches!(mode.value, "governance" | "compliance" | "") {
        let message = format!("`{}` is no mode of retention", mode.value);
        section
            .source
            .problem(&mode.span, message, Some(hint.to_owned()));
    }
    let days = section.number("days", 1..36_500, 0) as u32;
    if days == 0 && section.raw("days").is_none() {
        section.problem(
            "`retention` has no `days`",
            Some("for how long may nobody remove what was shipped?"),
        );
    }
    section.finish();
    RetentionConfig {
        compliance: mode.value == "compliance",
        days,
    }
}

//! `[telemetry]`: who collects traces.

use std::path::PathBuf;

use http::{HeaderName, HeaderValue, Uri};

use super::oauth::is_safe;
use super::read::Environment;
use super::section::Section;
use super::server::read_headers;

/// Who collects traces.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetryConfig {
    /// The collector's OTLP address over HTTP, without `/v1/traces`.
    pub otlp: Uri,
    /// Sent to it with every request: its credential.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Certificates to trust for it instead of the platform's (PEM file).
    pub ca: Option<PathBuf>,
}

pub(super) fn read(
    section: &Section<'_, '_>,
    environment: Environment<'_>,
) -> Option<TelemetryConfig> {
    let found = section.needed_string("otlp", "write `otlp = \"http://127.0.0.1:4318\"`");
    let headers = read_headers(section, environment);
    let ca = section.file("ca");
    section.finish();
    let otlp: Option<Uri> = found.value.parse().ok();
    let otlp = otlp.filter(|uri| is_safe(uri) && uri.query().is_none());
    if otlp.is_none() && !found.value.is_empty() {
        section.source.problem(
            &found.span,
            format!("`{}` is no https address", found.value),
            Some("traces name grants, tools and addresses; http is for 127.0.0.1 only".to_owned()),
        );
    }
    Some(TelemetryConfig {
        otlp: otlp?,
        headers,
        ca,
    })
}

//! The `[oauth]` section: whose access tokens are accepted.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::section::{Found, Section};

/// Whose access tokens are accepted, and what they have to be made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OauthConfig {
    /// The authorisation server, exactly as tokens and its metadata name it: `iss`.
    pub issuer: String,
    /// How clients name this proxy, without a slash at the end. Its servers are `<resource>/<name>/mcp`.
    pub resource: String,
    /// Further values of `aud` that mean every server here.
    pub audience: Vec<String>,
    /// Where its keys are; found in its metadata if left out.
    pub jwks: Option<Uri>,
    /// Certificates to trust for it instead of the platform's (PEM file).
    pub ca: Option<PathBuf>,
    /// By how much its clock and ours may differ.
    pub leeway: Duration,
    /// How often its keys are read again.
    pub refresh: Duration,
    /// How long keys are believed that could not be read again.
    pub stale_max: Duration,
}

impl OauthConfig {
    /// What a token for this server has to be made for.
    pub(crate) fn resource_of(&self, server: &str) -> String {
        format!("{}/{server}/mcp", self.resource)
    }
}

/// Reads `[oauth]`; `hosts` are the names that this host answers to.
pub(super) fn read(section: &Section<'_, '_>, hosts: &[String]) -> Option<OauthConfig> {
    let issuer = section.needed_string("issuer", "the authorisation server, as its tokens name it");
    let resource = section.needed_string(
        "resource",
        "how clients name this proxy, such as \"https://weir.example:8443\"",
    );
    let jwks = section.string("jwks");
    let config = OauthConfig {
        issuer: issuer.value.to_owned(),
        resource: resource.value.trim_end_matches('/').to_owned(),
        audience: section
            .strings("audience")
            .into_iter()
            .map(|found| found.value.to_owned())
            .collect(),
        jwks: jwks.as_ref().and_then(|found| found.value.parse().ok()),
        ca: section.file("ca"),
        leeway: section.duration("leeway", Duration::from_secs(30)),
        refresh: section.duration("refresh", Duration::from_mins(5)),
        stale_max: section.duration("stale_max", Duration::from_hours(1)),
    };
    section.finish();
    let is_fetched = |found: &Found<&str>| {
        let uri: Option<Uri> = found.value.parse().ok();
        if !uri.as_ref().is_some_and(is_safe) {
            section.source.problem(
                &found.span,
                format!("`{}` is no https address", found.value),
                Some("whoever could change what comes from there could call as anybody; http is for 127.0.0.1 only".to_owned()),
            );
        }
    };
    if !issuer.value.is_empty() {
        is_fetched(&issuer);
        if issuer.value.contains(['?', '#', '"', '\\']) {
            section
                .source
                .problem(&issuer.span, "`issuer` is an address without a query", None);
        }
    }
    if let Some(found) = &jwks {
        is_fetched(found);
    }
    if !resource.value.is_empty() {
        check_resource(section, &resource, hosts);
    }
    let least = [
        ("refresh", config.refresh, Duration::from_secs(1)),
        ("stale_max", config.stale_max, config.refresh),
    ];
    for (key, value, least) in least {
        if value < least {
            let span = section.raw(key).map_or(0..0, toml::Spanned::span);
            section
                .source
                .problem(&span, format!("`{key}` is at least {least:?} here"), None);
        }
    }
    if config.leeway > Duration::from_mins(5) {
        let span = section.raw("leeway").map_or(0..0, toml::Spanned::span);
        let message = "`leeway` is at most 5 minutes: tokens that have expired pass for so long";
        section.source.problem(&span, message, None);
    }
    (!issuer.value.is_empty() && !resource.value.is_empty()).then_some(config)
}

/// Whether what is read from there can be believed: over TLS, or from this very host.
pub(crate) fn is_safe(uri: &Uri) -> bool {
    let is_here = matches!(uri.host(), Some("127.0.0.1" | "localhost" | "[::1]"));
    let has_user = uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'));
    !has_user && (uri.scheme_str() == Some("https") || uri.scheme_str() == Some("http") && is_here)
}

fn check_resource(section: &Section<'_, '_>, found: &Found<&str>, hosts: &[String]) {
    let uri: Option<Uri> = found.value.parse().ok();
    let origin = uri.as_ref().filter(|uri| {
        uri.scheme_str() == Some("https")
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
            && !found.value.contains(['@', '#', '"', '\\'])
    });
    let Some(host) = origin.and_then(Uri::host) else {
        section.source.problem(
            &found.span,
            format!("`{}` is not how clients name this proxy", found.value),
            Some("write \"https://weir.example:8443\", without a path".to_owned()),
        );
        return;
    };
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    if !hosts.contains(&host) {
        section.source.problem(
            &found.span,
            format!("this host does not answer to `{host}`"),
            Some("add it to `hosts` in [listen]".to_owned()),
        );
    }
}

/// Whether this is a scope as RFC 6749 has them: it can stand in a header.
pub(super) fn scope_token(scope: &str) -> bool {
    let fits = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !scope.is_empty() && scope.len() <= 256 && scope.as_bytes().iter().all(fits)
}

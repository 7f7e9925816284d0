//! The `[[server]]` sections: what stands behind Weir, and how its calls are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::de::{DeValue, ValueDeserializer};
use weir_policy::{Resolver, ResolverSpec};

use super::keeping::{Secrets, read_keeping};
use super::read::{Environment, read_name};
use super::section::{Found, Section};
use super::{Limits, ServerConfig, secret_header};
use crate::upstream::{Sharing, Transport, UpstreamLimits, UpstreamSpec, Versions};

pub(super) fn read_servers(
    sections: &[Section<'_, '_>],
    limits: &Limits,
    secrets: &Secrets,
    environment: Environment<'_>,
) -> Vec<ServerConfig> {
    let mut servers: Vec<ServerConfig> = Vec::new();
    for section in sections {
        let server = read_server(section, limits, secrets, environment);
        if servers.iter().any(|other| other.name == server.name) {
            section.problem(format!("two servers are named `{}`", server.name), None);
        }
        servers.push(server);
    }
    servers
}

fn read_server(
    section: &Section<'_, '_>,
    limits: &Limits,
    secrets: &Secrets,
    environment: Environment<'_>,
) -> ServerConfig {
    let found = section.needed_string("name", "it becomes the path `/<name>/mcp`");
    let name = read_name(section, "server", &found).unwrap_or_default();
    let headers = read_headers(section, environment);
    let transport = read_transport(section, environment);
    let sharing = read_sharing(section, &transport);
    let resolver = ResolverSpec {
        dispatch: read_specs(section, "dispatch"),
        alias: read_specs(section, "alias"),
        profile: section
            .string("profile")
            .map(|found| found.value.to_owned()),
    };
    if let Err(problem) = Resolver::compile(&resolver) {
        section.problem(problem.to_string(), None);
    }
    let keeping = read_keeping(section, secrets);
    section.not_yet(
        "outcome",
        "a reply goes out even if its outcome cannot be written",
    );
    section.finish();
    let limits = UpstreamLimits {
        connect_timeout: limits.connect_timeout,
        answer_timeout: limits.upstream_timeout,
        event_bytes_max: limits.event_bytes_max,
        answer_bytes_max: limits.answer_bytes_max,
        in_flight_max: limits.in_flight_max,
        streams_max: limits.streams_max,
        children_max: limits.children_max,
    };
    let upstream = UpstreamSpec {
        server: Arc::from(name.as_str()),
        transport,
        headers,
        sharing,
        limits,
    };
    ServerConfig {
        name,
        upstream,
        resolver,
        keeping,
    }
}

/// The `[[server.dispatch]]` or `[[server.alias]]` of a server, as policy's own types read them.
fn read_specs<T: DeserializeOwned>(section: &Section<'_, '_>, key: &'static str) -> Vec<T> {
    let Some(found) = section.raw(key) else {
        return Vec::new();
    };
    let Some(items) = found.get_ref().as_array() else {
        section.source.problem(
            &found.span(),
            format!("`{key}` must be an array of tables, [[server.{key}]]"),
            None,
        );
        return Vec::new();
    };
    let mut specs = Vec::new();
    for item in items {
        match T::deserialize(ValueDeserializer::from(item.clone())) {
            Ok(spec) => specs.push(spec),
            Err(error) => {
                let span = error.span().unwrap_or_else(|| item.span());
                section.source.problem(&span, error.message().trim(), None);
            }
        }
    }
    specs
}

fn read_transport(section: &Section<'_, '_>, environment: Environment<'_>) -> Transport {
    let url = section.string("url");
    let command = section.strings("command");
    let ca = section.file("ca");
    let variables = read_values(section, "environment", environment);
    let directory = section.string("directory").map_or(".", |found| found.value);
    let directory = section.source.resolve(directory);
    let is_sse = read_is_sse(section, url.is_some());
    let versions = read_versions(section, url.as_ref(), is_sse);
    match (url, command.is_empty()) {
        (Some(url), true) if is_sse => Transport::Sse {
            url: read_url(section, &url),
            ca,
        },
        (Some(url), true) => Transport::Http {
            url: read_url(section, &url),
            ca,
            versions,
        },
        (None, false) => {
            let command = command
                .into_iter()
                .map(|part| part.value.to_owned())
                .collect();
            Transport::Stdio {
                command,
                environment: variables.into_iter().collect(),
                directory,
            }
        }
        (Some(url), false) => {
            section.source.problem(
                &url.span,
                "a server has either a `url` or a `command`, not both",
                None,
            );
            Transport::Http {
                url: http::Uri::default(),
                ca,
                versions,
            }
        }
        (None, true) => {
            section.problem("a server needs a `url` or a `command`", None);
            Transport::Http {
                url: http::Uri::default(),
                ca,
                versions,
            }
        }
    }
}

/// Whether HTTP/2 is offered to the server.
fn read_versions(section: &Section<'_, '_>, url: Option<&Found<&str>>, is_sse: bool) -> Versions {
    if section.flag("http2") != Some(true) {
        return Versions::One;
    }
    if is_sse || !url.is_some_and(|url| url.value.starts_with("https:")) {
        section.problem(
            "`http2` is for a server at an https address",
            Some("it is offered in the TLS handshake, and only streamable HTTP is spoken over it"),
        );
    }
    Versions::Both
}

/// Whether the server at `url` speaks the transport of 2024-11-05.
fn read_is_sse(section: &Section<'_, '_>, has_url: bool) -> bool {
    let Some(found) = section.string("transport") else {
        return false;
    };
    let problem = |message: String, hint: &str| {
        section
            .source
            .problem(&found.span, message, Some(hint.to_owned()));
    };
    match found.value {
        _ if !has_url => problem(
            "`transport` says how a server at a `url` is spoken to".to_owned(),
            "a `command` is spoken to over stdio",
        ),
        "http" | "sse" => {}
        other => problem(
            format!("`transport` is \"http\" or \"sse\", not `{other}`"),
            "\"http\" is streamable HTTP; \"sse\" the older transport, whose `url` mostly ends in /sse",
        ),
    }
    found.value == "sse"
}

/// Who shares a child or a stream with whom.
fn read_sharing(section: &Section<'_, '_>, transport: &Transport) -> Sharing {
    let Some(found) = section.string("share") else {
        return Sharing::Session;
    };
    let is_http = matches!(transport, Transport::Http { .. });
    let message = match found.value {
        _ if is_http => {
            "`share` is for a `command`, or a `url` with `transport = \"sse\"`".to_owned()
        }
        "session" => return Sharing::Session,
        "grant" => return Sharing::Grant,
        other => format!("`share` is \"session\" or \"grant\", not `{other}`"),
    };
    section.source.problem(&found.span, message, None);
    Sharing::Session
}

fn read_url(section: &Section<'_, '_>, found: &Found<&str>) -> http::Uri {
    let url: Option<http::Uri> = found.value.parse().ok();
    match url {
        Some(url) if matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some() => {
            url
        }
        _ => {
            section.source.problem(
                &found.span,
                format!("`{}` is not an http or https address", found.value),
                None,
            );
            http::Uri::default()
        }
    }
}

pub(super) fn read_headers(
    section: &Section<'_, '_>,
    environment: Environment<'_>,
) -> Vec<(http::HeaderName, http::HeaderValue)> {
    let mut headers = Vec::new();
    for (name, value) in read_values(section, "headers", environment) {
        match secret_header(&name, &value) {
            Ok(header) => headers.push(header),
            Err(what) => section.problem(format!("header `{name}` has {what}"), None),
        }
    }
    headers
}

/// A table of strings, each written out or as `{ env = "NAME" }`.
pub(super) fn read_values(
    section: &Section<'_, '_>,
    key: &'static str,
    environment: Environment<'_>,
) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    let Some(table) = section.table(key) else {
        return values;
    };
    for (name, value) in table.members() {
        let reference = value
            .get_ref()
            .get("env")
            .map(|env| (env.span(), env.get_ref().as_str()));
        let text = match (value.get_ref(), reference) {
            (DeValue::String(text), _) => Some(text.to_string()),
            (DeValue::Table(_), Some((span, Some(variable)))) => {
                let found = environment(variable);
                if found.is_none() {
                    section.source.problem(
                        &span,
                        format!("environment variable `{variable}` is not set"),
                        None,
                    );
                }
                found
            }
            _ => {
                let message = format!("`{}` must be a string or {{ env = \"NAME\" }}", name.value);
                section.source.problem(&value.span(), message, None);
                None
            }
        };
        values.extend(text.map(|text| (name.value.to_owned(), text)));
    }
    values
}

//! From the text of `weir.toml` to a [`Config`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use weir_policy::{Resolver, ResolverSpec};

use super::problem::{ConfigProblem, ConfigProblems};
use super::section::{Found, Section, Source, io_words, nearest};
use super::{
    Config, GrantConfig, Limits, Listen, RecordConfig, ServerConfig, TlsFiles, secret_header,
};
use crate::upstream::{Transport, UpstreamLimits, UpstreamSpec};

type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

pub(super) fn load(path: &Path, environment: Environment<'_>) -> Result<Config, ConfigProblems> {
    let fail = |problems| ConfigProblems {
        path: path.to_owned(),
        problems,
    };
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot read the configuration: {}", io_words(&error));
        let hint = Some("`weir init` writes one".to_owned());
        fail(vec![ConfigProblem {
            line: 0,
            column: 0,
            message,
            hint,
        }])
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let source = Source::new(&text, folder);
    let (document, errors) = DeTable::parse_recoverable(&text);
    for error in &errors {
        source.problem(&error.span().unwrap_or(0..0), error.message().trim(), None);
    }
    if !errors.is_empty() {
        return Err(fail(source.into_problems()));
    }
    let root = Section::new(&source, "", 0..0, document.get_ref());
    let config = read_root(&root, path, environment);
    drop(root);
    let problems = source.into_problems();
    if problems.is_empty() {
        Ok(config)
    } else {
        Err(fail(problems))
    }
}

fn read_root(root: &Section<'_, '_>, path: &Path, environment: Environment<'_>) -> Config {
    let listen = read_listen(root.table("listen").as_ref());
    let record = read_record(root, root.table("record").as_ref());
    let admin = root.table("admin").and_then(|section| read_admin(&section));
    let limits = root
        .table("limits")
        .map_or_else(Limits::default, |section| read_limits(&section));
    let servers = read_servers(&root.tables("server"), &limits, environment);
    let grants = read_grants(&root.tables("grant"), &servers);
    let state = root.string("state").map_or("state", |found| found.value);
    let state = root.source.resolve(state);
    root.finish();
    if servers.is_empty() {
        root.problem(
            "nothing to serve",
            Some("add a [[server]] with a `name` and a `url` or a `command`"),
        );
    }
    Config {
        path: path.to_owned(),
        listen,
        state,
        record,
        admin,
        servers,
        grants,
        limits,
    }
}

fn read_listen(section: Option<&Section<'_, '_>>) -> Listen {
    let mut listen = Listen {
        address: SocketAddr::from(([127, 0, 0, 1], 8443)),
        tls: TlsFiles::Local,
        hosts: Vec::new(),
        origins: Vec::new(),
    };
    let Some(section) = section else {
        return listen;
    };
    if let Some(address) = read_address(section) {
        listen.address = address;
    }
    if let Some(tls) = section.table("tls") {
        match (tls.file("certificate"), tls.file("key")) {
            (Some(certificate), Some(key)) => listen.tls = TlsFiles::Given { certificate, key },
            _ => tls.problem(
                "`tls` needs both `certificate` and `key`",
                Some("or leave `tls` out for a local CA"),
            ),
        }
        tls.finish();
    }
    listen.hosts = section
        .strings("hosts")
        .into_iter()
        .map(|found| found.value.to_ascii_lowercase())
        .collect();
    listen.origins = section
        .strings("origins")
        .into_iter()
        .map(|found| found.value.to_ascii_lowercase())
        .collect();
    section.not_yet("client_ca", "grants are opened by `token` for now");
    section.finish();
    listen
}

fn read_address(section: &Section<'_, '_>) -> Option<SocketAddr> {
    let found = section.string("address")?;
    let address = found.value.parse().ok();
    if address.is_none() {
        let hint = Some("write it as \"127.0.0.1:8443\" or \"[::1]:8443\"".to_owned());
        section.source.problem(
            &found.span,
            format!("`{}` is not an address with a port", found.value),
            hint,
        );
    }
    address
}

fn read_admin(section: &Section<'_, '_>) -> Option<SocketAddr> {
    let address = read_address(section);
    if let Some(found) = section.string("address")
        && address.is_some_and(|address| !address.ip().is_loopback())
    {
        let hint = Some("use 127.0.0.1: it has neither TLS nor a token yet".to_owned());
        section.source.problem(
            &found.span,
            "the admin address must be a loopback address",
            hint,
        );
    }
    section.finish();
    address
}

fn read_record(root: &Section<'_, '_>, section: Option<&Section<'_, '_>>) -> RecordConfig {
    let mut record = RecordConfig {
        path: root.source.resolve("record"),
        node: None,
        interval: None,
        seal_rows: 131_072,
        seal_age: Duration::from_mins(1),
        commit_wait_max: Duration::from_secs(5),
        gaps_start_empty: false,
    };
    let Some(section) = section else {
        return record;
    };
    if let Some(path) = section.string("path") {
        record.path = section.source.resolve(path.value);
    }
    record.node = section
        .string("node")
        .and_then(|found| read_name(section, "node", &found));
    record.interval = read_durability(section);
    if let Some(seal) = section.table("seal") {
        record.seal_rows = seal.number("rows", 1..10_000_000, record.seal_rows as u64) as usize;
        record.seal_age = seal.duration("age", record.seal_age);
        seal.finish();
    }
    record.commit_wait_max = section.duration("commit_wait_max", record.commit_wait_max);
    if let Some(gaps) = section.string("gaps") {
        match gaps.value {
            "full" => {}
            "empty" => record.gaps_start_empty = true,
            other => section.source.problem(
                &gaps.span,
                format!("`gaps` is \"full\" or \"empty\", not `{other}`"),
                None,
            ),
        }
    }
    section.not_yet("anchor", "checkpoints come with a later version");
    section.not_yet("bytes_max", "watch `/healthz` for the disk left");
    section.finish();
    record
}

fn read_durability(section: &Section<'_, '_>) -> Option<Duration> {
    let interval = section.duration("interval", Duration::from_millis(50));
    let found = section.string("durability")?;
    match found.value {
        "sync" => None,
        "interval" => Some(interval),
        other => {
            let message = format!("`durability` is \"sync\" or \"interval\", not `{other}`");
            section.source.problem(&found.span, message, None);
            None
        }
    }
}

fn read_limits(section: &Section<'_, '_>) -> Limits {
    let default = Limits::default();
    let bytes = |key, default: usize| section.number(key, 1024..(1 << 30), default as u64) as usize;
    let count = |key, default: usize| section.number(key, 1..1_000_000, default as u64) as usize;
    let limits = Limits {
        body_bytes_max: bytes("body_bytes_max", default.body_bytes_max),
        answer_bytes_max: bytes("answer_bytes_max", default.answer_bytes_max),
        event_bytes_max: bytes("event_bytes_max", default.event_bytes_max),
        connections_max: count("connections_max", default.connections_max),
        in_flight_max: count("in_flight_max", default.in_flight_max),
        sessions_max: count("sessions_max", default.sessions_max),
        counters_per_grant: count("counters_per_grant", default.counters_per_grant),
        handshake_timeout: section.duration("handshake_timeout", default.handshake_timeout),
        header_read_timeout: section.duration("header_read_timeout", default.header_read_timeout),
        body_read_timeout: section.duration("body_read_timeout", default.body_read_timeout),
        connect_timeout: section.duration("connect_timeout", default.connect_timeout),
        upstream_timeout: section.duration("upstream_timeout", default.upstream_timeout),
        drain_timeout: section.duration("drain_timeout", default.drain_timeout),
    };
    section.finish();
    limits
}

fn read_servers(
    sections: &[Section<'_, '_>],
    limits: &Limits,
    environment: Environment<'_>,
) -> Vec<ServerConfig> {
    let mut servers: Vec<ServerConfig> = Vec::new();
    for section in sections {
        let server = read_server(section, limits, environment);
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
    environment: Environment<'_>,
) -> ServerConfig {
    let found = section.needed_string("name", "it becomes the path `/<name>/mcp`");
    let name = read_name(section, "server", &found).unwrap_or_default();
    let headers = read_headers(section, environment);
    let transport = read_transport(section, environment);
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
    section.not_yet("redact", "arguments are recorded as they came");
    section.not_yet(
        "audit",
        "calls are recorded with arguments, without results",
    );
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
        children_max: limits.sessions_max.min(64),
    };
    let upstream = UpstreamSpec {
        server: Arc::from(name.as_str()),
        transport,
        headers,
        limits,
    };
    ServerConfig {
        name,
        upstream,
        resolver,
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
    match (url, command.is_empty()) {
        (Some(url), true) => Transport::Http {
            url: read_url(section, &url),
            ca,
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
            }
        }
        (None, true) => {
            section.problem("a server needs a `url` or a `command`", None);
            Transport::Http {
                url: http::Uri::default(),
                ca,
            }
        }
    }
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

fn read_headers(
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
fn read_values(
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

fn read_grants(sections: &[Section<'_, '_>], servers: &[ServerConfig]) -> Vec<GrantConfig> {
    let mut grants: Vec<GrantConfig> = Vec::new();
    for section in sections {
        let found = section.needed_string("name", "it names the caller in the record");
        let name = read_name(section, "grant", &found).unwrap_or_default();
        if grants.iter().any(|other| other.name == name) {
            section
                .source
                .problem(&found.span, format!("two grants are named `{name}`"), None);
        }
        let server = section.needed_string("server", "say which [[server]] it opens");
        let names: Vec<&str> = servers.iter().map(|server| server.name.as_str()).collect();
        if !server.value.is_empty() && !names.contains(&server.value) {
            let hint = nearest(server.value, &names).map(|near| format!("did you mean `{near}`?"));
            section.source.problem(
                &server.span,
                format!("no [[server]] is named `{}`", server.value),
                hint,
            );
        }
        let token_sha256 = read_token(section);
        if grants
            .iter()
            .any(|other| other.server == server.value && other.token_sha256 == token_sha256)
        {
            section.problem(
                format!(
                    "grant `{name}` has the token of another grant of `{}`",
                    server.value
                ),
                None,
            );
        }
        let policy: Option<PathBuf> = section.file("policy");
        section.not_yet("shadow", "replay the record under the candidate instead");
        section.not_yet("certificate", "give it a `token`");
        section.finish();
        grants.push(GrantConfig {
            name,
            server: server.value.to_owned(),
            token_sha256,
            policy,
        });
    }
    grants
}

fn read_token(section: &Section<'_, '_>) -> [u8; 32] {
    let mut digest = [0; 32];
    let hint = "`weir token new` makes a token and prints its `sha256`";
    let Some(token) = section.table("token") else {
        section.problem("a grant needs `token = { sha256 = \"…\" }`", Some(hint));
        return digest;
    };
    let found = token.needed_string("sha256", hint);
    if !found.value.is_empty() && hex::decode_to_slice(found.value, &mut digest).is_err() {
        token.source.problem(
            &found.span,
            "`sha256` must be 64 hexadecimal digits",
            Some(hint.to_owned()),
        );
    }
    token.finish();
    digest
}

/// A name that can stand in a path, a file name and a metric.
fn read_name(section: &Section<'_, '_>, what: &str, found: &Found<&str>) -> Option<String> {
    let name = found.value;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() {
        return None;
    }
    if name.len() > 64
        || !name.chars().all(fits)
        || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
    {
        let hint = Some(
            "use up to 64 letters, digits, `-`, `_` and `.`, beginning with a letter or digit"
                .to_owned(),
        );
        section
            .source
            .problem(&found.span, format!("`{name}` cannot name a {what}"), hint);
    }
    Some(name.to_owned())
}

//! From the text of `weir.toml` to a [`Config`].

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeTable;
use weir_recorder::{Durability, Retain};

use super::approvals::{read_approvals, read_approvers};
use super::grant::{Given, read_grants};
use super::keeping::{Secrets, read_secrets};
use super::object_storage::read_object_storage;
use super::problem::{ConfigProblem, ConfigProblems};
use super::section::{Found, Section, Source, io_words};
use super::server::read_servers;
use super::{Config, Encryption, Limits, Listen, RecordConfig, TlsFiles};

/// Looks a variable of the environment up.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

pub(super) fn load(path: &Path, environment: Environment<'_>) -> Result<Config, ConfigProblems> {
    let fail = |problems| ConfigProblems {
        path: path.to_owned(),
        problems,
        policies: Vec::new(),
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
    read(&text, path, environment)
}

/// Reads the text of a configuration as if it stood in this file.
pub(super) fn read(
    text: &str,
    path: &Path,
    environment: Environment<'_>,
) -> Result<Config, ConfigProblems> {
    let fail = |problems| ConfigProblems {
        path: path.to_owned(),
        problems,
        policies: Vec::new(),
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let source = Source::new(text, folder);
    let (document, errors) = DeTable::parse_recoverable(text);
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
        let policies = policies(&config);
        Err(ConfigProblems {
            policies,
            ..fail(problems)
        })
    }
}

/// The policies that it names and that are there, each once.
fn policies(config: &Config) -> Vec<PathBuf> {
    let there: BTreeSet<&PathBuf> = config.policies().filter(|path| path.is_file()).collect();
    there.into_iter().cloned().collect()
}

fn read_root(root: &Section<'_, '_>, path: &Path, environment: Environment<'_>) -> Config {
    let listen_section = root.table("listen");
    let listen = read_listen(listen_section.as_ref());
    let record = root.table("record");
    let secrets = record.as_ref().map_or_else(Secrets::default, read_secrets);
    let record = read_record(root, record.as_ref(), environment);
    let object_storage = root
        .table("object_storage")
        .map(|section| read_object_storage(&section, environment));
    let admin = root.table("admin");
    let approvers = admin.as_ref().map_or_else(Vec::new, read_approvers);
    let admin = admin.as_ref().and_then(read_admin);
    let approvals = read_approvals(root.table("approvals").as_ref());
    let limits = root
        .table("limits")
        .map_or_else(Limits::default, |section| read_limits(&section));
    let servers = read_servers(&root.tables("server"), &limits, &secrets, environment);
    let oauth = root.table("oauth");
    let has_issuer = oauth.is_some();
    let telemetry = root
        .table("telemetry")
        .and_then(|section| super::telemetry::read(&section, environment));
    let oauth = oauth.and_then(|section| super::oauth::read(&section, &listen.names()));
    let given = Given {
        servers: &servers,
        listen: &listen,
        limits: &limits,
        has_issuer,
    };
    let grants = read_grants(&root.tables("grant"), given);
    counters_fit(root, &limits, grants.len());
    if let Some(span) = &listen_section
        .as_ref()
        .and_then(|section| section.raw("client_ca"))
        .map(toml::Spanned::span)
        && grants
            .iter()
            .all(|grant| grant.credential.certificate.is_none())
    {
        let hint = "add `certificate` to those that may be used with one only".to_owned();
        let message = "`client_ca` is set, but no [[grant]] asks for a certificate: everybody could call without one";
        root.source.problem(span, message, Some(hint));
    }
    super::approvals::apart(root, &approvers, &grants);
    if record.durability == Durability::Off
        && let Some(grant) = grants.iter().find(|grant| !grant.shadow.is_empty())
    {
        let message = format!(
            "grant `{}` has candidates in `shadow`, whose counters are rebuilt from the record, and recording is off",
            grant.name
        );
        let hint = "take `shadow` out, or `recording = \"off\"`".to_owned();
        root.problem(message, Some(&hint));
    }
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
        object_storage,
        admin,
        approvers,
        approvals,
        servers,
        grants,
        oauth,
        telemetry,
        limits,
    }
}

fn read_listen(section: Option<&Section<'_, '_>>) -> Listen {
    let mut listen = Listen {
        address: SocketAddr::from(([127, 0, 0, 1], 8443)),
        tls: TlsFiles::Local,
        client_ca: None,
        client_crl: None,
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
    listen.client_ca = section.file("client_ca");
    listen.client_crl = section.file("client_crl");
    if let (Some(found), None) = (section.raw("client_crl"), &listen.client_ca) {
        let hint = "add `client_ca`, whose certificates it takes back".to_owned();
        section.source.problem(
            &found.span(),
            "`client_crl` needs a `client_ca`",
            Some(hint),
        );
    }
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
    if address.is_none() && !section.tables("approvers").is_empty() {
        section.problem(
            "`approvers` of `[admin]` have nowhere to answer",
            Some("add `address = \"127.0.0.1:9443\"`"),
        );
    }
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

fn read_record(
    root: &Section<'_, '_>,
    section: Option<&Section<'_, '_>>,
    environment: Environment<'_>,
) -> RecordConfig {
    let mut record = RecordConfig {
        path: root.source.resolve("record"),
        node: None,
        durability: Durability::Sync,
        seal_rows: 131_072,
        seal_age: Duration::from_mins(1),
        commit_wait_max: Duration::from_secs(5),
        strict_outcomes: false,
        compact_segments: 64,
        retain: Retain::default(),
        bytes_max: None,
        reserve_bytes: 64 << 20,
        anchor: None,
        signing_key: None,
        encryption: Encryption::default(),
        gaps_start_empty: false,
    };
    let Some(section) = section else {
        return record;
    };
    if let Some(path) = section.string("path") {
        record.path = section.source.resolve(path.value);
    }
    record.anchor = section
        .string("anchor")
        .map(|folder| section.source.resolve(folder.value));
    record.signing_key = section
        .string("signing_key")
        .map(|file| section.source.resolve(file.value));
    record.encryption = super::encryption::read(section, environment);
    record.node = section
        .string("node")
        .and_then(|found| read_name(section, "node", &found));
    record.durability = read_durability(section);
    if let Some(seal) = section.table("seal") {
        record.seal_rows = seal.number("rows", 1..10_000_000, record.seal_rows as u64) as usize;
        record.seal_age = seal.duration("age", record.seal_age);
        seal.finish();
    }
    if let Some(compact) = section.table("compact") {
        let default = record.compact_segments as u64;
        record.compact_segments = compact.number("segments", 0..100_000, default) as usize;
        compact.finish();
    }
    if let Some(retain) = section.table("retain") {
        record.retain = super::retain::read(&retain);
        retain.finish();
    }
    super::budget::read(section, &mut record);
    record.commit_wait_max = section.duration("commit_wait_max", record.commit_wait_max);
    if let Some(outcome) = section.string("outcome") {
        match outcome.value {
            "unknown" => {}
            "strict" => record.strict_outcomes = true,
            other => section.source.problem(
                &outcome.span,
                format!("`outcome` is \"unknown\" or \"strict\", not `{other}`"),
                None,
            ),
        }
    }
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
    section.finish();
    record
}

/// That calls are not recorded is said by a key of its own, and beside it nothing is said of how they would be.
fn read_durability(section: &Section<'_, '_>) -> Durability {
    let interval = section.duration("interval", Duration::from_millis(50));
    let durability = section.string("durability");
    let recording = section.string("recording");
    match recording.as_ref().map(|found| found.value) {
        None | Some("on") => {}
        Some("off") => {
            for key in ["durability", "interval", "outcome"] {
                if let Some(said) = section.raw(key) {
                    let message =
                        format!("`{key}` says how calls are recorded, and recording is off");
                    section.source.problem(&said.span(), message, None);
                }
            }
            return Durability::Off;
        }
        Some(other) => {
            let message = format!("`recording` is \"on\" or \"off\", not `{other}`");
            let span = recording.map_or(0..0, |found| found.span);
            section.source.problem(&span, message, None);
        }
    }
    let Some(found) = durability else {
        return Durability::Sync;
    };
    match found.value {
        "sync" => Durability::Sync,
        "interval" => Durability::Interval(interval),
        other => {
            let message = format!("`durability` is \"sync\" or \"interval\", not `{other}`");
            section.source.problem(&found.span, message, None);
            Durability::Sync
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
        connections_per_grant_max: count(
            "connections_per_grant_max",
            default.connections_per_grant_max,
        ),
        in_flight_max: count("in_flight_max", default.in_flight_max),
        in_flight_per_grant_max: count("in_flight_per_grant_max", default.in_flight_per_grant_max),
        streams_max: count("streams_max", default.streams_max),
        streams_per_grant_max: count("streams_per_grant_max", default.streams_per_grant_max),
        sessions_max: count("sessions_max", default.sessions_max),
        sessions_per_grant_max: count("sessions_per_grant_max", default.sessions_per_grant_max),
        children_max: count("children_max", default.children_max),
        counters_max: section.number("counters_max", 1..100_000_000, default.counters_max as u64)
            as usize,
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

/// Counters in all are bounded by what each grant may have: no grant can take those of another.
fn counters_fit(root: &Section<'_, '_>, limits: &Limits, grants: usize) {
    let could_be = limits.counters_per_grant.saturating_mul(grants);
    if could_be > limits.counters_max {
        let message = format!(
            "{grants} grants of {} counters each could have {could_be}, and `counters_max` is {}",
            limits.counters_per_grant, limits.counters_max
        );
        root.problem(
            message,
            Some("lower `counters_per_grant` or raise `counters_max` in [limits]"),
        );
    }
}

/// A name that can stand in a path, a file name and a metric.
pub(super) fn read_name(
    section: &Section<'_, '_>,
    what: &str,
    found: &Found<&str>,
) -> Option<String> {
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

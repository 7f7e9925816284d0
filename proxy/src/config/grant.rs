//! The `[[grant]]` sections: who may call, and under which policy.

use std::path::PathBuf;

use super::read::read_name;
use super::section::{Section, nearest};
use super::{Credential, GrantConfig, GrantLimits, Limits, Listen, ServerConfig, credential};

/// What grants refer to.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) servers: &'a [ServerConfig],
    pub(super) listen: &'a Listen,
    pub(super) limits: &'a Limits,
    pub(super) has_issuer: bool,
}

pub(super) fn read_grants(sections: &[Section<'_, '_>], given: Given<'_>) -> Vec<GrantConfig> {
    let Given {
        servers,
        listen,
        limits,
        has_issuer,
    } = given;
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
        let credential = credential::read(section, listen, has_issuer);
        let is_taken = grants
            .iter()
            .any(|other| other.server == server.value && clash(&other.credential, &credential));
        if is_taken {
            section.problem(
                format!(
                    "grant `{name}` is opened by the same as another grant of `{}`",
                    server.value
                ),
                None,
            );
        }
        let policy: Option<PathBuf> = section.file("policy");
        let shadow = section.files("shadow");
        let limits = read_limits(section.table("limits").as_ref(), limits);
        section.finish();
        grants.push(GrantConfig {
            name,
            server: server.value.to_owned(),
            credential,
            policy,
            shadow,
            limits,
        });
    }
    grants
}

fn read_limits(section: Option<&Section<'_, '_>>, limits: &Limits) -> GrantLimits {
    let usual = GrantLimits::of(limits);
    let Some(section) = section else {
        return usual;
    };
    let count = |key, usual: usize| section.number(key, 1..1_000_000, usual as u64) as usize;
    let limits = GrantLimits {
        connections_max: count("connections_max", usual.connections_max),
        in_flight_max: count("in_flight_max", usual.in_flight_max),
        streams_max: count("streams_max", usual.streams_max),
        sessions_max: count("sessions_max", usual.sessions_max),
    };
    section.finish();
    limits
}

/// Whether nothing could tell the callers of one from those of the other, or one token would serve both.
fn clash(one: &Credential, other: &Credential) -> bool {
    match (one.token_sha256, other.token_sha256) {
        (Some(one), Some(other)) => one == other,
        (None, None) => *one != Credential::default() && one == other,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

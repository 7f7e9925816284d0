//! The `[[grant]]` sections: who may call, and under which policy.

use std::path::PathBuf;

use super::read::read_name;
use super::section::{Section, nearest};
use super::{GrantConfig, ServerConfig};

pub(super) fn read_grants(
    sections: &[Section<'_, '_>],
    servers: &[ServerConfig],
) -> Vec<GrantConfig> {
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

//! What a grant asks of its caller: a token, a client certificate, an access token of the issuer.

use std::ops::Range;

use toml::de::DeValue;

use super::Listen;
use super::oauth::scope_token;
use super::section::{Found, Section};
use crate::certificate::{CertificateName, Subject};

/// What a caller shows to be given a grant: everything that is named here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credential {
    /// SHA-256 of its bearer token.
    pub token_sha256: Option<[u8; 32]>,
    /// Its client certificate.
    pub certificate: Option<CertificateName>,
    /// What its access token has to say.
    pub access: Option<AccessName>,
}

/// What an access token has to say to open a grant: everything that is named here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessName {
    /// Scopes that were given to it, all of them.
    pub scopes: Vec<String>,
    /// On whose behalf it speaks: `sub`.
    pub subject: Option<String>,
    /// The software it was given to: `client_id`, or `azp`.
    pub client: Option<String>,
}

const HINT: &str = "`weir token new` makes a token and prints its `sha256`";

/// Reads the credential of a `[[grant]]`.
pub(super) fn read(section: &Section<'_, '_>, listen: &Listen, has_issuer: bool) -> Credential {
    let credential = Credential {
        token_sha256: section.table("token").map(|token| read_token(&token)),
        certificate: read_certificate(section),
        access: section.table("oauth").map(|access| read_access(&access)),
    };
    let place = |key| section.raw(key).map_or(0..0, toml::Spanned::span);
    let problem = |span: &Range<usize>, message: &str, hint: &str| {
        section.source.problem(span, message, Some(hint.to_owned()));
    };
    let is_named = ["token", "certificate", "oauth"]
        .into_iter()
        .any(|key| section.raw(key).is_some());
    if !is_named {
        section.problem(
            "a grant needs a `token`, a `certificate` or `oauth`",
            Some(HINT),
        );
    }
    if credential.token_sha256.is_some() && credential.access.is_some() {
        problem(
            &place("oauth"),
            "a grant asks for a `token` or for `oauth`, not for both",
            "a request has room for one; write two grants",
        );
    }
    if credential.access.is_some() && !has_issuer {
        problem(
            &place("oauth"),
            "`oauth` in a grant needs an issuer",
            "add [oauth] with `issuer` and `resource`",
        );
    }
    if section.raw("certificate").is_some() && listen.client_ca.is_none() {
        problem(
            &place("certificate"),
            "`certificate` in a grant needs a CA that vouches for it",
            "add `client_ca` to [listen]",
        );
    }
    credential
}

/// The token of somebody who has nothing else.
pub(super) fn needed_token(section: &Section<'_, '_>, who: &str) -> [u8; 32] {
    let Some(token) = section.table("token") else {
        let message = format!("{who} needs `token = {{ sha256 = \"…\" }}`");
        section.problem(message, Some(HINT));
        return [0; 32];
    };
    read_token(&token)
}

fn read_token(token: &Section<'_, '_>) -> [u8; 32] {
    let mut digest = [0; 32];
    let found = token.needed_string("sha256", HINT);
    if !found.value.is_empty() && hex::decode_to_slice(found.value, &mut digest).is_err() {
        token.source.problem(
            &found.span,
            "`sha256` must be 64 hexadecimal digits",
            Some(HINT.to_owned()),
        );
    }
    token.finish();
    digest
}

/// `certificate = "CN=ops-agent"`, or a table with one kind of name.
fn read_certificate(section: &Section<'_, '_>) -> Option<CertificateName> {
    let found = section.raw("certificate")?;
    if let DeValue::String(text) = found.get_ref() {
        let found = Found {
            value: text.as_ref(),
            span: found.span(),
        };
        return read_subject(section, &found);
    }
    let table = section.table("certificate")?;
    let subject = table.string("subject");
    let uri = table.string("uri");
    let dns = table.string("dns");
    let email = table.string("email");
    let is_hashed = table.raw("sha256").is_some();
    table.finish();
    let names = [&subject, &uri, &dns, &email];
    let count = names.iter().filter(|name| name.is_some()).count() + usize::from(is_hashed);
    if count != 1 {
        table.problem(
            "`certificate` needs one of `subject`, `uri`, `dns`, `email` and `sha256`",
            Some("two of them could name two certificates; write two grants"),
        );
        return None;
    }
    if is_hashed {
        return Some(CertificateName::Sha256(read_fingerprints(&table)));
    }
    if let Some(found) = subject {
        return read_subject(&table, &found);
    }
    let plain = |found: Found<&str>| {
        let value = found.value.to_owned();
        if value.is_empty() || value.chars().any(|c| c.is_control() || c == '*') {
            table.source.problem(
                &found.span,
                format!(
                    "`{}` is no name that a certificate has",
                    value.escape_debug()
                ),
                Some("it is compared whole: no part of it stands for anything".to_owned()),
            );
        }
        value
    };
    uri.map(|found| CertificateName::Uri(plain(found)))
        .or_else(|| dns.map(|found| CertificateName::Dns(plain(found))))
        .or_else(|| email.map(|found| CertificateName::Email(plain(found))))
}

fn read_subject(section: &Section<'_, '_>, found: &Found<&str>) -> Option<CertificateName> {
    match Subject::parse(found.value) {
        Ok(subject) => Some(CertificateName::Subject(subject)),
        Err(why) => {
            section.source.problem(
                &found.span,
                format!("not the subject of a certificate: {why}"),
                Some("write the whole of it, as in \"CN=ops-agent,O=Example\"; `openssl x509 -noout -subject -nameopt RFC2253` prints it".to_owned()),
            );
            None
        }
    }
}

/// One fingerprint or several, as `openssl x509 -fingerprint -sha256` prints them or without the colons.
fn read_fingerprints(table: &Section<'_, '_>) -> Vec<[u8; 32]> {
    let is_one = table
        .raw("sha256")
        .is_some_and(|found| found.get_ref().is_str());
    let found = if is_one {
        table.string("sha256").into_iter().collect()
    } else {
        table.strings("sha256")
    };
    if !is_one && found.is_empty() {
        table.problem("`sha256` names no certificate", None);
    }
    let mut digests = Vec::new();
    for one in found {
        let mut digest = [0; 32];
        let digits = one.value.replace(':', "");
        if hex::decode_to_slice(digits, &mut digest).is_err() {
            table.source.problem(
                &one.span,
                "a certificate's `sha256` is 64 hexadecimal digits",
                Some("`openssl x509 -noout -fingerprint -sha256 -in FILE` prints it".to_owned()),
            );
        }
        digests.push(digest);
    }
    digests
}

fn read_access(access: &Section<'_, '_>) -> AccessName {
    let mut named = AccessName::default();
    if let Some(found) = access.string("scope") {
        named.scopes = found.value.split_whitespace().map(str::to_owned).collect();
        if named.scopes.is_empty() || !named.scopes.iter().all(|scope| scope_token(scope)) {
            access.source.problem(
                &found.span,
                "`scope` names scopes, with spaces between them",
                Some("such as \"weir:ops\"; a token must have them all".to_owned()),
            );
        }
    }
    let text = |key| access.string(key).map(|found| found.value.to_owned());
    named.subject = text("subject");
    named.client = text("client");
    access.finish();
    if named == AccessName::default() {
        access.problem(
            "`oauth` needs a `scope`, a `subject` or a `client`",
            Some("without one, every token of the issuer would open the grant"),
        );
    }
    named
}

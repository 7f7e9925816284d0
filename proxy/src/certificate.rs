//! What a client certificate says of its holder, and how a grant names one: whole and exactly, never by a part of it.
//!
//! A name is the whole subject, one subject alternative name, or the certificate itself by its SHA-256. A certificate whose
//! subject can be read in two ways (a part of several values, a type or a string nobody can write down, a control character)
//! has no subject here, so that no grant is opened by it.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate, X509Name};

/// A longer name is given in the record by the certificate's hash.
const PRINCIPAL_BYTES_MAX: usize = 256;

/// The parts a subject may have: as they are written, and their object identifiers.
const TYPES: [(&str, &str); 13] = [
    ("CN", "2.5.4.3"),
    ("SN", "2.5.4.4"),
    ("serialNumber", "2.5.4.5"),
    ("C", "2.5.4.6"),
    ("L", "2.5.4.7"),
    ("ST", "2.5.4.8"),
    ("STREET", "2.5.4.9"),
    ("O", "2.5.4.10"),
    ("OU", "2.5.4.11"),
    ("GN", "2.5.4.42"),
    ("UID", "0.9.2342.19200300.100.1.1"),
    ("DC", "0.9.2342.19200300.100.1.25"),
    ("emailAddress", "1.2.840.113549.1.9.1"),
];

/// How a grant names the certificate that opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateName {
    /// The whole subject.
    Subject(Subject),
    /// A subject alternative name of the kind URI, such as a SPIFFE id.
    Uri(String),
    /// A subject alternative name of the kind DNS.
    Dns(String),
    /// A subject alternative name of the kind email.
    Email(String),
    /// One of these certificates, by the SHA-256 of its DER.
    Sha256(Vec<[u8; 32]>),
}

/// A whole subject. Two are the same if they have the same parts with the same values, in whatever order: tools print them
/// in either.
#[derive(Debug, Clone)]
pub struct Subject(Vec<(&'static str, String)>);

impl PartialEq for Subject {
    fn eq(&self, other: &Self) -> bool {
        let sorted = |subject: &Self| {
            let mut parts = subject.0.clone();
            parts.sort_unstable();
            parts
        };
        self.0.len() == other.0.len() && sorted(self) == sorted(other)
    }
}

impl Eq for Subject {}

impl Subject {
    /// Reads `CN=ops-agent,O=Example`, as RFC 4514 writes it; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        for part in split(text)? {
            let Some((kind, value)) = part.split_once('=') else {
                return Err(format!("`{part}` is no part of a subject"));
            };
            let known = TYPES
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(kind.trim()));
            let Some((name, _)) = known else {
                let names: Vec<_> = TYPES.iter().map(|(name, _)| *name).collect();
                let (kind, names) = (kind.trim(), names.join(", "));
                return Err(format!("`{kind}` is none of {names}"));
            };
            let value = unescape(value)?;
            if value.is_empty() || value.chars().any(char::is_control) {
                return Err(format!("`{name}` has no value that can be written down"));
            }
            parts.push((*name, value));
        }
        Ok(Self(parts))
    }

    /// The subject of a certificate, if it can be read in one way only.
    fn of(name: &X509Name<'_>) -> Option<Self> {
        let mut parts = Vec::new();
        for relative in name.iter() {
            let mut attributes = relative.iter();
            let (Some(attribute), None) = (attributes.next(), attributes.next()) else {
                return None;
            };
            let id = attribute.attr_type().to_id_string();
            let (name, _) = TYPES.iter().find(|(_, known)| *known == id)?;
            let value = attribute.as_str().ok()?;
            if value.is_empty() || value.chars().any(char::is_control) {
                return None;
            }
            parts.push((*name, value.to_owned()));
        }
        (!parts.is_empty()).then_some(Self(parts))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_char(',')?;
            }
            write!(f, "{name}=")?;
            let last = value.chars().count().saturating_sub(1);
            for (at, c) in value.chars().enumerate() {
                let is_edge_space = c == ' ' && (at == 0 || at == last);
                if is_edge_space || ",+\"\\<>;=".contains(c) || (c == '#' && at == 0) {
                    f.write_char('\\')?;
                }
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// The parts between commas that are not escaped.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut parts = vec![String::new()];
    let mut is_escaped = false;
    for c in text.chars() {
        match c {
            ',' if !is_escaped => parts.push(String::new()),
            '+' if !is_escaped => {
                return Err("a part with several values (`+`) names nobody".to_owned());
            }
            c => parts.last_mut().map_or((), |part| part.push(c)),
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    Ok(parts)
}

/// A value without its escapes and the spaces around it.
fn unescape(value: &str) -> Result<String, String> {
    let wrong = || format!("`{value}` has an escape that is none");
    let mut bytes = Vec::new();
    let mut kept = 0;
    let mut rest = value.trim_start().chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
            if c != ' ' {
                kept = bytes.len();
            }
            continue;
        }
        let escaped = rest.next().ok_or_else(wrong)?;
        match (escaped.to_digit(16), rest.clone().next()) {
            (Some(high), Some(low)) if low.is_ascii_hexdigit() => {
                rest.next();
                bytes.push((high * 16 + low.to_digit(16).unwrap_or(0)) as u8);
            }
            _ => bytes.extend(escaped.encode_utf8(&mut [0; 4]).bytes()),
        }
        kept = bytes.len();
    }
    bytes.truncate(kept);
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// A client certificate that a CA of the configuration vouches for.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    pub(crate) sha256: [u8; 32],
    pub(crate) not_after: SystemTime,
    subject: Option<Subject>,
    uris: Vec<String>,
    dns: Vec<String>,
    emails: Vec<String>,
}

impl ClientCertificate {
    /// None where the certificate cannot be read as a whole; TLS has verified it before.
    pub(crate) fn parse(der: &CertificateDer<'_>) -> Option<Self> {
        let (rest, parsed) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let not_after = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
        let mut certificate = Self {
            sha256: Sha256::digest(der).into(),
            not_after: SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(not_after))?,
            subject: Subject::of(parsed.subject()),
            uris: Vec::new(),
            dns: Vec::new(),
            emails: Vec::new(),
        };
        let names = parsed.subject_alternative_name().ok()?;
        for name in names.iter().flat_map(|names| &names.value.general_names) {
            if let GeneralName::URI(uri) = name {
                certificate.uris.push((*uri).to_owned());
            } else if let GeneralName::DNSName(dns) = name {
                certificate.dns.push((*dns).to_owned());
            } else if let GeneralName::RFC822Name(email) = name {
                certificate.emails.push((*email).to_owned());
            }
        }
        Some(certificate)
    }

    /// Whether this is what a grant names.
    pub(crate) fn is_named(&self, name: &CertificateName) -> bool {
        match name {
            CertificateName::Subject(subject) => self.subject.as_ref() == Some(subject),
            CertificateName::Uri(uri) => self.uris.contains(uri),
            CertificateName::Dns(dns) => self.dns.iter().any(|own| own.eq_ignore_ascii_case(dns)),
            CertificateName::Email(email) => self.emails.contains(email),
            CertificateName::Sha256(digests) => digests.contains(&self.sha256),
        }
    }

    /// Who this is, for the record: by the name that opened the grant.
    pub(crate) fn principal(&self, name: &CertificateName) -> Arc<str> {
        let text = match name {
            CertificateName::Uri(text)
            | CertificateName::Dns(text)
            | CertificateName::Email(text) => Some(text.clone()),
            CertificateName::Subject(_) | CertificateName::Sha256(_) => {
                self.subject.as_ref().map(ToString::to_string)
            }
        };
        let text = text.filter(|text| text.len() <= PRINCIPAL_BYTES_MAX);
        Arc::from(text.unwrap_or_else(|| format!("sha256:{}", hex::encode(self.sha256))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn subject(text: &str) -> Subject {
        Subject::parse(text).unwrap()
    }

    fn certificate(names: &[(DnType, &str)], alternatives: Vec<SanType>) -> ClientCertificate {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for (kind, value) in names {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names = alternatives;
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        ClientCertificate::parse(made.der()).unwrap()
    }

    #[test]
    fn a_subject_is_its_parts_in_whatever_order_and_nothing_less() {
        let own = certificate(
            &[
                (DnType::CommonName, "ops-agent"),
                (DnType::OrganizationName, "Example, Ltd"),
            ],
            vec![],
        );
        let is = |text: &str| own.is_named(&CertificateName::Subject(subject(text)));
        assert!(is(r"CN=ops-agent,O=Example\, Ltd"));
        assert!(is(r" o = Example\2C Ltd , cn = ops-agent "));
        for other in [
            "CN=ops-agent",
            r"O=Example\, Ltd",
            r"CN=ops-agen,O=Example\, Ltd",
            r"CN=Ops-agent,O=Example\, Ltd",
            r"CN=ops-agent,CN=ops-agent,O=Example\, Ltd",
            r"OU=ops-agent,O=Example\, Ltd",
        ] {
            assert!(!is(other), "{other}");
        }
        let name = CertificateName::Sha256(vec![own.sha256]);
        assert_eq!(&*own.principal(&name), r"CN=ops-agent,O=Example\, Ltd");
        assert_eq!(subject(&own.principal(&name)), own.subject.unwrap());
    }

    #[test]
    fn a_subject_that_can_be_read_in_two_ways_is_none() {
        for value in ["ops\0.evil", "ops\nCN=admin"] {
            let odd = certificate(&[(DnType::CommonName, value)], vec![]);
            assert!(odd.subject.is_none(), "{value:?}");
            let name = CertificateName::Sha256(vec![odd.sha256]);
            assert!(odd.principal(&name).starts_with("sha256:"));
        }
        // A type that nobody can write in the configuration is not passed over.
        let custom = DnType::CustomDnType(vec![1, 2, 3, 4]);
        let odd = certificate(&[(DnType::CommonName, "ops"), (custom, "x")], vec![]);
        assert!(!odd.is_named(&CertificateName::Subject(subject("CN=ops"))));
    }

    #[test]
    fn a_subject_with_an_equals_sign_or_a_comma_in_its_value_is_not_two_parts() {
        let sly = certificate(&[(DnType::CommonName, "ops,O=Example")], vec![]);
        assert!(!sly.is_named(&CertificateName::Subject(subject("CN=ops,O=Example"))));
        let name = CertificateName::Sha256(vec![sly.sha256]);
        assert_eq!(&*sly.principal(&name), r"CN=ops\,O\=Example");
    }

    #[test]
    fn alternative_names_are_compared_whole() {
        let uri = SanType::URI("spiffe://example/ops".try_into().unwrap());
        let dns = SanType::DnsName("ops.example".try_into().unwrap());
        let own = certificate(&[], vec![uri, dns]);
        assert!(own.is_named(&CertificateName::Uri("spiffe://example/ops".into())));
        assert!(own.is_named(&CertificateName::Dns("OPS.example".into())));
        assert!(!own.is_named(&CertificateName::Uri("spiffe://example/op".into())));
        assert!(!own.is_named(&CertificateName::Dns("example".into())));
        assert!(!own.is_named(&CertificateName::Email("ops.example".into())));
    }

    #[test]
    fn what_is_no_subject_says_why() {
        for (text, why) in [
            ("ops-agent", "no part of a subject"),
            ("", "no part of a subject"),
            ("/CN=ops", "none of CN"),
            ("CN=a+O=b", "several values"),
            ("CN=", "no value"),
            ("XY=ops", "none of CN"),
            (r"CN=ops\", "escape"),
        ] {
            let error = Subject::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}

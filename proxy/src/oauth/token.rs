//! One access token (RFC 9068): who signed it, for whom, until when, and what it gives.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::keys::KeySet;
use crate::config::{AccessName, OauthConfig};

/// A token's length. Those of real issuers have one or two thousand bytes.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// A name in a token: its key's, its subject's, its client's.
const NAME_BYTES_MAX: usize = 256;

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unaccepted {
    /// It is no signed JWT, or not one in which everything is said that has to be.
    Malformed,
    /// It is a JWT for something else than access, or one with conditions that are not known here.
    Kind,
    /// It is signed in a way that is not accepted, or not at all.
    Algorithm,
    /// The issuer has no such key.
    Key,
    /// The signature is not that key's.
    Signature,
    /// Somebody else issued it.
    Issuer,
    /// It is made for something else.
    Audience,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    TooEarly,
    /// It belongs to a holder of a key or certificate that this caller did not show.
    Bound,
    /// The issuer's keys cannot be had: nobody can tell.
    NoKeys,
}

impl Unaccepted {
    /// The label in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "access_malformed",
            Self::Kind => "access_kind",
            Self::Algorithm => "access_algorithm",
            Self::Key => "access_key",
            Self::Signature => "access_signature",
            Self::Issuer => "access_issuer",
            Self::Audience => "access_audience",
            Self::Expired => "access_expired",
            Self::TooEarly => "access_too_early",
            Self::Bound => "access_bound",
            Self::NoKeys => "access_no_keys",
        }
    }

    /// What the caller is told: more than that it is wrong only of what the issuer has signed.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Malformed | Self::Kind | Self::Algorithm | Self::Key | Self::Signature => {
                "the access token is not valid"
            }
            Self::Issuer => "the access token is another issuer's",
            Self::Audience => "the access token is not for this server",
            Self::Expired => "the access token has expired",
            Self::TooEarly => "the access token is not valid yet",
            Self::Bound => "the access token is bound to a key or certificate that was not shown",
            Self::NoKeys => "the issuer's keys cannot be had",
        }
    }
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Access {
    subject: Option<String>,
    client: Option<String>,
    scopes: Vec<String>,
    /// The SHA-256 of the client certificate without which it is worth nothing (RFC 8705).
    pub(crate) bound_to: Option<[u8; 32]>,
    /// When it opens nothing any more.
    pub(crate) until: SystemTime,
}

impl Access {
    /// Whether it says what a grant wants to hear.
    pub(crate) fn is_named(&self, name: &AccessName) -> bool {
        let same =
            |wanted: &Option<String>, said: &Option<String>| wanted.is_none() || wanted == said;
        name.scopes.iter().all(|scope| self.scopes.contains(scope))
            && same(&name.subject, &self.subject)
            && same(&name.client, &self.client)
    }

    /// Who this is, for the record.
    pub(crate) fn principal(&self) -> Arc<str> {
        let name = self.subject.as_ref().or(self.client.as_ref());
        Arc::from(name.map_or("", String::as_str))
    }

    /// Whose sessions these are: another client that speaks for the same subject has its own.
    pub(crate) fn holder(&self) -> String {
        let text = |name: &Option<String>| name.as_deref().unwrap_or_default().to_owned();
        format!("{}\0{}", text(&self.subject), text(&self.client))
    }
}

/// What a token says before anything of it is believed: how to verify it. An address or a key that it brings along is not
/// looked at.
pub(super) struct Head {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
}

#[derive(Deserialize)]
struct Fields {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<IgnoredAny>,
}

impl Head {
    pub(super) fn read(token: &str) -> Result<Self, Unaccepted> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Unaccepted::Malformed);
        }
        let mut parts = token.split('.');
        let (Some(head), Some(_), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Unaccepted::Malformed);
        };
        let head = URL_SAFE_NO_PAD
            .decode(head)
            .map_err(|_| Unaccepted::Malformed)?;
        let fields: Fields = serde_json::from_slice(&head).map_err(|_| Unaccepted::Malformed)?;
        let is_access = match fields.typ.as_deref().map(str::to_ascii_lowercase) {
            None => true,
            Some(kind) => matches!(kind.as_str(), "at+jwt" | "application/at+jwt" | "jwt"),
        };
        if !is_access || fields.crit.is_some() {
            return Err(Unaccepted::Kind);
        }
        // `none` is no algorithm here, and neither is one with a shared secret: no key of an issuer has it.
        let algorithm = Algorithm::from_str(&fields.alg).map_err(|_| Unaccepted::Algorithm)?;
        let is_shared = matches!(
            algorithm,
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512
        );
        if is_shared || signature.is_empty() {
            return Err(Unaccepted::Algorithm);
        }
        if fields
            .kid
            .as_ref()
            .is_some_and(|id| id.len() > NAME_BYTES_MAX)
        {
            return Err(Unaccepted::Malformed);
        }
        Ok(Self {
            algorithm,
            key_id: fields.kid,
        })
    }
}

#[derive(Deserialize)]
struct Claims {
    /// One issuer: a list of them would be read in two ways.
    iss: String,
    exp: serde_json::Number,
    sub: Option<String>,
    client_id: Option<String>,
    azp: Option<String>,
    scope: Option<Scopes>,
    scp: Option<Scopes>,
    cnf: Option<serde_json::Map<String, serde_json::Value>>,
}

/// `scope` is a text of words; some issuers write `scp`, and a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scopes {
    Words(String),
    List(Vec<String>),
}

/// Believes a token that one of these keys signed and that was made for this server, now.
pub(super) fn accept(
    token: &str,
    head: &Head,
    keys: &KeySet,
    config: &OauthConfig,
    server: &str,
) -> Result<Access, Unaccepted> {
    let mut wanted = Validation::new(head.algorithm);
    wanted.leeway = config.leeway.as_secs();
    wanted.validate_nbf = true;
    wanted.set_required_spec_claims(&["exp", "iss", "aud"]);
    wanted.set_issuer(&[&config.issuer]);
    let mut audience = config.audience.clone();
    audience.extend([config.resource.clone(), config.resource_of(server)]);
    wanted.set_audience(&audience);
    let mut why = Unaccepted::Key;
    for key in keys.fitting(head) {
        match jsonwebtoken::decode::<Claims>(token, &key.verifies, &wanted) {
            Ok(token) => return Access::of(token.claims, config),
            Err(error) => why = why_not(error.kind()),
        }
        // The issuer has two keys of this name: another may be the one.
        if why != Unaccepted::Signature {
            break;
        }
    }
    Err(why)
}

fn why_not(error: &ErrorKind) -> Unaccepted {
    let known = [
        (
            matches!(error, ErrorKind::InvalidSignature),
            Unaccepted::Signature,
        ),
        (
            matches!(error, ErrorKind::ExpiredSignature),
            Unaccepted::Expired,
        ),
        (
            matches!(error, ErrorKind::ImmatureSignature),
            Unaccepted::TooEarly,
        ),
        (
            matches!(error, ErrorKind::InvalidIssuer),
            Unaccepted::Issuer,
        ),
        (
            matches!(error, ErrorKind::InvalidAudience),
            Unaccepted::Audience,
        ),
        (
            matches!(error, ErrorKind::InvalidAlgorithm),
            Unaccepted::Algorithm,
        ),
    ];
    let found = known.into_iter().find(|(is_it, _)| *is_it);
    found.map_or(Unaccepted::Malformed, |(_, why)| why)
}

impl Access {
    fn of(claims: Claims, config: &OauthConfig) -> Result<Self, Unaccepted> {
        let malformed = Unaccepted::Malformed;
        if claims.iss != config.issuer {
            return Err(Unaccepted::Issuer);
        }
        let expires = claims.exp.as_f64().ok_or(malformed)?;
        let expires = Duration::try_from_secs_f64(expires).map_err(|_| malformed)?;
        let until = expires
            .checked_add(config.leeway)
            .and_then(|end| SystemTime::UNIX_EPOCH.checked_add(end))
            .ok_or(malformed)?;
        // The library counts in whole seconds: a stream that this ended must not be opened again.
        if until <= SystemTime::now() {
            return Err(Unaccepted::Expired);
        }
        let client = claims.client_id.or(claims.azp);
        for name in [&claims.sub, &client] {
            let fits = |name: &String| {
                !name.is_empty()
                    && name.len() <= NAME_BYTES_MAX
                    && !name.chars().any(char::is_control)
            };
            if !name.as_ref().is_none_or(fits) {
                return Err(malformed);
            }
        }
        if claims.sub.is_none() && client.is_none() {
            return Err(malformed);
        }
        let given = [claims.scope, claims.scp].into_iter().flatten();
        let scopes = given.flat_map(|scopes| match scopes {
            Scopes::Words(text) => text.split(' ').map(str::to_owned).collect(),
            Scopes::List(list) => list,
        });
        let bound_to = match claims.cnf {
            Some(confirmation) => Some(thumbprint(&confirmation).ok_or(Unaccepted::Bound)?),
            None => None,
        };
        Ok(Self {
            subject: claims.sub,
            client,
            scopes: scopes.filter(|scope| !scope.is_empty()).collect(),
            bound_to,
            until,
        })
    }
}

/// The certificate that a token is bound to. Other proofs of possession (DPoP) are not known here, and a token that asks for
/// one is not taken without.
fn thumbprint(confirmation: &serde_json::Map<String, serde_json::Value>) -> Option<[u8; 32]> {
    let mut members = confirmation.iter();
    let (Some((name, value)), None) = (members.next(), members.next()) else {
        return None;
    };
    let digest = (name == "x5t#S256").then(|| value.as_str())??;
    URL_SAFE_NO_PAD.decode(digest).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;

//! Where an issuer's keys come from: its metadata (RFC 8414, or OpenID Connect Discovery), and the key set that it names.
//!
//! Read with the HTTP client and the trust of upstreams: nothing is retried, no redirect is followed, and everything has a
//! bound. Metadata of another issuer is not believed.

use std::time::Duration;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;

use super::keys::KeySet;
use crate::config::OauthConfig;
use crate::config::oauth::is_safe;
use crate::upstream::{Connector, Versions};

/// From the connection to the last byte.
const PATIENCE: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A document's length: a set of a hundred RSA keys with their certificates is below it.
const DOCUMENT_BYTES_MAX: usize = 512 * 1024;

/// Where the keys of one issuer come from.
pub(super) struct Source {
    issuer: String,
    jwks: Option<Uri>,
    client: Client<Connector, Empty<Bytes>>,
}

/// What an issuer says of itself, as far as it matters here.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl Source {
    /// The error is one line for the operator.
    pub(super) async fn new(config: &OauthConfig) -> Result<Self, String> {
        let issuer: Uri = config
            .issuer
            .parse()
            .map_err(|_| "`issuer` is no address".to_owned())?;
        let target = config.jwks.as_ref().unwrap_or(&issuer);
        let connector =
            Connector::new(target, config.ca.as_deref(), Versions::One, CONNECT_TIMEOUT).await?;
        let client = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .build(connector);
        Ok(Self {
            issuer: config.issuer.clone(),
            jwks: config.jwks.clone(),
            client,
        })
    }

    /// Reads the keys as they are now.
    pub(super) async fn keys(&self) -> Result<KeySet, String> {
        let jwks = match &self.jwks {
            Some(jwks) => jwks.clone(),
            None => self.discover().await?,
        };
        let document = self.document(&jwks).await?;
        KeySet::parse(&document).map_err(|why| format!("{jwks}: {why}"))
    }

    /// The first metadata that is there, in the order in which MCP clients look for it.
    async fn discover(&self) -> Result<Uri, String> {
        let mut faults = Vec::new();
        for place in places(&self.issuer) {
            match self.metadata(&place).await {
                Ok(jwks) => return Ok(jwks),
                Err(why) => faults.push(why),
            }
        }
        Err(faults.join("; "))
    }

    async fn metadata(&self, place: &str) -> Result<Uri, String> {
        let say = |why: &str| format!("{place}: {why}");
        let uri: Uri = place.parse().map_err(|_| say("no address"))?;
        let document = self.document(&uri).await?;
        let metadata: Metadata = serde_json::from_slice(&document)
            .map_err(|_| say("not the metadata of an authorisation server"))?;
        if metadata.issuer != self.issuer {
            return Err(say(&format!(
                "it is the metadata of `{}`, not of `{}`",
                metadata.issuer.escape_debug(),
                self.issuer
            )));
        }
        let jwks: Option<Uri> = metadata.jwks_uri.parse().ok();
        jwks.filter(is_safe)
            .ok_or_else(|| say("`jwks_uri` is no https address"))
    }

    async fn document(&self, uri: &Uri) -> Result<Bytes, String> {
        let say = |why: String| format!("{uri}: {why}");
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri.clone();
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(ACCEPT, json);
        let reading = async {
            let response = self.client.request(request).await.map_err(|error| {
                let cause = std::error::Error::source(&error);
                say(cause.map_or_else(|| error.to_string(), ToString::to_string))
            })?;
            if response.status() != StatusCode::OK {
                return Err(say(format!("status {}", response.status().as_u16())));
            }
            let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX);
            let body = body
                .collect()
                .await
                .map_err(|error| say(error.to_string()))?;
            Ok(body.to_bytes())
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .map_err(|_| say("no answer in time".to_owned()))?
    }
}

/// Where the metadata of an issuer may be.
fn places(issuer: &str) -> Vec<String> {
    const OAUTH: &str = "/.well-known/oauth-authorization-server";
    const OPENID: &str = "/.well-known/openid-configuration";
    let whole = issuer.trim_end_matches('/');
    let authority = whole.find("://").map_or(0, |at| at + 3);
    let path_at = whole
        .get(authority..)
        .and_then(|rest| rest.find('/'))
        .map_or(whole.len(), |at| authority + at);
    let (origin, path) = whole.split_at(path_at);
    let mut places = vec![
        format!("{origin}{OAUTH}{path}"),
        format!("{origin}{OPENID}{path}"),
    ];
    if !path.is_empty() {
        places.push(format!("{whole}{OPENID}"));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn metadata_is_looked_for_where_the_specifications_put_it() {
        assert_eq!(
            places("https://login.example"),
            [
                "https://login.example/.well-known/oauth-authorization-server",
                "https://login.example/.well-known/openid-configuration",
            ]
        );
        assert_eq!(
            places("https://login.example:8443/realms/ops/"),
            [
                "https://login.example:8443/.well-known/oauth-authorization-server/realms/ops",
                "https://login.example:8443/.well-known/openid-configuration/realms/ops",
                "https://login.example:8443/realms/ops/.well-known/openid-configuration",
            ]
        );
    }
}

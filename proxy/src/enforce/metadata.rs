//! What a client is told of where it gets an access token: protected-resource metadata (RFC 9728), and the challenge that
//! names it. Only for servers that an access token can open, and only where there is an issuer.

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use super::reply::{self, Body, with};
use crate::gate::Gate;

/// Where the metadata of this host is, and with a server's path behind it, that of a server.
const PLACE: &str = "/.well-known/oauth-protected-resource";

/// The answer to a request for metadata; none if the path is another.
pub(super) fn answer(gate: &Gate, head: &Parts) -> Option<Response<Body>> {
    let rest = head.uri.path().strip_prefix(PLACE)?;
    let document = match server_of(rest) {
        Some(server) => document(gate, server),
        None if matches!(rest, "" | "/") => host_document(gate),
        None => None,
    };
    let Some(document) = document else {
        return Some(reply::plain(
            StatusCode::NOT_FOUND,
            "no access token opens a server here",
        ));
    };
    if head.method != Method::GET {
        let response = reply::plain(StatusCode::METHOD_NOT_ALLOWED, "use GET");
        return Some(with(response, ALLOW, "GET"));
    }
    let response = reply::whole(StatusCode::OK, document.to_string().into());
    let response = with(response, CONTENT_TYPE, "application/json");
    Some(with(response, CACHE_CONTROL, "no-store"))
}

/// `/<name>/mcp`.
fn server_of(path: &str) -> Option<&str> {
    let server = path.strip_prefix('/')?.strip_suffix("/mcp")?;
    (!server.is_empty() && !server.contains('/')).then_some(server)
}

fn document(gate: &Gate, server: &str) -> Option<serde_json::Value> {
    let issuer = gate.issuer.load_full()?;
    let grants = gate.grants();
    let scopes = grants.scopes(server)?;
    let mut document = json!({
        "resource": issuer.config().resource_of(server),
        "resource_name": format!("{server}, behind Weir"),
        "authorization_servers": [issuer.config().issuer],
        "bearer_methods_supported": ["header"],
    });
    if let (false, Some(members)) = (scopes.is_empty(), document.as_object_mut()) {
        members.insert("scopes_supported".to_owned(), json!(scopes));
    }
    Some(document)
}

/// That of all servers together, for clients that only ask there.
fn host_document(gate: &Gate) -> Option<serde_json::Value> {
    let issuer = gate.issuer.load_full()?;
    let grants = gate.grants();
    let open: Vec<_> = gate
        .servers
        .iter()
        .filter_map(|server| grants.scopes(&server.name))
        .collect();
    if open.is_empty() {
        return None;
    }
    let mut scopes: Vec<&str> = open.into_iter().flatten().collect();
    scopes.sort_unstable();
    scopes.dedup();
    Some(json!({
        "resource": issuer.config().resource,
        "resource_name": "Weir",
        "authorization_servers": [issuer.config().issuer],
        "bearer_methods_supported": ["header"],
        "scopes_supported": scopes,
    }))
}

/// `WWW-Authenticate` for this server. A request that showed no token hears of no error (RFC 6750, 3.1).
pub(super) fn challenge(gate: &Gate, server: &str, error: Option<&str>, text: &str) -> HeaderValue {
    let mut challenge = String::from("Bearer realm=\"weir\"");
    let grants = gate.grants();
    if let (Some(issuer), Some(scopes)) = (gate.issuer.load_full(), grants.scopes(server)) {
        let resource = &issuer.config().resource;
        challenge.extend([format!(
            ", resource_metadata=\"{resource}{PLACE}/{server}/mcp\""
        )]);
        if !scopes.is_empty() {
            challenge.extend([format!(", scope=\"{}\"", scopes.join(" "))]);
        }
    }
    if let Some(error) = error {
        challenge.extend([format!(", error=\"{error}\", error_description=\"{text}\"")]);
    }
    // Its parts were checked when the configuration was read.
    HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static("Bearer realm=\"weir\""))
}

//! Which headers cross Weir, in either direction.

use http::header::CONNECTION;
use http::{HeaderMap, HeaderName};

/// What a client may say to a server. Everything else stays here: credentials, cookies and hop-by-hop headers above all,
/// but also the unknown, since a header such as `X-HTTP-Method-Override` changes what the judged bytes mean.
const TOWARDS_SERVER: [&str; 8] = [
    "accept",
    "accept-language",
    "baggage",
    "last-event-id",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-request-id",
];

/// What a server may not say to a client: what belongs to its own connection (RFC 9110, 7.6.1), what is a credential or
/// asks for one, and what would lead the client past Weir or open Weir to other origins.
const NOT_TOWARDS_CLIENT: [&str; 19] = [
    "alt-svc",
    "clear-site-data",
    "connection",
    "content-length",
    "content-location",
    "keep-alive",
    "location",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-connection",
    "refresh",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "www-authenticate",
];

pub(super) fn towards_server(given: &HeaderMap) -> HeaderMap {
    let named = named_by_connection(given);
    let mut picked = HeaderMap::with_capacity(given.len());
    for (name, value) in given {
        let passes = TOWARDS_SERVER.contains(&name.as_str()) || name.as_str().starts_with("mcp-");
        if passes && !named.contains(name) {
            picked.append(name.clone(), value.clone());
        }
    }
    picked
}

/// Nearly everything goes down, so what does not is taken out.
pub(super) fn towards_client(mut given: HeaderMap) -> HeaderMap {
    let stays = |name: &&HeaderName| {
        NOT_TOWARDS_CLIENT.contains(&name.as_str()) || name.as_str().starts_with("access-control-")
    };
    let mut dropped = named_by_connection(&given);
    dropped.extend(given.keys().filter(stays).cloned());
    for name in dropped {
        given.remove(name);
    }
    given
}

/// What a `Connection` header says is for this connection alone.
fn named_by_connection(given: &HeaderMap) -> Vec<HeaderName> {
    given
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    fn of(names: &[&'static str]) -> HeaderMap {
        names
            .iter()
            .map(|name| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_static("x"),
                )
            })
            .collect()
    }

    #[test]
    fn only_what_is_the_servers_business_goes_up() {
        let given = of(&[
            "authorization",
            "cookie",
            "proxy-authorization",
            "x-api-key",
            "host",
            "forwarded",
            "x-forwarded-for",
            "x-http-method-override",
            "origin",
            "te",
            "content-encoding",
            "content-length",
            "transfer-encoding",
            "accept",
            "mcp-session-id",
            "mcp-protocol-version",
            "mcp-method",
            "mcp-param-region",
            "last-event-id",
            "traceparent",
        ]);
        assert_eq!(
            names(&towards_server(&given)),
            [
                "accept",
                "last-event-id",
                "mcp-method",
                "mcp-param-region",
                "mcp-protocol-version",
                "mcp-session-id",
                "traceparent"
            ]
        );
    }

    #[test]
    fn what_belongs_to_the_servers_connection_or_origin_stays_there() {
        let mut given = of(&[
            "content-type",
            "mcp-session-id",
            "x-hop",
            "set-cookie",
            "location",
            "transfer-encoding",
            "access-control-allow-origin",
            "www-authenticate",
            "alt-svc",
            "retry-after",
        ]);
        given.insert("connection", HeaderValue::from_static("keep-alive, X-Hop"));
        assert_eq!(
            names(&towards_client(given)),
            ["content-type", "mcp-session-id", "retry-after"]
        );
    }
}

//! Servers, who may use them, and who vouches for whom.

use super::record::{REDACT, REDACT_KEYS, REDACT_RESULTS};
use crate::config::reference::Form::{
    Count, File, Files, Flag, Other, Path, Span, Text, Texts, Url, Values, Word,
};
use crate::config::reference::LeftOut::{Never, Told, Value};
use crate::config::reference::{Form, Key, key};

pub(super) const APPROVER: &[Key] = &[
    key("name", Text, Never, "who it is, for the record"),
    key("token", Form::Table(TOKEN), Never, "opens no grant"),
];

pub(super) const TOKEN: &[Key] = &[key(
    "sha256",
    Text,
    Never,
    "the hash of a bearer token; `weir token new` makes both",
)];

pub(super) const SERVER: &[Key] = &[
    key("name", Text, Never, "becomes the path `/NAME/mcp`"),
    key("url", Url, Told, "its address, if it speaks HTTP"),
    key(
        "transport",
        Word(&["http", "sse"]),
        Value("\"http\""),
        "how the server at `url` is spoken to: `\"http\"`, streamable HTTP; `\"sse\"`, the [older transport](transports.md#httpsse-2024-11-05), whose `url` mostly ends in `/sse`",
    ),
    key(
        "http2",
        Flag,
        Value("false"),
        "`true` offers HTTP/2 to a server at an https address, which may take it; all calls then share a connection ([what that means](decisions/0185-http2-to-servers.md)). Without it HTTP/1.1 is spoken",
    ),
    key(
        "command",
        Texts,
        Told,
        "its command line, if it speaks stdio; one child per session",
    ),
    key(
        "share",
        Word(&["session", "grant"]),
        Told,
        "for a `command` or `\"sse\"`: `\"session\"`, as if left out, gives each session a child (a stream) of its own; `\"grant\"` lets all sessions of one grant [share](transports.md#commands-on-stdio) one",
    ),
    key(
        "environment",
        Values,
        Told,
        "exactly what the command's environment holds; nothing is inherited. `{ env = \"NAME\" }` is taken from Weir's own environment",
    ),
    key("directory", Path, Value("\".\""), "where the command runs"),
    key(
        "headers",
        Values,
        Told,
        "sent to the server with every request. The server's credentials live here; the caller's `Authorization` and cookies are never passed on",
    ),
    key(
        "ca",
        File,
        Told,
        "a CA to trust for this server besides the system's",
    ),
    key(
        "profile",
        Text,
        Told,
        "what kind of server it is: `\"truenas\"`. Its operations, their classes and parameters are known then, its dispatcher and its escape hatch are read as what they do, and unsafe parameters are refused under every policy",
    ),
    key(
        "dispatch",
        Other("tables, `[[server.dispatch]]`"),
        Told,
        "how its calls are to be read, see [how a call is read](policy.md#how-a-call-is-read)",
    ),
    key(
        "alias",
        Other("tables, `[[server.alias]]`"),
        Told,
        "as `dispatch`",
    ),
    key("redact", Texts, Value("[]"), REDACT),
    key("redact_results", Texts, Value("[]"), REDACT_RESULTS),
    key("redact_keys", Texts, Value("[]"), REDACT_KEYS),
    key(
        "audit",
        Other("a level, or a table of levels by tool"),
        Value("\"request\""),
        "how much of its calls is written down: `\"metadata\"` (no arguments, no results), `\"request\"` (arguments) or `\"result\"` (both); or by tool, such as `{ \"*\" = \"request\", vm_list = \"result\" }`, where the exact name counts before the longest glob. Names, times, decisions, lengths and digests are always kept",
    ),
];

pub(super) const GRANT: &[Key] = &[
    key("name", Text, Never, "the caller's name in the record"),
    key("server", Text, Never, "the server it opens"),
    key("token", Form::Table(TOKEN), Told, "its bearer token"),
    key(
        "certificate",
        Other("a whole subject, or a table with one of `subject`, `uri`, `dns`, `email`, `sha256`"),
        Told,
        "the client certificate that opens it: `\"CN=ops-agent,O=Example\"`, a subject alternative name, or one fingerprint or several",
    ),
    key(
        "oauth",
        Form::Table(&[
            key(
                "scope",
                Text,
                Told,
                "scopes that it has, with spaces between them",
            ),
            key("subject", Text, Told, "`sub`"),
            key("client", Text, Told, "`client_id`, or `azp`"),
        ]),
        Told,
        "what an access token of the issuer must say: all that are given",
    ),
    key(
        "policy",
        File,
        Told,
        "the policy that its calls are judged by; without one, every call is denied: `(no policy)`",
    ),
    key(
        "shadow",
        Files,
        Value("[]"),
        "candidates: policies that judge the same calls alongside, each with its own counters, and are [never enforced](config.md#candidates-alongside)",
    ),
    key(
        "limits",
        Form::Table(&[
            key(
                "connections_max",
                Count(1, 1_000_000),
                Told,
                "connections on which it calls",
            ),
            key(
                "in_flight_max",
                Count(1, 1_000_000),
                Told,
                "requests under way",
            ),
            key("streams_max", Count(1, 1_000_000), Told, "open streams"),
            key(
                "sessions_max",
                Count(1, 1_000_000),
                Told,
                "sessions remembered",
            ),
        ]),
        Told,
        "how many it may have at once, where that is not what `[limits]` says of every grant",
    ),
];

pub(super) const OAUTH: &[Key] = &[
    key(
        "issuer",
        Url,
        Never,
        "the authorisation server, exactly as its tokens and its metadata name it; https, or http on this host",
    ),
    key(
        "resource",
        Url,
        Never,
        "how clients name this proxy, such as `\"https://weir.example:8443\"`; its host is one of `hosts`. Servers are `<resource>/<name>/mcp`",
    ),
    key(
        "audience",
        Texts,
        Value("[]"),
        "further values of `aud` that mean every server here",
    ),
    key(
        "jwks",
        Url,
        Told,
        "where the issuer's keys are; found through its metadata if left out",
    ),
    key(
        "ca",
        File,
        Told,
        "a file of certificates to trust for the issuer instead of the system's",
    ),
    key(
        "leeway",
        Span,
        Value("\"30s\""),
        "by how much its clock may differ; at most 5 minutes",
    ),
    key(
        "refresh",
        Span,
        Value("\"5m\""),
        "how often its keys are read again; at least a second",
    ),
    key(
        "stale_max",
        Span,
        Value("\"1h\""),
        "how long keys are believed that could not be read again; at least `refresh`",
    ),
];

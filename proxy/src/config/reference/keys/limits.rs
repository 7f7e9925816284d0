//! Where clients connect, and how many of everything there may be.

use crate::config::reference::Form::{Address, Bytes, Count, File, Span, Texts};
use crate::config::reference::LeftOut::{Never, Told, Value};
use crate::config::reference::{Form, Key, key};

pub(super) const LISTEN: &[Key] = &[
    key(
        "address",
        Address,
        Value("\"127.0.0.1:8443\""),
        "where clients connect; port 0 lets the system choose",
    ),
    key(
        "tls",
        Form::Table(&[
            key("certificate", File, Never, "the chain, leaf first (PEM)"),
            key("key", File, Never, "its private key (PEM)"),
        ]),
        Told,
        "a certificate of your own. Left out, a local CA and a certificate for this host are made in the state folder on the first start; clients then trust `ca.pem` there (`weir connect` says how)",
    ),
    key(
        "client_ca",
        File,
        Told,
        "the CAs, as PEM, that vouch for [client certificates](callers.md#client-certificates); at least one grant asks for one then. Left out, clients show none",
    ),
    key(
        "client_crl",
        File,
        Told,
        "what these CAs took back: PEM, one revocation list for each of them",
    ),
    key(
        "hosts",
        Texts,
        Value("[]"),
        "further host names that clients may use. A request that names another host is refused, so that a web page cannot reach the proxy by a name that it controls",
    ),
    key(
        "origins",
        Texts,
        Value("[]"),
        "web origins that may call, besides pages on the hosts above",
    ),
];

pub(super) const LIMITS: &[Key] = &[
    key(
        "body_bytes_max",
        Bytes(1024, 1 << 30),
        Value("4194304"),
        "a request body",
    ),
    key(
        "answer_bytes_max",
        Bytes(1024, 1 << 30),
        Value("33554432"),
        "an answer that is not a stream",
    ),
    key(
        "event_bytes_max",
        Bytes(1024, 1 << 30),
        Value("8388608"),
        "one event of a stream",
    ),
    key(
        "connections_max",
        Count(1, 1_000_000),
        Value("1024"),
        "connections open at once",
    ),
    key(
        "connections_per_grant_max",
        Count(1, 1_000_000),
        Value("512"),
        "of these, those on which one grant calls",
    ),
    key(
        "in_flight_max",
        Count(1, 1_000_000),
        Value("512"),
        "requests under way at once",
    ),
    key(
        "in_flight_per_grant_max",
        Count(1, 1_000_000),
        Value("256"),
        "of these, those of one grant",
    ),
    key(
        "streams_max",
        Count(1, 1_000_000),
        Value("1024"),
        "streams open at once that wait for nothing in particular",
    ),
    key(
        "streams_per_grant_max",
        Count(1, 1_000_000),
        Value("256"),
        "of these, those of one grant",
    ),
    key(
        "sessions_max",
        Count(1, 1_000_000),
        Value("4096"),
        "sessions remembered at once",
    ),
    key(
        "sessions_per_grant_max",
        Count(1, 1_000_000),
        Value("1024"),
        "of these, those of one grant",
    ),
    key(
        "children_max",
        Count(1, 1_000_000),
        Value("64"),
        "children (streams of the older transport) of one server at once, where each session has its own",
    ),
    key(
        "counters_max",
        Count(1, 100_000_000),
        Value("1000000"),
        "live counters of policies in all: `counters_per_grant` times the grants is not more",
    ),
    key(
        "counters_per_grant",
        Count(1, 1_000_000),
        Value("10000"),
        "live counters of one grant",
    ),
    key(
        "handshake_timeout",
        Span,
        Value("\"10s\""),
        "a TLS handshake",
    ),
    key(
        "header_read_timeout",
        Span,
        Value("\"75s\""),
        "a request's line and headers; also how long a connection is idle between requests",
    ),
    key(
        "body_read_timeout",
        Span,
        Value("\"30s\""),
        "a request body",
    ),
    key(
        "connect_timeout",
        Span,
        Value("\"10s\""),
        "reaching an upstream, or starting its command",
    ),
    key(
        "upstream_timeout",
        Span,
        Value("\"5m\""),
        "an upstream's answer, and the pause between two events of it",
    ),
    key(
        "drain_timeout",
        Span,
        Value("\"10s\""),
        "how long a stop waits for calls under way",
    ),
];

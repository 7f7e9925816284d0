//! The tables themselves, in the order of the file that `weir init` writes.

use super::Form::{Address, Count, File, Path, Span, Tables, Url, Values};
use super::LeftOut::{Never, Told, Value};
use super::{Table, key};

use callers::{APPROVER, GRANT, OAUTH, SERVER};
use limits::{LIMITS, LISTEN};
use record::{OBJECT_STORAGE, RECORD};

mod callers;
mod limits;
mod record;

pub(super) const SECTIONS: &[Table] = &[
    Table {
        heading: "",
        text: "What belongs to no section stands above all of them.",
        keys: &[key(
            "state",
            Path,
            Value("\"state\""),
            "the folder of the local CA and its certificate",
        )],
    },
    Table {
        heading: "[listen]",
        text: "Where clients connect.",
        keys: LISTEN,
    },
    Table {
        heading: "[record]",
        text: "Where calls are written down ([the record](record.md)).",
        keys: RECORD,
    },
    Table {
        heading: "[object_storage]",
        text: "A [copy of the record](object-storage.md) in S3-compatible storage, shipped while Weir serves. Left out, there is none.",
        keys: OBJECT_STORAGE,
    },
    Table {
        heading: "[admin]",
        text: "The address of whoever runs the proxy ([operation](operation.md)). Left out, there is none.",
        keys: &[
            key(
                "address",
                Address,
                Told,
                "`/healthz`, `/readyz`, `/status`, `/metrics` and [`/approvals`](approvals.md#over-http). A loopback address, since it has no TLS",
            ),
            key(
                "approvers",
                Tables(APPROVER),
                Told,
                "who may answer where a policy [asks a person](approvals.md); left out, nobody is asked",
            ),
        ],
    },
    Table {
        heading: "[approvals]",
        text: "Bounds of what waits for a [person](approvals.md).",
        keys: &[
            key(
                "wait_max",
                Span,
                Value("\"15m\""),
                "how long a call waits at most, whatever the policy's `timeout` says; up to 24 hours",
            ),
            key(
                "held_max",
                Count(1, 10_000),
                Value("64"),
                "calls that wait at once",
            ),
            key(
                "held_per_grant_max",
                Count(1, 10_000),
                Value("8"),
                "calls of one grant that wait at once",
            ),
            key(
                "keep_alive",
                Span,
                Value("\"5s\""),
                "how often a client that waits hears that it still does",
            ),
        ],
    },
    Table {
        heading: "[[server]]",
        text: "One server behind Weir, served at `https://ADDRESS/NAME/mcp`.",
        keys: SERVER,
    },
    Table {
        heading: "[[grant]]",
        text: "One caller's leave to use one server. It asks for a `token`, a `certificate` or `oauth`, or for a certificate and one of the others; [callers](callers.md) says how each is used.",
        keys: GRANT,
    },
    Table {
        heading: "[oauth]",
        text: "Whose [access tokens](callers.md#access-tokens) open grants. Left out, nobody's do.",
        keys: OAUTH,
    },
    Table {
        heading: "[telemetry]",
        text: "Who collects [traces](operation.md#traces). Left out, nobody does.",
        keys: &[
            key(
                "otlp",
                Url,
                Never,
                "the collector's address for OTLP over HTTP, without `/v1/traces`: `\"http://127.0.0.1:4318\"`; https where it is not on this host",
            ),
            key(
                "headers",
                Values,
                Told,
                "sent to it with every request: its credential",
            ),
            key(
                "ca",
                File,
                Told,
                "a file of certificates to trust for it instead of the system's",
            ),
        ],
    },
    Table {
        heading: "[limits]",
        text: "Everything has a bound. Left out, these suit a small host. Who comes too many is [told which one it was](operation.md#limits).",
        keys: LIMITS,
    },
];

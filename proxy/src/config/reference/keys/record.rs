//! What the record and its copy are told.

use crate::config::reference::Form::{
    Bytes, Count, Days, File, Flag, Other, Path, Size, Span, Text, Texts, Url, Word,
};
use crate::config::reference::LeftOut::{Never, Told, Value};
use crate::config::reference::{Form, Key, key};

pub(super) const REDACT: &str = "places in the arguments as they came that are never written down, as JSON pointers: `\"/params/password\"`; a segment `*` stands for every element or member ([secrets](config.md#secrets))";
pub(super) const REDACT_RESULTS: &str = "places in results, where the audit level keeps them";
pub(super) const REDACT_KEYS: &str = "names of keys whose values are secrets at any depth, in arguments and results, besides the [usual ones](config.md#secrets); `*` at either end stands for anything; case, `_`, `-` and `.` do not count";

pub(super) const RECORD: &[Key] = &[
    key(
        "path",
        Path,
        Value("\"record\""),
        "the record's folder. One proxy per folder: it is locked while the proxy runs",
    ),
    key(
        "durability",
        Word(&["sync", "interval"]),
        Value("\"sync\""),
        "`\"sync\"`: a decision is on disk before its call is forwarded. `\"interval\"`: up to `interval` of decisions are at risk when the power fails",
    ),
    key(
        "interval",
        Span,
        Value("\"50ms\""),
        "for `durability = \"interval\"`",
    ),
    key(
        "recording",
        Word(&["on", "off"]),
        Value("\"on\""),
        "`\"off\"`: calls are judged and limited, and [nothing of them is written down](record.md#recording-off)",
    ),
    key(
        "outcome",
        Word(&["unknown", "strict"]),
        Value("\"unknown\""),
        "`\"unknown\"`: an answer does not wait for the record of how its call ended; if that is lost, the call is `unknown` in the record. `\"strict\"`: an answer goes out once its outcome is durable (as `durability` has it); one that cannot be recorded is withheld, and the client told that the call may have taken effect",
    ),
    key(
        "seal",
        Form::Table(&[
            key(
                "rows",
                Count(1, 10_000_000),
                Value("131072"),
                "at so many rows",
            ),
            key("age", Span, Value("\"1m\""), "at this age"),
        ]),
        Told,
        "when rows move from the journal into a Parquet segment: whichever comes first",
    ),
    key(
        "node",
        Text,
        Told,
        "this proxy's name in the record; one is made and kept",
    ),
    key(
        "anchor",
        Path,
        Told,
        "a folder outside the record, best on another machine's mount, where every [checkpoint](record.md#evidence) goes too and none is ever changed; without one a cut tail cannot be noticed",
    ),
    key(
        "signing_key",
        Path,
        Told,
        "the private key that signs checkpoints, made on first start with its public key beside it (ending in `.pub`); `<record>.key` beside the record's folder",
    ),
    key(
        "encryption",
        Other("`{ keys = \"record.keys\" }`, `{ keys = { env = \"NAME\" } }` or `\"off\"`"),
        Told,
        "what calls carry is [encrypted](record.md#encryption) when it is sealed, by the last of the keys in this file of mode 0600, or in this variable; `weir key new` makes it and rotates. Left out, nothing is encrypted, and a record that was is not opened; `\"off\"` goes on with such a record in the clear",
    ),
    key(
        "compact",
        Form::Table(&[key(
            "segments",
            Count(0, 100_000),
            Value("64"),
            "so many; 0 joins none",
        )]),
        Told,
        "the small segments of a day that lasts are [joined](record.md#joined-files) once there are this many, those of a day that is over are joined too",
    ),
    key(
        "retain",
        Form::Table(&[
            key(
                "age",
                Days,
                Told,
                "those of so many days: `\"90d\"`, at most 36500",
            ),
            key(
                "bytes",
                Size(1),
                Told,
                "as many as have room in this: `\"50GB\"`",
            ),
        ]),
        Told,
        "which calls are [kept](record.md#retention): either or both; all if left out",
    ),
    key(
        "bytes_max",
        Size(512),
        Told,
        "what all files of the record may have together; beyond that calls are [refused](record.md#disk-budget). Nine tenths of the disk if left out",
    ),
    key(
        "reserve",
        Size(16),
        Told,
        "what is allocated ahead, as a part of that, for what must be written on a full disk; 64 MiB if left out",
    ),
    key(
        "commit_wait_max",
        Span,
        Value("\"5s\""),
        "how long a call waits for its decision to be durable before it is refused",
    ),
    key("redact", Texts, Value("[]"), REDACT),
    key("redact_results", Texts, Value("[]"), REDACT_RESULTS),
    key("redact_keys", Texts, Value("[]"), REDACT_KEYS),
    key(
        "redact_usual_keys",
        Flag,
        Value("true"),
        "`false` leaves out the usual names of secrets",
    ),
    key(
        "results",
        Form::Table(&[
            key(
                "inline_bytes_max",
                Bytes(0, 1 << 20),
                Value("16384"),
                "one up to this length stands in its row",
            ),
            key(
                "bytes_max",
                Bytes(0, 1 << 30),
                Value("33554432"),
                "one up to this length in a file beside the record; of a longer one only length and digest are kept",
            ),
        ]),
        Told,
        "how long results may be that audit level `result` keeps",
    ),
    key(
        "gaps",
        Word(&["full", "empty"]),
        Value("\"full\""),
        "where the record does not reach back over a limit's window (a new record, say after old ones were moved away): `\"full\"` lets such a limit start used up, `\"empty\"` lets it start fresh",
    ),
];

pub(super) const OBJECT_STORAGE: &[Key] = &[
    key(
        "url",
        Text,
        Never,
        "`\"s3://bucket/folder\"`; each record has a folder of its own",
    ),
    key(
        "endpoint",
        Url,
        Told,
        "where the service is, if it is not Amazon's",
    ),
    key(
        "region",
        Text,
        Told,
        "`us-east-1`, which other services mostly accept",
    ),
    key(
        "credentials",
        Other("table of values, or `\"machine\"`"),
        Told,
        "`{ access_key_id, secret_access_key, session_token }`; `\"machine\"`: those that Amazon's metadata service gives this machine. Left out, they are `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`",
    ),
    key(
        "ca",
        File,
        Told,
        "a file of certificates to trust besides the system's",
    ),
    key(
        "allow_http",
        Flag,
        Value("false"),
        "lets an `endpoint` without TLS be used that is not on this host",
    ),
    key(
        "every",
        Span,
        Value("\"30s\""),
        "how often what is new is shipped",
    ),
    key(
        "stop_wait_max",
        Span,
        Value("\"30s\""),
        "how long a stop waits for what is left to be shipped",
    ),
    key(
        "retention",
        Form::Table(&[
            key(
                "mode",
                Word(&["governance", "compliance"]),
                Never,
                "whether anybody can lift it",
            ),
            key(
                "days",
                Count(1, 36_500),
                Never,
                "for how many days from its writing",
            ),
        ]),
        Told,
        "for how long nobody may remove an object, where the bucket has Object Lock",
    ),
];

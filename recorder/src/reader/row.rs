//! Rows of a batch as plain values, for those who walk calls one by one.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, GenericListArray, Int64Array,
    PrimitiveArray, RecordBatch, StringArray,
};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};

use crate::{RecordError, Verdict};

/// A batch of calls seen as rows. Needs the columns [`CallRows::COLUMNS`].
#[derive(Debug)]
pub struct CallRows<'a> {
    seq: &'a Int64Array,
    finish_seq: &'a Int64Array,
    decided_at: Times<'a>,
    received_at: Times<'a>,
    finished_at: Times<'a>,
    words: [Word<'a>; 11],
    arguments: &'a StringArray,
    effective_arguments: &'a StringArray,
    via: &'a GenericListArray<i32>,
    redacted: &'a GenericListArray<i32>,
    given_back: &'a BooleanArray,
}

type Times<'a> = &'a PrimitiveArray<TimestampMicrosecondType>;

/// What a counter or a replay needs of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRow<'a> {
    /// Place in the log, and replay order.
    pub seq: i64,
    /// Place of its outcome, if it has one.
    pub finish_seq: Option<i64>,
    /// When it was decided, in microseconds since the epoch.
    pub decided_at: i64,
    /// When its body was complete.
    pub received_at: i64,
    /// When it ended: when a give-back takes effect.
    pub finished_at: Option<i64>,
    /// The upstream server.
    pub server: Option<&'a str>,
    /// The caller's grant.
    pub grant: Option<&'a str>,
    /// The session.
    pub session: Option<&'a str>,
    /// Name of the client's software.
    pub client_name: Option<&'a str>,
    /// Its version.
    pub client_version: Option<&'a str>,
    /// The tool name as it stood in the request.
    pub wire_tool: Option<&'a str>,
    /// The effective tool.
    pub tool: Option<&'a str>,
    /// How it was resolved.
    pub via: Vec<&'a str>,
    /// The wire arguments, redacted as configured.
    pub arguments: Option<&'a str>,
    /// The arguments that policy judged, where they differ.
    pub effective_arguments: Option<&'a str>,
    /// JSON pointers whose value was replaced.
    pub redacted: Vec<&'a str>,
    /// Allow or deny.
    pub verdict: Verdict,
    /// The rule that decided.
    pub rule: Option<&'a str>,
    /// Digest of the policy that judged.
    pub policy_digest: Option<&'a str>,
    /// Digest of the resolver that read the call.
    pub resolver_digest: Option<&'a str>,
    /// The reservation was returned at `finish_seq`.
    pub given_back: bool,
}

const WORDS: [&str; 11] = [
    "server",
    "grant",
    "session",
    "client_name",
    "client_version",
    "wire_tool",
    "tool",
    "verdict",
    "rule",
    "policy_digest",
    "resolver_digest",
];

impl<'a> CallRows<'a> {
    /// The columns that a batch must have to be seen as rows.
    pub const COLUMNS: &'static [&'static str] = &[
        "seq",
        "finish_seq",
        "decided_at",
        "received_at",
        "finished_at",
        "server",
        "grant",
        "session",
        "client_name",
        "client_version",
        "wire_tool",
        "tool",
        "via",
        "arguments",
        "effective_arguments",
        "redacted",
        "verdict",
        "rule",
        "policy_digest",
        "resolver_digest",
        "given_back",
    ];

    /// Looks at a batch.
    pub fn new(batch: &'a RecordBatch) -> Result<Self, RecordError> {
        let [
            server,
            grant,
            session,
            client_name,
            client_version,
            wire_tool,
            tool,
            verdict,
            rule,
            policy_digest,
            resolver_digest,
        ] = WORDS;
        let word = |name| typed(batch, name, Word::of);
        Ok(Self {
            seq: typed(batch, "seq", |a| a.as_primitive_opt())?,
            finish_seq: typed(batch, "finish_seq", |a| a.as_primitive_opt::<Int64Type>())?,
            decided_at: typed(batch, "decided_at", |a| a.as_primitive_opt())?,
            received_at: typed(batch, "received_at", |a| a.as_primitive_opt())?,
            finished_at: typed(batch, "finished_at", |a| a.as_primitive_opt())?,
            words: [
                word(server)?,
                word(grant)?,
                word(session)?,
                word(client_name)?,
                word(client_version)?,
                word(wire_tool)?,
                word(tool)?,
                word(verdict)?,
                word(rule)?,
                word(policy_digest)?,
                word(resolver_digest)?,
            ],
            arguments: typed(batch, "arguments", |a| a.as_string_opt())?,
            effective_arguments: typed(batch, "effective_arguments", |a| a.as_string_opt())?,
            via: typed(batch, "via", |a| a.as_list_opt())?,
            redacted: typed(batch, "redacted", |a| a.as_list_opt())?,
            given_back: typed(batch, "given_back", |a| a.as_boolean_opt())?,
        })
    }

    /// The rows, first to last.
    pub fn iter(&self) -> impl Iterator<Item = CallRow<'a>> + '_ {
        (0..self.seq.len()).map(|i| self.row(i))
    }

    fn row(&self, i: usize) -> CallRow<'a> {
        let [
            server,
            grant,
            session,
            client_name,
            client_version,
            wire_tool,
            tool,
            verdict,
            rule,
            policy_digest,
            resolver_digest,
        ] = self.words.each_ref().map(|word| word.at(i));
        CallRow {
            seq: self.seq.value(i),
            finish_seq: number(self.finish_seq, i),
            decided_at: self.decided_at.value(i),
            received_at: self.received_at.value(i),
            finished_at: number(self.finished_at, i),
            server,
            grant,
            session,
            client_name,
            client_version,
            wire_tool,
            tool,
            via: words_of(self.via, i),
            arguments: text(self.arguments, i),
            effective_arguments: text(self.effective_arguments, i),
            redacted: words_of(self.redacted, i),
            // Anything but the word `allow` is a denial.
            verdict: if verdict == Some("allow") {
                Verdict::Allow
            } else {
                Verdict::Deny
            },
            rule,
            policy_digest,
            resolver_digest,
            given_back: self.given_back.is_valid(i) && self.given_back.value(i),
        }
    }
}

/// Text, in a dictionary or plain.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Word<'a> {
    Keyed(&'a DictionaryArray<Int32Type>, &'a StringArray),
    Plain(&'a StringArray),
}

impl<'a> Word<'a> {
    pub(crate) fn of(array: &'a ArrayRef) -> Option<Self> {
        match array.as_dictionary_opt::<Int32Type>() {
            Some(keyed) => Some(Self::Keyed(keyed, keyed.values().as_string_opt()?)),
            None => array.as_string_opt().map(Self::Plain),
        }
    }

    pub(crate) fn at(&self, i: usize) -> Option<&'a str> {
        match self {
            Self::Keyed(keyed, values) => keyed.key(i).map(|key| values.value(key)),
            Self::Plain(values) => text(values, i),
        }
    }
}

pub(crate) fn typed<'a, T>(
    batch: &'a RecordBatch,
    name: &str,
    as_type: impl Fn(&'a ArrayRef) -> Option<T>,
) -> Result<T, RecordError> {
    let missing = || RecordError::NoColumn {
        table: "calls",
        column: name.to_owned(),
    };
    batch
        .column_by_name(name)
        .and_then(as_type)
        .ok_or_else(missing)
}

pub(crate) fn number<T: arrow::datatypes::ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    i: usize,
) -> Option<T::Native> {
    array.is_valid(i).then(|| array.value(i))
}

pub(crate) fn text(array: &StringArray, i: usize) -> Option<&str> {
    array.is_valid(i).then(|| array.value(i))
}

fn words_of(list: &GenericListArray<i32>, i: usize) -> Vec<&str> {
    if list.is_null(i) {
        return Vec::new();
    }
    let offsets = list.value_offsets();
    let (Some(&from), Some(&to)) = (offsets.get(i), offsets.get(i + 1)) else {
        return Vec::new();
    };
    let Some(words) = Word::of(list.values()) else {
        return Vec::new();
    };
    (from as usize..to as usize)
        .filter_map(|at| words.at(at))
        .collect()
}

//! Rows of a batch as plain values, for those who walk calls one by one.

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, GenericListArray, Int64Array, PrimitiveArray,
    RecordBatch, StringArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};

use crate::rows::VOID_RULE;
use crate::{RecordError, Shadow, Verdict};

/// A batch of calls seen as rows. Needs the columns [`CallRows::COLUMNS`].
#[derive(Debug)]
pub struct CallRows<'a> {
    seq: &'a Int64Array,
    finish_seq: &'a Int64Array,
    decided_at: Times<'a>,
    received_at: Times<'a>,
    finished_at: Times<'a>,
    words: [Word<'a>; 12],
    arguments: &'a StringArray,
    effective_arguments: &'a StringArray,
    via: &'a GenericListArray<i32>,
    redacted: &'a GenericListArray<i32>,
    shadow: Option<&'a GenericListArray<i32>>,
    given_back: &'a BooleanArray,
    approval: &'a ArrayRef,
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
    /// The code of the verdict.
    pub reason: Option<&'a str>,
    /// The rule that decided.
    pub rule: Option<&'a str>,
    /// Digest of the policy that judged.
    pub policy_digest: Option<&'a str>,
    /// Digest of the resolver that read the call.
    pub resolver_digest: Option<&'a str>,
    /// What candidates judged alongside said, where the batch has [`CallRows::SHADOW`].
    pub shadow: Vec<Shadow<&'a str>>,
    /// The reservation was returned at `finish_seq`.
    pub given_back: bool,
    /// A person was asked: it took what its limits count, whatever came of it, unless it is void.
    pub asked: bool,
}

const WORDS: [&str; 12] = [
    "server",
    "grant",
    "session",
    "client_name",
    "client_version",
    "wire_tool",
    "tool",
    "verdict",
    "reason",
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
        "reason",
        "rule",
        "policy_digest",
        "resolver_digest",
        "given_back",
        "approval",
    ];

    /// A column that is looked at where the batch has it.
    pub const SHADOW: &'static str = "shadow";

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
            reason,
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
                word(reason)?,
                word(rule)?,
                word(policy_digest)?,
                word(resolver_digest)?,
            ],
            arguments: typed(batch, "arguments", |a| a.as_string_opt())?,
            effective_arguments: typed(batch, "effective_arguments", |a| a.as_string_opt())?,
            via: typed(batch, "via", |a| a.as_list_opt())?,
            redacted: typed(batch, "redacted", |a| a.as_list_opt())?,
            shadow: batch
                .column_by_name(Self::SHADOW)
                .and_then(|list| list.as_list_opt()),
            given_back: typed(batch, "given_back", |a| a.as_boolean_opt())?,
            approval: typed(batch, "approval", Some)?,
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
            reason,
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
            reason,
            rule,
            policy_digest,
            resolver_digest,
            shadow: self.shadow.map_or_else(Vec::new, |list| shadow_of(list, i)),
            given_back: self.given_back.is_valid(i) && self.given_back.value(i),
            asked: self.approval.is_valid(i) && rule != Some(VOID_RULE),
        }
    }
}

/// Text, in a dictionary or plain.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Word<'a> {
    /// The keys, which of them count, and the words.
    Keyed(&'a [i32], Option<&'a NullBuffer>, &'a StringArray),
    Plain(&'a StringArray),
}

impl<'a> Word<'a> {
    pub(crate) fn of(array: &'a ArrayRef) -> Option<Self> {
        match array.as_dictionary_opt::<Int32Type>() {
            Some(keyed) => {
                let keys = keyed.keys();
                let words = keyed.values().as_string_opt()?;
                Some(Self::Keyed(keys.values(), keys.nulls(), words))
            }
            None => array.as_string_opt().map(Self::Plain),
        }
    }

    #[inline]
    pub(crate) fn at(&self, i: usize) -> Option<&'a str> {
        match self {
            Self::Keyed(_, Some(nulls), _) if nulls.is_null(i) => None,
            Self::Keyed(keys, _, words) => keys.get(i).map(|key| words.value(*key as usize)),
            Self::Plain(words) => text(words, i),
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

#[inline]
pub(crate) fn number<T: arrow::datatypes::ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    i: usize,
) -> Option<T::Native> {
    array.is_valid(i).then(|| array.value(i))
}

#[inline]
pub(crate) fn text(array: &StringArray, i: usize) -> Option<&str> {
    array.is_valid(i).then(|| array.value(i))
}

fn words_of(list: &GenericListArray<i32>, i: usize) -> Vec<&str> {
    let Some(words) = Word::of(list.values()) else {
        return Vec::new();
    };
    items(list, i).filter_map(|at| words.at(at)).collect()
}

fn shadow_of(list: &GenericListArray<i32>, i: usize) -> Vec<Shadow<&str>> {
    let Some(entries) = list.values().as_struct_opt() else {
        return Vec::new();
    };
    let word = |name| entries.column_by_name(name).and_then(Word::of);
    let (Some(verdict), Some(rule), Some(digest)) =
        (word("verdict"), word("rule"), word("policy_digest"))
    else {
        return Vec::new();
    };
    let entry = |at| {
        Some(Shadow {
            verdict: verdict.at(at).and_then(Verdict::parse)?,
            rule: rule.at(at)?,
            policy_digest: digest.at(at)?,
        })
    };
    items(list, i).filter_map(entry).collect()
}

/// Where the items of a list stand.
fn items(list: &GenericListArray<i32>, i: usize) -> std::ops::Range<usize> {
    match list.value_offsets().get(i..=i + 1) {
        Some(&[from, to]) if list.is_valid(i) => from as usize..to as usize,
        _ => 0..0,
    }
}

//! What happens while the counters of a candidate are rebuilt from the record: kept until they have caught up.

use std::collections::BTreeSet;
use std::sync::Arc;

use weir_policy::Asked;
use weir_recorder::{Call, CallRow, Verdict};

/// More is not kept. The record is read faster than calls come, so this much means that reading it does not get on.
const BYTES_MAX: usize = 64 << 20;
/// What an entry weighs besides its text.
const BYTES_EACH: usize = 256;

/// Entries of the log since a certain place, as far as candidates need them.
#[derive(Debug, Default)]
pub(super) struct Overheard {
    /// Whose calls are kept; everybody's if left out.
    grants: Option<BTreeSet<Arc<str>>>,
    entries: Vec<Entry>,
    bytes: usize,
    is_overfull: bool,
}

#[derive(Debug)]
pub(super) enum Entry {
    Decided(Box<Said>),
    /// A call ended or is void; what it took is given back then, if so.
    Ended {
        seq: i64,
        given_back: Option<i64>,
    },
    /// Nobody approved a held call; what waited for that is given back then, if so.
    Unapproved {
        seq: i64,
        given_back: Option<i64>,
    },
}

/// The columns of a call that a counter needs.
#[derive(Debug)]
pub(super) struct Said {
    seq: i64,
    decided_at: i64,
    received_at: i64,
    /// Server, grant, session, client's name and version, wire tool, tool, arguments, reason, rule, policy and resolver.
    words: [Option<Box<str>>; 12],
    via: Vec<Box<str>>,
    redacted: Vec<Box<str>>,
    verdict: Verdict,
}

/// There was more than is kept.
#[derive(Debug)]
pub(super) struct Overfull;

impl Overheard {
    pub(super) fn of(grants: Option<BTreeSet<Arc<str>>>) -> Self {
        Self {
            grants,
            ..Self::default()
        }
    }

    pub(super) fn decided(&mut self, seq: i64, decided_at: i64, call: &Call<&str>) {
        let is_other =
            |grants: &BTreeSet<Arc<str>>| !grants.contains(call.grant.unwrap_or_default());
        if self.is_overfull || self.grants.as_ref().is_some_and(is_other) {
            return;
        }
        let said = Said::of(seq, decided_at, call);
        let text: usize = said.words.iter().flatten().map(|word| word.len()).sum();
        self.push(Entry::Decided(Box::new(said)), text);
    }

    pub(super) fn ended(&mut self, seq: i64, given_back: Option<i64>) {
        self.push(Entry::Ended { seq, given_back }, 0);
    }

    pub(super) fn unapproved(&mut self, seq: i64, given_back: Option<i64>) {
        self.push(Entry::Unapproved { seq, given_back }, 0);
    }

    fn push(&mut self, entry: Entry, text: usize) {
        self.bytes += BYTES_EACH + text;
        if self.bytes > BYTES_MAX {
            self.is_overfull = true;
            self.entries = Vec::new();
        } else {
            self.entries.push(entry);
        }
    }

    /// How many entries wait.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entries so far, once.
    pub(super) fn take(&mut self) -> Result<Vec<Entry>, Overfull> {
        if self.is_overfull {
            return Err(Overfull);
        }
        self.bytes = 0;
        Ok(std::mem::take(&mut self.entries))
    }
}

impl Said {
    fn of(seq: i64, decided_at: i64, call: &Call<&str>) -> Self {
        let words = [
            call.server,
            call.grant,
            call.session,
            call.client_name,
            call.client_version,
            call.wire_tool,
            call.tool,
            call.arguments,
            call.reason,
            call.rule,
            call.policy_digest,
            call.resolver_digest,
        ];
        let kept = |list: &[&str]| list.iter().map(|word| Box::from(*word)).collect();
        Self {
            seq,
            decided_at,
            received_at: call.received_at,
            words: words.map(|word| word.map(Box::from)),
            via: kept(&call.via),
            redacted: kept(&call.redacted),
            verdict: call.verdict,
        }
    }

    /// As it will stand in the record, before it ended.
    pub(super) fn row(&self) -> CallRow<'_> {
        let words = self.words.each_ref().map(Option::as_deref);
        let [
            server,
            grant,
            session,
            client_name,
            client_version,
            wire_tool,
            tool,
            arguments,
            reason,
            rule,
            policy_digest,
            resolver_digest,
        ] = words;
        CallRow {
            seq: self.seq,
            finish_seq: None,
            decided_at: self.decided_at,
            received_at: self.received_at,
            finished_at: None,
            server,
            grant,
            session,
            client_name,
            client_version,
            wire_tool,
            tool,
            via: self.via.iter().map(|step| &**step).collect(),
            arguments,
            effective_arguments: None,
            redacted: self.redacted.iter().map(|pointer| &**pointer).collect(),
            verdict: self.verdict,
            reason,
            rule,
            policy_digest,
            resolver_digest,
            shadow: Vec::new(),
            given_back: false,
            asked: Asked::of(reason.unwrap_or_default()) == Asked::Unapproved,
        }
    }
}

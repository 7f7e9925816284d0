//! The digest that proves two replays equal.
//!
//! SHA-256 over these lines, each ending in a line feed:
//!
//! 1. the candidate's digest (`sha256:…`, or `own` where every grant kept its policy);
//! 2. for every assigned policy, sorted by grant: `<grant as JSON>=<digest>`;
//! 3. the class counts as a JSON object, classes in the order of reports;
//! 4. for every reported row that is not `same`, in (`node`, `seq`) order, one JSON object with the
//!    columns of `--out`: `node, seq, call_id, class, reason, would_verdict, would_rule,
//!    would_message, after_divergence`.
//!
//! JSON is written without spaces. So the rows of `--out` and the report are enough to compute it.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::Classes;
use crate::notable::Notable;
use crate::report::{Candidate, uuid_text};
use crate::symbols::Symbols;

/// What replay says of one call, as it enters the digest, `--out` and `what_if`.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) node: &'a str,
    pub(crate) seq: i64,
    #[serde(serialize_with = "as_uuid")]
    pub(crate) call_id: [u8; 16],
    pub(crate) class: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) would_verdict: &'a str,
    pub(crate) would_rule: &'a str,
    pub(crate) would_message: &'a str,
    pub(crate) after_divergence: bool,
}

impl<'a> Line<'a> {
    /// Of a row whose words these are, where nodes are in the order of their names.
    pub(crate) fn of(row: &Notable, symbols: &'a Symbols, nodes: &'a [String]) -> Self {
        let word = |symbol| &**symbols.word(symbol);
        Self {
            node: nodes.get(row.node as usize).map_or("", String::as_str),
            seq: row.seq,
            call_id: row.call_id,
            class: row.class.as_str(),
            reason: word(row.words.reason),
            would_verdict: word(row.words.would_verdict),
            would_rule: word(row.words.would_rule),
            would_message: word(row.words.would_message),
            after_divergence: row.after_divergence,
        }
    }
}

fn as_uuid<S: Serializer>(id: &[u8; 16], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&uuid_text(id))
}

/// The digest of a replay, being made.
pub(crate) struct ResultDigest(Sha256);

impl ResultDigest {
    /// Of a replay with these results; what follows are lines in (`node`, `seq`) order.
    pub(crate) fn new(
        candidate: Option<&Candidate>,
        assigned: &BTreeMap<String, Candidate>,
        classes: &Classes,
    ) -> Self {
        let mut digest = Self(Sha256::new());
        digest.line(candidate.map_or("own", |candidate| &candidate.digest));
        for (grant, candidate) in assigned {
            digest.line(&format!("{}={}", json(grant), candidate.digest));
        }
        digest.line(&json(classes));
        digest
    }

    /// Adds a row that is not `same`.
    pub(crate) fn add(&mut self, line: &Line<'_>) {
        self.line(&json(line));
    }

    pub(crate) fn finish(self) -> String {
        format!("sha256:{}", hex::encode(self.0.finalize()))
    }

    fn line(&mut self, text: &str) {
        self.0.update(text.as_bytes());
        self.0.update(b"\n");
    }
}

/// Plain JSON of a value that cannot fail to serialize.
fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

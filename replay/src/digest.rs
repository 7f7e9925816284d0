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

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::Classes;
use crate::report::Candidate;

/// One row that is not `same`, as it enters the digest and `--out`.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    pub(crate) node: &'a str,
    pub(crate) seq: i64,
    pub(crate) call_id: String,
    pub(crate) class: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) would_verdict: &'a str,
    pub(crate) would_rule: &'a str,
    pub(crate) would_message: &'a str,
    pub(crate) after_divergence: bool,
}

/// The digest of a replay with these results; `lines` in (`node`, `seq`) order.
pub(crate) fn result_digest<'a>(
    candidate: Option<&Candidate>,
    assigned: &BTreeMap<String, Candidate>,
    classes: &Classes,
    lines: impl Iterator<Item = Line<'a>>,
) -> String {
    let mut hash = Sha256::new();
    let mut line = |text: &str| {
        hash.update(text.as_bytes());
        hash.update(b"\n");
    };
    line(candidate.map_or("own", |candidate| &candidate.digest));
    for (grant, candidate) in assigned {
        line(&format!("{}={}", json(grant), candidate.digest));
    }
    line(&json(classes));
    for row in lines {
        line(&json(&row));
    }
    format!("sha256:{}", hex::encode(hash.finalize()))
}

/// Plain JSON of a value that cannot fail to serialize.
fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

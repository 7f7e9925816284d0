//! The proof that one call is in the record, for somebody who has neither the record nor Weir.
//!
//! # Format
//!
//! A JSON object: `format` is `weir.proof/1`; `call_id` in hex; `checkpoint` the signed note as text; `entries` a list, one for
//! each fact about the call (it was decided; it ended): `index` is its place in the log, `leaf` the leaf's bytes and `path` the hashes of
//! RFC 6962's audit path from the leaf upwards, all in base64. To check it:
//!
//! 1. Verify the note's signature with the log's public key (c2sp.org/signed-note). Line 2 of its text is the tree's size,
//!    line 3 its root in base64.
//! 2. For each entry, compute the root from SHA-256(0x00 ‖ `leaf`), `index`, the size and `path` (RFC 9162, section 2.1.3.2), and compare.
//! 3. Read the leaf: its fields are those of the leaf format (`recorder/src/evidence/leaf.rs`). It says itself which place it has:
//!    that must be `index`. One leaf is of kind 1 and has `call_id` as its field 4; field 0 of the others is that one's place.

use std::collections::BTreeMap;
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::super::checkpoint::Checkpoint;
use super::super::leaf::{About, Leaf};
use super::super::merkle::{Hash, leaf_hash};
use super::super::note::Note;
use super::super::proof::verify_inclusion;
use super::super::row::CallColumns;
use super::{VerifyOptions, examine};
use crate::keys::listed;
use crate::reader::snapshot::undisturbed;
use crate::{Disk, RecordError, RecordKeys, RecordReader, VerifyingKey, calls_schema};

/// Version of the format.
const FORMAT: &str = "weir.proof/1";

/// That a call is in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallProof {
    /// `weir.proof/1`.
    pub format: String,
    /// The call, in hex.
    pub call_id: String,
    /// The signed note.
    pub checkpoint: String,
    /// The facts about the call.
    pub entries: Vec<EntryProof>,
}

/// That one entry is in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryProof {
    /// Its place.
    pub index: i64,
    /// The leaf, in base64.
    pub leaf: String,
    /// The audit path, in base64.
    pub path: Vec<String>,
}

/// A call cannot be proved, or a proof does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// There is no such call.
    #[error("the record has no call `{0}`")]
    NoCall(String),
    /// The call is too new.
    #[error("no checkpoint covers the call yet")]
    NotCovered,
    /// A path to the root leads past calls that are encrypted.
    #[error("the roots cannot be computed: {0}")]
    Closed(String),
    /// It proves nothing.
    #[error("the proof does not hold: {0}")]
    DoesNotHold(&'static str),
}

/// Proves that a call is in a record, by its newest checkpoint.
pub fn prove(
    record: impl AsRef<Path>,
    call_id: [u8; 16],
    options: &VerifyOptions<'_>,
) -> Result<CallProof, ProofError> {
    let record = record.as_ref();
    let name = hex::encode(call_id);
    let (node, leaves) = undisturbed(|| leaves_of(record, call_id, &options.record_keys))?
        .ok_or(ProofError::NoCall(name.clone()))?;
    let places = leaves.iter().map(|(index, _)| *index).collect();
    let wanted = BTreeMap::from([(node.clone(), places)]);
    let (_, mut examined) = undisturbed(|| examine(&Disk, record, options, &wanted))?;
    let examined = examined.remove(&node).ok_or(ProofError::NotCovered)?;
    if !examined.closed.is_empty() {
        return Err(ProofError::Closed(listed(&examined.closed)));
    }
    let checkpoint = examined.note.ok_or(ProofError::NotCovered)?;
    let mut entries = Vec::new();
    for (index, leaf) in leaves {
        let path = examined.proofs.iter().find(|(of, _)| *of == index);
        let Some((_, path)) = path else { continue };
        entries.push(EntryProof {
            index,
            leaf: STANDARD.encode(leaf),
            path: path.iter().map(|hash| STANDARD.encode(hash)).collect(),
        });
    }
    if entries.is_empty() {
        return Err(ProofError::NotCovered);
    }
    let proof = CallProof {
        format: FORMAT.into(),
        call_id: name,
        checkpoint,
        entries,
    };
    verify_proof(&proof, &examined.keys)?;
    Ok(proof)
}

/// Checks a proof against the keys that are believed; how many entries the checkpoint covers.
pub fn verify_proof(proof: &CallProof, keys: &[VerifyingKey]) -> Result<u64, ProofError> {
    let wrong = ProofError::DoesNotHold;
    if proof.format != FORMAT {
        return Err(wrong("its format is another one"));
    }
    let note = Note::parse(proof.checkpoint.as_bytes()).map_err(|_| wrong("its note is none"))?;
    let signed = note.signed_by(keys).is_ok_and(|keys| !keys.is_empty());
    if !signed {
        return Err(wrong("its note is not signed by a key that is believed"));
    }
    let checkpoint = Checkpoint::parse(note.text()).map_err(wrong)?;
    let (mut decided, mut of_calls) = (Vec::new(), Vec::new());
    for entry in &proof.entries {
        let base64 = |text: &String| STANDARD.decode(text).map_err(|_| wrong("it is no base64"));
        let hash = |text| -> Result<Hash, ProofError> {
            base64(text)?
                .try_into()
                .map_err(|_| wrong("a hash has 32 bytes"))
        };
        let leaf = base64(&entry.leaf)?;
        let path: Vec<Hash> = entry.path.iter().map(hash).collect::<Result<_, _>>()?;
        let index = u64::try_from(entry.index).map_err(|_| wrong("there is no such place"))?;
        let (size, root) = (checkpoint.size(), checkpoint.tree.root());
        if !verify_inclusion(index, size, &leaf_hash(&leaf), &path, &root) {
            return Err(wrong("its path does not lead to the root"));
        }
        let place = match About::read(&leaf).ok_or(wrong("a leaf is about no call"))? {
            About::Decided { seq, call_id } => {
                if hex::encode(call_id) != proof.call_id {
                    return Err(wrong("a leaf is about another call"));
                }
                decided.push(seq);
                seq
            }
            About::Later { seq, call_seq } => {
                of_calls.push(call_seq);
                seq
            }
        };
        if place != entry.index {
            return Err(wrong("a leaf has another place"));
        }
    }
    let [decided] = decided.as_slice() else {
        return Err(wrong("it does not say once that the call was decided"));
    };
    if of_calls.iter().any(|of| of != decided) {
        return Err(wrong("a leaf is about another call"));
    }
    Ok(checkpoint.size())
}

/// The node of a call, and its leaves with their places.
#[expect(
    clippy::type_complexity,
    reason = "a node, and leaves with their places"
)]
fn leaves_of(
    record: &Path,
    call_id: [u8; 16],
    keys: &RecordKeys,
) -> Result<Option<(String, Vec<(i64, Vec<u8>)>)>, RecordError> {
    let reader = RecordReader::open(record)?.with_keys(keys.clone());
    let mut found = None;
    for batch in reader.calls(&["call_id", "seq", "decided_at"])? {
        let batch = batch?;
        let ids = batch.column(0).as_fixed_size_binary();
        if let Some(i) = (0..batch.num_rows()).find(|i| ids.value(*i) == call_id) {
            let seq = batch.column(1).as_primitive::<Int64Type>().value(i);
            let at = batch.column(2).as_primitive::<TimestampMicrosecondType>();
            found = Some((seq, at.value(i)));
            break;
        }
    }
    let Some((seq, at)) = found else {
        return Ok(None);
    };
    let schema = calls_schema();
    let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    for batch in reader.calls_between(&columns, Some(at), Some(at + 1))? {
        let batch = batch?;
        let rows = CallColumns::new(&batch)?;
        for i in 0..batch.num_rows() {
            let untrue = |why: &str| RecordError::Evidence(format!("call {seq}: {why}"));
            let facts = rows
                .read(i, true)
                .or_else(|_| rows.read(i, false))
                .map_err(untrue)?;
            if facts.seq != seq || facts.call.call_id != call_id {
                continue;
            }
            let mut leaf = Leaf::default();
            let decided = leaf.decided((seq, at), &facts.call, facts.refused_at);
            let mut leaves = vec![(seq, decided.to_vec())];
            if let Some((place, at, finish)) = &facts.end {
                let finished = leaf.finished(seq, (*place, *at), finish);
                leaves.push((*place, finished.to_vec()));
            }
            if let Some(answered) = &facts.answered {
                leaves.push((answered.seq, leaf.answered(seq, answered).to_vec()));
            }
            return Ok(Some((facts.node.to_owned(), leaves)));
        }
    }
    Ok(None)
}

//! The tree while it grows: durable entries become leaves, in the order of their places.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use super::Evidence;
use super::leaf::Leaf;
use super::merkle::{CompactRange, Hash, leaf_hash};
use crate::Verdict;
use crate::entry::{Entry, Head, read_entry};
use crate::index::{ranges, void_event};
use crate::log::Void;
use crate::queue::Batch;
use crate::rows::Answered;

/// Entries that have become durable together, and what they declare void among them.
#[derive(Debug)]
pub(crate) struct Durable {
    pub(crate) batches: Vec<Arc<Batch>>,
    pub(crate) void: Option<Void>,
}

/// A leaf on its way into the tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) hash: Hash,
}

/// A tree, and the leaves that still wait for one before them.
#[derive(Debug)]
pub(super) struct Growth {
    tree: CompactRange,
    at: Option<i64>,
    waiting: BTreeMap<i64, (i64, Hash)>,
    /// Policies that judged since the last checkpoint.
    policies: BTreeSet<String>,
}

/// Most policies that one checkpoint names.
const POLICIES_MAX: usize = 64;

impl Growth {
    pub(super) fn new(tree: CompactRange, at: Option<i64>) -> Self {
        Self {
            tree,
            at,
            waiting: BTreeMap::new(),
            policies: BTreeSet::new(),
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.tree.size()
    }

    pub(super) fn at(&self) -> Option<i64> {
        self.at
    }

    pub(super) fn append(
        &mut self,
        leaves: impl IntoIterator<Item = Placed>,
        policies: BTreeSet<String>,
    ) {
        self.policies.extend(policies);
        for leaf in leaves {
            if leaf.seq == self.tree.size() as i64 {
                self.push(leaf.at, leaf.hash);
            } else if leaf.seq > self.tree.size() as i64 {
                self.waiting.insert(leaf.seq, (leaf.at, leaf.hash));
            }
        }
        while let Some((at, hash)) = self.waiting.remove(&(self.tree.size() as i64)) {
            self.push(at, hash);
        }
    }

    pub(super) fn fill_to(&mut self, seq: i64) {
        let mut leaf = Leaf::default();
        while (self.tree.size() as i64) < seq {
            let place = self.tree.size() as i64;
            let (at, hash) = self
                .waiting
                .remove(&place)
                .unwrap_or_else(|| (i64::MIN, leaf_hash(leaf.nothing(place))));
            self.push(at, hash);
        }
    }

    pub(super) fn snapshot(&self) -> (CompactRange, Option<i64>, BTreeSet<String>) {
        let policies = self.policies.iter().take(POLICIES_MAX).cloned().collect();
        (self.tree.clone(), self.at, policies)
    }

    /// A checkpoint names these policies.
    pub(super) fn told(&mut self, policies: &BTreeSet<String>) {
        self.policies.retain(|digest| !policies.contains(digest));
    }

    fn push(&mut self, at: i64, hash: Hash) {
        self.tree.push(hash);
        self.at = self.at.max((at > i64::MIN).then_some(at));
    }
}

/// Makes leaves of entries.
#[derive(Debug, Default)]
pub(crate) struct Hasher {
    leaf: Leaf,
    policies: BTreeSet<String>,
    last_policy: String,
}

impl Hasher {
    /// Hashes what becomes durable until nobody is left to say so.
    pub(crate) fn run(mut self, evidence: &Arc<Evidence>, durable: &Receiver<Durable>) {
        for batch in durable {
            let void: HashMap<i64, i64> = batch
                .void
                .iter()
                .flat_map(|void| void.seqs.iter().map(|seq| (*seq, void.at)))
                .collect();
            let mut placed = Vec::new();
            for payload in batch.batches.iter().flat_map(|batch| batch.payloads()) {
                let leaf = self.hash(payload, &void, true);
                if leaf.is_none() {
                    tracing::error!("a durable entry cannot be read back");
                }
                placed.extend(leaf);
            }
            evidence.append(placed, std::mem::take(&mut self.policies));
        }
    }

    /// The leaf of an entry; `ends` is false if it tells the end of a call, or the answer about it, that no row will have.
    pub(crate) fn hash(
        &mut self,
        payload: &[u8],
        void: &HashMap<i64, i64>,
        ends: bool,
    ) -> Option<Placed> {
        let Head { seq, at, .. } = Head::of(payload)?;
        let leaf = &mut self.leaf;
        let bytes = match read_entry(payload)? {
            Entry::Decided { call, .. } => {
                if let Some(policy) = call
                    .policy_digest
                    .filter(|policy| *policy != self.last_policy)
                {
                    self.policies.insert(policy.to_owned());
                    policy.clone_into(&mut self.last_policy);
                }
                if let Some(void_at) = void.get(&seq) {
                    leaf.voided((seq, at), &call, *void_at)
                } else {
                    let is_over = call.verdict == Verdict::Deny && !call.is_held();
                    let refused_at = is_over.then_some(at);
                    leaf.decided((seq, at), &call, refused_at)
                }
            }
            Entry::Finished { call_seq, .. } | Entry::Answered { call_seq, .. }
                if !ends || void.contains_key(&call_seq) =>
            {
                leaf.nothing(seq)
            }
            Entry::Answered {
                call_seq, answer, ..
            } => leaf.answered(call_seq, &Answered { seq, at, answer }),
            Entry::Finished {
                call_seq, finish, ..
            } => leaf.finished(call_seq, (seq, at), &finish),
            Entry::Void { seqs, .. } => {
                let text = ranges(&seqs);
                leaf.event((seq, at), &void_event(&seqs, &text))
            }
            Entry::Event { event, .. } => leaf.event((seq, at), &event),
        };
        Some(Placed {
            seq,
            at,
            hash: leaf_hash(bytes),
        })
    }

    /// The policies that judged, since this was last asked.
    pub(crate) fn take_policies(&mut self) -> BTreeSet<String> {
        self.last_policy.clear();
        std::mem::take(&mut self.policies)
    }
}

//! Leaves arranged in the log's order, whatever the order they come in, and the tree over them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use super::super::leaf::Leaf;
use super::super::merkle::{CompactRange, Hash, leaf_hash};
use super::super::proof::{Subtrees, inclusion_ranges};
use super::rows::Row;

/// Takes leaves from rows and journal, and grows the tree.
#[derive(Debug)]
pub(super) struct Arranger<'j> {
    leaf: Leaf,
    tree: CompactRange,
    /// Sizes at which the root is wanted.
    sizes: BTreeSet<u64>,
    roots: BTreeMap<u64, Hash>,
    /// The tree is grown up to here, with gaps where nothing is found.
    required: u64,
    limit: u64,
    pending: HashMap<i64, Hash>,
    journal: &'j HashMap<i64, Hash>,
    /// Entries of the journal that a row was seen of too.
    seen: HashSet<i64>,
    /// Entries that only segments hold, behind the least size that must be.
    sealed: BTreeSet<i64>,
    subtrees: Vec<(i64, Subtrees)>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Arranged {
    /// The root at each size asked for that was reached.
    pub(super) roots: BTreeMap<u64, Hash>,
    /// Places where nothing was found, although a checkpoint covers them.
    pub(super) absent: Vec<Range<i64>>,
    /// One more than the greatest place found.
    pub(super) reach: u64,
    sealed: BTreeSet<i64>,
    journal: Vec<i64>,
    /// Paths of the leaves that were wanted.
    pub(super) proofs: Vec<(i64, Vec<Hash>)>,
}

impl<'j> Arranger<'j> {
    /// With these sizes at which roots are wanted, of which those up to `required` must be reached.
    pub(super) fn new(
        sizes: &BTreeSet<u64>,
        required: u64,
        journal: &'j HashMap<i64, Hash>,
    ) -> Self {
        let mut arranger = Self {
            leaf: Leaf::default(),
            tree: CompactRange::default(),
            sizes: sizes.clone(),
            roots: BTreeMap::new(),
            required,
            limit: sizes.last().copied().unwrap_or(0),
            pending: HashMap::new(),
            journal,
            seen: HashSet::new(),
            sealed: BTreeSet::new(),
            subtrees: Vec::new(),
        };
        arranger.note_root();
        arranger
    }

    /// Gathers the paths of these leaves in the tree of this size.
    pub(super) fn want(&mut self, leaves: &[i64], size: u64) {
        for seq in leaves {
            if let Some(ranges) = inclusion_ranges(*seq as u64, size) {
                self.subtrees.push((*seq, Subtrees::of(ranges)));
            }
        }
    }

    /// The leaves of a row; what contradicts it, as text.
    pub(super) fn row(&mut self, row: &Row<'_>) -> Result<(), String> {
        let mut leaf = std::mem::take(&mut self.leaf);
        let placed = row.leaves(&mut leaf, |placed| self.place(placed.seq, placed.hash));
        self.leaf = leaf;
        placed
    }

    fn place(&mut self, seq: i64, hash: Hash) -> Result<(), String> {
        if seq < 0 {
            return Err(format!("there is no place {seq}"));
        }
        let twice = || format!("entry {seq} is told twice");
        match self.journal.get(&seq) {
            Some(journal) => {
                if !self.seen.insert(seq) || *journal != hash {
                    return Err(twice());
                }
            }
            None if (seq as u64) < self.tree.size() => return Err(twice()),
            None => {
                if seq as u64 >= self.required && !self.sealed.insert(seq) {
                    return Err(twice());
                }
                if seq as u64 >= self.limit {
                    return Ok(());
                }
                if seq as u64 == self.tree.size() {
                    self.push(hash);
                } else if self.pending.insert(seq, hash).is_some() {
                    return Err(twice());
                }
            }
        }
        self.drain();
        Ok(())
    }

    fn drain(&mut self) {
        while self.tree.size() < self.limit {
            let next = self.tree.size() as i64;
            let found = self.journal.get(&next).copied();
            match found.or_else(|| self.pending.remove(&next)) {
                Some(hash) => self.push(hash),
                None => return,
            }
        }
    }

    fn push(&mut self, hash: Hash) {
        if self.tree.size() >= self.limit {
            return;
        }
        let index = self.tree.size();
        for (_, subtrees) in &mut self.subtrees {
            subtrees.push(index, hash);
        }
        self.tree.push(hash);
        self.note_root();
    }

    fn note_root(&mut self) {
        if self.sizes.contains(&self.tree.size()) {
            self.roots.insert(self.tree.size(), self.tree.root());
        }
    }

    /// Everything has come.
    pub(super) fn finish(mut self) -> Arranged {
        self.drain();
        let found = self.pending.keys().chain(self.journal.keys());
        let last = found
            .chain(&self.sealed)
            .max()
            .map_or(0, |seq| *seq as u64 + 1);
        let reach = last.max(self.tree.size());
        let mut absent: Vec<Range<i64>> = Vec::new();
        while self.tree.size() < self.required {
            let place = self.tree.size() as i64;
            match absent.last_mut() {
                Some(range) if range.end == place => range.end = place + 1,
                _ => absent.push(place..place + 1),
            }
            let nothing = leaf_hash(self.leaf.nothing(place));
            self.push(nothing);
            self.drain();
        }
        let mut journal: Vec<i64> = self.journal.keys().copied().collect();
        journal.sort_unstable();
        let whole = |(seq, subtrees): (i64, Subtrees)| Some((seq, subtrees.roots()?));
        Arranged {
            roots: self.roots,
            absent,
            reach,
            sealed: self.sealed,
            journal,
            proofs: self.subtrees.into_iter().filter_map(whole).collect(),
        }
    }
}

impl Arranged {
    /// Entries behind this size that only segments hold.
    pub(super) fn sealed_behind(&self, size: u64) -> usize {
        self.sealed.range(size as i64..).count()
    }

    /// Entries of the journal behind this size.
    pub(super) fn journal_behind(&self, size: u64) -> u64 {
        let signed = self.journal.partition_point(|seq| (*seq as u64) < size);
        (self.journal.len() - signed) as u64
    }
}

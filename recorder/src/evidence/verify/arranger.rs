//! Leaves arranged in the log's order, whatever the order they come in, and the tree over them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;

use super::super::growth::Placed;
use super::super::leaf::Leaf;
use super::super::merkle::{CompactRange, Hash, leaf_hash};
use super::super::proof::{Subtrees, inclusion_ranges};
use super::super::removal::Subtree;
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
    absent: Vec<Range<i64>>,
    /// Of what was removed, by where they begin, with which removal it was; and those of days that have files, of which the rows may
    /// still come.
    removed: BTreeMap<u64, (Subtree, usize)>,
    deferred: BTreeMap<u64, (Subtree, usize)>,
    used: BTreeSet<usize>,
    blurred: Vec<Range<u64>>,
    /// Places whose leaves were not read, and have not come to their turn.
    parts: HashSet<i64>,
    /// The first place that was grown over without its leaf: no root is known behind it.
    unread: Option<u64>,
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
    /// The removals of which a root stands for what is not there.
    pub(super) used: BTreeSet<usize>,
    /// The sizes strictly within such subtrees: no root is known there.
    blurred: Vec<Range<u64>>,
    /// The first place whose leaf was not read: no root is known behind it.
    pub(super) unread: Option<u64>,
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
            absent: Vec::new(),
            removed: BTreeMap::new(),
            deferred: BTreeMap::new(),
            used: BTreeSet::new(),
            blurred: Vec::new(),
            parts: HashSet::new(),
            unread: None,
        };
        arranger.note_root();
        arranger
    }

    /// How many entries there must be.
    pub(super) fn required(&self) -> u64 {
        self.required
    }

    /// Gathers the paths of these leaves in the tree of this size.
    pub(super) fn want(&mut self, leaves: &[i64], size: u64) {
        for seq in leaves {
            if let Some(ranges) = inclusion_ranges(*seq as u64, size) {
                self.subtrees.push((*seq, Subtrees::of(ranges)));
            }
        }
    }

    /// These stand for leaves that were removed, where those do not come. With `may_come` that is only known at the end.
    pub(super) fn removed(
        &mut self,
        subtrees: impl IntoIterator<Item = Subtree>,
        which: usize,
        may_come: bool,
    ) {
        for subtree in subtrees {
            let known = if may_come {
                &mut self.deferred
            } else {
                &mut self.removed
            };
            // Of two that begin at the same place, the larger: it is of the later removal, which covers the earlier.
            let there = known.get(&subtree.start);
            if subtree.end() <= self.required && there.is_none_or(|(t, _)| t.level < subtree.level)
            {
                known.insert(subtree.start, (subtree, which));
            }
        }
    }

    /// The leaves of a row; what contradicts it, as text.
    pub(super) fn row(&mut self, row: &Row<'_>) -> Result<(), String> {
        let is_whole = !matches!(row, Row::Part(_));
        let mut leaf = std::mem::take(&mut self.leaf);
        let placed = row.leaves(&mut leaf, |placed| {
            if is_whole {
                self.place(placed.seq, placed.hash)
            } else {
                self.place_unread(placed)
            }
        });
        self.leaf = leaf;
        placed
    }

    /// A leaf of which only the place is known, unless the journal has it.
    fn place_unread(&mut self, placed: Placed) -> Result<(), String> {
        let known = self.journal.get(&placed.seq).copied();
        if known.is_none() {
            self.parts.insert(placed.seq);
        }
        self.place(placed.seq, known.unwrap_or(placed.hash))
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
        if self.pending.is_empty() && self.journal.is_empty() && self.removed.is_empty() {
            return;
        }
        while self.tree.size() < self.limit {
            let next = self.tree.size() as i64;
            let found = self.journal.get(&next).copied();
            match found.or_else(|| self.pending.remove(&next)) {
                Some(hash) => self.push(hash),
                None if self.push_removed() => {}
                None => return,
            }
        }
    }

    fn push(&mut self, hash: Hash) {
        if self.tree.size() >= self.limit {
            return;
        }
        let index = self.tree.size();
        if self.parts.remove(&(index as i64)) {
            self.unread.get_or_insert(index);
        }
        for (_, subtrees) in &mut self.subtrees {
            subtrees.push(index, hash);
        }
        self.tree.push(hash);
        self.note_root();
    }

    /// Goes over what was removed from here on; false if nothing was.
    fn push_removed(&mut self) -> bool {
        let Some((subtree, which)) = self.removed.remove(&self.tree.size()) else {
            return false;
        };
        let Subtree { start, level, root } = subtree;
        for (_, subtrees) in &mut self.subtrees {
            subtrees.push_subtree(start, level, root);
        }
        self.tree.push_subtree(level, root);
        self.used.insert(which);
        self.blurred.push(start + 1..subtree.end());
        self.note_root();
        true
    }

    fn note_root(&mut self) {
        if self.unread.is_none() && self.sizes.contains(&self.tree.size()) {
            self.roots.insert(self.tree.size(), self.tree.root());
        }
    }

    /// Every file that begins before this place was read: what is missing before it will not come any more, and what waits behind
    /// such a gap need not.
    pub(super) fn passed(&mut self, seq: i64) {
        let seq = u64::try_from(seq).unwrap_or(0);
        self.fill(seq.min(self.required));
    }

    /// Grows the tree to this size, with nothing where nothing is found.
    fn fill(&mut self, size: u64) {
        self.drain();
        while self.tree.size() < size {
            // What was removed does not come either.
            if let Some(removed) = self.deferred.remove(&self.tree.size()) {
                self.removed.insert(self.tree.size(), removed);
                self.drain();
                continue;
            }
            let place = self.tree.size() as i64;
            match self.absent.last_mut() {
                Some(range) if range.end == place => range.end = place + 1,
                _ => self.absent.push(place..place + 1),
            }
            let nothing = leaf_hash(self.leaf.nothing(place));
            self.push(nothing);
            self.drain();
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
        self.fill(self.required);
        let mut journal: Vec<i64> = self.journal.keys().copied().collect();
        journal.sort_unstable();
        let is_known = self.unread.is_none();
        let whole = |(seq, subtrees): (i64, Subtrees)| Some((seq, subtrees.roots()?));
        Arranged {
            roots: self.roots,
            absent: self.absent,
            reach,
            sealed: self.sealed,
            journal,
            used: self.used,
            blurred: self.blurred,
            unread: self.unread,
            proofs: self
                .subtrees
                .into_iter()
                .filter(|_| is_known)
                .filter_map(whole)
                .collect(),
        }
    }
}

impl Arranged {
    /// Whether the root of this size cannot be known any more, since it is within what was removed.
    pub(super) fn is_blurred(&self, size: u64) -> bool {
        self.blurred.iter().any(|range| range.contains(&size))
    }

    /// Whether the root of this size is not known, since a leaf within it was not read.
    pub(super) fn is_unread(&self, size: u64) -> bool {
        self.unread.is_some_and(|from| size > from)
    }

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

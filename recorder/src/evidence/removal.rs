//! What is left of calls that retention removed: the roots of the largest whole subtrees over their leaves, so that every later root
//! can still be computed.
//!
//! It is kept as `removed/<sha256>.json`, and an event `retention` of the log, which is a signed leaf itself, names it by that digest
//! before anything is removed. So nobody can add to it what the event did not name. A subtree never reaches across the
//! size of a checkpoint of the record, so the roots that those sign can be computed too.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::merkle::{Hash, node_hash};

/// Version of the format.
const FORMAT: &str = "weir.removal/1";

/// What was removed, and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Removal {
    format: String,
    /// The log: `weir/` and the node.
    pub(crate) log: String,
    /// The day, as `YYYY-MM-DD`.
    pub(crate) day: String,
    /// How many calls.
    pub(crate) calls: u64,
    /// The first and the last place in the log that they filled.
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// `sha256:<hex> <path>` of each file.
    pub(crate) files: Vec<String>,
    /// Long results in files of their own that only these calls named: `sha256:<hex>` each. They go too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) results: BTreeSet<String>,
    /// Where each subtree begins, how often its size doubles, and its root in base64.
    subtrees: Vec<(u64, u32, String)>,
}

impl Removal {
    pub(crate) fn new(log: String, day: String, calls: u64, files: Vec<String>, of: Roots) -> Self {
        let subtrees = of.finish();
        let (first, last) = (subtrees.first(), subtrees.last());
        Self {
            format: FORMAT.into(),
            log,
            day,
            calls,
            first: first.map_or(0, |subtree| subtree.start as i64),
            last: last.map_or(-1, |subtree| subtree.end() as i64 - 1),
            files,
            results: BTreeSet::new(),
            subtrees: subtrees
                .iter()
                .map(|s| (s.start, s.level, STANDARD.encode(s.root)))
                .collect(),
        }
    }

    /// Reads one of this log.
    pub(crate) fn parse(bytes: &[u8], log: &str) -> Option<Self> {
        let read: Self = serde_json::from_slice(bytes).ok()?;
        (read.format == FORMAT && read.log == log).then_some(read)
    }

    /// The subtrees, left to right; none if they are none.
    pub(crate) fn subtrees(&self) -> Option<Vec<Subtree>> {
        let read = |(start, level, root): &(u64, u32, String)| {
            let root = STANDARD.decode(root).ok()?.try_into().ok()?;
            let size = 1_u64.checked_shl(*level)?;
            let fits = start.is_multiple_of(size) && start.checked_add(size).is_some();
            fits.then_some(Subtree {
                start: *start,
                level: *level,
                root,
            })
        };
        self.subtrees.iter().map(read).collect()
    }
}

/// A whole subtree: `1 << level` leaves from a place on that is a multiple of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subtree {
    pub(crate) start: u64,
    pub(crate) level: u32,
    pub(crate) root: Hash,
}

impl Subtree {
    pub(crate) fn end(&self) -> u64 {
        self.start + (1 << self.level)
    }
}

/// Grows the largest subtrees over some leaves. Those of one call do not lie side by side: what waits for leaves before it is bounded
/// by the calls that were open at one time.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    /// No subtree reaches across one of these sizes.
    sizes: BTreeSet<u64>,
    waiting: BTreeMap<u64, Hash>,
    done: Vec<Subtree>,
    /// Of leaves side by side.
    run: Vec<Subtree>,
}

impl Roots {
    pub(crate) fn within(sizes: BTreeSet<u64>) -> Self {
        Self {
            sizes,
            ..Self::default()
        }
    }

    /// A leaf at this place.
    pub(crate) fn push(&mut self, place: i64, leaf: Hash) {
        self.waiting.insert(place as u64, leaf);
    }

    /// No leaf comes any more at a place before this one.
    pub(crate) fn settle(&mut self, before: i64) {
        while let Some(first) = self.waiting.first_entry() {
            if *first.key() >= before as u64 {
                return;
            }
            let (start, root) = first.remove_entry();
            self.grow(Subtree {
                start,
                level: 0,
                root,
            });
        }
    }

    fn grow(&mut self, leaf: Subtree) {
        if self.run.last().is_some_and(|last| last.end() != leaf.start) {
            self.done.append(&mut self.run);
        }
        let mut node = leaf;
        while let Some(left) = self.run.last() {
            let is_left = left.level == node.level && (left.start >> left.level) & 1 == 0;
            if !is_left || self.sizes.contains(&node.start) {
                break;
            }
            node = Subtree {
                start: left.start,
                level: left.level + 1,
                root: node_hash(&left.root, &node.root),
            };
            self.run.pop();
        }
        self.run.push(node);
    }

    fn finish(mut self) -> Vec<Subtree> {
        self.settle(i64::MAX);
        self.done.append(&mut self.run);
        self.done
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    use super::super::merkle::CompactRange;
    use super::*;

    proptest! {
        #[test]
        fn a_tree_with_removed_leaves_has_the_roots_that_it_had(
            leaves in vec((any::<[u8; 32]>(), any::<bool>()), 1..90),
            sizes in btree_set(1_u64..90, 0..6),
        ) {
            let mut roots = Roots::within(sizes.clone());
            for (place, (hash, _)) in leaves.iter().enumerate().filter(|(_, (_, gone))| *gone).rev() {
                roots.push(place as i64, *hash);
            }
            let subtrees = roots.finish();
            let (mut whole, mut rest) = (CompactRange::default(), CompactRange::default());
            let mut at_size = BTreeMap::new();
            for (hash, _) in &leaves {
                whole.push(*hash);
                at_size.insert(whole.size(), whole.root());
            }
            let mut subtrees = subtrees.iter().peekable();
            while (rest.size() as usize) < leaves.len() {
                let (hash, is_gone) = leaves[rest.size() as usize];
                if is_gone {
                    let subtree = subtrees.next().unwrap();
                    prop_assert_eq!(subtree.start, rest.size());
                    prop_assert!(rest.push_subtree(subtree.level, subtree.root));
                } else {
                    rest.push(hash);
                }
                prop_assert_eq!(at_size.get(&rest.size()), Some(&rest.root()));
                if sizes.contains(&rest.size()) {
                    at_size.remove(&rest.size());
                }
            }
            let unseen = sizes.iter().filter(|size| at_size.contains_key(size)).count();
            prop_assert_eq!(unseen, 0, "no subtree reaches across a size");
        }
    }
}

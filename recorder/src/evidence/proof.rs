//! Proofs about a tree (RFC 6962, sections 2.1.1 and 2.1.2; checked as RFC 9162, sections 2.1.3.2 and 2.1.4.2, says).

use std::ops::Range;

use super::merkle::{CompactRange, Hash, node_hash};

/// The subtrees whose roots prove that the leaf at `index` is in a tree of `size` leaves, from the leaf upwards; none if
/// there is no such leaf.
pub fn inclusion_ranges(index: u64, size: u64) -> Option<Vec<Range<u64>>> {
    if index >= size {
        return None;
    }
    let mut ranges = Vec::new();
    let (mut from, mut to) = (0, size);
    while to - from > 1 {
        let middle = from + largest_power_below(to - from);
        if index < middle {
            ranges.push(middle..to);
            to = middle;
        } else {
            ranges.push(from..middle);
            from = middle;
        }
    }
    ranges.reverse();
    Some(ranges)
}

/// The subtrees whose roots prove that a tree of `size` leaves goes on where one of `before` leaves stood; none if the
/// smaller tree is empty or not smaller.
pub fn consistency_ranges(before: u64, size: u64) -> Option<Vec<Range<u64>>> {
    if before == 0 || before > size {
        return None;
    }
    let mut ranges = Vec::new();
    let (mut from, mut to) = (0, size);
    while to != before {
        let middle = from + largest_power_below(to - from);
        if before <= middle {
            ranges.push(middle..to);
            to = middle;
        } else {
            ranges.push(from..middle);
            from = middle;
        }
    }
    if from > 0 {
        ranges.push(from..to);
    }
    ranges.reverse();
    Some(ranges)
}

/// Whether a leaf with this hash is at `index` of the tree of `size` leaves with this root.
pub fn verify_inclusion(index: u64, size: u64, leaf: &Hash, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether the tree of `size` leaves begins with the `before` leaves of the other.
pub fn verify_consistency(
    (before, old_root): (u64, &Hash),
    (size, new_root): (u64, &Hash),
    path: &[Hash],
) -> bool {
    if before == size {
        return path.is_empty() && old_root == new_root;
    }
    if before == 0 || before > size {
        return false;
    }
    let mut path = path.iter();
    let first = if before.is_power_of_two() {
        *old_root
    } else {
        match path.next() {
            Some(first) => *first,
            None => return false,
        }
    };
    let (mut at, mut last) = (before - 1, size - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (first, first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old == *old_root && new == *new_root
}

/// Roots of some subtrees, gathered while every leaf of a tree passes by once.
#[derive(Debug)]
pub struct Subtrees {
    /// Sorted by where they begin; each with its place in the order asked for.
    wanted: Vec<(usize, Range<u64>, CompactRange)>,
    current: usize,
}

impl Subtrees {
    /// Gathers the roots of these subtrees, which do not overlap.
    pub fn of(ranges: Vec<Range<u64>>) -> Self {
        let with_tree = |(place, range)| (place, range, CompactRange::default());
        let mut wanted: Vec<_> = ranges.into_iter().enumerate().map(with_tree).collect();
        wanted.sort_by_key(|(_, range, _)| range.start);
        Self { wanted, current: 0 }
    }

    /// The next leaf; leaves pass by in order.
    pub fn push(&mut self, index: u64, leaf: Hash) {
        while let Some((_, range, tree)) = self.wanted.get_mut(self.current) {
            if index < range.end {
                if index >= range.start {
                    tree.push(leaf);
                }
                return;
            }
            self.current += 1;
        }
    }

    /// The next `1 << level` leaves, given by the root of the subtree over them.
    pub fn push_subtree(&mut self, index: u64, level: u32, root: Hash) {
        while let Some((_, range, tree)) = self.wanted.get_mut(self.current) {
            if index < range.end {
                if index >= range.start {
                    tree.push_subtree(level, root);
                }
                return;
            }
            self.current += 1;
        }
    }

    /// The roots, in the order asked for; none if some leaf did not pass by.
    pub fn roots(mut self) -> Option<Vec<Hash>> {
        let whole = |(_, range, tree): &(usize, Range<u64>, CompactRange)| {
            tree.size() == range.end - range.start
        };
        if !self.wanted.iter().all(whole) {
            return None;
        }
        self.wanted.sort_by_key(|(place, _, _)| *place);
        Some(self.wanted.iter().map(|(_, _, tree)| tree.root()).collect())
    }
}

/// The largest power of two below a number over one.
fn largest_power_below(number: u64) -> u64 {
    1 << (number - 1).ilog2()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::merkle::tests::{ROOTS, hash, leaves, naive_root};
    use super::*;

    fn roots(leaves: &[Hash], ranges: Vec<Range<u64>>) -> Vec<Hash> {
        let mut subtrees = Subtrees::of(ranges);
        for (index, leaf) in leaves.iter().enumerate() {
            subtrees.push(index as u64, *leaf);
        }
        subtrees.roots().unwrap()
    }

    /// `PATH` as RFC 6962 writes it.
    fn naive_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() <= 1 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(1 << (leaves.len() - 1).ilog2());
        let (mut path, sibling) = if index < left.len() {
            (naive_path(index, left), naive_root(right))
        } else {
            (naive_path(index - left.len(), right), naive_root(left))
        };
        path.push(sibling);
        path
    }

    /// `SUBPROOF` as RFC 6962 writes it.
    fn naive_consistency(before: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if before == leaves.len() {
            return if whole {
                Vec::new()
            } else {
                vec![naive_root(leaves)]
            };
        }
        let (left, right) = leaves.split_at(1 << (leaves.len() - 1).ilog2());
        let (mut path, sibling) = if before <= left.len() {
            (naive_consistency(before, left, whole), naive_root(right))
        } else {
            (
                naive_consistency(before - left.len(), right, false),
                naive_root(left),
            )
        };
        path.push(sibling);
        path
    }

    /// (leaf counted from one, tree, path) of the reference tests of certificate-transparency.
    const PATHS: [(u64, u64, &[&str]); 5] = [
        (1, 1, &[]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            3,
            3,
            &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
        ),
        (
            2,
            5,
            &[
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];

    const STEPS: [(u64, u64, &[&str]); 4] = [
        (1, 1, &[]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            &[
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ];

    #[test]
    fn inclusion_proofs_are_those_of_the_reference_vectors() {
        for (leaf, size, path) in PATHS {
            let path: Vec<Hash> = path.iter().map(|node| hash(node)).collect();
            let leaves = leaves();
            assert_eq!(
                roots(&leaves, inclusion_ranges(leaf - 1, size).unwrap()),
                path
            );
            let root = hash(ROOTS[size as usize - 1]);
            assert!(verify_inclusion(
                leaf - 1,
                size,
                &leaves[leaf as usize - 1],
                &path,
                &root
            ));
        }
    }

    #[test]
    fn consistency_proofs_are_those_of_the_reference_vectors() {
        for (before, size, path) in STEPS {
            let path: Vec<Hash> = path.iter().map(|node| hash(node)).collect();
            assert_eq!(
                roots(&leaves(), consistency_ranges(before, size).unwrap()),
                path
            );
            let (old, new) = (
                hash(ROOTS[before as usize - 1]),
                hash(ROOTS[size as usize - 1]),
            );
            assert!(verify_consistency((before, &old), (size, &new), &path));
        }
    }

    proptest! {
        #[test]
        fn proofs_are_what_the_rfc_defines_and_hold_for_nothing_else(
            leaves in vec(any::<[u8; 32]>(), 1..40), at in any::<prop::sample::Index>(), flip in any::<prop::sample::Index>()
        ) {
            let (size, index) = (leaves.len() as u64, at.index(leaves.len()));
            let root = naive_root(&leaves);
            let path = roots(&leaves, inclusion_ranges(index as u64, size).unwrap());
            prop_assert_eq!(&path, &naive_path(index, &leaves));
            prop_assert!(verify_inclusion(index as u64, size, &leaves[index], &path, &root));
            for other in 0..=size {
                prop_assert_eq!(verify_inclusion(other, size, &leaves[index], &path, &root), other == index as u64);
            }
            let before = index as u64 + 1;
            let old = naive_root(&leaves[..=index]);
            let steps = roots(&leaves, consistency_ranges(before, size).unwrap());
            prop_assert_eq!(&steps, &naive_consistency(index + 1, &leaves, true));
            prop_assert!(verify_consistency((before, &old), (size, &root), &steps));

            let mut long = path.clone();
            long.push(root);
            prop_assert!(!verify_inclusion(index as u64, size, &leaves[index], &long, &root));
            for (proof, inclusion) in [(path, true), (steps, false)] {
                if proof.is_empty() {
                    continue;
                }
                let mut bad = proof.clone();
                bad[flip.index(proof.len())][3] ^= 4;
                for bad in [&bad[..], &proof[1..]] {
                    let holds = if inclusion {
                        verify_inclusion(index as u64, size, &leaves[index], bad, &root)
                    } else {
                        verify_consistency((before, &old), (size, &root), bad)
                    };
                    prop_assert!(!holds);
                }
            }
        }
    }
}

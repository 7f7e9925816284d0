//! Which aliases of a hatch a call may match: found by the shape of its path, not by trying them all.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::path::{RequestPath, Template};

/// The aliases of one hatch by what any path they match must have. It only narrows the choice: whether an
/// alias matches is asked of the alias.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Hash of a shape → numbers of aliases. Built from the configuration alone; two shapes with one hash
    /// make a list longer and no answer different.
    shapes: HashMap<u64, Vec<usize>, FixedState>,
    /// Aliases that look at no path.
    others: Vec<usize>,
}

/// Numbers of aliases, smallest first.
pub(super) type Candidates = SmallVec<[usize; 8]>;

/// A path's place among those of its hatch, its number of segments, and its ends where they are fixed.
type Shape<'a> = (usize, usize, Option<&'a str>, Option<&'a str>);

impl Index {
    /// Notes alias `number`, whose first path, if it has one, stands at `place` among those of its hatch.
    pub(super) fn add(&mut self, number: usize, first: Option<(usize, &Template)>) {
        let Some((place, template)) = first else {
            self.others.push(number);
            return;
        };
        let (length, first, last) = template.shape();
        let shape = hash((place, length, first, last));
        self.shapes.entry(shape).or_default().push(number);
    }

    /// Every alias that may match a call with these paths.
    pub(super) fn candidates(&self, paths: &[Option<RequestPath<'_>>]) -> Candidates {
        let mut candidates = Candidates::from_slice(&self.others);
        for (place, path) in paths.iter().enumerate() {
            let Some(segments) = path.as_ref().map(RequestPath::segments) else {
                continue;
            };
            for first in [segments.first().copied(), None] {
                for last in [segments.last().copied(), None] {
                    let shape = hash((place, segments.len(), first, last));
                    let found = self.shapes.get(&shape);
                    candidates.extend(found.into_iter().flatten().copied());
                }
            }
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }
}

fn hash(shape: Shape<'_>) -> u64 {
    FixedState::default().hash_one(shape)
}

//! Figures by their labels, once they were found: a call looks them up, and makes no key of its own.

use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Handles of one metric by the values of its labels.
pub(super) struct Found<H, const LABELS: usize> {
    hasher: RandomState,
    handles: Mutex<HashTable<([Box<str>; LABELS], H)>>,
}

impl<H, const LABELS: usize> Default for Found<H, LABELS> {
    fn default() -> Self {
        Self {
            hasher: RandomState::default(),
            handles: Mutex::default(),
        }
    }
}

impl<H: Clone, const LABELS: usize> Found<H, LABELS> {
    /// The handle of these labels, if it was asked for before.
    pub(super) fn known(&self, labels: [&str; LABELS]) -> Option<H> {
        let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        let known = handles.find(self.hash(labels.into_iter()), |(own, _)| same(own, labels));
        known.map(|(_, handle)| handle.clone())
    }

    /// The same, made if there is none. Kept for ever, so how many labels there can be must be bounded.
    pub(super) fn get(&self, labels: [&str; LABELS], make: impl FnOnce() -> H) -> H {
        if let Some(known) = self.known(labels) {
            return known;
        }
        let handle = make();
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.insert_unique(
            self.hash(labels.into_iter()),
            (labels.map(Box::from), handle.clone()),
            |(own, _)| self.hash(own.iter().map(|label| &**label)),
        );
        handle
    }

    fn hash<'l>(&self, labels: impl Iterator<Item = &'l str>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for label in labels {
            hasher.write(label.as_bytes());
            hasher.write_u8(0xff); // in no text, so that labels do not run into each other
        }
        hasher.finish()
    }
}

fn same<const LABELS: usize>(own: &[Box<str>; LABELS], labels: [&str; LABELS]) -> bool {
    own.iter()
        .zip(labels)
        .all(|(own, label)| **own == *label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_made_once_for_its_labels_and_for_no_others() {
        let found: Found<usize, 2> = Found::default();
        for n in 0..100 {
            let label = n.to_string();
            assert_eq!(found.known(["ops", &label]), None);
            assert_eq!(found.get(["ops", &label], || n), n);
            assert_eq!(found.get(["ops", &label], || 1000), n);
        }
        assert_eq!(found.known(["op", "s1"]), None);
    }
}

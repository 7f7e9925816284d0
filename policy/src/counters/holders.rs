//! The grants that hold counters, each by a number, and how many it holds.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::short::same;

/// All grants that ever held a counter.
#[derive(Debug, Clone, Default)]
pub(super) struct Holders {
    numbers: HashMap<Box<str>, u32, RandomState>,
    holders: Vec<Holder>,
}

#[derive(Debug, Clone)]
struct Holder {
    name: Box<str>,
    /// Ended counters that are not yet swept included.
    held: usize,
}

impl Holders {
    /// The number of a grant.
    pub(super) fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.holders.len() as u32;
        self.holders.push(Holder {
            name: name.into(),
            held: 0,
        });
        self.numbers.insert(name.into(), number);
        number
    }

    /// Whether `number` is the grant of this name.
    #[inline]
    pub(super) fn is(&self, number: u32, name: &str) -> bool {
        let holder = self.holders.get(number as usize);
        holder.is_some_and(|holder| same(holder.name.as_bytes(), name.as_bytes()))
    }

    /// How many counters a grant holds, ended ones that are not yet swept included.
    pub(super) fn held(&self, number: u32) -> usize {
        self.holders
            .get(number as usize)
            .map_or(0, |holder| holder.held)
    }

    /// A counter comes to a grant.
    pub(super) fn hold(&mut self, number: u32) {
        if let Some(holder) = self.holders.get_mut(number as usize) {
            holder.held += 1;
        }
    }

    /// A counter leaves a grant.
    pub(super) fn release(&mut self, number: u32) {
        if let Some(holder) = self.holders.get_mut(number as usize) {
            holder.held -= 1;
        }
    }
}

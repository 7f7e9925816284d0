//! What part of a replay counted. Partial results merge by addition, in any order.

use std::collections::BTreeMap;

use crate::Class;
use crate::report::{Changes, Drift, Extent, Flip};
use crate::{Flips, kind::Kind};

/// Drifts that a report shows; all are counted.
pub(crate) const DRIFTS_LISTED: usize = 10;

/// A flip that the report may list.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The place of its node among the nodes.
    pub(crate) node: u32,
    /// Its group, and its row in that.
    pub(crate) group: usize,
    pub(crate) row: u32,
    /// Whether its arguments were read.
    pub(crate) is_read: bool,
    pub(crate) flip: Flip,
}

/// The counts of part of a record.
#[derive(Debug)]
pub(crate) struct Partial {
    listed: Flips,
    pub(crate) extent: Extent,
    /// Calls of each kind in each class.
    by_kind: Vec<[u64; Class::ALL.len()]>,
    pub(crate) by_rule: BTreeMap<String, Changes>,
    pub(crate) not_replayable: BTreeMap<String, u64>,
    pub(crate) in_doubt: BTreeMap<String, u64>,
    pub(crate) flips_outside: u64,
    /// In the order of the log.
    pub(crate) flips: Vec<Listed>,
    /// In the order of the log, with the node's place among the nodes.
    pub(crate) drifts: Vec<(u32, Drift)>,
}

impl Partial {
    pub(crate) fn new(listed: Flips) -> Self {
        Self {
            listed,
            extent: Extent::default(),
            by_kind: Vec::new(),
            by_rule: BTreeMap::new(),
            not_replayable: BTreeMap::new(),
            in_doubt: BTreeMap::new(),
            flips_outside: 0,
            flips: Vec::new(),
            drifts: Vec::new(),
        }
    }

    /// Counts so many calls of a kind.
    pub(crate) fn count(&mut self, kind: &Kind, class: Class, calls: u64) {
        self.extent.calls += calls;
        if kind.number >= self.by_kind.len() {
            self.by_kind.resize(kind.number + 1, Default::default());
        }
        let counts = self.by_kind.get_mut(kind.number);
        if let Some(count) = counts.and_then(|counts| counts.get_mut(class as usize)) {
            *count += calls;
        }
    }

    /// Notes when a call was decided that is reported.
    pub(crate) fn reach(&mut self, decided_at: i64) {
        let Extent { from, to, .. } = &mut self.extent;
        *from = Some(from.map_or(decided_at, |from| from.min(decided_at)));
        *to = Some(to.map_or(decided_at, |to| to.max(decided_at)));
    }

    /// Notes a flip by the rule that would make it, or that no longer would.
    pub(crate) fn flip(&mut self, rule: &str, class: Class) {
        if !self.by_rule.contains_key(rule) {
            self.by_rule.insert(rule.to_owned(), Changes::default());
        }
        if let Some(changes) = self.by_rule.get_mut(rule) {
            changes.count(class, 1);
        }
    }

    /// Whether one more flip is listed; those of other parts are not known here.
    pub(crate) fn lists_another_flip(&self) -> bool {
        self.listed.takes_another_after(self.flips.len())
    }

    /// Calls of a kind in each class.
    pub(crate) fn of_kind(&self, kind: &Kind) -> impl Iterator<Item = (Class, u64)> + '_ {
        let counts = self.by_kind.get(kind.number).into_iter().flatten();
        Class::ALL
            .into_iter()
            .zip(counts.copied())
            .filter(|(_, count)| *count > 0)
    }

    /// Adds what another part counted.
    pub(crate) fn merge(&mut self, other: Self) {
        let Extent {
            calls, from, to, ..
        } = other.extent;
        self.extent.calls += calls;
        from.into_iter().chain(to).for_each(|at| self.reach(at));
        if other.by_kind.len() > self.by_kind.len() {
            self.by_kind.resize(other.by_kind.len(), Default::default());
        }
        for (mine, theirs) in self.by_kind.iter_mut().zip(other.by_kind) {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
        for (rule, changes) in other.by_rule {
            self.by_rule.entry(rule).or_default().add(&changes);
        }
        add(&mut self.not_replayable, other.not_replayable);
        add(&mut self.in_doubt, other.in_doubt);
        self.flips_outside += other.flips_outside;
        self.flips.extend(other.flips);
        self.flips
            .sort_by_key(|listed| (listed.node, listed.flip.seq));
        if let Flips::First(most) = self.listed {
            self.flips.truncate(most);
        }
        self.drifts.extend(other.drifts);
        self.drifts.sort_by_key(|(node, drift)| (*node, drift.seq));
        self.drifts.truncate(DRIFTS_LISTED);
    }
}

fn add(to: &mut BTreeMap<String, u64>, from: BTreeMap<String, u64>) {
    for (word, count) in from {
        *to.entry(word).or_default() += count;
    }
}

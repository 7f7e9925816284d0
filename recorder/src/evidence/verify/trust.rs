//! Which checkpoints of one log are believed, and what they say of its tree.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::super::checkpoint::Checkpoint;
use super::super::merkle::Hash;
use super::super::note::Note;
use super::super::notes::Found;
use super::super::origin;
use super::arranger::Arranged;
use super::{Finding, State};
use crate::VerifyingKey;

/// A note and what it says.
type Signed<'n> = (&'n Note, &'n Checkpoint);

/// The checkpoints of one log.
#[derive(Debug)]
pub(super) struct Trust<'n> {
    /// The keys that are believed, those among them that others handed over to.
    pub(super) keys: Vec<VerifyingKey>,
    /// Signed before the record was looked at: the record must hold all they speak of. The smallest log first.
    required: Vec<Signed<'n>>,
    /// Signed meanwhile.
    later: Vec<Signed<'n>>,
    anchored: Vec<Signed<'n>>,
    /// Of keys that are not believed.
    strangers: Vec<Signed<'n>>,
    files: HashSet<Hash>,
    pub(super) findings: Vec<Finding>,
}

impl<'n> Trust<'n> {
    pub(super) fn new(
        node: &str,
        keys: &[VerifyingKey],
        before: impl Iterator<Item = &'n Found>,
        after: impl Iterator<Item = &'n Found>,
        anchored: impl Iterator<Item = &'n Found>,
    ) -> Self {
        let origin = origin(node);
        let before: Vec<_> = before.collect();
        let known: HashSet<_> = before.iter().map(|found| &found.name).collect();
        let after: Vec<_> = after.filter(|found| !known.contains(&found.name)).collect();
        let anchored: Vec<_> = anchored.collect();
        let everywhere = before.iter().chain(&after).chain(&anchored);
        let mut trust = Self {
            keys: successors(keys, &origin, everywhere.copied()),
            required: Vec::new(),
            later: Vec::new(),
            anchored: Vec::new(),
            strangers: Vec::new(),
            files: HashSet::new(),
            findings: Vec::new(),
        };
        for (found, is_required) in before
            .iter()
            .map(|found| (found, true))
            .chain(after.iter().map(|found| (found, false)))
        {
            match trust.judge(found, &origin) {
                Ok((signed, true)) if is_required => trust.required.push(signed),
                Ok((signed, true)) => trust.later.push(signed),
                Ok((signed, false)) => trust.strangers.push(signed),
                Err(why) => trust.findings.push(Finding {
                    state: State::Altered,
                    text: format!("the checkpoint `{}`: {why}", found.name),
                }),
            }
        }
        // What others put beside the anchor's notes, or a crash cut short there, says nothing of this record.
        for found in &anchored {
            if let Ok((signed, true)) = trust.judge(found, &origin) {
                trust.anchored.push(signed);
            }
        }
        let all = trust
            .required
            .iter()
            .chain(&trust.later)
            .chain(&trust.anchored);
        trust.files = all
            .flat_map(|(_, checkpoint)| checkpoint.segments.iter().map(|file| file.digest))
            .collect();
        trust
    }

    fn judge(&self, found: &'n Found, origin: &str) -> Result<(Signed<'n>, bool), String> {
        let (note, checkpoint) = found.read.as_ref().map_err(Clone::clone)?;
        let signers = note.signed_by(&self.keys).map_err(|e| e.to_string())?;
        if checkpoint.origin != origin {
            return Err(format!("it speaks of the log `{}`", checkpoint.origin));
        }
        Ok(((note, checkpoint), !signers.is_empty()))
    }

    /// Sizes at which the root is to be compared.
    pub(super) fn sizes(&self) -> BTreeSet<u64> {
        let believed = self
            .required
            .iter()
            .chain(&self.later)
            .chain(&self.anchored);
        let all = believed.chain(&self.strangers);
        all.map(|(_, checkpoint)| checkpoint.size()).collect()
    }

    /// How many entries are signed, also since the record was looked at.
    pub(super) fn reached(&self) -> u64 {
        let own = self.required.iter().chain(&self.later);
        own.map(|(_, checkpoint)| checkpoint.size())
            .max()
            .unwrap_or(0)
    }

    /// How many entries there must be.
    pub(super) fn required(&self) -> u64 {
        self.newest_required().map_or(0, Checkpoint::size)
    }

    pub(super) fn newest_required(&self) -> Option<&'n Checkpoint> {
        self.required.last().map(|(_, checkpoint)| *checkpoint)
    }

    /// The newest note that there was before the record was looked at.
    pub(super) fn newest_note(&self) -> Option<Signed<'n>> {
        self.required.last().copied()
    }

    /// The newest checkpoint whose root is that of the entries.
    pub(super) fn newest_held(&self, arranged: &Arranged) -> Option<Signed<'n>> {
        self.holding(arranged)
            .max_by_key(|(_, checkpoint)| checkpoint.size())
    }

    /// How many of the record's own checkpoints hold.
    pub(super) fn held(&self, arranged: &Arranged) -> usize {
        let own = self.required.iter().chain(&self.later);
        own.filter(|signed| holds(signed, arranged)).count()
    }

    /// Whether a signed line names a file with this digest.
    pub(super) fn vouches(&self, digest: &Hash) -> bool {
        self.files.contains(digest)
    }

    /// Every checkpoint that is believed, also those that only an anchor has.
    pub(super) fn believed(&self) -> impl Iterator<Item = &'n Checkpoint> + '_ {
        let own = self.required.iter().chain(&self.later);
        own.chain(&self.anchored).map(|(_, checkpoint)| *checkpoint)
    }

    /// How many entries the newest checkpoint speaks of that the record has, and the newest that an anchor has.
    pub(super) fn newest_sizes(&self) -> (u64, Option<u64>) {
        let newest = |signed: &[Signed<'_>]| signed.last().map(|(_, c)| c.size());
        let own = newest(&self.required).max(newest(&self.later));
        (own.unwrap_or(0), newest(&self.anchored))
    }

    /// What does not agree.
    pub(super) fn compare(&self, arranged: &Arranged) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut find = |state, text| findings.push(Finding { state, text });
        let mut good = 0;
        let mut own_fault = None;
        for signed in &self.required {
            let size = signed.1.size();
            if holds(signed, arranged) {
                good = size;
                continue;
            }
            if arranged.is_blurred(size) || arranged.is_unread(size) {
                continue;
            }
            own_fault = Some(size);
            let absent = gone(arranged, good, size);
            if absent.is_empty() {
                let what = format!(
                    "the entries from {good} to {} are not those that the checkpoint of {size} entries signs",
                    size - 1
                );
                find(State::Altered, what);
            } else {
                let what = format!(
                    "entries that the checkpoint of {size} entries signs are gone: {absent}"
                );
                find(State::Missing, what);
            }
            break;
        }
        for signed in self.later.iter().chain(&self.strangers) {
            let size = signed.1.size();
            let differs = arranged.roots.contains_key(&size) && !holds(signed, arranged);
            if differs && own_fault.is_none_or(|fault| size < fault) {
                let what = format!("a checkpoint of {size} entries does not belong to this log");
                find(State::Altered, what);
            }
        }
        self.compare_unread(arranged, &mut find);
        self.compare_anchor(arranged, own_fault, &mut find);
        findings
    }

    /// Of sizes whose roots were not computed, the checkpoints are held against each other.
    fn compare_unread(&self, arranged: &Arranged, find: &mut impl FnMut(State, String)) {
        let believed = self.required.iter().chain(&self.later);
        let mut roots: BTreeMap<u64, Hash> = BTreeMap::new();
        for (_, checkpoint) in believed.chain(&self.anchored) {
            let (size, root) = (checkpoint.size(), checkpoint.tree.root());
            let known = *roots.entry(size).or_insert(root);
            if known != root && arranged.is_unread(size) {
                let what = format!("two checkpoints of {size} entries sign different ones");
                find(State::Altered, what);
            }
        }
    }

    /// The root that the record's own checkpoint of this size signs.
    pub(super) fn signed_root(&self, size: u64) -> Option<Hash> {
        let mut own = self.required.iter().chain(&self.later);
        let of_size = own.find(|(_, checkpoint)| checkpoint.size() == size);
        of_size.map(|(_, checkpoint)| checkpoint.tree.root())
    }

    fn compare_anchor(
        &self,
        arranged: &Arranged,
        own_fault: Option<u64>,
        find: &mut impl FnMut(State, String),
    ) {
        let own: HashSet<&Note> = self
            .required
            .iter()
            .chain(&self.later)
            .map(|(n, _)| *n)
            .collect();
        for signed in &self.anchored {
            let (note, checkpoint) = signed;
            let size = checkpoint.size();
            let lasting = !checkpoint.segments.is_empty() || checkpoint.next_key.is_some();
            if holds(signed, arranged) || arranged.is_unread(size) {
                if lasting && !own.contains(*note) {
                    let what =
                        format!("the checkpoint of {size} entries that the anchor has is gone");
                    find(State::Missing, what);
                }
            } else if arranged.is_blurred(size) {
                // What came after is compared, and covers it.
            } else if size > arranged.reach {
                let what = format!(
                    "the anchor has seen {size} entries, the record has {}",
                    arranged.reach
                );
                find(State::Truncated, what);
                return;
            } else if own_fault.is_none_or(|fault| size < fault) {
                let what = if arranged.roots.contains_key(&size) {
                    (State::Altered, "goes another way than the anchor's")
                } else {
                    (State::Missing, "lacks entries of the anchor's")
                };
                find(
                    what.0,
                    format!("the log {} checkpoint of {size} entries", what.1),
                );
                return;
            }
        }
        if let (own, Some(anchored)) = self.newest_sizes()
            && anchored > own
        {
            let what = format!(
                "the anchor has a checkpoint of {anchored} entries, the record's newest is of {own}"
            );
            find(State::Missing, what);
        }
    }

    fn holding<'a>(&'a self, arranged: &'a Arranged) -> impl Iterator<Item = Signed<'n>> + 'a {
        let believed = self
            .required
            .iter()
            .chain(&self.later)
            .chain(&self.anchored);
        believed.copied().filter(|signed| holds(signed, arranged))
    }
}

fn holds((_, checkpoint): &Signed<'_>, arranged: &Arranged) -> bool {
    arranged.roots.get(&checkpoint.size()) == Some(&checkpoint.tree.root())
}

/// Places between two sizes where nothing was found, as people write them.
fn gone(arranged: &Arranged, from: u64, to: u64) -> String {
    let (from, to) = (from as i64, to as i64);
    let within = arranged
        .absent
        .iter()
        .filter(|range| range.start < to && range.end > from);
    let text = |range: &std::ops::Range<i64>| match (range.start.max(from), range.end.min(to) - 1) {
        (first, last) if first == last => format!("{first}"),
        (first, last) => format!("{first}-{last}"),
    };
    let mut texts: Vec<_> = within.map(text).collect();
    if texts.len() > 20 {
        let more = texts.len() - 20;
        texts.truncate(20);
        texts.push(format!("and {more} more ranges"));
    }
    texts.join(", ")
}

/// These keys, and those that they hand over to.
fn successors<'n>(
    keys: &[VerifyingKey],
    origin: &str,
    notes: impl Iterator<Item = &'n Found>,
) -> Vec<VerifyingKey> {
    let rotations: Vec<_> = notes
        .filter_map(|found| found.read.as_ref().ok())
        .filter_map(|(note, checkpoint)| {
            let next = checkpoint.next_key.as_ref()?;
            (checkpoint.origin == origin).then_some((note, next))
        })
        .collect();
    let mut keys = keys.to_vec();
    loop {
        let believed = |note: &Note| note.signed_by(&keys).is_ok_and(|by| !by.is_empty());
        let next = rotations
            .iter()
            .find(|(note, next)| !keys.contains(next) && believed(note));
        match next {
            Some((_, next)) => keys.push((*next).clone()),
            None => return keys,
        }
    }
}

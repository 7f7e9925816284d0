//! Opening a record: whatever the last process left in the journal becomes segments, and the log goes on behind it.

use std::collections::HashSet;
use std::sync::Arc;

use crate::RecordError;
use crate::RecordKeys;
use crate::Segment;
use crate::Storage;
use crate::entry::{Head, Header, file_head};
use crate::evidence::{Evidence, Hasher};
use crate::index::{Index, JournalBytes};
use crate::journal::JournalFile;
use crate::keeper::aside;
use crate::layout::{Layout, Table};
use crate::seal::seal;
use crate::segments;

/// What recovery came to.
#[derive(Debug)]
pub(crate) struct Recovery {
    /// The new journal file, with a durable header.
    pub(crate) journal: JournalFile,
    /// Place and time of the last entry.
    pub(crate) last: Option<(i64, i64)>,
    /// Calls now `unknown`.
    pub(crate) unfinished: u64,
    /// A file ended within an entry.
    pub(crate) torn: bool,
}

/// Seals every journal file of this node, begins a new one, and removes the old ones: in this order, so that stopping at any
/// point loses nothing, and the next recovery finds the rows that are sealed already.
pub(crate) fn recover(
    storage: &dyn Storage,
    layout: &Layout,
    node: &Arc<str>,
    ahead: u64,
    evidence: &Evidence,
    keys: &RecordKeys,
) -> Result<Recovery, RecordError> {
    aside::clear(storage, layout)?;
    segments::remove_leftovers(storage, layout, Table::Calls)?;
    segments::remove_leftovers(storage, layout, Table::Events)?;
    let files = JournalBytes::read_all(storage, layout)?;
    let ours: Vec<_> = files
        .into_iter()
        .filter(|(of, _)| **of == **node)
        .map(|(_, file)| file)
        .collect();
    let index = Index::of(ours.iter().map(|file| (file, None)))?;
    let sealed = sealed_by(storage, layout, node)?;
    let last = match index.last_seq.zip(index.last_at) {
        Some(last) => Some(last),
        None => sealed_to(storage, &sealed)?,
    };
    check_covered(evidence, sealed.iter().map(|s| (s, s.last_seq)))?;
    if let Some(gap) = first_gap(evidence, &index, last)? {
        if gap == 0 {
            return Err(RecordError::Evidence(format!(
                "`{}` goes on from entries that are gone, and no checkpoint vouches for any: bring its folder `checkpoints` \
                 back from a copy, or begin a new record in another folder",
                layout.root().display()
            )));
        }
        // Before it is signed that nothing was there: a call that ended late has a place far before that of its end.
        for segment in &sealed {
            let reached = segments::log_reached(storage, &segment.path)?;
            check_covered(evidence, reached.map(|(seq, _)| (segment, seq)))?;
        }
    }
    let last = grow(evidence, &index, last)?;
    let done = seal(storage, layout, node, &index, true, evidence, keys)?;

    let number = ours.iter().map(|file| file.number + 1).max().unwrap_or(1);
    let journals = layout.journals();
    let mut journal = JournalFile::prepare(storage, layout, node, number, (ahead, ahead))
        .map_err(RecordError::io("create", layout.journal(node, number)))?;
    let header = Header {
        node: node.to_string(),
        number,
        next_seq: last.map_or(0, |(seq, _)| seq + 1),
        last_at: last.map_or(i64::MIN, |(_, at)| at),
    };
    let unfit = || RecordError::Damaged {
        path: layout.journal(node, number),
        what: "its header does not fit".into(),
    };
    let head = file_head(&header).ok_or_else(unfit)?;
    journal
        .append(&head)
        .and_then(|()| journal.sync())
        .map_err(RecordError::io("write", layout.journal(node, number)))?;
    for file in &ours {
        storage
            .remove(&file.path)
            .map_err(RecordError::io("remove", &file.path))?;
    }
    storage
        .sync_folder(&journals)
        .map_err(RecordError::io("sync", &journals))?;
    if done.unknown > 0 || index.torn {
        tracing::warn!(
            unknown = done.unknown,
            torn = index.torn,
            "the record was not closed in good order; it is recovered"
        );
    }
    Ok(Recovery {
        journal,
        last,
        unfinished: done.unknown,
        torn: index.torn,
    })
}

/// The segments of this node.
fn sealed_by(
    storage: &dyn Storage,
    layout: &Layout,
    node: &str,
) -> Result<Vec<Segment>, RecordError> {
    let mut sealed = Vec::new();
    for table in Table::OF_THE_LOG {
        sealed.extend(segments::list(storage, layout, table, None..=None)?);
    }
    sealed.retain(|segment| segment.node == node);
    Ok(sealed)
}

/// Files are signed before they get their names: one that reaches behind the last checkpoint says that a checkpoint is gone. To
/// go on without it would be to sign something else at places that were signed before.
fn check_covered<'s>(
    evidence: &Evidence,
    reached: impl IntoIterator<Item = (&'s Segment, i64)>,
) -> Result<(), RecordError> {
    let (size, _) = evidence.reached();
    match reached.into_iter().find(|(_, seq)| *seq >= size) {
        Some((segment, seq)) => Err(RecordError::Evidence(format!(
            "`{}` holds entry {seq}, and the newest checkpoint covers only those before {size}: a checkpoint is gone. Bring \
             it back into the folder `checkpoints`, from the anchor or a copy; `weir verify` tells what it signed",
            segment.path.display(),
        ))),
        None => Ok(()),
    }
}

/// The first place behind the last checkpoint that no entry of the journal has, if there are later ones.
fn first_gap(
    evidence: &Evidence,
    index: &Index<'_>,
    last: Option<(i64, i64)>,
) -> Result<Option<i64>, RecordError> {
    let (size, _) = evidence.reached();
    let mut there = HashSet::new();
    index.each_entry(size, |payload, _| {
        there.extend(Head::of(payload).map(|head| head.seq));
        Ok(())
    })?;
    let next = last.map_or(0, |(seq, _)| seq + 1);
    Ok((size..next).find(|seq| !there.contains(seq)))
}

/// Makes leaves of what the journal holds behind the last checkpoint. If a checkpoint vouches for more than there is, the log
/// goes on behind what it vouches for: what is missing stays missed.
fn grow(
    evidence: &Evidence,
    index: &Index<'_>,
    last: Option<(i64, i64)>,
) -> Result<Option<(i64, i64)>, RecordError> {
    let (size, at) = evidence.reached();
    let mut hasher = Hasher::default();
    let mut leaves = Vec::new();
    index.each_entry(size, |payload, ends| {
        leaves.extend(hasher.hash(payload, index.voided(), ends));
        Ok(())
    })?;
    leaves.sort_by_key(|leaf| leaf.seq);
    evidence.append(leaves, hasher.take_policies());
    let next = last.map_or(0, |(seq, _)| seq + 1);
    if size > next {
        tracing::error!(
            vouched = size,
            there = next,
            "entries that a checkpoint vouches for are gone"
        );
        return Ok(Some((size - 1, at.unwrap_or(i64::MIN))));
    }
    evidence.fill_to(next);
    Ok(last.map(|(seq, last_at)| (seq, Some(last_at).max(at).unwrap_or(last_at))))
}

/// How far the log had come, from the segments alone: only needed where somebody removed the journal.
fn sealed_to(storage: &dyn Storage, sealed: &[Segment]) -> Result<Option<(i64, i64)>, RecordError> {
    let mut last = None;
    for segment in sealed {
        last = last.max(segments::log_reached(storage, &segment.path)?);
    }
    Ok(last)
}

//! Opening a record: whatever the last process left in the journal becomes segments, and the log goes on behind it.
//!
//! The files are read twice, one at a time: first to know what they hold together, since a later one may declare void what an
//! earlier one holds, and nothing may be signed before it is known whether entries are gone; then to seal them.

use crate::RecordError;
use crate::Segment;
use crate::Storage;
use crate::backlog::Backlog;
use crate::entry::{Header, file_head};
use crate::evidence::{Evidence, Hasher};
use crate::index::{Index, JournalBytes};
use crate::journal::JournalFile;
use crate::keeper::aside;
use crate::layout::{Layout, Table};
use crate::seal::{Done, Sealing};
use crate::segments;

mod survey;

use survey::Survey;

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

/// Seals every journal file of this node, begins a new one, and removes the last of the old ones: in this order, so that stopping at
/// any point loses nothing, and the next recovery finds the rows that are sealed already.
pub(crate) fn recover(sealing: Sealing<'_>, ahead: u64) -> Result<Recovery, RecordError> {
    let Sealing {
        storage,
        layout,
        node,
        evidence,
        ..
    } = sealing;
    aside::clear(storage, layout)?;
    segments::remove_leftovers(storage, layout, Table::Calls)?;
    segments::remove_leftovers(storage, layout, Table::Events)?;
    let (size, _) = evidence.reached();
    let mut survey = Survey::of(storage, layout, node, size)?;
    let sealed = sealed_by(storage, layout, node)?;
    let last = match survey.last {
        Some(last) => Some(last),
        None => sealed_to(storage, &sealed)?,
    };
    check_covered(evidence, sealed.iter().map(|s| (s, s.last_seq)))?;
    if let Some(gap) = survey.first_gap(size, next_place(last)) {
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
    let voided = std::mem::take(&mut survey.voided);
    let mut backlog = Backlog::new(sealing, voided);
    let done = seal(storage, evidence, &survey, &mut backlog)?;
    let last = vouched(evidence, last);

    let number = survey.next_number();
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
    backlog.finish()?;
    if done.unknown > 0 || survey.torn {
        tracing::warn!(
            unknown = done.unknown,
            torn = survey.torn,
            "the record was not closed in good order; it is recovered"
        );
    }
    Ok(Recovery {
        journal,
        last,
        unfinished: done.unknown,
        torn: survey.torn,
    })
}

/// Seals the files, each once its entries are leaves.
fn seal(
    storage: &dyn Storage,
    evidence: &Evidence,
    survey: &Survey,
    backlog: &mut Backlog<'_>,
) -> Result<Done, RecordError> {
    let mut buffer = Vec::new();
    let mut done = Done::default();
    for (at, file) in survey.files.iter().enumerate() {
        let read = JournalBytes::read_into(storage, file.path.clone(), file.number, buffer)?;
        let first = |index: &Index<'_>| grow(evidence, index);
        if at + 1 == survey.files.len() {
            (done, _) = backlog.seal_last(&read, None, first)?;
        } else {
            backlog.seal(&read, None, first)?;
        }
        buffer = read.bytes;
    }
    Ok(done)
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

/// Makes leaves of what a file holds behind the last checkpoint. What is missing before its last entry is in no later one: it stays
/// missed.
fn grow(evidence: &Evidence, index: &Index<'_>) -> Result<(), RecordError> {
    let (size, _) = evidence.reached();
    let mut hasher = Hasher::default();
    let mut leaves = Vec::new();
    index.each_entry(size, |payload, ends| {
        leaves.extend(hasher.hash(payload, index.voided(), ends));
        Ok(())
    })?;
    leaves.sort_by_key(|leaf| leaf.seq);
    evidence.append(leaves, hasher.take_policies());
    evidence.fill_to(next_place(index.last_seq.zip(index.last_at)));
    Ok(())
}

/// Where the log goes on: if a checkpoint vouches for more than there is, behind what it vouches for.
fn vouched(evidence: &Evidence, last: Option<(i64, i64)>) -> Option<(i64, i64)> {
    let (size, at) = evidence.reached();
    let next = next_place(last);
    if size > next {
        tracing::error!(
            vouched = size,
            there = next,
            "entries that a checkpoint vouches for are gone"
        );
        return Some((size - 1, at.unwrap_or(i64::MIN)));
    }
    last.map(|(seq, last_at)| (seq, Some(last_at).max(at).unwrap_or(last_at)))
}

fn next_place(last: Option<(i64, i64)>) -> i64 {
    last.map_or(0, |(seq, _)| seq + 1)
}

/// How far the log had come, from the segments alone: only needed where somebody removed the journal.
fn sealed_to(storage: &dyn Storage, sealed: &[Segment]) -> Result<Option<(i64, i64)>, RecordError> {
    let mut last = None;
    for segment in sealed {
        last = last.max(segments::log_reached(storage, &segment.path)?);
    }
    Ok(last)
}

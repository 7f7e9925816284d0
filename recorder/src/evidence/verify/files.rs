//! Verifying without reading rows: what was signed is there, byte for byte.
//!
//! A sealed file whose digest a signed line names holds the rows that were sealed, so that whoever reads it next may believe them. What
//! only the rows tell stays open: that the tree over them has the root that was signed, and that no checkpoint was taken away together
//! with everything that it alone named.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::{available_parallelism, scope};

use super::super::checkpoint::{Checkpoint, SealedFile};
use super::super::merkle::Hash;
use super::super::origin;
use super::super::removal::Removal;
use super::moment::{Moment, NodeMoment, Removed, SealedSegment, digest};
use super::rows::{Row, read_segment};
use super::seen::Seen;
use super::trust::Trust;
use super::{Finding, State, VerifyOptions};
use crate::identity;
use crate::layout::{self, Layout, Table};
use crate::reader::snapshot::undisturbed;
use crate::{Disk, RecordError, RecordKeys, Segment, Storage, segments};

/// What verifying without the rows came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesVerification {
    /// Everything that is wrong, the worst first.
    pub findings: Vec<Finding>,
    /// Sealed files whose bytes are those that were signed.
    pub vouched: BTreeSet<PathBuf>,
    /// How many entries the newest checkpoints speak of, all nodes together.
    pub entries: u64,
    /// Whether an anchor has the newest checkpoint of every node.
    pub anchored: bool,
}

/// Verifies a record on disk without reading its rows: signatures, the digests of sealed files, and that all is there that they name.
///
/// It costs one SHA-256 over the sealed files. [`verify`](crate::verify()) also proves the rows.
pub fn verify_files(
    record: impl AsRef<Path>,
    options: &VerifyOptions<'_>,
) -> Result<FilesVerification, RecordError> {
    verify_files_on(&Disk, record.as_ref(), options)
}

/// The same on any storage.
pub fn verify_files_on(
    storage: &dyn Storage,
    record: &Path,
    options: &VerifyOptions<'_>,
) -> Result<FilesVerification, RecordError> {
    undisturbed(|| examine(storage, record, options))
}

fn examine(
    storage: &dyn Storage,
    record: &Path,
    options: &VerifyOptions<'_>,
) -> Result<FilesVerification, RecordError> {
    let layout = Layout::new(record);
    let seen = Seen::of(storage, &layout, options)?;
    let digests = digests(storage, &seen.moment, options)?;
    let mut done = FilesVerification {
        findings: Vec::new(),
        vouched: BTreeSet::new(),
        entries: 0,
        anchored: true,
    };
    for text in seen.strangers() {
        done.find(State::Altered, text);
    }
    for node in &seen.nodes {
        let (moment, trust) = seen.log(node, options);
        Log {
            storage,
            layout: &layout,
            node,
            moment,
            trust,
            vouched: Vec::new(),
        }
        .check(&digests, &mut done)?;
    }
    done.findings.sort_by_key(|finding| finding.state.rank());
    Ok(done)
}

impl FilesVerification {
    fn find(&mut self, state: State, text: String) {
        self.findings.push(Finding { state, text });
    }
}

/// One node's log.
struct Log<'a> {
    storage: &'a dyn Storage,
    layout: &'a Layout,
    node: &'a str,
    moment: &'a NodeMoment,
    trust: Trust<'a>,
    /// Its files whose bytes a signed line names.
    vouched: Vec<&'a SealedSegment>,
}

impl Log<'_> {
    fn check(
        mut self,
        digests: &BTreeMap<&Path, Hash>,
        done: &mut FilesVerification,
    ) -> Result<(), RecordError> {
        done.findings.extend(self.trust.findings.iter().cloned());
        let (own, anchored) = self.trust.newest_sizes();
        let signed: HashSet<(PathBuf, Hash)> = self
            .trust
            .believed()
            .flat_map(|checkpoint| &checkpoint.segments)
            .map(|file| (self.layout.root().join(&file.path), file.digest))
            .collect();
        for segment in self.moment.segments() {
            let digest = digests.get(segment.path.as_path()).copied();
            // Under its own name: a copy of it would be taken for other rows.
            if digest.is_some_and(|digest| signed.contains(&(segment.path.clone(), digest))) {
                self.vouched.push(segment);
                done.vouched.insert(segment.path.clone());
                continue;
            }
            // What a checkpoint names ends before its size.
            let (state, why) = if segment.name.last_seq >= own as i64 {
                (State::UnsignedTail, "is behind the last checkpoint")
            } else {
                (State::Altered, "is not as it was sealed")
            };
            done.find(state, format!("`{}` {why}", segment.path.display()));
        }
        self.check_roots(done);
        self.check_reach(own, anchored, done)?;
        self.check_named(done)?;
        self.check_policies(done)?;
        done.entries += own;
        done.anchored &= own == 0 || anchored.is_some_and(|anchored| anchored >= own);
        Ok(())
    }

    /// No two checkpoints say otherwise of the same log.
    fn check_roots(&self, done: &mut FilesVerification) {
        let mut roots = BTreeMap::new();
        for checkpoint in self.trust.believed() {
            let (size, root) = (checkpoint.size(), checkpoint.tree.root());
            if *roots.entry(size).or_insert(root) != root {
                let text = format!("two checkpoints of {size} entries have other roots");
                done.find(State::Altered, text);
            }
        }
    }

    /// The log comes as far as its checkpoints say.
    fn check_reach(
        &self,
        own: u64,
        anchored: Option<u64>,
        done: &mut FilesVerification,
    ) -> Result<(), RecordError> {
        let mut reached = self.moment.journal.keys().max().map_or(0, |seq| seq + 1) as u64;
        for segment in &self.vouched {
            // A file sealed by something else than a recorder does not say it, and then holds what its name says.
            let to = segments::log_reached(self.storage, &segment.path)?;
            let to = to.map_or(segment.name.last_seq, |(seq, _)| seq);
            reached = reached.max(to as u64 + 1);
        }
        let signed = self.trust.required();
        if signed > reached {
            let text = format!(
                "the entries from {reached} to {} that a checkpoint signs are gone",
                signed - 1
            );
            done.find(State::Missing, text);
        }
        match anchored {
            Some(anchored) if anchored > reached => {
                let text =
                    format!("the anchor has seen {anchored} entries, the record has {reached}");
                done.find(State::Truncated, text);
            }
            Some(anchored) if anchored > own => {
                let text = format!(
                    "the anchor has a checkpoint of {anchored} entries, the record's newest is of {own}"
                );
                done.find(State::Missing, text);
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Every file that a checkpoint names is there, or what its rows went into is.
    fn check_named(&self, done: &mut FilesVerification) -> Result<(), RecordError> {
        let mut gone = BTreeMap::new();
        for file in self.trust.believed().flat_map(|c| &c.segments) {
            if let Some((table, name)) = self.parse(file)
                && !self.moment.segments().iter().any(|s| s.path == name.path)
                && !self.is_covered(table, &name)
            {
                gone.insert(name.path.clone(), (table, name));
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let removed = self.removed_days()?;
        for (path, (table, name)) in gone {
            if table == Table::Events || !removed.contains(&name.date) {
                let text = format!("`{}`, which a checkpoint names, is gone", path.display());
                done.find(State::Missing, text);
            }
        }
        Ok(())
    }

    fn parse(&self, file: &SealedFile) -> Option<(Table, Segment)> {
        let mut parts = file.path.split('/');
        let (folder, day, name) = (parts.next()?, parts.next()?, parts.next()?);
        let table = Table::ALL
            .into_iter()
            .find(|table| table.folder() == folder)?;
        Some((
            table,
            layout::segment(&self.layout.table(table), day, name)?,
        ))
    }

    /// Whether the rows of a file that is not there are elsewhere: still in the journal, since it was signed and did not get its name;
    /// in one file of that day that holds at least as much; or in the files that were to be joined into it, of which each is named
    /// by a checkpoint of its own.
    fn is_covered(&self, table: Table, gone: &Segment) -> bool {
        let journal = &self.moment.journal;
        if journal.contains_key(&gone.first_seq) && journal.contains_key(&gone.last_seq) {
            return true;
        }
        let of_day = |s: &&&SealedSegment| s.table == table && s.name.date == gone.date;
        let (mut begins, mut ends) = (false, false);
        for SealedSegment { name, .. } in self.vouched.iter().filter(of_day) {
            if name.first_seq <= gone.first_seq && name.last_seq >= gone.last_seq {
                return true;
            }
            begins |= name.first_seq == gone.first_seq;
            ends |= name.last_seq == gone.last_seq;
        }
        begins && ends
    }

    /// Days whose calls were removed, as events of the log tell.
    fn removed_days(&self) -> Result<BTreeSet<String>, RecordError> {
        let mut told: BTreeSet<Removed> = self.moment.removals.iter().cloned().collect();
        // Nothing in events is encrypted.
        let keys = RecordKeys::default();
        for segment in self.vouched.iter().filter(|s| s.table == Table::Events) {
            let read = read_segment(self.storage, segment, self.node, &keys, |row| {
                if let Row::Event(facts) = row {
                    told.extend(Removed::of(facts.seq, facts.at, &facts.event));
                }
                Ok(())
            });
            read.map_err(|what| RecordError::Damaged {
                path: segment.path.clone(),
                what,
            })?;
        }
        let mut days = BTreeSet::new();
        for Removed { digest, .. } in told {
            match identity::kept(self.storage, &self.layout.removals(), &digest) {
                Ok(bytes) => {
                    days.extend(Removal::parse(&bytes, &origin(self.node)).map(|r| r.day));
                }
                Err(RecordError::NoDocument(_) | RecordError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(days)
    }

    /// The policies that checkpoints name are kept, as they were.
    fn check_policies(&self, done: &mut FilesVerification) -> Result<(), RecordError> {
        let named: BTreeSet<&String> = self.trust.believed().flat_map(Checkpoint::named).collect();
        for digest in named {
            match identity::kept(self.storage, &self.layout.policies(), digest) {
                Ok(_) | Err(RecordError::Digest(_)) => {}
                Err(error @ RecordError::NoDocument(_)) => {
                    done.find(State::Missing, error.to_string());
                }
                Err(error @ RecordError::Damaged { .. }) => {
                    done.find(State::Altered, error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// SHA-256 of every sealed file, on all cores.
fn digests<'m>(
    storage: &dyn Storage,
    moment: &'m Moment,
    options: &VerifyOptions<'_>,
) -> Result<BTreeMap<&'m Path, Hash>, RecordError> {
    let mut files: Vec<_> = moment
        .nodes
        .values()
        .flat_map(NodeMoment::segments)
        .collect();
    // The longest first, so that no thread ends long after the others.
    files.sort_by_key(|segment| std::cmp::Reverse(segment.bytes));
    let (next, hashed) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || {
        let mut found = Vec::new();
        while let Some(segment) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            found.push((segment.path.as_path(), digest(storage, &segment.path)?));
            hashed.fetch_add(segment.bytes, Ordering::Relaxed);
        }
        Ok(found)
    };
    let threads = available_parallelism().map_or(1, usize::from);
    let told = |progress: &dyn Fn(u64, u64)| {
        progress(hashed.load(Ordering::Relaxed), moment.bytes);
    };
    let found: Result<Vec<_>, RecordError> = scope(|scope| {
        let others: Vec<_> = (1..threads.min(files.len()))
            .map(|_| scope.spawn(work))
            .collect();
        let mut found = vec![work()];
        options.progress.iter().for_each(|progress| told(progress));
        for other in others {
            found.push(other.join().unwrap_or(Err(RecordError::Closed)));
        }
        options.progress.iter().for_each(|progress| told(progress));
        found.into_iter().collect()
    });
    Ok(found?.into_iter().flatten().collect())
}

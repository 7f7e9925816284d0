//! Verifying a record: its rows are made into leaves again, and the tree over them is held against every signed checkpoint.
//!
//! It needs the folder and the public key, and nothing else; it works on a copy, and on a record that is being written. What a
//! checkpoint says is never taken for granted, and no file is decoded before a signed line has vouched for its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::anchor::{Anchor, Folder};
use super::checkpoint::{Checkpoint, time};
use super::event_row::EventFacts;
use super::merkle::Hash;
use super::notes::{self, Found};
use super::origin;
use super::removal::Removal;
use crate::identity;
use crate::keys::listed;
use crate::layout::{Layout, Table};
use crate::reader::snapshot::undisturbed;
use crate::{Disk, KeyFault, RecordError, RecordKeys, Storage, VerifyingKey};

mod arranger;
mod files;
mod moment;
mod proved;
mod rows;
mod seen;
mod trust;
mod verification;

use arranger::Arranger;
pub use files::{FilesVerification, verify_files, verify_files_on};
pub(crate) use moment::{Moment, NodeMoment, digest};
use moment::{Removed, SealedSegment};
pub use proved::{CallProof, EntryProof, ProofError, prove, verify_proof};
pub(crate) use rows::Row;
use rows::read_segment;
use seen::Seen;
use trust::Trust;
pub use verification::{Finding, LogVerification, RemovedCalls, State, Verification};

/// What to verify against.
#[derive(Default)]
pub struct VerifyOptions<'a> {
    /// The public keys that are believed. A key that one of them hands over to is believed too.
    pub keys: Vec<VerifyingKey>,
    /// What decrypts the columns that hold what calls carry. Without, the rows of files in which these are encrypted are not held
    /// against the roots.
    pub record_keys: RecordKeys,
    /// The folder where checkpoints of this record are kept outside of it.
    pub anchor: Option<PathBuf>,
    /// Other places where they are kept.
    pub anchors: Vec<&'a dyn Anchor>,
    /// Judge the rows only, and leave aside whether the files are those that were sealed: for a record that other tools have
    /// rewritten. Statistics and indexes inside of its files are not vouched for then.
    pub rows_only: bool,
    /// Leaves of entries whose rows are not in the files, by node: a copy has these for what was not sealed when it was made. Whoever
    /// gives them has seen them vouched for ([`crate::verify_list`]).
    pub unsealed: BTreeMap<String, BTreeMap<i64, Hash>>,
    /// Hears how many bytes of sealed files are done, and how many there are.
    pub progress: Option<&'a dyn Fn(u64, u64)>,
}

impl std::fmt::Debug for VerifyOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyOptions")
            .field("keys", &self.keys)
            .field("anchor", &self.anchor)
            .field("anchors", &self.anchors)
            .field("rows_only", &self.rows_only)
            .finish_non_exhaustive()
    }
}

impl VerifyOptions<'_> {
    /// The checkpoints that anchors have, the smallest log first.
    fn anchored(
        &self,
        storage: &dyn Storage,
        node: Option<&str>,
    ) -> Result<Vec<Found>, RecordError> {
        let folder = self
            .anchor
            .as_ref()
            .map(|folder| Folder::new(storage, folder));
        let folder = folder.as_ref().map(|folder| folder as &dyn Anchor);
        let mut found = Vec::new();
        for anchor in folder.into_iter().chain(self.anchors.iter().copied()) {
            found.extend(notes::read(anchor, node)?);
        }
        found.sort_by_key(Found::size);
        Ok(found)
    }
}

/// Verifies a record on disk.
pub fn verify(
    record: impl AsRef<Path>,
    options: &VerifyOptions<'_>,
) -> Result<Verification, RecordError> {
    verify_on(&Disk, record.as_ref(), options)
}

/// Verifies a record on any storage.
pub fn verify_on(
    storage: &dyn Storage,
    record: &Path,
    options: &VerifyOptions<'_>,
) -> Result<Verification, RecordError> {
    undisturbed(|| Ok(examine(storage, record, options, &BTreeMap::new())?.0))
}

/// Leaves whose paths are wanted, by node.
type Wanted = BTreeMap<String, Vec<i64>>;

/// What is needed to prove something of one log.
#[derive(Debug)]
struct Examined {
    /// The newest checkpoint that there was before the record was looked at, as text.
    note: Option<String>,
    /// The keys that are believed.
    keys: Vec<VerifyingKey>,
    /// Why leaves were not read, if any were not: no path is known then.
    closed: BTreeSet<KeyFault>,
    /// Paths of the leaves that were wanted, in the tree of that checkpoint.
    proofs: Vec<(i64, Vec<Hash>)>,
}

fn examine(
    storage: &dyn Storage,
    record: &Path,
    options: &VerifyOptions<'_>,
    wanted: &Wanted,
) -> Result<(Verification, BTreeMap<String, Examined>), RecordError> {
    let layout = Layout::new(record);
    let seen = Seen::of(storage, &layout, options)?;
    let mut examination = Examination {
        storage,
        layout: &layout,
        options,
        total: seen.moment.bytes,
        done: 0,
        findings: Vec::new(),
    };
    for text in seen.strangers() {
        examination.find(State::Altered, text);
    }
    let (mut logs, mut examined) = (Vec::new(), BTreeMap::new());
    for node in &seen.nodes {
        let (of_node, trust) = seen.log(node, options);
        let wanted = wanted.get(node).map_or(&[][..], Vec::as_slice);
        let (log, result) = examination.log(node, of_node, &trust, wanted)?;
        logs.push(log);
        examined.insert(node.clone(), result);
    }
    let mut findings = examination.findings;
    findings.sort_by_key(|finding| finding.state.rank());
    let held = |log: &LogVerification| log.anchored.is_some_and(|to| to >= log.entries);
    let state = match findings.first() {
        Some(worst) => worst.state,
        None if logs.iter().all(held) => State::Valid,
        None => State::NotAnchored,
    };
    let identity = seen.identity;
    let durability = match identity.interval_ms {
        Some(millis) => format!("{} (up to {millis} ms at risk)", identity.durability),
        None if identity.durability == "off" => "off: calls are not recorded at present".into(),
        None => identity.durability,
    };
    let verification = Verification {
        state,
        record: record.to_owned(),
        durability,
        logs,
        findings,
    };
    Ok((verification, examined))
}

/// A record being verified.
struct Examination<'a> {
    storage: &'a dyn Storage,
    layout: &'a Layout,
    options: &'a VerifyOptions<'a>,
    total: u64,
    done: u64,
    findings: Vec<Finding>,
}

impl Examination<'_> {
    fn find(&mut self, state: State, text: String) {
        self.findings.push(Finding { state, text });
    }

    fn log(
        &mut self,
        node: &str,
        moment: &NodeMoment,
        trust: &Trust<'_>,
        wanted: &[i64],
    ) -> Result<(LogVerification, Examined), RecordError> {
        self.findings.extend(trust.findings.iter().cloned());
        let (vouched, whole) = self.check_files(moment, trust)?;
        let mut arranger = Arranger::new(&trust.sizes(), trust.required(), &moment.journal);
        let target = trust.newest_required().map(Checkpoint::size);
        arranger.want(wanted, target.unwrap_or(0));
        let (mut calls, mut events, mut parts) = (0, 0, 0);
        let mut closed = BTreeSet::new();
        let mut documents = Documents::default();
        let mut told: BTreeSet<Removed> = moment.removals.iter().cloned().collect();
        let mut removals = Vec::new();
        if whole {
            // Events first: they tell of what will not come.
            let (of_events, of_calls): (Vec<_>, Vec<_>) = vouched
                .into_iter()
                .partition(|segment| segment.table == Table::Events);
            for (table, segments) in [(Table::Events, of_events), (Table::Calls, of_calls)] {
                if table == Table::Calls {
                    removals = self.stand_ins((node, trust), &told, moment, &mut arranger)?;
                }
                let mut segments = segments.into_iter().peekable();
                while let Some(segment) = segments.next() {
                    let read = unwound(|| {
                        let keys = &self.options.record_keys;
                        read_segment(self.storage, segment, node, keys, |row| {
                            match row {
                                Row::Call(facts) | Row::Part(facts) => {
                                    calls += 1;
                                    parts += u64::from(matches!(row, Row::Part(_)));
                                    documents.see(&facts.call);
                                    if let Some((_, _, finish)) = &facts.end {
                                        documents.see_end(finish, &segment.path);
                                    }
                                }
                                Row::Event(EventFacts { seq, at, event, .. }) => {
                                    events += 1;
                                    told.extend(Removed::of(*seq, *at, event));
                                }
                            }
                            arranger.row(row)
                        })
                    });
                    let read = read.map(|mut faults| closed.append(&mut faults));
                    if let Err(what) = read {
                        // Files may be joined meanwhile.
                        self.storage
                            .open(&segment.path)
                            .map_err(RecordError::io("open", &segment.path))?;
                        let path = segment.path.display();
                        self.find(State::Altered, format!("`{path}`: {what}"));
                    }
                    self.step(segment.bytes);
                    if let Some(next) = segments.peek().filter(|_| table == Table::Calls) {
                        arranger.passed(next.first_seq);
                    }
                }
            }
        }
        let found = arranger.finish();
        if parts > 0 {
            self.tell_unread(node, parts, &closed, &found);
            self.each_result(&mut documents)?;
        }
        if whole {
            let problems = trust.compare(&found);
            self.findings.extend(problems);
            self.check_documents(&documents)?;
        }
        // What was not read is signed, and that it hangs together is not known.
        let held = trust.newest_held(&found);
        let held = found.unread.map_or(held, |_| trust.newest_note());
        let size = held.map_or(0, |(_, held)| held.size());
        let count = found.sealed_behind(size);
        if whole && count > 0 {
            let text = format!("{count} sealed entries of `{node}` are behind its last checkpoint");
            self.find(State::UnsignedTail, text);
        }
        let anchored = self.anchored_now(node, trust, &found)?;
        let log = LogVerification {
            node: node.to_owned(),
            entries: size,
            at: held.and_then(|(_, held)| held.at).and_then(time),
            root: held.map_or_else(String::new, |(_, held)| hex::encode(held.tree.root())),
            checkpoints: trust.held(&found),
            calls,
            events,
            unsigned: found.journal_behind(size),
            anchored,
            unread: parts,
            removed: found
                .used
                .iter()
                .filter_map(|which| removals.get(*which).cloned())
                .collect(),
        };
        let examined = Examined {
            note: trust.newest_note().map(|(note, _)| note.to_string()),
            keys: trust.keys.clone(),
            closed,
            proofs: found.proofs,
        };
        Ok((log, examined))
    }

    /// Says that rows are not held against the roots, and why.
    fn tell_unread(
        &mut self,
        node: &str,
        parts: u64,
        closed: &BTreeSet<KeyFault>,
        found: &arranger::Arranged,
    ) {
        let from = found.unread.unwrap_or(found.reach);
        let mut text = format!(
            "{parts} calls of `{node}` are encrypted, and the roots behind entry {from} were not computed from them: {}",
            listed(closed)
        );
        let gaps: Vec<_> = found
            .absent
            .iter()
            .filter(|range| range.end as u64 > from)
            .collect();
        if let Some(gap) = gaps.first() {
            let count = gaps.len();
            let first = gap.start;
            let what = "have no row, and whether they had one cannot be told";
            text = format!("{text}; {count} ranges of places, the first from {first}, {what}");
        }
        self.find(State::Unread, text);
    }

    /// Long results, of which it is not known which calls name them: each has the bytes that its own name says.
    fn each_result(&self, documents: &mut Documents) -> Result<(), RecordError> {
        let folder = self.layout.results();
        let names = self
            .storage
            .list(&folder)
            .map_err(RecordError::io("list", &folder))?;
        for name in &names {
            let Some(hex) = name.strip_suffix(".json") else {
                continue;
            };
            let named_by = documents.results.entry(format!("sha256:{hex}"));
            named_by.or_insert_with(|| folder.join(name));
        }
        Ok(())
    }

    /// What signed events say was removed, and the roots that stand for it.
    fn stand_ins(
        &mut self,
        (node, trust): (&str, &Trust<'_>),
        told: &BTreeSet<Removed>,
        moment: &NodeMoment,
        arranger: &mut Arranger<'_>,
    ) -> Result<Vec<RemovedCalls>, RecordError> {
        let mut removals = Vec::new();
        for Removed { seq, at, digest } in told {
            if *seq as u64 >= arranger.required() {
                if (*seq as u64) < trust.reached() {
                    // Signed and perhaps carried out while the record was looked at: to be looked at again.
                    let folder = self.layout.table(Table::Calls);
                    let gone = std::io::ErrorKind::NotFound.into();
                    return Err(RecordError::io("list", folder)(gone));
                }
                // Not signed yet, so nothing was removed yet.
                continue;
            }
            let kept = identity::kept(self.storage, &self.layout.removals(), digest);
            let kept = match kept {
                Ok(bytes) => bytes,
                Err(error @ (RecordError::NoDocument(_) | RecordError::Digest(_))) => {
                    let text =
                        format!("what is left of calls that the event {seq} removed: {error}");
                    self.find(State::Missing, text);
                    continue;
                }
                Err(error @ RecordError::Damaged { .. }) => {
                    self.find(State::Altered, error.to_string());
                    continue;
                }
                Err(error) => return Err(error),
            };
            let removal = Removal::parse(&kept, &origin(node));
            let subtrees = removal.as_ref().and_then(Removal::subtrees);
            let (Some(removal), Some(subtrees)) = (removal, subtrees) else {
                let text = format!("the event {seq} names `{digest}`, which tells of no removal");
                self.find(State::Altered, text);
                continue;
            };
            let is_there = |segment: &SealedSegment| {
                segment.table == Table::Calls && segment.name.date == removal.day
            };
            let may_come = moment.segments().iter().any(is_there);
            let before = subtrees.into_iter().filter(|s| s.end() <= *seq as u64);
            arranger.removed(before, removals.len(), may_come);
            removals.push(RemovedCalls {
                day: removal.day,
                calls: removal.calls,
                results: removal.results.len(),
                at: time(*at),
                event: *seq,
            });
        }
        Ok(removals)
    }

    /// The files whose bytes a signed line vouches for: others are not read. The flag says whether these are all that there should
    /// be; what somebody put behind them hides nothing of what they hold.
    fn check_files<'m>(
        &mut self,
        moment: &'m NodeMoment,
        trust: &Trust<'_>,
    ) -> Result<(Vec<&'m SealedSegment>, bool), RecordError> {
        if self.options.rows_only {
            return Ok((moment.segments().iter().collect(), true));
        }
        let signed = trust.newest_required().map_or(0, Checkpoint::size) as i64;
        let (mut vouched, mut whole) = (Vec::new(), true);
        for segment in moment.segments() {
            let digest = digest(self.storage, &segment.path)?;
            if trust.vouches(&digest) {
                vouched.push(segment);
                continue;
            }
            // What a checkpoint names ends before its size.
            let (state, why) = if segment.name.last_seq >= signed {
                (State::UnsignedTail, "is behind the last checkpoint")
            } else {
                whole = false;
                (State::Altered, "is not as it was sealed")
            };
            self.find(state, format!("`{}` {why}", segment.path.display()));
        }
        Ok((vouched, whole))
    }

    /// The policies, resolvers and long results that rows name are kept, as they were.
    fn check_documents(&mut self, documents: &Documents) -> Result<(), RecordError> {
        for digest in &documents.policies {
            self.check_document(&self.layout.policies(), digest, None)?;
        }
        for digest in &documents.resolvers {
            self.check_document(&self.layout.resolvers(), digest, None)?;
        }
        for (digest, named_by) in &documents.results {
            self.check_document(&self.layout.results(), digest, Some(named_by))?;
        }
        Ok(())
    }

    fn check_document(
        &mut self,
        folder: &Path,
        digest: &str,
        named_by: Option<&Path>,
    ) -> Result<(), RecordError> {
        match identity::kept(self.storage, folder, digest) {
            // What has no digest's form was never kept.
            Ok(_) | Err(RecordError::Digest(_)) => {}
            Err(error @ RecordError::NoDocument(_)) => {
                // It goes with the last row that names it: that may have been removed since it was read.
                if let Some(path) = named_by {
                    let there = self.storage.open(path);
                    there.map_err(RecordError::io("open", path))?;
                }
                self.find(State::Missing, error.to_string());
            }
            Err(error @ RecordError::Damaged { .. }) => {
                self.find(State::Altered, error.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What the anchor has by now; a checkpoint may have reached it while the record was read.
    fn anchored_now(
        &self,
        node: &str,
        trust: &Trust<'_>,
        arranged: &arranger::Arranged,
    ) -> Result<Option<u64>, RecordError> {
        if self.options.anchor.is_none() && self.options.anchors.is_empty() {
            return Ok(None);
        }
        let notes = self.options.anchored(self.storage, Some(node))?;
        let holds = |found: &Found| {
            let checkpoint = found.trusted(&origin(node), &trust.keys)?;
            let size = checkpoint.size();
            let unread = || arranged.is_unread(size).then(|| trust.signed_root(size))?;
            let root = arranged.roots.get(&size).copied().or_else(unread)?;
            (root == checkpoint.tree.root()).then_some(size)
        };
        Ok(notes.iter().filter_map(holds).max())
    }

    fn step(&mut self, bytes: u64) {
        self.done += bytes;
        if let Some(progress) = self.options.progress {
            progress(self.done, self.total);
        }
    }
}

/// Bytes that nothing vouches for (`rows_only`) may be anything, and the Parquet reader asserts where it should fail.
fn unwound<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let read = std::panic::AssertUnwindSafe(read);
    std::panic::catch_unwind(read).unwrap_or_else(|_| Err(rows::UNDECODABLE.into()))
}

/// Digests of documents that rows name.
#[derive(Debug, Default)]
struct Documents {
    policies: BTreeSet<String>,
    resolvers: BTreeSet<String>,
    /// Results, and a file with a row that names them.
    results: BTreeMap<String, PathBuf>,
    last: (String, String),
}

impl Documents {
    fn see_end(&mut self, finish: &crate::Finish<&str>, path: &Path) {
        let digest = finish.result.and_then(crate::spilled);
        self.results
            .extend(digest.map(|digest| (digest.to_owned(), path.to_owned())));
    }

    fn see(&mut self, call: &crate::Call<&str>) {
        let shadow = call.shadow.iter().map(|shadow| shadow.policy_digest);
        for digest in call.policy_digest.into_iter().chain(shadow) {
            if self.last.0 != digest {
                self.policies.insert(digest.to_owned());
                digest.clone_into(&mut self.last.0);
            }
        }
        if let Some(digest) = call.resolver_digest.filter(|digest| *digest != self.last.1) {
            self.resolvers.insert(digest.to_owned());
            digest.clone_into(&mut self.last.1);
        }
    }
}

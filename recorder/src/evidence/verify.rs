//! Verifying a record: its rows are made into leaves again, and the tree over them is held against every signed checkpoint.
//!
//! It needs the folder and the public key, and nothing else; it works on a copy, and on a record that is being written. What a
//! checkpoint says is never taken for granted, and no file is decoded before a signed line has vouched for its bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::checkpoint::{Checkpoint, time};
use super::merkle::Hash;
use super::notes::{self, Found};
use super::origin;
use crate::identity::{self, Identity};
use crate::layout::Layout;
use crate::{Disk, RecordError, Storage, VerifyingKey};

mod arranger;
mod moment;
mod proved;
mod rows;
mod trust;
mod verification;

use arranger::Arranger;
pub(crate) use moment::{Moment, digest};
use moment::{NodeMoment, SealedSegment};
pub use proved::{CallProof, EntryProof, ProofError, prove, verify_proof};
pub(crate) use rows::{Row, read_segment};
use trust::Trust;
pub use verification::{Finding, LogVerification, State, Verification};

/// What to verify against.
#[derive(Default)]
pub struct VerifyOptions<'a> {
    /// The public keys that are believed. A key that one of them hands over to is believed too.
    pub keys: Vec<VerifyingKey>,
    /// The folder where checkpoints of this record are kept outside of it.
    pub anchor: Option<PathBuf>,
    /// Judge the rows only, and leave aside whether the files are those that were sealed: for a record that other tools have
    /// rewritten. Statistics and indexes inside of its files are not vouched for then.
    pub rows_only: bool,
    /// Hears how many bytes of sealed files are done, and how many there are.
    pub progress: Option<&'a dyn Fn(u64, u64)>,
}

impl std::fmt::Debug for VerifyOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyOptions")
            .field("keys", &self.keys)
            .field("anchor", &self.anchor)
            .field("rows_only", &self.rows_only)
            .finish_non_exhaustive()
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
    Ok(examine(storage, record, options, &BTreeMap::new())?.0)
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
    let not_a_record = || RecordError::NotARecord {
        path: layout.root().to_owned(),
    };
    let identity = Identity::read(storage, &layout)?.ok_or_else(not_a_record)?;
    // In this order: what the anchor has seen was signed before, and what is signed is there by the time it is looked at.
    let anchored = match &options.anchor {
        Some(folder) => notes::read(storage, folder, None)?,
        None => Vec::new(),
    };
    let before = notes::read(storage, &layout.checkpoints(), None)?;
    let moment = Moment::take(storage, &layout)?;
    let after = notes::read(storage, &layout.checkpoints(), None)?;

    let mut nodes: BTreeSet<String> = moment.nodes.keys().cloned().collect();
    nodes.extend(before.iter().map(|note| note.node.clone()));
    nodes.insert(identity.node.clone());
    let mut examination = Examination {
        storage,
        layout: &layout,
        options,
        total: moment.bytes,
        done: 0,
        findings: Vec::new(),
    };
    for stranger in &moment.strangers {
        let text = format!("`{}` is no file of this record", stranger.display());
        examination.find(State::Altered, text);
    }
    let (mut logs, mut examined) = (Vec::new(), BTreeMap::new());
    let none = NodeMoment::default();
    for node in nodes {
        let of = |found: &&Found| found.node == node;
        let trust = Trust::new(
            &node,
            &options.keys,
            before.iter().filter(of),
            after.iter().filter(of),
            anchored.iter().filter(of),
        );
        let of_node = moment.nodes.get(&node).unwrap_or(&none);
        let wanted = wanted.get(&node).map_or(&[][..], Vec::as_slice);
        let (log, result) = examination.log(&node, of_node, &trust, wanted)?;
        logs.push(log);
        examined.insert(node, result);
    }
    let mut findings = examination.findings;
    findings.sort_by_key(|finding| finding.state.rank());
    let held = |log: &LogVerification| log.anchored.is_some_and(|to| to >= log.entries);
    let state = match findings.first() {
        Some(worst) => worst.state,
        None if logs.iter().all(held) => State::Valid,
        None => State::NotAnchored,
    };
    let durability = match identity.interval_ms {
        Some(millis) => format!("{} (up to {millis} ms at risk)", identity.durability),
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
        let (mut calls, mut events) = (0, 0);
        let mut documents = Documents::default();
        if whole {
            for segment in vouched {
                let read = unwound(|| {
                    read_segment(self.storage, segment, node, |row| {
                        match &row {
                            Row::Call(facts) => {
                                calls += 1;
                                documents.see(&facts.call);
                            }
                            Row::Event(_) => events += 1,
                        }
                        arranger.row(&row)
                    })
                });
                if let Err(what) = read {
                    let path = segment.path.display();
                    self.find(State::Altered, format!("`{path}`: {what}"));
                }
                self.step(segment.bytes);
            }
        }
        let found = arranger.finish();
        if whole {
            let problems = trust.compare(&found);
            self.findings.extend(problems);
            self.check_documents(&documents)?;
        }
        let held = trust.newest_held(&found);
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
        };
        let examined = Examined {
            note: trust.newest_note().map(|(note, _)| note.to_string()),
            keys: trust.keys.clone(),
            proofs: found.proofs,
        };
        Ok((log, examined))
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

    /// The policies and resolvers that rows name are kept, as they were.
    fn check_documents(&mut self, documents: &Documents) -> Result<(), RecordError> {
        let (policies, resolvers) = (self.layout.policies(), self.layout.resolvers());
        for (folder, named) in [
            (policies, &documents.policies),
            (resolvers, &documents.resolvers),
        ] {
            for digest in named {
                match identity::kept(self.storage, &folder, digest) {
                    // What has no digest's form was never kept.
                    Ok(_) | Err(RecordError::Digest(_)) => {}
                    Err(error @ RecordError::NoDocument(_)) => {
                        self.find(State::Missing, error.to_string());
                    }
                    Err(error @ RecordError::Damaged { .. }) => {
                        self.find(State::Altered, error.to_string());
                    }
                    Err(error) => return Err(error),
                }
            }
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
        let Some(folder) = &self.options.anchor else {
            return Ok(None);
        };
        let notes = notes::read(self.storage, folder, Some(node))?;
        let holds = |found: &Found| {
            let checkpoint = found.trusted(&origin(node), &trust.keys)?;
            let root = arranged.roots.get(&checkpoint.size())?;
            (*root == checkpoint.tree.root()).then_some(checkpoint.size())
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
fn unwound(read: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    let read = std::panic::AssertUnwindSafe(read);
    std::panic::catch_unwind(read).unwrap_or_else(|_| Err("it cannot be decoded".into()))
}

/// Digests of documents that rows name.
#[derive(Debug, Default)]
struct Documents {
    policies: BTreeSet<String>,
    resolvers: BTreeSet<String>,
    last: (String, String),
}

impl Documents {
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

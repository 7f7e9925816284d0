//! One moment of a record, as files: what is sealed, and the leaves of what the journal holds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use parquet::file::reader::ChunkReader;
use sha2::{Digest, Sha256};

use super::super::growth::Hasher;
use super::super::merkle::Hash;
use crate::index::{Index, JournalBytes};
use crate::layout::{Layout, Table};
use crate::{Event, EventKind, RecordError, Segment, Storage, segments};

/// A record at one moment.
#[derive(Debug, Default)]
pub(crate) struct Moment {
    pub(crate) nodes: BTreeMap<String, NodeMoment>,
    /// Parquet files that are none of the record's, and that others would read.
    pub(crate) strangers: Vec<PathBuf>,
    /// Size of all segments.
    pub(crate) bytes: u64,
}

/// One node's part of it.
#[derive(Debug, Default)]
pub(crate) struct NodeMoment {
    segments: Vec<SealedSegment>,
    /// The leaf of every entry in the journal.
    pub(crate) journal: HashMap<i64, Hash>,
    /// Removals that the journal tells of.
    pub(crate) removals: Vec<Removed>,
}

/// An event that tells of calls that were removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Removed {
    /// Its place in the log.
    pub(crate) seq: i64,
    pub(crate) at: i64,
    /// Digest of what is left of them.
    pub(crate) digest: String,
}

impl Removed {
    /// What an event says, if it tells of that.
    pub(crate) fn of(seq: i64, at: i64, event: &Event<&str>) -> Option<Self> {
        let digest = event
            .digest
            .filter(|_| event.kind == EventKind::Retention)?;
        let digest = digest.to_owned();
        Some(Self { seq, at, digest })
    }
}

/// A sealed file.
#[derive(Debug)]
pub(crate) struct SealedSegment {
    pub(crate) table: Table,
    pub(crate) path: PathBuf,
    pub(crate) name: Segment,
    pub(crate) first_seq: i64,
    pub(crate) bytes: u64,
}

/// How often the journal may change while it is looked at before that is an error.
const ATTEMPTS_MAX: usize = 1000;

impl Moment {
    /// Looks at the journal, at what is sealed, and at the journal's names again: while those stay, no journal file was given
    /// up, begun or sealed, and the two belong together.
    pub(crate) fn take(storage: &dyn Storage, layout: &Layout) -> Result<Self, RecordError> {
        let mut attempts = 0;
        loop {
            match Self::attempt(storage, layout) {
                Ok(Some(moment)) => return Ok(moment),
                Ok(None) => {}
                Err(error) if error.is_vanished() => {}
                Err(error) => return Err(error),
            }
            attempts += 1;
            if attempts >= ATTEMPTS_MAX {
                return Err(RecordError::Evidence(
                    "the record changes faster than it can be looked at".into(),
                ));
            }
        }
    }

    /// Adds leaves as if the journal held their entries.
    pub(crate) fn add(&mut self, unsealed: &BTreeMap<String, BTreeMap<i64, Hash>>) {
        for (node, leaves) in unsealed {
            let journal = &mut self.nodes.entry(node.clone()).or_default().journal;
            journal.extend(leaves);
        }
    }

    fn attempt(storage: &dyn Storage, layout: &Layout) -> Result<Option<Self>, RecordError> {
        let journals = layout.journals();
        let names = || {
            storage
                .list(&journals)
                .map_err(RecordError::io("list", &journals))
        };
        let before = names()?;
        let files = JournalBytes::read_all(storage, layout)?;
        let mut moment = Self::default();
        for table in Table::OF_THE_LOG {
            moment.strangers.extend(strangers(storage, layout, table)?);
            for name in segments::list(storage, layout, table, None..=None)? {
                let bytes = storage
                    .length(&name.path)
                    .map_err(RecordError::io("open", &name.path))?;
                moment.bytes += bytes;
                let node = moment.nodes.entry(name.node.clone()).or_default();
                node.segments.push(SealedSegment {
                    table,
                    path: name.path.clone(),
                    first_seq: name.first_seq,
                    name,
                    bytes,
                });
            }
        }
        for of_node in files.chunk_by(|a, b| a.0 == b.0) {
            let Some((node, _)) = of_node.first() else {
                continue;
            };
            let index = Index::of(of_node.iter().map(|(_, file)| (file, None)))?;
            let of_node = moment.nodes.entry(node.clone()).or_default();
            index.each_event(&HashSet::new(), |seq, at, event| {
                of_node.removals.extend(Removed::of(seq, at, event));
                Ok(())
            })?;
            let journal = &mut of_node.journal;
            let mut hasher = Hasher::default();
            index.each_entry(i64::MIN, |payload, ends| {
                if let Some(leaf) = hasher.hash(payload, index.voided(), ends) {
                    journal.insert(leaf.seq, leaf.hash);
                }
                Ok(())
            })?;
            // The end of a call whose row has it: a copy that was carried on once too often.
            for stray in index.strays() {
                journal.remove(&stray.seq);
            }
        }
        for node in moment.nodes.values_mut() {
            node.segments.sort_by_key(|segment| segment.first_seq);
        }
        Ok((names()? == before).then_some(moment))
    }
}

impl NodeMoment {
    /// The sealed files, by the least place that their names claim.
    pub(crate) fn segments(&self) -> &[SealedSegment] {
        &self.segments
    }
}

/// Parquet files in a table's folder whose names are not those of segments: a glob over the folder would read them.
fn strangers(
    storage: &dyn Storage,
    layout: &Layout,
    table: Table,
) -> Result<Vec<PathBuf>, RecordError> {
    let folder = layout.table(table);
    let list = |folder: &Path| {
        storage
            .list(folder)
            .map_err(RecordError::io("list", folder))
    };
    let is_parquet = |name: &str| {
        Path::new(name)
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("parquet"))
    };
    let mut found = Vec::new();
    for day in list(&folder)? {
        if is_parquet(&day) {
            found.push(folder.join(&day));
        }
        // What is no folder holds no files.
        for name in storage.list(&folder.join(&day)).unwrap_or_default() {
            let named = crate::layout::segment(&folder, &day, &name);
            if is_parquet(&name) && !name.starts_with('.') && named.is_none() {
                found.push(folder.join(&day).join(&name));
            }
        }
    }
    Ok(found)
}

/// SHA-256 of a file.
pub(crate) fn digest(storage: &dyn Storage, path: &Path) -> Result<Hash, RecordError> {
    let source = storage.open(path).map_err(RecordError::io("open", path))?;
    let mut reader = source.get_read(0)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = reader
            .read(&mut buffer)
            .map_err(RecordError::io("read", path))?;
        match buffer.get(..count) {
            Some(read) if count > 0 => hash.update(read),
            _ => return Ok(hash.finalize().into()),
        }
    }
}

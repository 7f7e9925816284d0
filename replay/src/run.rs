//! A replay from beginning to end.

use std::io;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;

use weir_recorder::{CallGroup, RecordError, RecordReader};

use crate::chunk::Looking;
use crate::columns::Further;
use crate::digest::Line;
use crate::engine::Found;
use crate::error::Failed;
use crate::kept::Kept;
use crate::kind::Kinds;
use crate::notable::{Notables, in_order};
use crate::report::Report;
use crate::scopes::Partitions;
use crate::selection::Selection;
use crate::summary::Summary;
use crate::verified;
use crate::{ReplayError, ReplayOptions, engine};

/// How often files may be joined with others while they are replayed before that is an error.
const ATTEMPTS_MAX: usize = 100;

/// Partitions for each thread, so that a thread whose grants are quiet finds others.
const PARTITIONS_A_THREAD: usize = 4;

/// Runs the record again under the candidate and says what would have changed.
///
/// ```no_run
/// use weir_replay::{Budget, PolicyFile, ReplayOptions, replay};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let candidate = PolicyFile { path: "candidate.json".into(), bytes: std::fs::read("candidate.json")? };
/// let options = ReplayOptions { record: "record".into(), candidate: Some(candidate), ..Default::default() };
/// let report = replay(&options)?;
/// let page = report.text();
/// let code = report.exit_code(&Budget { max_newly_denied: Some(0), ..Default::default() });
/// # Ok(()) }
/// ```
pub fn replay(options: &ReplayOptions) -> Result<Report, ReplayError> {
    undisturbed(options, |reader| {
        let judged = judge(reader, options, options.out.is_some(), &|| true)?;
        let summary = Summary {
            options,
            reader,
            groups: &judged.groups,
            nodes: &judged.nodes,
            kinds: &judged.kinds,
        };
        summary.report(judged.found)
    })
}

/// Runs the record again for what it says of every call in range; nothing, if meanwhile nobody wanted it any more.
pub(crate) fn replay_rows(
    options: &ReplayOptions,
    is_wanted: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Rows>, ReplayError> {
    undisturbed(options, |reader| {
        match judge(reader, options, true, is_wanted) {
            Ok(Judged { nodes, found, .. }) => Ok(Some(Rows {
                nodes,
                notables: found.notables,
            })),
            Err(Failed::Unwanted) => Ok(None),
            Err(failed) => Err(failed),
        }
    })
}

/// What replay says of every call in range.
pub(crate) struct Rows {
    nodes: Vec<String>,
    notables: Vec<Notables>,
}

impl Rows {
    /// Visits them in (`node`, `seq`) order.
    pub(crate) fn each<E: From<io::Error>>(
        self,
        mut visit: impl FnMut(&Line<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        in_order(self.notables, |row, symbols| {
            visit(&Line::of(row, symbols, &self.nodes))
        })
    }
}

/// Does what reads the record; again, where files were joined meanwhile.
fn undisturbed<T>(
    options: &ReplayOptions,
    attempt: impl Fn(&RecordReader) -> Result<T, Failed>,
) -> Result<T, ReplayError> {
    let failed = |cause: RecordError| ReplayError::Record {
        path: options.record.clone(),
        cause: Box::new(cause),
    };
    let reader = RecordReader::open(&options.record)
        .map_err(failed)?
        .with_keys(options.record_keys.clone());
    let mut attempts = 0;
    loop {
        match attempt(&reader) {
            Ok(done) => return Ok(done),
            // Files were joined meanwhile, and their rows are in another now.
            Err(Failed::Record(error)) if error.is_vanished() && attempts < ATTEMPTS_MAX => {
                attempts += 1;
            }
            Err(Failed::Record(error)) => return Err(failed(error)),
            Err(Failed::Replay(error)) => return Err(error),
            Err(Failed::Unwanted) => return Err(ReplayError::Stopped),
        }
    }
}

/// What a replay found, and of what.
struct Judged {
    groups: Vec<CallGroup>,
    /// In the order of their names.
    nodes: Vec<String>,
    kinds: Kinds,
    found: Found,
}

/// Judges every call of the record up to the end of the range, while that is wanted. What stays `same` is noted too if `everything` is.
fn judge(
    reader: &RecordReader,
    options: &ReplayOptions,
    everything: bool,
    is_wanted: &(dyn Fn() -> bool + Sync),
) -> Result<Judged, Failed> {
    let selection = Selection::of(options)?;
    // What comes after the range changes nothing in it; but a name that is asked for may first be met there.
    let end = options.to.filter(|_| selection.names().next().is_none());
    let mut kept = Kept::of(reader.clone());
    let groups = verified::groups(reader, options)?;
    let returns = look_ahead(&groups, &mut kept)?;
    let policies = || kept.loaded().chain(selection.candidates());
    let needs = policies().fold(weir_policy::Needs::default(), |needs, policy| {
        needs.or(policy.needs())
    });
    let threads = options.threads.or_else(|| available_parallelism().ok());
    let threads = threads.map_or(1, NonZeroUsize::get);
    let most = options.partitions.map(NonZeroUsize::get);
    let most = most.unwrap_or(threads * PARTITIONS_A_THREAD);
    let partitions = Partitions::of(most, policies(), &groups)?;
    let count = partitions.count();
    let kinds = Mutex::new(Kinds::of(kept, selection, partitions));
    let looking = Looking {
        options,
        kinds: &kinds,
        further: Further { needs, returns },
        everything,
        end,
        is_wanted,
        load: Arc::new(AtomicUsize::new(0)),
    };
    let mut nodes: Vec<String> = groups.iter().map(|group| group.node.clone()).collect();
    nodes.dedup();
    let places: Vec<u32> = groups
        .iter()
        .map(|group| nodes.partition_point(|node| *node < group.node) as u32)
        .collect();
    let found = engine::run(&groups, &places, &looking, count, threads)?;
    let kinds = kinds.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Judged {
        groups,
        nodes,
        kinds,
        found,
    })
}

/// Loads every policy that judged a call of the record, so that it is known what must be read at all; whether any reservation was
/// returned.
fn look_ahead(groups: &[CallGroup], kept: &mut Kept) -> Result<bool, Failed> {
    let mut returns = false;
    for group in groups {
        for digest in group.words("policy_digest")? {
            // Loaded once. Whether it loads is said of the rows that need it.
            drop(kept.policy(&digest));
        }
        returns = returns || group.may_be_true("given_back")?;
    }
    Ok(returns)
}

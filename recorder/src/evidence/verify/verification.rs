//! What verifying came to, for machines and in words.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// What verifying came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The worst of what was found.
    pub state: State,
    /// The record.
    pub record: PathBuf,
    /// `sync`, or what is at risk under `interval`, as `node.json` says.
    pub durability: String,
    /// One for each node's log.
    pub logs: Vec<LogVerification>,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
}

/// What can be said of one node's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogVerification {
    /// The node.
    pub node: String,
    /// How many entries the newest checkpoint covers that holds.
    pub entries: u64,
    /// The time of the last of them.
    pub at: Option<String>,
    /// Root of the tree over them, in hex.
    pub root: String,
    /// How many checkpoints hold.
    pub checkpoints: usize,
    /// How many calls, and how many events, were read.
    pub calls: u64,
    /// How many events were read.
    pub events: u64,
    /// Entries in the journal that no checkpoint covers yet.
    pub unsigned: u64,
    /// How many entries the newest checkpoint covers that the anchor has and that holds; none without an anchor.
    pub anchored: Option<u64>,
    /// Calls of which what is encrypted was not read, so that they are not held against the roots.
    pub unread: u64,
    /// What retention removed, as signed events tell.
    pub removed: Vec<RemovedCalls>,
}

/// Calls of a day that retention removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemovedCalls {
    /// The day, as `YYYY-MM-DD`.
    pub day: String,
    /// How many.
    pub calls: u64,
    /// How many long results went with them.
    pub results: usize,
    /// When.
    pub at: Option<String>,
    /// The place of the event that tells of it.
    pub event: i64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of what sort.
    pub state: State,
    /// In words.
    pub text: String,
}

/// What a record is found to be. The number is the exit code of `weir verify`; 2 is bad usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Everything is as it was signed, and the anchor has the newest checkpoint.
    Valid = 0,
    /// Something is not as it was signed.
    Altered = 1,
    /// Something that was signed is gone.
    Missing = 3,
    /// The anchor has seen more than there is.
    Truncated = 4,
    /// Sealed rows that no checkpoint covers.
    UnsignedTail = 5,
    /// Everything is as it was signed; nothing outside of the record says that this is all.
    NotAnchored = 6,
    /// What could be checked is as it was signed; encrypted rows could not be read, for want of their key.
    Unread = 7,
}

impl State {
    /// The exit code of `weir verify`.
    pub fn exit_code(self) -> u8 {
        self as u8
    }

    /// Worst first.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Altered => 0,
            Self::Missing => 1,
            Self::Truncated => 2,
            Self::UnsignedTail => 3,
            Self::Unread => 4,
            Self::NotAnchored => 5,
            Self::Valid => 6,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Valid => "valid",
            Self::Altered => "altered",
            Self::Missing => "missing",
            Self::Truncated => "truncated",
            Self::UnsignedTail => "unsigned tail",
            Self::NotAnchored => "valid, not anchored",
            Self::Unread => "not all checked",
        })
    }
}

impl Verification {
    /// This, and what else was found: of a copy, what its storage says of it.
    #[must_use]
    pub fn with(mut self, findings: impl IntoIterator<Item = Finding>) -> Self {
        self.findings.extend(findings);
        self.findings.sort_by_key(|finding| finding.state.rank());
        if let Some(worst) = self.findings.first() {
            self.state = worst.state;
        }
        self
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.record.display(), self.state)?;
        for finding in &self.findings {
            writeln!(f, "  {}: {}", finding.state, finding.text)?;
        }
        for log in &self.logs {
            log.write(f, self.findings.is_empty())?;
        }
        write!(f, "  durability: {}", self.durability)
    }
}

impl LogVerification {
    fn write(&self, f: &mut fmt::Formatter<'_>, is_whole: bool) -> fmt::Result {
        let Self {
            node,
            calls,
            events,
            checkpoints,
            entries,
            ..
        } = self;
        if *entries == 0 {
            writeln!(f, "  {node}: nothing is signed yet")?;
        } else {
            writeln!(
                f,
                "  {node}: {calls} calls and {events} events read; {checkpoints} checkpoints hold"
            )?;
            let at = self.at.as_deref().unwrap_or("an unknown time");
            let complete = if is_whole { "complete" } else { "signed" };
            write!(f, "  {complete} up to checkpoint {entries} at {at}; ")?;
            match self.anchored {
                Some(anchored) if anchored >= *entries => writeln!(f, "the anchor has it")?,
                Some(anchored) => writeln!(
                    f,
                    "the anchor has the first {anchored} entries, later removal of the rest cannot be excluded"
                )?,
                None => writeln!(f, "later removal cannot be excluded")?,
            }
            writeln!(f, "  root {}", self.root)?;
        }
        for RemovedCalls {
            day,
            calls,
            results,
            at,
            event,
        } in &self.removed
        {
            let with = match results {
                0 => String::new(),
                results => format!(" and {results} long results"),
            };
            let at = at.as_deref().and_then(|at| at.get(..10)).unwrap_or("?");
            writeln!(
                f,
                "  {calls} calls of {day}{with} removed by retention on {at}, by event at place {event}"
            )?;
        }
        if self.unsigned > 0 {
            let unsigned = self.unsigned;
            writeln!(f, "  {unsigned} entries of the journal are not signed yet")?;
        }
        Ok(())
    }
}

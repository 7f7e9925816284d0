//! What to replay, under what, and how much of it to report.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use weir_recorder::{RecordKeys, VerifyingKey};

use crate::ReplayError;

/// What to replay.
pub struct ReplayOptions {
    /// The folder of the record.
    pub record: PathBuf,
    /// What decrypts the arguments, where the record is encrypted.
    pub record_keys: RecordKeys,
    /// How the record's evidence is checked before anything is judged.
    pub verify: Verify,
    /// The public keys that are believed; who checks nothing needs none.
    pub keys: Vec<VerifyingKey>,
    /// The folder where checkpoints of the record are kept outside of it.
    pub anchor: Option<PathBuf>,
    /// The candidate for the grants that `server` and `grant` select. Without it, and without
    /// `assign`, every grant keeps its own policy, which must show no flip and no drift.
    pub candidate: Option<PolicyFile>,
    /// A candidate for single grants, by the grant's name; it goes before `candidate`.
    pub assign: BTreeMap<String, PolicyFile>,
    /// Only grants of this server get the candidate, and only its calls are reported.
    pub server: Option<String>,
    /// Only this grant gets the candidate, and only its calls are reported.
    pub grant: Option<String>,
    /// Report calls decided at this moment or later (microseconds since the epoch).
    pub from: Option<i64>,
    /// Report calls decided before this moment (microseconds since the epoch).
    pub to: Option<i64>,
    /// Which calls consume the candidate's limits.
    pub state: State,
    /// How many threads work at it; all cores if left out.
    pub threads: Option<NonZeroUsize>,
    /// Into how many parts calls are divided that share no counter; the answer is the same for every number of them.
    pub partitions: Option<NonZeroUsize>,
    /// How many flips the report lists.
    pub flips: Flips,
    /// How many live counters a grant could hold when the record was made: `limits.counters_per_grant`
    /// of its configuration.
    pub counters_per_grant: usize,
    /// A Parquet file to write every reported call's class to.
    pub out: Option<PathBuf>,
    /// Called now and then with what is being done, how much of it is done and how much there is.
    pub progress: Option<Progress>,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self {
            record: PathBuf::new(),
            record_keys: RecordKeys::default(),
            verify: Verify::default(),
            keys: Vec::new(),
            anchor: None,
            candidate: None,
            assign: BTreeMap::new(),
            server: None,
            grant: None,
            from: None,
            to: None,
            state: State::default(),
            threads: None,
            partitions: None,
            flips: Flips::default(),
            counters_per_grant: COUNTERS_PER_GRANT,
            out: None,
            progress: None,
        }
    }
}

impl ReplayOptions {
    /// Whether a call that was decided then is reported.
    pub(crate) fn is_in_range(&self, decided_at: i64) -> bool {
        self.from.is_none_or(|from| decided_at >= from) && self.to.is_none_or(|to| decided_at < to)
    }
}

/// What a proxy allows where its configuration does not say.
pub const COUNTERS_PER_GRANT: usize = 10_000;

/// Told how far a replay is: in which stage, how much of it is done, and how much there is.
pub type Progress = Box<dyn Fn(Stage, u64, u64) + Send + Sync>;

/// What a replay is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It checks the evidence; counted in bytes of sealed files.
    Verifying,
    /// It judges; counted in rows.
    Judging,
}

/// How much of a record's evidence is checked before it is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// None of it.
    #[default]
    Nothing,
    /// Signatures of checkpoints, digests of sealed files, and that all is there that they name.
    Files,
    /// Besides, that the tree over all rows is the one that was signed.
    Rows,
}

impl Verify {
    /// The word that stands in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Files => "files",
            Self::Rows => "rows",
        }
    }

    /// What a report says of it.
    pub fn told(self) -> &'static str {
        match self {
            Self::Nothing => "NOT VERIFIED: the record's evidence was not checked",
            Self::Files => "verified: every sealed file is as it was signed",
            Self::Rows => "verified: every sealed row is as it was signed",
        }
    }
}

/// A policy document, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// The name shown in reports and problems; nothing is read from it.
    pub path: String,
    /// The document.
    pub bytes: Vec<u8>,
}

/// Which calls consume the candidate's limits (DESIGN 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Those that the candidate allows: what would have happened.
    #[default]
    Counterfactual,
    /// Those that were allowed then, beyond `max` too: each call judged in the history as it was.
    Recorded,
}

/// How many flips a report lists; they are counted either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flips {
    /// The first so many.
    First(usize),
    /// Every one.
    All,
}

impl Default for Flips {
    fn default() -> Self {
        Self::First(100)
    }
}

impl Flips {
    /// Whether one more flip is listed when `listed` are.
    pub(crate) fn takes_another_after(self, listed: usize) -> bool {
        match self {
            Self::First(most) => listed < most,
            Self::All => true,
        }
    }
}

/// Reads a moment as people write it: `2026-11-22T06:00:00Z`, with any offset, or a day
/// (`2026-11-22`, its midnight in UTC), as microseconds since the epoch.
pub fn parse_time(text: &str) -> Result<i64, ReplayError> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Ok(moment.as_microsecond());
    }
    text.parse::<jiff::civil::Date>()
        .and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC))
        .map(|midnight| midnight.timestamp().as_microsecond())
        .map_err(|_| ReplayError::Time {
            text: text.to_owned(),
        })
}

/// A moment as reports write it: RFC 3339 in UTC, to the microsecond.
pub(crate) fn moment(micros: i64) -> String {
    jiff::Timestamp::from_microsecond(micros)
        .map_or_else(|_| format!("{micros} µs"), |moment| format!("{moment:.6}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{moment, parse_time};

    #[test]
    fn times_read_as_people_write_them() {
        let six = parse_time("2026-11-22T06:00:00Z").unwrap();
        assert_eq!(parse_time("2026-11-22T07:00:00+01:00").unwrap(), six);
        assert_eq!(parse_time("2026-11-22").unwrap(), six - 6 * 3_600_000_000);
        assert_eq!(moment(six + 5), "2026-11-22T06:00:00.000005Z");
        assert_eq!(
            parse_time("yesterday").unwrap_err().to_string(),
            "`yesterday` is not a time: write `2026-11-22T06:00:00Z` or `2026-11-22`"
        );
    }
}

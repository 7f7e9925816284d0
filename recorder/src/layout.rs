//! Where things are in a record's folder, and what names mean (DESIGN 6.2).

use std::path::{Path, PathBuf};

use crate::{RecordError, Segment};

/// Paths of one record.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

/// A table, as a folder of day folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Calls,
    Events,
    /// Derived from `calls`; see [`crate::changes`].
    Changes,
}

impl Table {
    pub(crate) const ALL: [Self; 3] = [Self::Calls, Self::Events, Self::Changes];
    /// Those whose rows are entries of the log.
    pub(crate) const OF_THE_LOG: [Self; 2] = [Self::Calls, Self::Events];

    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Events => "events",
            Self::Changes => "changes",
        }
    }
}

impl Layout {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folders that every record has.
    pub(crate) fn folders(&self) -> [PathBuf; 6] {
        let (calls, events) = (self.table(Table::Calls), self.table(Table::Events));
        [
            self.journals(),
            calls,
            events,
            self.policies(),
            self.resolvers(),
            self.checkpoints(),
        ]
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.root.join("node.json")
    }

    pub(crate) fn digest_key(&self) -> PathBuf {
        self.root.join("digest.key")
    }

    /// Room that is kept for what must be written on a full disk.
    pub(crate) fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    pub(crate) fn journals(&self) -> PathBuf {
        self.root.join("journal")
    }

    pub(crate) fn journal(&self, node: &str, number: u64) -> PathBuf {
        self.journals().join(format!("{node}-{number:010}.log"))
    }

    pub(crate) fn table(&self, table: Table) -> PathBuf {
        self.root.join(table.folder())
    }

    pub(crate) fn day(&self, table: Table, date: &str) -> PathBuf {
        self.table(table).join(format!("date={date}"))
    }

    pub(crate) fn policies(&self) -> PathBuf {
        self.root.join("policies")
    }

    pub(crate) fn resolvers(&self) -> PathBuf {
        self.root.join("resolvers")
    }

    /// Results that are too long for their rows; made when there is one.
    pub(crate) fn results(&self) -> PathBuf {
        self.root.join("results")
    }

    /// What is left of calls that retention removed.
    pub(crate) fn removals(&self) -> PathBuf {
        self.root.join("removed")
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Where day folders are built, and where those go that were exchanged or removed: outside of the tables' folders, so that
    /// nobody who globs those reads a row of it.
    pub(crate) fn aside(&self) -> Self {
        Self::new(self.root.join("aside"))
    }

    /// Where the signing key is unless the options say otherwise: beside the folder, so that a copy of the record does not
    /// carry it.
    pub(crate) fn signing_key(&self) -> Option<PathBuf> {
        let root = std::path::absolute(&self.root).ok()?;
        let mut name = root.file_name()?.to_owned();
        name.push(".key");
        Some(root.with_file_name(name))
    }
}

/// Name of a checkpoint: the node, the log's size, and which of several of that size.
pub(crate) fn checkpoint_name(node: &str, size: u64, nth: u32) -> String {
    match nth {
        0 | 1 => format!("{node}-{size:012}.note"),
        nth => format!("{node}-{size:012}.{nth}.note"),
    }
}

/// What a checkpoint's name says: the node, the log's size, and which of several of that size.
pub(crate) fn checkpoint(name: &str) -> Option<(&str, u64, u32)> {
    let (node, rest) = name.strip_suffix(".note")?.rsplit_once('-')?;
    let (size, nth) = rest.split_once('.').unwrap_or((rest, "1"));
    Some((node, size.parse().ok()?, nth.parse().ok()?))
}

/// Node and number of a journal file's name.
pub(crate) fn journal_name(name: &str) -> Option<(&str, u64)> {
    let (node, number) = name.strip_suffix(".log")?.rsplit_once('-')?;
    Some((node, number.parse().ok()?))
}

/// Name of a segment.
pub(crate) fn segment_name(node: &str, first: i64, last: i64) -> String {
    format!("{node}-{first:012}-{last:012}.parquet")
}

/// What a segment's path says of it; none for any other file.
pub(crate) fn segment(folder: &Path, day: &str, name: &str) -> Option<Segment> {
    let date = day.strip_prefix("date=")?;
    let (rest, last) = name.strip_suffix(".parquet")?.rsplit_once('-')?;
    let (node, first) = rest.rsplit_once('-')?;
    if node.is_empty() || node.starts_with('.') {
        return None;
    }
    Some(Segment {
        path: folder.join(day).join(name),
        node: node.to_owned(),
        date: date.to_owned(),
        first_seq: first.parse().ok()?,
        last_seq: last.parse().ok()?,
    })
}

/// A node's name stands in file names and columns.
pub(crate) fn check_node(node: &str) -> Result<(), RecordError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begins = node
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric());
    if begins && node.len() <= 64 && node.chars().all(fine) {
        Ok(())
    } else {
        Err(RecordError::NodeName(node.to_owned()))
    }
}

/// The day of a time in microseconds since the epoch, UTC, as `YYYY-MM-DD`.
pub(crate) fn date(micros: i64) -> String {
    let clamped = micros.clamp(
        jiff::Timestamp::MIN.as_microsecond(),
        jiff::Timestamp::MAX.as_microsecond(),
    );
    let time = jiff::Timestamp::from_microsecond(clamped).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%d").to_string()
}

/// Microseconds of a day.
pub(crate) const DAY: i64 = 86_400_000_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn names_say_what_is_in_a_file_also_when_the_node_has_a_dash() {
        let name = segment_name("nas-1", 5, 131_076);
        let found = segment(Path::new("calls"), "date=2026-11-22", &name).unwrap();
        assert_eq!(
            (found.node.as_str(), found.first_seq, found.last_seq),
            ("nas-1", 5, 131_076)
        );
        assert_eq!(found.date, "2026-11-22");
        assert_eq!(journal_name("nas-1-0000000007.log"), Some(("nas-1", 7)));
    }

    #[test]
    fn files_in_the_making_are_no_segments() {
        assert_eq!(
            segment(Path::new("calls"), "date=2026-11-22", ".n-1-2.parquet.tmp"),
            None
        );
        assert_eq!(
            segment(Path::new("calls"), "date=2026-11-22", ".n-1-2.parquet"),
            None
        );
    }

    #[test]
    fn a_checkpoints_name_says_which_of_its_size_it_is() {
        let read = |nth| checkpoint(&checkpoint_name("nas-1", 12, nth)).map(|(_, _, nth)| nth);
        assert_eq!([1, 2, 10].map(read), [Some(1), Some(2), Some(10)]);
        assert_eq!(
            checkpoint("nas-1-000000000012.2.note"),
            Some(("nas-1", 12, 2))
        );
    }

    #[test]
    fn a_day_begins_at_midnight_utc() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(DAY - 1), "1970-01-01");
        assert_eq!(date(DAY), "1970-01-02");
    }

    #[test]
    fn names_that_would_leave_the_folder_are_refused() {
        assert!(check_node("nas-1").is_ok());
        assert!(
            ["", ".x", "a/b", "a b", "-a"]
                .iter()
                .all(|name| check_node(name).is_err())
        );
    }
}

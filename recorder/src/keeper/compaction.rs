//! Compaction: the files of a day joined into one.
//!
//! The day is built again aside, its new file signed, and then the two folders take each other's name in one step. Who lists the
//! day at any moment finds all its rows, each once. Who listed it before and opens a file after gets an error, and never other
//! rows. Whatever moment this is stopped at, the day is the old one or the new one, and the other is aside, to be removed.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use parquet::file::reader::Length;
use serde::Serialize;

use super::merge::merge;
use super::{Keeper, Pass, aside};
use crate::evidence::checkpoint::SealedFile;
use crate::layout::{Table, date, segment};
use crate::{RecordError, Segment, segments};

/// What compaction came to.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub struct Compaction {
    /// Days whose files were joined.
    pub days: Vec<CompactedDay>,
    /// Days left as they are, and why.
    pub left: Vec<String>,
    /// Days whose projection `changes` was made.
    pub projected: usize,
}

/// A day whose files were joined.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CompactedDay {
    /// `calls` or `events`.
    pub table: &'static str,
    /// The day, as `YYYY-MM-DD`.
    pub date: String,
    /// How many files became one.
    pub files: usize,
    /// Its rows.
    pub rows: u64,
    /// Bytes of those files.
    pub bytes_before: u64,
    /// Bytes of the one.
    pub bytes: u64,
}

/// The files of one day, those of other nodes among them.
#[derive(Debug)]
pub(super) struct Day {
    pub(super) table: Table,
    pub(super) date: String,
    pub(super) files: Vec<Segment>,
}

/// A file as large as this is left alone while its day lasts, so that nothing is written again and again.
const SMALL_BYTES: u64 = 64 << 20;

/// A day that is over may still get files, of calls that ended late. They are joined at most this often.
pub(super) const AGAIN: Duration = Duration::from_mins(30);

impl Keeper {
    /// Joins what has become many small files, or belongs to a day that is over.
    pub(super) fn join_due(&self, pass: &mut Pass) -> Result<(), RecordError> {
        let Some(today) = self.evidence.reached().1.map(date) else {
            return Ok(());
        };
        for day in self.days()? {
            let is_over = day.date < today;
            let key = (day.table.folder(), day.date.clone());
            let lately = pass.joined.get(&key).is_some_and(|at| at.elapsed() < AGAIN);
            let small = self.small(&day)?;
            let files = if is_over && !lately {
                day.files.clone()
            } else if small.len() >= self.segments_max {
                small
            } else {
                continue;
            };
            if files.len() > 1
                && let Err(why) = self.join(pass, &day, &files)?
            {
                tracing::debug!(why, "a day is left as it is");
            }
        }
        Ok(())
    }

    /// Joins the files of every day.
    pub(super) fn join_all(
        &self,
        pass: &mut Pass,
        progress: &mut dyn FnMut(&CompactedDay),
    ) -> Result<Compaction, RecordError> {
        let mut done = Compaction::default();
        for day in self.days()?.into_iter().filter(|day| day.files.len() > 1) {
            match self.join(pass, &day, &day.files)? {
                Ok(joined) => {
                    progress(&joined);
                    done.days.push(joined);
                }
                Err(why) => done.left.push(why),
            }
        }
        Ok(done)
    }

    pub(super) fn days(&self) -> Result<Vec<Day>, RecordError> {
        let mut days = Vec::new();
        for table in Table::OF_THE_LOG {
            days.extend(self.days_of(table)?);
        }
        Ok(days)
    }

    pub(super) fn days_of(&self, table: Table) -> Result<Vec<Day>, RecordError> {
        let mut days: BTreeMap<String, Vec<Segment>> = BTreeMap::new();
        for file in segments::list(&*self.storage, &self.layout, table, None..=None)? {
            days.entry(file.date.clone()).or_default().push(file);
        }
        let day = |(date, files)| Day { table, date, files };
        Ok(days.into_iter().map(day).collect())
    }

    fn small(&self, day: &Day) -> Result<Vec<Segment>, RecordError> {
        let mut small = Vec::new();
        for file in &day.files {
            if self.bytes(&file.path)? < SMALL_BYTES {
                small.push(file.clone());
            }
        }
        Ok(small)
    }

    pub(super) fn bytes(&self, path: &Path) -> Result<u64, RecordError> {
        let source = self.storage.open(path);
        Ok(Length::len(&source.map_err(RecordError::io("open", path))?))
    }

    /// Joins some files of a day; if the day is none that may be touched, why not.
    fn join(
        &self,
        pass: &mut Pass,
        day: &Day,
        files: &[Segment],
    ) -> Result<Result<CompactedDay, String>, RecordError> {
        let folder = self.layout.day(day.table, &day.date);
        if let Some(stranger) = self.stranger(day)? {
            let folder = folder.display();
            return Ok(Err(format!(
                "`{folder}` holds `{stranger}`, which node `{}` did not write",
                self.node
            )));
        }
        self.clear(pass)?;
        aside::clear(&*self.storage, &self.layout)?;
        let mut bytes_before = 0;
        for file in files {
            bytes_before += self.bytes(&file.path)?;
        }
        if !self.budget.fits(bytes_before) {
            return Ok(Err(format!(
                "there is no room for `{}` a second time",
                folder.display()
            )));
        }
        let aside = self.layout.aside();
        let is_stopping = || self.is_stopping();
        let keys = &self.queue.options.keys;
        let merged = merge(&self.storage, &aside, day.table, files, keys, &is_stopping);
        let (built, rows) = match merged {
            // What was built so far is aside, and cleared with the rest.
            Err(error) if error.lacks_keys() => return Ok(Err(error.to_string())),
            merged => merged?,
        };
        // Signed before anybody sees it.
        self.evidence.checkpoint([SealedFile {
            digest: built.digest,
            path: built.name.clone(),
        }])?;
        built.publish(&*self.storage)?;
        let joined: HashSet<&str> = files.iter().filter_map(file_name).collect();
        self.exchange(pass, day, &joined)?;
        pass.joined
            .insert((day.table.folder(), day.date.clone()), Instant::now());
        let done = CompactedDay {
            table: day.table.folder(),
            date: day.date.clone(),
            files: files.len(),
            rows,
            bytes_before,
            bytes: self.bytes(&self.layout.root().join(&built.name))?,
        };
        tracing::debug!(
            table = done.table,
            date = done.date,
            files = done.files,
            "joined"
        );
        Ok(Ok(done))
    }

    /// What is in the day's folder and is no segment of this node; what is being written there aside.
    pub(super) fn stranger(&self, day: &Day) -> Result<Option<String>, RecordError> {
        let folder = self.layout.day(day.table, &day.date);
        let day_name = format!("date={}", day.date);
        let names = self
            .storage
            .list(&folder)
            .map_err(RecordError::io("list", &folder))?;
        let is_strange = |name: &String| {
            let found = segment(&folder, &day_name, name);
            !name.starts_with('.') && found.is_none_or(|found| *found.node != *self.node)
        };
        Ok(names.into_iter().find(is_strange))
    }

    /// Puts the day built aside in the place of the other, with whatever was sealed into that one meanwhile.
    fn exchange(
        &self,
        pass: &mut Pass,
        day: &Day,
        joined: &HashSet<&str>,
    ) -> Result<(), RecordError> {
        let storage = &*self.storage;
        let folder = self.layout.day(day.table, &day.date);
        let built = self.layout.aside().day(day.table, &day.date);
        // Nothing is sealed from here on.
        let _naming = self.evidence.naming();
        let names = storage
            .list(&folder)
            .map_err(RecordError::io("list", &folder))?;
        for name in names.iter().filter(|name| !joined.contains(name.as_str())) {
            // What a seal that failed left there is written anew by the next.
            if !name.starts_with('.') {
                storage
                    .link(&folder.join(name), &built.join(name))
                    .map_err(RecordError::io("link", folder.join(name)))?;
            }
        }
        aside::sync(storage, &built)?;
        storage.exchange(&built, &folder).map_err(|error| {
            if error.kind() == io::ErrorKind::Unsupported {
                return RecordError::NoExchange {
                    path: folder.clone(),
                };
            }
            RecordError::io("exchange", &folder)(error)
        })?;
        pass.aside = Some(Instant::now());
        aside::sync(storage, &self.layout.table(day.table))?;
        aside::sync(storage, &self.layout.aside().table(day.table))
    }
}

fn file_name(file: &Segment) -> Option<&str> {
    file.path.file_name()?.to_str()
}

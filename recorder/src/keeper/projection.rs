//! The projection `changes` of a day: made from its sealed calls, aside, and put in its place in one step.
//!
//! Memory is bounded: a first pass counts the calls of each tool and grant; then those of as many as fit are collected and sorted at
//! a time. Calls of one tool and grant come in their order and need no sorting, however many they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{
    SortColumn, SortOptions, concat_batches, filter_record_batch, lexsort_to_indices,
    take_record_batch,
};
use arrow::datatypes::DataType;

use super::compaction::{AGAIN, Day};
use super::merge::reached;
use super::{Keeper, Pass, aside};
use crate::changes::{CHANGES_COLUMNS, SORTED_BY, changes_schema, file_name, only_changes};
use crate::layout::{Layout, Table, date};
use crate::reader::Calls;
use crate::segments::{Begun, SegmentWriter, Staged};
use crate::{RecordError, RecordKeys, Segment, Storage};

/// Tool and grant.
type Key = (Option<String>, Option<String>);

/// Rows that are sorted at once.
const SORTED_MAX: u64 = 1 << 20;

/// Rows that are handed to the writer at once.
const BATCH_ROWS: usize = 8192;

impl Keeper {
    /// Makes the projection of every day that is over and has none of its present files; takes away what belongs to no day.
    pub(super) fn project_due(&self, pass: &mut Pass) -> Result<(), RecordError> {
        let Some(today) = self.evidence.reached().1.map(date) else {
            return Ok(());
        };
        let days = self.days_of(Table::Calls)?;
        let dates: BTreeSet<&str> = days.iter().map(|day| &*day.date).collect();
        let folder = self.layout.table(Table::Changes);
        let names = self
            .storage
            .list(&folder)
            .map_err(RecordError::io("list", &folder))?;
        for date in names.iter().filter_map(|name| name.strip_prefix("date=")) {
            if !dates.contains(date) {
                self.clear(pass)?;
                self.put_away(pass, Table::Changes, date)?;
            }
        }
        for day in days.iter().filter(|day| day.date < today) {
            let key = (Table::Changes.folder(), day.date.clone());
            let lately = pass.joined.get(&key).is_some_and(|at| at.elapsed() < AGAIN);
            if !lately {
                self.project(pass, day)?;
            }
        }
        Ok(())
    }

    /// Makes the projection of every day that has none of its present files; how many these were.
    pub(super) fn project_all(&self, pass: &mut Pass) -> Result<usize, RecordError> {
        let mut made = 0;
        for day in self.days_of(Table::Calls)? {
            made += usize::from(self.project(pass, &day)?);
        }
        Ok(made)
    }

    /// False where there is nothing to do, or no room.
    fn project(&self, pass: &mut Pass, day: &Day) -> Result<bool, RecordError> {
        let name = file_name(&*self.storage, &day.files)?;
        let folder = self.layout.day(Table::Changes, &day.date);
        let names = self
            .storage
            .list(&folder)
            .map_err(RecordError::io("list", &folder))?;
        // Of a day that several nodes wrote there is none.
        if names.contains(&name) || self.stranger(day)?.is_some() {
            return Ok(false);
        }
        let mut bytes = 0;
        for file in &day.files {
            bytes += self.bytes(&file.path)?;
        }
        if !self.budget.fits(bytes) {
            return Ok(false);
        }
        self.clear(pass)?;
        aside::clear(&*self.storage, &self.layout)?;
        let (aside, is_stopping) = (self.layout.aside(), || self.is_stopping());
        let source = Source {
            storage: &self.storage,
            files: &day.files,
            is_stopping: &is_stopping,
        };
        let built = source.build(&aside, &self.node, &day.date, SORTED_MAX)?;
        built.named(name).publish(&*self.storage)?;
        self.put_in_place(pass, day)?;
        pass.joined
            .insert((Table::Changes.folder(), day.date.clone()), Instant::now());
        tracing::debug!(date = day.date, "the changes of a day are projected");
        Ok(true)
    }

    /// Puts what was built aside in its place.
    fn put_in_place(&self, pass: &mut Pass, day: &Day) -> Result<(), RecordError> {
        let storage = &*self.storage;
        let folder = self.layout.day(Table::Changes, &day.date);
        let built = self.layout.aside().day(Table::Changes, &day.date);
        let table = self.layout.table(Table::Changes);
        storage
            .create_folder(&table)
            .map_err(RecordError::io("create", &table))?;
        let there = storage
            .list(&folder)
            .map_err(RecordError::io("list", &folder))?;
        if there.is_empty() {
            storage
                .rename(&built, &folder)
                .map_err(RecordError::io("rename", &built))?;
        } else {
            storage.exchange(&built, &folder).map_err(|error| {
                if error.kind() == io::ErrorKind::Unsupported {
                    return RecordError::NoExchange {
                        path: folder.clone(),
                    };
                }
                RecordError::io("exchange", &folder)(error)
            })?;
            pass.aside = Some(Instant::now());
        }
        aside::sync(storage, &table)?;
        aside::sync(storage, &self.layout.aside().table(Table::Changes))
    }
}

/// Sealed calls of one day and node.
struct Source<'a> {
    storage: &'a Arc<dyn Storage>,
    files: &'a [Segment],
    is_stopping: &'a dyn Fn() -> bool,
}

impl Source<'_> {
    /// Writes their projection into this layout.
    fn build(
        &self,
        layout: &Layout,
        node: &str,
        date: &str,
        sorted_max: u64,
    ) -> Result<Staged, RecordError> {
        let begun = Begun {
            table: Table::Changes,
            node,
            date: date.to_owned(),
            first_seq: self.files.first().map_or(0, |file| file.first_seq),
            reached: reached(&**self.storage, self.files)?,
            keys: &RecordKeys::default(),
        };
        let mut writer = SegmentWriter::begin(&**self.storage, layout, begun)?;
        for keys in lots(self.count()?, sorted_max) {
            let mut lot = Vec::new();
            self.each(|rows| {
                let rows = of_keys(&rows, &keys)?;
                if keys.len() > 1 {
                    lot.push(rows);
                } else if rows.num_rows() > 0 {
                    writer.write(&rows)?;
                }
                Ok(())
            })?;
            if !lot.is_empty() {
                let sorted = sorted(&concat_batches(&changes_schema(), &lot)?)?;
                for from in (0..sorted.num_rows()).step_by(BATCH_ROWS) {
                    let count = BATCH_ROWS.min(sorted.num_rows() - from);
                    writer.write(&sorted.slice(from, count))?;
                }
            }
        }
        writer.finish(
            self.files
                .iter()
                .map(|file| file.last_seq)
                .max()
                .unwrap_or(0),
        )
    }

    /// How many calls of each tool and grant change something.
    fn count(&self) -> Result<BTreeMap<Key, u64>, RecordError> {
        let mut counts = BTreeMap::new();
        self.each(|rows| {
            for key in keys(&rows)? {
                *counts.entry(key).or_default() += 1;
            }
            Ok(())
        })?;
        Ok(counts)
    }

    /// The calls that change something, in the log's order.
    fn each(
        &self,
        mut take: impl FnMut(RecordBatch) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        for batch in Calls::of_files(
            self.storage,
            &RecordKeys::default(),
            &CHANGES_COLUMNS,
            self.files.to_vec(),
        )? {
            if (self.is_stopping)() {
                return Err(RecordError::Closed);
            }
            take(only_changes(&batch?)?)?;
        }
        Ok(())
    }
}

/// Tools and grants in their order, so many at a time as have few enough calls to be sorted at once; one that has more is alone.
fn lots(counts: BTreeMap<Key, u64>, most: u64) -> Vec<BTreeSet<Key>> {
    let (mut lots, mut rows) = (Vec::<BTreeSet<Key>>::new(), 0);
    for (key, count) in counts {
        rows += count;
        match lots.last_mut() {
            Some(lot) if rows <= most => {
                lot.insert(key);
            }
            _ => {
                lots.push(BTreeSet::from([key]));
                rows = count;
            }
        }
    }
    lots
}

/// Tool and grant of each row.
fn keys(rows: &RecordBatch) -> Result<Vec<Key>, RecordError> {
    let (tools, grants) = (words(rows, 0)?, words(rows, 1)?);
    let word = |words: &ArrayRef, i| {
        let words = words.as_string::<i32>();
        words.is_valid(i).then(|| words.value(i).to_owned())
    };
    Ok((0..rows.num_rows())
        .map(|i| (word(&tools, i), word(&grants, i)))
        .collect())
}

fn words(rows: &RecordBatch, column: usize) -> Result<ArrayRef, RecordError> {
    Ok(arrow::compute::cast(rows.column(column), &DataType::Utf8)?)
}

/// The rows of these tools and grants.
fn of_keys(rows: &RecordBatch, wanted: &BTreeSet<Key>) -> Result<RecordBatch, RecordError> {
    let mask: BooleanArray = keys(rows)?
        .iter()
        .map(|key| Some(wanted.contains(key)))
        .collect();
    Ok(filter_record_batch(rows, &mask)?)
}

fn sorted(rows: &RecordBatch) -> Result<RecordBatch, RecordError> {
    // As `Option`s are ordered in the map that made the lots.
    let options = Some(SortOptions {
        descending: false,
        nulls_first: true,
    });
    let mut columns = Vec::with_capacity(SORTED_BY);
    for column in 0..SORTED_BY {
        let values = match column {
            0 | 1 => words(rows, column)?,
            _ => Arc::clone(rows.column(column)),
        };
        columns.push(SortColumn { values, options });
    }
    let order = lexsort_to_indices(&columns, None)?;
    Ok(take_record_batch(rows, &order)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use crate::segments::open;
    use crate::{Call, Disk, RecordOptions, Recorder, Verdict};

    #[test]
    fn a_lot_is_as_large_as_can_be_sorted_and_one_that_is_larger_is_alone() {
        let key = |tool: &str| (Some(tool.to_owned()), None);
        let counts = [("a", 1), ("b", 9), ("c", 1), ("d", 30), ("e", 1)];
        let counts = counts.map(|(tool, count)| (key(tool), count));
        let lots: Vec<usize> = lots(counts.into(), 10).iter().map(BTreeSet::len).collect();
        assert_eq!(lots, [2, 1, 1, 1]);
    }

    #[test]
    fn however_few_are_sorted_at_once_the_rows_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let options = RecordOptions {
            node: Some("n1".into()),
            reserve_bytes: 0,
            ..RecordOptions::new(folder.path().join("record"))
        };
        let (recorder, mut log, _) = Recorder::open(options, Arc::new(Disk)).unwrap();
        for number in 0..300_i64 {
            let tool = format!("tool-{}", number * 7 % 5);
            let grant = format!("grant-{}", number * 3 % 4);
            let stamp = log.stamp(number);
            let call = Call {
                verdict: Verdict::Deny,
                tool: (number % 11 != 0).then_some(tool.as_str()),
                grant: (number % 13 != 0).then_some(grant.as_str()),
                risk: Some(if number % 6 == 0 { "read" } else { "write" }),
                ..Call::default()
            };
            log.decide(stamp, &call).wait_blocking().unwrap();
        }
        recorder.close().unwrap();
        let storage: Arc<dyn Storage> = Arc::new(Disk);
        let files = recorder.reader().segments().unwrap();
        let source = Source {
            storage: &storage,
            files: &files,
            is_stopping: &|| false,
        };
        let rows = |sorted_max| {
            let layout = Layout::new(folder.path().join(format!("{sorted_max}")));
            let built = source
                .build(&layout, "n1", "1970-01-01", sorted_max)
                .unwrap();
            built.publish(&*storage).unwrap();
            let path = layout.root().join(built.name);
            let (batches, _) = open(
                &*storage,
                &path,
                Table::Changes,
                &CHANGES_COLUMNS,
                &RecordKeys::default(),
            )
            .unwrap();
            let batches: Vec<_> = batches.map(Result::unwrap).collect();
            concat_batches(&batches[0].schema(), &batches).unwrap()
        };
        let all = rows(1000);
        assert_eq!(all.num_rows(), 250);
        assert_eq!(sorted(&all).unwrap(), all);
        assert_eq!(rows(1), all);
        assert_eq!(rows(30), all);
    }
}

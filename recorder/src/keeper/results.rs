//! Long results, each in a file of its own: those that no row names any more go after the day whose rows did.
//!
//! What goes is written down before, in what is left of the day (`removed/`), which a signed event names. So a removal that is cut
//! short is gone on with at the next start, and each time only what no row names, sealed or in the journal, is removed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};

use super::compaction::Day;
use super::{Keeper, aside};
use crate::evidence::origin;
use crate::evidence::removal::Removal;
use crate::identity::{self, read_if_there};
use crate::reader::snapshot::undisturbed;
use crate::reader::{Calls, RecordReader};
use crate::{RecordError, Segment, spilled};

/// Results that were kept lately: a row may be about to name them, though none does yet.
#[derive(Debug, Default)]
pub(crate) struct Expected(Mutex<HashMap<String, Instant>>);

/// A row that names a result is queued right after the result is kept, and durable long before this unless the disk fails.
const ROW_WAIT_MAX: Duration = Duration::from_hours(1);

impl Expected {
    /// A row will name this result; told before its file is looked for or written.
    pub(crate) fn insert(&self, digest: &str) {
        self.lock().insert(digest.to_owned(), Instant::now());
    }

    /// What was queued so long ago is durable by now: called only while the disk takes what is written.
    pub(super) fn forget_old(&self) {
        self.lock()
            .retain(|_, since| since.elapsed() < ROW_WAIT_MAX);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    /// Results that are named by rows of this day and by no others: they go with it.
    pub(super) fn only_of(
        &self,
        day: &Day,
        named: BTreeSet<String>,
    ) -> Result<BTreeSet<String>, RecordError> {
        if named.is_empty() {
            return Ok(named);
        }
        let others = self.named_but_by(&day.files)?;
        Ok(named
            .into_iter()
            .filter(|it| !others.contains(it))
            .collect())
    }

    /// Removes those of these results that no row is about to name; whether these were all.
    pub(super) fn remove_results(&self, results: &BTreeSet<String>) -> Result<bool, RecordError> {
        if results.is_empty() {
            return Ok(true);
        }
        let folder = self.layout.results();
        let expected = self.expected.lock();
        for digest in results
            .iter()
            .filter(|digest| !expected.contains_key(*digest))
        {
            let path = folder.join(format!("{}.json", identity::hex_of(digest)?));
            aside::ignore_absent(self.storage.remove(&path))
                .map_err(RecordError::io("remove", &path))?;
        }
        let all = !results.iter().any(|digest| expected.contains_key(digest));
        drop(expected);
        aside::sync(&*self.storage, &folder)?;
        Ok(all)
    }

    /// Goes on with removals that were told of and not finished; whether they are now.
    pub(super) fn finish_results(&self) -> Result<bool, RecordError> {
        let folder = self.layout.results();
        let names = self
            .storage
            .list(&folder)
            .map_err(RecordError::io("list", &folder))?;
        let there: HashSet<&str> = names
            .iter()
            .filter_map(|name| name.strip_suffix(".json"))
            .collect();
        if there.is_empty() {
            return Ok(true);
        }
        let removals = self.layout.removals();
        let documents = self
            .storage
            .list(&removals)
            .map_err(RecordError::io("list", &removals))?;
        let mut left = BTreeSet::new();
        for name in documents {
            let document = read_if_there(&*self.storage, &removals.join(name))?;
            let removal = document.and_then(|it| Removal::parse(&it, &origin(&self.node)));
            let results = removal.into_iter().flat_map(|removal| removal.results);
            left.extend(results.filter(|it| {
                let hex = identity::hex_of(it);
                hex.is_ok_and(|hex| there.contains(hex))
            }));
        }
        if !left.is_empty() {
            let needed = self.named_but_by(&[])?;
            left.retain(|digest| !needed.contains(digest));
        }
        self.remove_results(&left)
    }

    /// Every result that a row names, sealed or in the journal, leaving these files aside. It reads the column `result` of the whole
    /// record, so it is asked for only where there is something to remove.
    fn named_but_by(&self, files: &[Segment]) -> Result<HashSet<String>, RecordError> {
        let reader = RecordReader::open_with(self.layout.root(), Arc::clone(&self.storage))?;
        let keys = &self.queue.options.keys;
        undisturbed(|| {
            let mut named = HashSet::new();
            let (segments, live) = reader.sealed_and_live()?;
            add_named(&live, &mut named);
            for segment in segments.into_iter().filter(|it| !files.contains(it)) {
                for batch in Calls::of_files(&self.storage, keys, &["result"], vec![segment])? {
                    if self.is_stopping() {
                        return Err(RecordError::Closed);
                    }
                    add_named(&batch?, &mut named);
                }
            }
            Ok(named)
        })
    }
}

/// The results that rows with this column name.
pub(super) fn add_named(rows: &RecordBatch, named: &mut impl Extend<String>) {
    let Some(column) = rows.column_by_name("result") else {
        return;
    };
    let results = column.as_string::<i32>().iter().flatten();
    named.extend(results.filter_map(|it| spilled::spilled(it).map(str::to_owned)));
}

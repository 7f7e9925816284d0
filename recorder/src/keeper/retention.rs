//! Retention: whole days of calls are removed, the oldest first.
//!
//! First what is left of them is kept, the roots over their leaves; then an event names it, and a checkpoint signs the event; only
//! then the day's folder goes, in one step. Whatever moment this is stopped at, the day is there whole or gone whole, and
//! where it is gone, a signed event says so. The journal is never touched, and so is no event: they are few, and tell of this.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::compaction::Day;
use super::results::add_named;
use super::{Keeper, Pass, aside};
use crate::evidence::anchor::Folder;
use crate::evidence::leaf::Leaf;
use crate::evidence::removal::{Removal, Roots};
use crate::evidence::row::CallColumns;
use crate::evidence::verify::{Row, digest};
use crate::evidence::{notes, origin};
use crate::layout::{DAY, Table, date};
use crate::queue::Mode;
use crate::reader::Calls;
use crate::{Event, EventKind, Log, RecordError, calls_schema, identity};

/// A day of calls that was removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemovedDay {
    /// The day, as `YYYY-MM-DD`.
    pub date: String,
    /// How many calls it had.
    pub calls: u64,
    /// How many long results went with them, which no other call named.
    pub results: usize,
    /// The place in the log of the event that says so.
    pub event: i64,
}

/// Digests of files that an event spells out; what it names by digest spells out all.
const FILES_MAX: usize = 100;

/// How often who waits for a seal looks whether the record closes.
const SEAL_TICK: Duration = Duration::from_millis(100);

impl Keeper {
    /// Removes the days that are too old, and then the oldest while there is too much.
    pub(super) fn remove_due(&self, pass: &mut Pass) -> Result<Vec<RemovedDay>, RecordError> {
        if self.queue.lock().mode == Mode::Recording {
            self.expected.forget_old();
        }
        if !pass.finished_results {
            pass.finished_results = self.finish_results()?;
        }
        let Some(now) = self.evidence.reached().1 else {
            return Ok(Vec::new());
        };
        let back = |span: Duration| {
            let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
            date(now.saturating_sub(micros))
        };
        let kept_from = back(Duration::from_micros(self.window.load(Ordering::Relaxed)))
            .min(date(now.saturating_sub(DAY)));
        let old = self.retain.age.map(back);
        let mut removed = Vec::new();
        if old.is_none() && self.retain.bytes.is_none() {
            return Ok(removed);
        }
        let days = self.days()?;
        let mut bytes = 0;
        for file in days.iter().flat_map(|day| &day.files) {
            bytes += self.bytes(&file.path)?;
        }
        let calls = days.iter().filter(|day| day.table == Table::Calls);
        for day in calls.filter(|day| day.date < kept_from) {
            let is_old = old.as_ref().is_some_and(|old| day.date < *old);
            if !is_old && self.retain.bytes.is_none_or(|max| bytes <= max) {
                break;
            }
            for file in &day.files {
                bytes = bytes.saturating_sub(self.bytes(&file.path)?);
            }
            match self.remove(pass, day) {
                Err(error) if error.lacks_keys() => {
                    tracing::warn!(day = day.date, %error, "a day is not removed");
                    break;
                }
                day => removed.extend(day?),
            }
        }
        Ok(removed)
    }

    fn remove(&self, pass: &mut Pass, day: &Day) -> Result<Option<RemovedDay>, RecordError> {
        if let Some(stranger) = self.stranger(day)? {
            tracing::warn!(
                day = day.date,
                stranger,
                "a day is not removed: its folder holds what this node did not write"
            );
            return Ok(None);
        }
        let removal = self.left_of(day)?;
        let event = self.tell(pass, &removal)?;
        // A copy that is made of sealed files alone has the event before it lacks the day.
        self.seal()?;
        self.clear(pass)?;
        self.put_aside(pass, day)?;
        // If this is cut short or fails, the next pass or start goes on from what is left of the day.
        pass.finished_results = false;
        pass.finished_results = self.remove_results(&removal.results)?;
        tracing::info!(
            day = day.date,
            calls = removal.calls,
            results = removal.results.len(),
            "calls were removed by retention"
        );
        Ok(Some(RemovedDay {
            date: day.date.clone(),
            calls: removal.calls,
            results: removal.results.len(),
            event,
        }))
    }

    /// What stays of a day: the roots over the leaves of its rows.
    fn left_of(&self, day: &Day) -> Result<Removal, RecordError> {
        let checkpoints = self.layout.checkpoints();
        let folder = Folder::new(&*self.storage, &checkpoints);
        let signed = notes::list(&folder, Some(&self.node))?;
        let sizes: BTreeSet<u64> = signed.iter().map(|named| named.size).collect();
        let mut files = Vec::new();
        for file in &day.files {
            let digest = hex::encode(digest(&*self.storage, &file.path)?);
            let name = file.path.strip_prefix(self.layout.root());
            files.push(format!(
                "sha256:{digest} {}",
                name.unwrap_or(&file.path).display()
            ));
        }
        let schema = calls_schema();
        let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let keys = &self.queue.options.keys;
        let (mut roots, mut leaf, mut calls) = (Roots::within(sizes), Leaf::default(), 0);
        let mut named = BTreeSet::new();
        for batch in Calls::of_files(&self.storage, keys, &columns, day.files.clone())? {
            if self.is_stopping() {
                return Err(RecordError::Closed);
            }
            let batch = batch?;
            add_named(&batch, &mut named);
            let rows = CallColumns::new(&batch)?;
            for i in 0..batch.num_rows() {
                let untrue = |what: &str| RecordError::Damaged {
                    path: self.layout.day(day.table, &day.date),
                    what: what.to_owned(),
                };
                let facts = rows.read(i, true).map_err(untrue)?;
                roots.settle(facts.seq);
                calls += 1;
                let mut push = |placed: crate::evidence::Placed| {
                    roots.push(placed.seq, placed.hash);
                    Ok(())
                };
                Row::Call(facts)
                    .leaves(&mut leaf, &mut push)
                    .map_err(|what| untrue(&what))?;
            }
        }
        let mut removal = Removal::new(origin(&self.node), day.date.clone(), calls, files, roots);
        removal.results = self.only_of(day, named)?;
        Ok(removal)
    }

    /// Keeps what is left, and writes the event that names it; signed when this returns. Gives its place.
    fn tell(&self, pass: &mut Pass, removal: &Removal) -> Result<i64, RecordError> {
        let folder = self.layout.removals();
        let unwritable = |e: serde_json::Error| RecordError::Evidence(e.to_string());
        let document = serde_json::to_vec(removal).map_err(unwritable)?;
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(&document)));
        if let Some(told) = pass.told.get(&digest) {
            return Ok(*told);
        }
        self.storage
            .create_folder(&folder)
            .map_err(RecordError::io("create", &folder))?;
        aside::sync(&*self.storage, self.layout.root())?;
        identity::keep(&*self.storage, &folder, &digest, &document)?;
        let detail = serde_json::json!({
            "day": removal.day,
            "first": removal.first,
            "last": removal.last,
            "files": removal.files.iter().take(FILES_MAX).collect::<Vec<_>>(),
            "results": removal.results.len(),
        })
        .to_string();
        let text = format!("calls of {} are removed as configured", removal.day);
        let event = Event {
            digest: Some(digest.as_str()),
            count: Some(removal.calls as i64),
            text: Some(&text),
            detail: Some(&detail),
            ..Event::of(EventKind::Retention)
        };
        // The log is the writer's; this only queues beside it, as the pulse does.
        let commit = Log::new(Arc::clone(&self.queue)).event(i64::MIN, &event);
        let seq = commit.seq();
        commit
            .wait_blocking()
            .map_err(|why| RecordError::Unwritable(why.to_string()))?;
        self.evidence.wait_for(Some(seq))?;
        self.evidence.checkpoint([])?;
        pass.told.insert(digest, seq);
        Ok(seq)
    }

    /// Seals what is queued so far. Who waits here gives up when the record closes.
    fn seal(&self) -> Result<(), RecordError> {
        let (sealed, answer) = mpsc::channel();
        self.queue.turn(Some(sealed))?;
        loop {
            match answer.recv_timeout(SEAL_TICK) {
                Ok(result) => return result,
                Err(RecvTimeoutError::Timeout) if !self.is_stopping() => {}
                Err(_) => return Err(RecordError::Closed),
            }
        }
    }

    /// Takes the day's folder away from those who read.
    fn put_aside(&self, pass: &mut Pass, day: &Day) -> Result<(), RecordError> {
        let storage = &*self.storage;
        let folder = self.layout.day(day.table, &day.date);
        aside::clear(storage, &self.layout)?;
        // What is derived goes first, so that it never shows what is gone.
        self.put_away(pass, Table::Changes, &day.date)?;
        // Nothing is sealed from here on.
        let _naming = self.evidence.naming();
        let now = storage
            .list(&folder)
            .map_err(RecordError::io("list", &folder))?;
        let told: BTreeSet<_> = day
            .files
            .iter()
            .filter_map(|f| f.path.file_name())
            .collect();
        let is_late =
            |name: &&String| !name.starts_with('.') && !told.contains(OsStr::new(name.as_str()));
        if let Some(late) = now.iter().find(is_late) {
            return Err(RecordError::Unwritable(format!(
                "`{late}` was sealed while its day was about to be removed: that is tried again"
            )));
        }
        self.put_away(pass, day.table, &day.date)
    }

    /// Puts a day's folder aside, if it is there.
    pub(super) fn put_away(
        &self,
        pass: &mut Pass,
        table: Table,
        date: &str,
    ) -> Result<(), RecordError> {
        let storage = &*self.storage;
        let (folder, away) = (self.layout.day(table, date), self.layout.aside());
        let names = storage.list(&folder);
        if names.map_err(RecordError::io("list", &folder))?.is_empty() {
            return Ok(());
        }
        storage
            .create_folder(&away.table(table))
            .map_err(RecordError::io("create", away.root()))?;
        storage
            .rename(&folder, &away.day(table, date))
            .map_err(RecordError::io("rename", &folder))?;
        pass.aside = Some(Instant::now());
        aside::sync(storage, &self.layout.table(table))?;
        aside::sync(storage, &away.table(table))
    }
}

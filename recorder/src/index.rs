//! What journal files hold, joined: each call with its end, each event, each once.
//!
//! Files may repeat each other. What was open when a file was sealed is carried into a later file, and what was waiting
//! when a file had to be given up is written again. An entry is named by its `seq`, so a repeated one is the same one.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::call::Verdict;
use crate::entry::{Entry, EntryRead, Frames, Head, Header, Kind, Opening, open_file, read_entry};
use crate::layout::{Layout, journal_name};
use crate::rows::{CallsBuilder, End, EventsBuilder};
use crate::{Call, Event, EventKind, RecordError, Storage};

/// One journal file, read whole.
#[derive(Debug)]
pub(crate) struct JournalBytes {
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    pub(crate) bytes: Vec<u8>,
}

impl JournalBytes {
    /// Reads one file.
    pub(crate) fn read(
        storage: &dyn Storage,
        path: PathBuf,
        number: u64,
    ) -> Result<Self, RecordError> {
        let bytes = storage
            .read(&path)
            .map_err(RecordError::io("read", &path))?;
        Ok(Self {
            path,
            number,
            bytes,
        })
    }

    /// Reads every journal file of a record, with the node that wrote it, sorted by node and number.
    pub(crate) fn read_all(
        storage: &dyn Storage,
        layout: &Layout,
    ) -> Result<Vec<(String, Self)>, RecordError> {
        let folder = layout.journals();
        let names = storage
            .list(&folder)
            .map_err(RecordError::io("list", &folder))?;
        let mut files = Vec::new();
        for name in names {
            if let Some((node, number)) = journal_name(&name) {
                files.push((
                    node.to_owned(),
                    Self::read(storage, folder.join(&name), number)?,
                ));
            }
        }
        files.sort_by(|a, b| (&a.0, a.1.number).cmp(&(&b.0, b.1.number)));
        Ok(files)
    }

    /// The file's header and frames; none if nothing was ever made durable in it.
    pub(crate) fn open(&self) -> Result<Option<(Header, Frames<'_>)>, RecordError> {
        match open_file(&self.bytes) {
            Opening::Journal(header, frames) => Ok(Some((header, frames))),
            Opening::Blank => Ok(None),
            Opening::Later(version) => Err(RecordError::Version {
                path: self.path.clone(),
                found: version.to_string(),
                known: crate::entry::JOURNAL_VERSION.to_string(),
            }),
        }
    }
}

/// The entries of journal files of one node.
#[derive(Debug, Default)]
pub(crate) struct Index<'a> {
    decided: Vec<Found<'a>>,
    /// By the call's place.
    finished: Vec<(i64, Found<'a>)>,
    voided: HashMap<i64, i64>,
    events: Vec<Found<'a>>,
    /// The greatest place in the log that these files speak of.
    pub(crate) last_seq: Option<i64>,
    /// The latest time that these files speak of.
    pub(crate) last_at: Option<i64>,
    /// Entries read.
    pub(crate) entries: usize,
    /// A file ended within an entry.
    pub(crate) torn: bool,
}

/// One entry, not decoded.
#[derive(Debug, Clone, Copy)]
struct Found<'a> {
    seq: i64,
    at: i64,
    payload: &'a [u8],
    path: &'a Path,
}

impl<'a> Found<'a> {
    fn read(&self) -> Result<EntryRead<'a>, RecordError> {
        let what = || format!("the entry {} cannot be read", self.seq);
        read_entry(self.payload).ok_or_else(|| RecordError::Damaged {
            path: self.path.to_owned(),
            what: what(),
        })
    }

    fn call(&self) -> Result<Call<&'a str>, RecordError> {
        match self.read()? {
            Entry::Decided { call, .. } => Ok(call),
            Entry::Finished { .. } | Entry::Void { .. } | Entry::Event { .. } => {
                Err(RecordError::Damaged {
                    path: self.path.to_owned(),
                    what: format!("the entry {} is no call", self.seq),
                })
            }
        }
    }
}

impl<'a> Index<'a> {
    /// Reads the entries of these files. Of a file with a bound, what lies beyond it was never confirmed, and is repeated in
    /// a later file: it is left out.
    pub(crate) fn of(
        files: impl IntoIterator<Item = (&'a JournalBytes, Option<i64>)>,
    ) -> Result<Self, RecordError> {
        let mut index = Self::default();
        for (file, durable_to) in files {
            let Some((header, mut frames)) = file.open()? else {
                continue;
            };
            if header.next_seq > 0 {
                index.saw(header.next_seq - 1, header.last_at);
            }
            for payload in frames.by_ref() {
                index.add(file, payload, durable_to)?;
            }
            index.torn |= frames.is_torn();
        }
        index.decided.sort_by_key(|found| found.seq);
        index.decided.dedup_by_key(|found| found.seq);
        index.finished.sort_by_key(|(call_seq, _)| *call_seq);
        index.finished.dedup_by_key(|(call_seq, _)| *call_seq);
        index.events.sort_by_key(|found| found.seq);
        index.events.dedup_by_key(|found| found.seq);
        Ok(index)
    }

    fn add(
        &mut self,
        file: &'a JournalBytes,
        payload: &'a [u8],
        durable_to: Option<i64>,
    ) -> Result<(), RecordError> {
        let unreadable = || RecordError::Damaged {
            path: file.path.clone(),
            what: "an entry of unknown kind".into(),
        };
        let head = Head::of(payload).ok_or_else(unreadable)?;
        if durable_to.is_some_and(|last| head.seq > last) {
            return Ok(());
        }
        self.saw(head.seq, head.at);
        self.entries += 1;
        let found = Found {
            seq: head.seq,
            at: head.at,
            payload,
            path: &file.path,
        };
        match head.kind {
            Kind::Decided => self.decided.push(found),
            Kind::Finished { call_seq } => self.finished.push((call_seq, found)),
            Kind::Event => self.events.push(found),
            Kind::Void => {
                self.events.push(found);
                if let Entry::Void { seqs, at, .. } = found.read()? {
                    self.voided.extend(seqs.into_iter().map(|seq| (seq, at)));
                }
            }
        }
        Ok(())
    }

    fn saw(&mut self, seq: i64, at: i64) {
        self.last_seq = self.last_seq.max(Some(seq));
        self.last_at = self.last_at.max(Some(at));
    }

    /// Least and greatest `seq` of the calls.
    pub(crate) fn calls_range(&self) -> Option<(i64, i64)> {
        Some((self.decided.first()?.seq, self.decided.last()?.seq))
    }

    /// Earliest time of a call.
    pub(crate) fn first_decided_at(&self) -> Option<i64> {
        self.decided.iter().map(|found| found.at).min()
    }

    /// Least and greatest `seq` of the events.
    pub(crate) fn events_range(&self) -> Option<(i64, i64)> {
        Some((self.events.first()?.seq, self.events.last()?.seq))
    }

    /// Earliest time of an event.
    pub(crate) fn first_event_at(&self) -> Option<i64> {
        self.events.iter().map(|found| found.at).min()
    }

    /// Visits every call that is not in `sealed`, in `seq` order.
    pub(crate) fn each_call(
        &self,
        sealed: &HashSet<i64>,
        mut visit: impl FnMut(CallFound<'_, 'a>) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        for found in self
            .decided
            .iter()
            .filter(|found| !sealed.contains(&found.seq))
        {
            let call = found.call()?;
            let end = self.end(found.seq, call.verdict)?;
            visit(CallFound {
                seq: found.seq,
                at: found.at,
                call: &call,
                end,
                payload: found.payload,
            })?;
        }
        Ok(())
    }

    fn end(&self, seq: i64, verdict: Verdict) -> Result<End<'a>, RecordError> {
        if let Some(at) = self.voided.get(&seq) {
            return Ok(End::Voided { at: *at });
        }
        // A denied call ended when it was decided.
        if verdict == Verdict::Deny {
            return Ok(End::Open);
        }
        let place = self
            .finished
            .binary_search_by_key(&seq, |(call_seq, _)| *call_seq);
        let Some((_, found)) = place.ok().and_then(|at| self.finished.get(at)) else {
            return Ok(End::Open);
        };
        match found.read()? {
            Entry::Finished {
                seq, at, finish, ..
            } => Ok(End::Finished { seq, at, finish }),
            Entry::Decided { .. } | Entry::Void { .. } | Entry::Event { .. } => Ok(End::Open),
        }
    }

    /// Visits every entry from this place on, in no order; the flag is false for the end of a call that no row will have: of one that
    /// is void, was denied, or ended before.
    pub(crate) fn each_entry(
        &self,
        from: i64,
        mut visit: impl FnMut(&'a [u8], bool) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        let plain = self.decided.iter().chain(&self.events);
        for found in plain.filter(|found| found.seq >= from) {
            visit(found.payload, true)?;
        }
        for (call_seq, found) in self.finished.iter().filter(|(_, found)| found.seq >= from) {
            let call = self.decided.binary_search_by_key(call_seq, |call| call.seq);
            let ends = match call.ok().and_then(|at| self.decided.get(at)) {
                Some(call) => {
                    matches!(
                        self.end(*call_seq, call.call()?.verdict)?,
                        End::Finished { .. }
                    )
                }
                None => false,
            };
            visit(found.payload, ends)?;
        }
        Ok(())
    }

    /// When decisions became void.
    pub(crate) fn voided(&self) -> &HashMap<i64, i64> {
        &self.voided
    }

    /// Finishes of calls that these files do not hold, with the call's place.
    pub(crate) fn strays(&self) -> impl Iterator<Item = (i64, &'a [u8])> + '_ {
        let held = |seq: &i64| {
            self.decided
                .binary_search_by_key(seq, |found| found.seq)
                .is_ok()
        };
        self.finished
            .iter()
            .filter(move |(call_seq, _)| !held(call_seq))
            .map(|(call_seq, f)| (*call_seq, f.payload))
    }

    /// Calls not in `sealed`, as columns.
    pub(crate) fn calls(
        &self,
        node: &Arc<str>,
        sealed: &HashSet<i64>,
    ) -> Result<RecordBatch, RecordError> {
        let mut rows = CallsBuilder::new(node);
        self.each_call(sealed, |found| {
            rows.push(found.seq, found.at, found.call, &found.end)
        })?;
        rows.finish()
    }

    /// Visits every event that is not in `sealed`, in `seq` order; a void is one too.
    pub(crate) fn each_event(
        &self,
        sealed: &HashSet<i64>,
        mut visit: impl FnMut(i64, i64, &Event<&str>) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        for found in self
            .events
            .iter()
            .filter(|found| !sealed.contains(&found.seq))
        {
            match found.read()? {
                Entry::Event { event, .. } => visit(found.seq, found.at, &event)?,
                Entry::Void { seqs, .. } => {
                    let text = ranges(&seqs);
                    visit(found.seq, found.at, &void_event(&seqs, &text))?;
                }
                Entry::Decided { .. } | Entry::Finished { .. } => {}
            }
        }
        Ok(())
    }

    /// Events not in `sealed`, as columns.
    pub(crate) fn events(
        &self,
        node: &Arc<str>,
        sealed: &HashSet<i64>,
    ) -> Result<RecordBatch, RecordError> {
        let mut rows = EventsBuilder::new(node);
        self.each_event(sealed, |seq, at, event| rows.push(seq, at, event))?;
        rows.finish()
    }
}

/// One call of an index.
#[derive(Debug)]
pub(crate) struct CallFound<'i, 'a> {
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) call: &'i Call<&'a str>,
    pub(crate) end: End<'a>,
    /// The entry's bytes, to be carried into another file.
    pub(crate) payload: &'a [u8],
}

impl CallFound<'_, '_> {
    /// Admitted and not ended: something may still become of it.
    pub(crate) fn is_open(&self) -> bool {
        self.end == End::Open && self.call.verdict == Verdict::Allow
    }
}

/// What the events say of a void; `text` names the places.
pub(crate) fn void_event<'t>(seqs: &[i64], text: &'t str) -> Event<&'t str> {
    Event {
        count: Some(seqs.len() as i64),
        text: Some(text),
        ..Event::of(EventKind::Void)
    }
}

/// Places in the log as people write them: `3-5, 8`.
pub(crate) fn ranges(seqs: &[i64]) -> String {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for &seq in seqs {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == seq => *last = seq,
            _ => runs.push((seq, seq)),
        }
    }
    let text = |(first, last)| {
        if first == last {
            format!("{first}")
        } else {
            format!("{first}-{last}")
        }
    };
    runs.into_iter().map(text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_as_ranges() {
        assert_eq!(ranges(&[3, 4, 5, 8]), "3-5, 8");
        assert_eq!(ranges(&[]), "");
    }
}

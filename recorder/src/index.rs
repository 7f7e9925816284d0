//! What journal files hold, joined: each call with its end, each event, each once.
//!
//! Files may repeat each other. What was open when a file was sealed is carried into a later file, and what was waiting
//! when a file had to be given up is written again. An entry is named by its `seq`, so a repeated one is the same one.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::call::Standing;
use crate::entry::{Entry, EntryRead, Frames, Head, Header, Kind, Opening, open_file, read_entry};
use crate::layout::{Layout, journal_name};
use crate::rows::{self, Answered, CallsBuilder, End, EventsBuilder};
use crate::{Event, EventKind, RecordError, Storage, Verdict};

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

    /// Reads one file into a buffer that served another before, whose pages the system need not find and clear again.
    pub(crate) fn read_into(
        storage: &dyn Storage,
        path: PathBuf,
        number: u64,
        mut bytes: Vec<u8>,
    ) -> Result<Self, RecordError> {
        storage
            .read_into(&path, &mut bytes)
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
    /// By the call's place.
    answered: Vec<(i64, Found<'a>)>,
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
        read_entry(self.payload).ok_or_else(|| self.damaged())
    }

    fn damaged(&self) -> RecordError {
        RecordError::Damaged {
            path: self.path.to_owned(),
            what: format!("the entry {} cannot be read", self.seq),
        }
    }

    fn standing(&self) -> Result<Standing, RecordError> {
        rows::standing(self.payload).map_err(|_| self.damaged())
    }

    /// What came of a held call.
    fn answer(&self) -> Result<Option<Answered<'a>>, RecordError> {
        let (seq, at) = (self.seq, self.at);
        Ok(match self.read()? {
            Entry::Answered { answer, .. } => Some(Answered { seq, at, answer }),
            Entry::Decided { .. }
            | Entry::Finished { .. }
            | Entry::Void { .. }
            | Entry::Event { .. } => None,
        })
    }

    /// The end of a call.
    fn end(&self) -> Result<End<'a>, RecordError> {
        let end = rows::finish(self.payload).map_err(|_| self.damaged())?;
        Ok(end.map_or(End::Open, |(seq, at, finish)| End::Finished {
            seq,
            at,
            finish,
        }))
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
        index.answered.sort_by_key(|(call_seq, _)| *call_seq);
        index.answered.dedup_by_key(|(call_seq, _)| *call_seq);
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
            Kind::Answered { call_seq } => self.answered.push((call_seq, found)),
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
        mut visit: impl FnMut(CallFound<'a>) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        // All lists are sorted by the call's place.
        let mut ends = self.finished.iter().peekable();
        let mut answers = self.answered.iter().peekable();
        for found in &self.decided {
            while ends.next_if(|(of, _)| *of < found.seq).is_some() {}
            while answers.next_if(|(of, _)| *of < found.seq).is_some() {}
            if !sealed.is_empty() && sealed.contains(&found.seq) {
                continue;
            }
            let end = match (self.voided_at(found.seq), ends.peek()) {
                (Some(at), _) => End::Voided { at },
                (None, Some((of, end))) if *of == found.seq => end.end()?,
                (None, _) => End::Open,
            };
            let answer = match answers.peek() {
                Some((of, answer)) if *of == found.seq && found.standing()? == Standing::Held => {
                    Some(*answer)
                }
                _ => None,
            };
            visit(CallFound {
                found: *found,
                answer,
                end,
            })?;
        }
        Ok(())
    }

    fn voided_at(&self, seq: i64) -> Option<i64> {
        self.voided.get(&seq).copied()
    }

    /// What the decision on this call left open; none if there is no such call, or it is void.
    fn standing(&self, seq: i64) -> Result<Option<Standing>, RecordError> {
        let call = self.decided.binary_search_by_key(&seq, |call| call.seq);
        let call = call.ok().and_then(|at| self.decided.get(at));
        let call = call.filter(|_| self.voided_at(seq).is_none());
        call.map(Found::standing).transpose()
    }

    /// Whether the end of this call is one that its row tells: one that may not pass has none of its own.
    fn ends(&self, seq: i64) -> Result<bool, RecordError> {
        Ok(match self.standing(seq)? {
            Some(Standing::Admitted) => true,
            Some(Standing::Held) => {
                let answer = self.answered.binary_search_by_key(&seq, |(of, _)| *of);
                let answer = answer.ok().and_then(|at| self.answered.get(at));
                let answer = answer.map(|(_, found)| found.answer()).transpose()?;
                answer.flatten().is_some_and(|answered| admits(&answered))
            }
            Some(Standing::Refused) | None => false,
        })
    }

    /// Visits every entry from this place on, in no order; the flag is false for the end of a call, or the answer about it, that no
    /// row will have: of one that is void, was denied, or ended before.
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
            visit(found.payload, self.ends(*call_seq)?)?;
        }
        for (call_seq, found) in self.answered.iter().filter(|(_, found)| found.seq >= from) {
            let is_held = self.standing(*call_seq)? == Some(Standing::Held);
            visit(found.payload, is_held)?;
        }
        Ok(())
    }

    /// When decisions became void.
    pub(crate) fn voided(&self) -> &HashMap<i64, i64> {
        &self.voided
    }

    /// Ends of calls, and answers about calls, that these files do not hold, with the call's place.
    pub(crate) fn strays(&self) -> impl Iterator<Item = (i64, &'a [u8])> + '_ {
        let held = |seq: &i64| {
            self.decided
                .binary_search_by_key(seq, |found| found.seq)
                .is_ok()
        };
        self.finished
            .iter()
            .chain(&self.answered)
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
        self.each_call(sealed, |call| call.add_to(&mut rows))?;
        Ok(rows.finish()?)
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
                Entry::Decided { .. } | Entry::Finished { .. } | Entry::Answered { .. } => {}
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
        self.each_event(sealed, |seq, at, event| Ok(rows.push(seq, at, event)?))?;
        Ok(rows.finish()?)
    }
}

/// One call of an index.
#[derive(Debug)]
pub(crate) struct CallFound<'a> {
    found: Found<'a>,
    answer: Option<Found<'a>>,
    pub(crate) end: End<'a>,
}

impl<'a> CallFound<'a> {
    /// Place and time of the decision.
    pub(crate) fn place(&self) -> (i64, i64) {
        (self.found.seq, self.found.at)
    }

    /// The bytes of its entries, to be carried into another file.
    pub(crate) fn payloads(&self) -> impl Iterator<Item = (i64, &'a [u8])> {
        [Some(self.found), self.answer]
            .into_iter()
            .flatten()
            .map(|found| (found.seq, found.payload))
    }

    /// Admitted and not ended, or held and not answered: something may still become of it.
    pub(crate) fn is_open(&self) -> Result<Option<Openness>, RecordError> {
        if self.end != End::Open {
            return Ok(None);
        }
        Ok(match (self.found.standing()?, self.answered()?) {
            (Standing::Admitted, _) => Some(Openness::Outcome),
            (Standing::Held, None) => Some(Openness::Answer),
            (Standing::Held, Some(answered)) if admits(&answered) => Some(Openness::Outcome),
            (Standing::Held, Some(_)) | (Standing::Refused, _) => None,
        })
    }

    fn answered(&self) -> Result<Option<Answered<'a>>, RecordError> {
        let answer = self.answer.as_ref().map(Found::answer).transpose()?;
        Ok(answer.flatten())
    }

    /// Adds its row.
    pub(crate) fn add_to(&self, rows: &mut CallsBuilder) -> Result<(), RecordError> {
        let Found {
            seq, at, payload, ..
        } = self.found;
        let answered = self.answered()?;
        rows.push((seq, at), payload, answered.as_ref(), &self.end)
            .map_err(|_| self.found.damaged())
    }
}

/// What an open call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Openness {
    /// Its end.
    Outcome,
    /// The answer whether it may pass.
    Answer,
}

fn admits(answered: &Answered<'_>) -> bool {
    answered.answer.verdict == Verdict::Allow
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

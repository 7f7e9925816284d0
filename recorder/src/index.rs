//! What journal files hold, joined: each call with its end, each event, each once.
//!
//! Files may repeat each other. What was open when a file was sealed is carried into a later file, and what was waiting
//! when a file had to be given up is written again. An entry is named by its `seq`, so a repeated one is the same one.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::call::Standing;
use crate::entry::{Entry, EntryRead, Head, Kind, read_entry};
use crate::rows::{self, Answered, CallsBuilder, End, EventsBuilder};
use crate::{Event, EventKind, RecordError, Verdict};

mod bytes;

pub(crate) use bytes::JournalBytes;

/// The entries of journal files of one node.
#[derive(Debug, Default)]
pub(crate) struct Index<'a> {
    decided: Vec<Found<'a>>,
    /// By the call's place.
    finished: Vec<(i64, Found<'a>)>,
    /// By the call's place.
    answered: Vec<(i64, Found<'a>)>,
    voided: Cow<'a, HashMap<i64, i64>>,
    events: Vec<Found<'a>>,
    /// The least place at which one of these files was begun: calls before it were carried there.
    begins: Option<i64>,
    /// The greatest place in the log that these files speak of.
    pub(crate) last_seq: Option<i64>,
    /// The latest time that these files speak of.
    pub(crate) last_at: Option<i64>,
    /// Entries read.
    pub(crate) entries: usize,
    /// A file ended within an entry.
    pub(crate) torn: bool,
}

/// An entry that goes on from one file to a later one.
#[derive(Debug)]
pub(crate) struct Carried {
    /// The place of its call.
    pub(crate) call_seq: i64,
    pub(crate) seq: i64,
    pub(crate) payload: Vec<u8>,
    /// The file that it is from.
    pub(crate) path: PathBuf,
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

    fn carried(&self, call_seq: i64) -> Carried {
        Carried {
            call_seq,
            seq: self.seq,
            payload: self.payload.to_vec(),
            path: self.path.to_owned(),
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
            index.read(file, durable_to)?;
        }
        index.sort();
        Ok(index)
    }

    /// Reads the entries of one file beside what was carried on from those before it; `voided` is what any of them declares void.
    pub(crate) fn beside(
        carried: &'a [Carried],
        voided: &'a HashMap<i64, i64>,
        (file, durable_to): (&'a JournalBytes, Option<i64>),
    ) -> Result<Self, RecordError> {
        let mut index = Self {
            voided: Cow::Borrowed(voided),
            ..Self::default()
        };
        for Carried { payload, path, .. } in carried {
            index.add(path, payload, None)?;
        }
        index.read(file, durable_to)?;
        index.sort();
        Ok(index)
    }

    fn read(&mut self, file: &'a JournalBytes, durable_to: Option<i64>) -> Result<(), RecordError> {
        let Some((header, mut frames)) = file.open()? else {
            return Ok(());
        };
        if header.next_seq > 0 {
            self.saw(header.next_seq - 1, header.last_at);
        }
        self.begins = Some(header.next_seq).min(self.begins.or(Some(header.next_seq)));
        for payload in frames.by_ref() {
            self.entries += usize::from(self.add(&file.path, payload, durable_to)?);
        }
        self.torn |= frames.is_torn();
        Ok(())
    }

    fn sort(&mut self) {
        self.decided.sort_by_key(|found| found.seq);
        self.decided.dedup_by_key(|found| found.seq);
        self.finished.sort_by_key(|(call_seq, _)| *call_seq);
        self.finished.dedup_by_key(|(call_seq, _)| *call_seq);
        self.answered.sort_by_key(|(call_seq, _)| *call_seq);
        self.answered.dedup_by_key(|(call_seq, _)| *call_seq);
        self.events.sort_by_key(|found| found.seq);
        self.events.dedup_by_key(|found| found.seq);
    }

    /// Whether the entry is within the bound.
    fn add(
        &mut self,
        path: &'a Path,
        payload: &'a [u8],
        durable_to: Option<i64>,
    ) -> Result<bool, RecordError> {
        let unreadable = || RecordError::Damaged {
            path: path.to_owned(),
            what: "an entry of unknown kind".into(),
        };
        let head = Head::of(payload).ok_or_else(unreadable)?;
        if durable_to.is_some_and(|last| head.seq > last) {
            return Ok(false);
        }
        self.saw(head.seq, head.at);
        let found = Found {
            seq: head.seq,
            at: head.at,
            payload,
            path,
        };
        match head.kind {
            Kind::Decided => self.decided.push(found),
            Kind::Finished { call_seq } => self.finished.push((call_seq, found)),
            Kind::Answered { call_seq } => self.answered.push((call_seq, found)),
            Kind::Event => self.events.push(found),
            Kind::Void => {
                self.events.push(found);
                if let Entry::Void { seqs, at, .. } = found.read()? {
                    for seq in seqs {
                        if !self.voided.contains_key(&seq) {
                            self.voided.to_mut().insert(seq, at);
                        }
                    }
                }
            }
        }
        Ok(true)
    }

    fn saw(&mut self, seq: i64, at: i64) {
        self.last_seq = self.last_seq.max(Some(seq));
        self.last_at = self.last_at.max(Some(at));
    }

    /// Where the one file goes on that was read; none if nothing was ever made durable in it.
    pub(crate) fn begins(&self) -> Option<i64> {
        self.begins
    }

    /// The `seq` of each call, sorted.
    pub(crate) fn call_seqs(&self) -> Vec<i64> {
        self.decided.iter().map(|found| found.seq).collect()
    }

    /// Earliest time of a call.
    pub(crate) fn first_decided_at(&self) -> Option<i64> {
        self.decided.iter().map(|found| found.at).min()
    }

    /// The `seq` of each event, sorted.
    pub(crate) fn event_seqs(&self) -> Vec<i64> {
        self.events.iter().map(|found| found.seq).collect()
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
            let finish = ends.peek().filter(|(of, _)| *of == found.seq);
            let finish = finish.map(|(_, finish)| *finish);
            let end = match (self.voided_at(found.seq), &finish) {
                (Some(at), _) => End::Voided { at },
                (None, Some(finish)) => finish.end()?,
                (None, None) => End::Open,
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
                finish,
                end,
                is_carried: self.begins.is_none_or(|begins| found.seq < begins),
            })?;
        }
        Ok(())
    }

    fn voided_at(&self, seq: i64) -> Option<i64> {
        self.voided.get(&seq).copied()
    }

    /// What the decision on this call left open; none if it is in another file, or void.
    fn standing(&self, seq: i64) -> Result<Option<Standing>, RecordError> {
        let call = self.decided.binary_search_by_key(&seq, |call| call.seq);
        let call = call.ok().and_then(|at| self.decided.get(at));
        let call = call.filter(|_| self.voided_at(seq).is_none());
        call.map(Found::standing).transpose()
    }

    /// Whether the end of this call is one that its row tells: one that may not pass has none of its own. Of what is in another file
    /// the log took no end that it could not have.
    fn ends(&self, seq: i64) -> Result<bool, RecordError> {
        Ok(match self.standing(seq)? {
            Some(Standing::Admitted) | None => true,
            Some(Standing::Held) => {
                let answer = self.answered.binary_search_by_key(&seq, |(of, _)| *of);
                let answer = answer.ok().and_then(|at| self.answered.get(at));
                let answer = answer.map(|(_, found)| found.answer()).transpose()?;
                answer.flatten().is_none_or(|answered| admits(&answered))
            }
            Some(Standing::Refused) => false,
        })
    }

    /// Visits every entry from this place on, in no order; the flag is false for the end of a call, or the answer about it, that no
    /// row will have: of one that was denied. (Of those that are void, [`Index::voided`] tells.)
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
            let standing = self.standing(*call_seq)?;
            visit(
                found.payload,
                standing.is_none_or(|it| it == Standing::Held),
            )?;
        }
        Ok(())
    }

    /// When decisions became void.
    pub(crate) fn voided(&self) -> &HashMap<i64, i64> {
        &self.voided
    }

    /// Ends of calls, and answers about calls, that are not here.
    pub(crate) fn strays(&self) -> impl Iterator<Item = Carried> + '_ {
        let held = |seq: &i64| {
            self.decided
                .binary_search_by_key(seq, |found| found.seq)
                .is_ok()
        };
        self.finished
            .iter()
            .chain(&self.answered)
            .filter(move |(call_seq, _)| !held(call_seq))
            .map(|(call_seq, found)| found.carried(*call_seq))
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
    finish: Option<Found<'a>>,
    pub(crate) end: End<'a>,
    /// It was decided before the file was begun.
    is_carried: bool,
}

impl<'a> CallFound<'a> {
    /// Place and time of the decision.
    pub(crate) fn place(&self) -> (i64, i64) {
        (self.found.seq, self.found.at)
    }

    /// Its entries, to be carried into another file.
    pub(crate) fn carried(&self) -> impl Iterator<Item = Carried> {
        let seq = self.found.seq;
        [Some(self.found), self.answer, self.finish]
            .into_iter()
            .flatten()
            .map(move |found| found.carried(seq))
    }

    /// Admitted and not ended, or held and not answered: something may still become of it.
    pub(crate) fn is_open(&self) -> Result<Option<Openness>, RecordError> {
        let has_ended = match self.end {
            End::Open => false,
            // What is carried comes into several files: the end of a held call may be here, and its answer not yet.
            End::Finished { .. } if self.is_carried && self.answer.is_none() => true,
            End::Finished { .. } | End::Voided { .. } | End::Unknown => return Ok(None),
        };
        Ok(match (self.found.standing()?, self.answered()?) {
            (Standing::Held, None) => Some(Openness::Answer),
            _ if has_ended => None,
            (Standing::Admitted, _) => Some(Openness::Outcome),
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

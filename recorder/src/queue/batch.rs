//! Entries that go to the disk together, encoded where they wait: one buffer, no copy on the way.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::{Ack, Entering};
use crate::entry::FRAME_HEAD;

/// Entries for one write, as the bytes of their frames.
#[derive(Debug, Clone, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
}

/// One entry of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    pub(super) seq: i64,
    pub(super) kind: Entering,
    /// Where its frame ends.
    end: usize,
}

impl Batch {
    /// Everything to be written.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.marks.len()
    }

    /// The payloads of new entries; what was carried over from another file is left out.
    pub(crate) fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        let new = self
            .frames()
            .filter(|(mark, _)| mark.kind != Entering::Carried);
        new.filter_map(|(_, frame)| frame.get(FRAME_HEAD..))
    }

    /// Each entry with its frame.
    pub(super) fn frames(&self) -> impl Iterator<Item = (Mark, &[u8])> {
        let mut start = 0;
        self.marks.iter().map(move |mark| {
            let frame = self.bytes.get(start..mark.end).unwrap_or_default();
            start = mark.end;
            (*mark, frame)
        })
    }

    pub(super) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Appends what `write` appends to the bytes, as one entry; false if that did not fit, and nothing was appended.
    pub(crate) fn append(
        &mut self,
        seq: i64,
        kind: Entering,
        write: impl FnOnce(&mut Vec<u8>) -> bool,
    ) -> bool {
        let fits = write(&mut self.bytes);
        if fits {
            self.marks.push(Mark {
                seq,
                kind,
                end: self.bytes.len(),
            });
        }
        fits
    }

    /// Where the last entry begins.
    fn last_start(&self) -> usize {
        let before = self.marks.iter().rev().nth(1);
        before.map_or(0, |mark| mark.end)
    }

    /// Takes the last entry out, into a batch of its own.
    fn split_last(&mut self) -> Self {
        let bytes = self.bytes.split_off(self.last_start());
        let mut last = Self {
            bytes,
            marks: Vec::new(),
        };
        if let Some(mark) = self.marks.pop() {
            let end = last.bytes.len();
            last.marks.push(Mark { end, ..mark });
        }
        last
    }

    /// The same without what was carried over from another file.
    fn without_carried(&self) -> Self {
        let mut kept = Self::default();
        for (mark, frame) in self
            .frames()
            .filter(|(mark, _)| mark.kind != Entering::Carried)
        {
            kept.append(mark.seq, mark.kind, |bytes| {
                bytes.extend_from_slice(frame);
                true
            });
        }
        kept
    }
}

/// A batch on its way to the disk, with who waits for it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) batch: Arc<Batch>,
    /// One for each entry; none where nobody waits, or was answered already.
    pub(super) acks: Vec<Option<Ack>>,
    /// When its first entry came.
    pub(super) since: Instant,
}

impl Waiting {
    /// An empty one, with room for about as much as this one holds.
    pub(super) fn like(before: Option<&Self>) -> Self {
        let (bytes, entries) = before.map_or((0, 0), |waiting| {
            (waiting.batch.bytes.len(), waiting.batch.len())
        });
        Self {
            batch: Arc::new(Batch {
                bytes: Vec::with_capacity(bytes),
                marks: Vec::with_capacity(entries),
            }),
            acks: Vec::with_capacity(entries),
            since: Instant::now(),
        }
    }

    /// Whether nobody wants to hear of any of these.
    pub(super) fn nobody_waits(&self) -> bool {
        self.acks.iter().flatten().all(oneshot::Sender::is_closed)
    }

    /// Takes the last entry out, with who waits for it.
    pub(super) fn split_last(&mut self) -> Self {
        let batch = Arc::make_mut(&mut self.batch).split_last();
        Self {
            batch: Arc::new(batch),
            acks: self.acks.pop().into_iter().collect(),
            since: Instant::now(),
        }
    }

    /// Who was waiting, and for what; nobody does any more.
    pub(super) fn give_up(&mut self) -> impl Iterator<Item = (Mark, Ack)> {
        let acks = std::mem::take(&mut self.acks);
        let marks = self.batch.marks.clone();
        self.acks.resize_with(marks.len(), || None);
        let given_up = marks.into_iter().zip(acks);
        given_up.filter_map(|(mark, ack)| Some((mark, ack?)))
    }

    /// Forgets what was carried over from another file: who wants it carried will do so again.
    pub(super) fn drop_carried(&mut self) {
        let carried = |mark: &Mark| mark.kind == Entering::Carried;
        if self.batch.marks.iter().any(carried) {
            self.batch = Arc::new(self.batch.without_carried());
            self.acks.resize_with(self.batch.len(), || None);
        }
    }

    /// Who waits for more than that the entry is handed to the system goes on waiting; the others come back.
    pub(super) fn handed_over(&mut self) -> Vec<Option<Ack>> {
        let marks = self.batch.marks.iter().zip(&mut self.acks);
        marks
            .map(|(mark, ack)| ack.take_if(|_| mark.kind != Entering::Carried))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn batch(entries: &[(i64, Entering)]) -> Batch {
        let mut batch = Batch::default();
        for (seq, kind) in entries {
            let frame = [&[0; FRAME_HEAD], seq.to_string().as_bytes()].concat();
            assert!(batch.append(*seq, *kind, |bytes| {
                bytes.extend(&frame);
                true
            }));
        }
        batch
    }

    fn payloads(batch: &Batch) -> Vec<&str> {
        let texts = batch.payloads().map(std::str::from_utf8);
        texts.map(Result::unwrap).collect()
    }

    #[test]
    fn what_was_carried_is_written_and_is_no_new_entry() {
        let batch = batch(&[
            (7, Entering::Event),
            (2, Entering::Carried),
            (18, Entering::Event),
        ]);
        assert_eq!(payloads(&batch), ["7", "18"]);
        assert_eq!(batch.bytes().len(), 3 * FRAME_HEAD + 4);
        assert_eq!(payloads(&batch.without_carried()), ["7", "18"]);
        assert_eq!(batch.without_carried().bytes().len(), 2 * FRAME_HEAD + 3);
    }

    #[test]
    fn the_last_entry_can_be_taken_out() {
        let mut first = batch(&[(7, Entering::Event), (18, Entering::Event)]);
        let last = first.split_last();
        assert_eq!((payloads(&first), payloads(&last)), (vec!["7"], vec!["18"]));
        assert_eq!(first.bytes().len(), FRAME_HEAD + 1);
        let alone = first.split_last();
        assert_eq!((first.len(), payloads(&alone)), (0, vec!["7"]));
    }

    #[test]
    fn what_does_not_fit_leaves_no_trace() {
        let mut batch = batch(&[(7, Entering::Event)]);
        assert!(!batch.append(8, Entering::Event, |_| false));
        assert_eq!(payloads(&batch), ["7"]);
    }
}

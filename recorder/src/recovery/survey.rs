//! What the journal files of a node hold together, found out one file at a time before any of them is sealed.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::RecordError;
use crate::Storage;
use crate::entry::Head;
use crate::index::{Index, JournalBytes};
use crate::layout::{Layout, journal_name};

/// Of each file its place in the log, and of all entries what must be known before the first is sealed.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// In the log's order, which is not always that of their numbers: one is made ahead while another is needed sooner.
    pub(super) files: Vec<Surveyed>,
    /// Decisions that any of the files declares void: the void is in a later file than what it is about.
    pub(super) voided: HashMap<i64, i64>,
    /// Place and time of the last entry.
    pub(super) last: Option<(i64, i64)>,
    /// A file ended within an entry.
    pub(super) torn: bool,
    /// First and last of places side by side, of those behind the last checkpoint.
    there: Vec<(i64, i64)>,
}

/// A journal file.
#[derive(Debug)]
pub(super) struct Surveyed {
    pub(super) path: PathBuf,
    pub(super) number: u64,
    /// The place at which it was begun; none if nothing was ever made durable in it.
    begins: Option<i64>,
}

impl Survey {
    /// Reads every journal file of this node; of single places only those from `size` on are kept in mind.
    pub(super) fn of(
        storage: &dyn Storage,
        layout: &Layout,
        node: &str,
        size: i64,
    ) -> Result<Self, RecordError> {
        let folder = layout.journals();
        let names = storage
            .list(&folder)
            .map_err(RecordError::io("list", &folder))?;
        let mut survey = Self::default();
        let mut buffer = Vec::new();
        for name in names {
            let Some((of, number)) = journal_name(&name) else {
                continue;
            };
            if of == node {
                let file = JournalBytes::read_into(storage, folder.join(&name), number, buffer)?;
                survey.add(&file, size)?;
                buffer = file.bytes;
            }
        }
        survey.files.sort_by_key(|file| (file.begins, file.number));
        survey.there.sort_unstable();
        Ok(survey)
    }

    /// The first place from `size` on that no entry has, if there are later ones before `next`.
    pub(super) fn first_gap(&self, size: i64, next: i64) -> Option<i64> {
        let mut at = size;
        for (first, last) in &self.there {
            if *first > at {
                break;
            }
            at = at.max(last + 1);
        }
        (at < next).then_some(at)
    }

    /// A number that no file has.
    pub(super) fn next_number(&self) -> u64 {
        let numbers = self.files.iter().map(|file| file.number + 1);
        numbers.max().unwrap_or(1)
    }

    fn add(&mut self, file: &JournalBytes, size: i64) -> Result<(), RecordError> {
        let index = Index::of([(file, None)])?;
        self.files.push(Surveyed {
            path: file.path.clone(),
            number: file.number,
            begins: index.begins(),
        });
        self.voided.extend(index.voided());
        self.torn |= index.torn;
        let last = index.last_seq.zip(index.last_at);
        self.last = match (self.last, last) {
            (Some((seq, at)), Some((other_seq, other_at))) => {
                Some((seq.max(other_seq), at.max(other_at)))
            }
            (one, other) => one.or(other),
        };
        let mut seqs = Vec::new();
        index.each_entry(size, |payload, _| {
            seqs.extend(Head::of(payload).map(|head| head.seq));
            Ok(())
        })?;
        seqs.sort_unstable();
        for run in seqs.chunk_by(|one, next| *next <= one + 1) {
            self.there
                .extend(run.first().copied().zip(run.last().copied()));
        }
        Ok(())
    }
}

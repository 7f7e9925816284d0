//! One row group, looked at by itself: rows that stay what they were are counted here and never seen again, the others are made ready
//! to be judged in their order.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use hashbrown::HashMap;
use weir_recorder::CallGroup;

use crate::call::Call;
use crate::codes::Telling;
use crate::columns::{Details, Further, OF_EVERY_ROW, numbers};
use crate::error::Failed;
use crate::kind::{Kind, Kinds, Way};
use crate::partial::Partial;
use crate::ruled::Ruled;
use crate::twin::Twin;
use crate::{Class, Flips, ReplayOptions};

/// The rows of a group that have to be judged in their order.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Which of the groups it is.
    pub(crate) group: usize,
    /// Which of the nodes, in the order of their names.
    pub(crate) node: u32,
    pub(crate) node_name: Arc<str>,
    pub(crate) kinds: Vec<Arc<Kind>>,
    details: Vec<Details>,
    ruled: Vec<Ruled>,
    /// By `seq`.
    pub(crate) rows: Vec<Pending>,
    load: Load,
}

/// A row that has to be judged in its order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) seq: i64,
    pub(crate) decided_at: i64,
    /// Which row of the group it is.
    pub(crate) row: u32,
    /// Which of the chunk's kinds.
    pub(crate) kind: u32,
    /// Which of the chunk's details, and where in them.
    details: u32,
    place: u32,
    /// Which of the chunk's rulings, if what came before it does not matter; counts from 1.
    ruled: u32,
}

/// A row with what belongs to it.
pub(crate) struct View<'a> {
    pub(crate) pending: &'a Pending,
    pub(crate) kind: &'a Kind,
    /// The details, and where in them.
    pub(crate) details: (&'a Details, usize),
    pub(crate) ruled: Option<&'a Ruled>,
}

impl Chunk {
    pub(crate) fn view<'a>(&'a self, pending: &'a Pending) -> Option<View<'a>> {
        let ruled = (pending.ruled as usize).checked_sub(1);
        Some(View {
            pending,
            kind: self.kinds.get(pending.kind as usize)?,
            details: (
                self.details.get(pending.details as usize)?,
                pending.place as usize,
            ),
            ruled: ruled.and_then(|which| self.ruled.get(which)),
        })
    }
}

impl View<'_> {
    pub(crate) fn session(&self) -> &str {
        self.details.0.session(self.details.1)
    }

    pub(crate) fn call_id(&self) -> [u8; 16] {
        self.details.0.call_id(self.details.1)
    }

    pub(crate) fn arguments(&self) -> Option<&str> {
        self.details.0.arguments(self.details.1)
    }

    pub(crate) fn has_arguments(&self) -> bool {
        self.details.0.has_arguments()
    }
}

/// Bytes that chunks take, while they take them.
#[derive(Debug)]
struct Load {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Load {
    fn grow(&mut self, bytes: usize) {
        self.all.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What every thread needs to look at groups.
pub(crate) struct Looking<'a> {
    pub(crate) options: &'a ReplayOptions,
    pub(crate) kinds: &'a Mutex<Kinds>,
    pub(crate) further: Further,
    /// Every call is noted, also what stays as it was.
    pub(crate) everything: bool,
    /// What was decided then or later is not looked at.
    pub(crate) end: Option<i64>,
    /// Whether anybody still wants to know.
    pub(crate) is_wanted: &'a (dyn Fn() -> bool + Sync),
    /// Bytes that chunks take at the moment.
    pub(crate) load: Arc<AtomicUsize>,
}

/// A kind as a batch meets it.
struct Slot {
    kind: Arc<Kind>,
    /// Its place among the chunk's kinds, if its rows have to be looked at.
    place: Option<u32>,
    count: u64,
}

/// A row that has to be looked at, before its details are read.
struct Found {
    row: u32,
    kind: u32,
    seq: i64,
    decided_at: i64,
}

impl Looking<'_> {
    /// Looks at one group. What stays as it was is counted in `partial`.
    pub(crate) fn at(
        &self,
        (which, group): (usize, &CallGroup),
        node: u32,
        partial: &mut Partial,
    ) -> Result<Chunk, Failed> {
        let mut chunk = Chunk {
            group: which,
            node,
            node_name: group.node.as_str().into(),
            kinds: Vec::new(),
            details: Vec::new(),
            ruled: Vec::new(),
            rows: Vec::new(),
            load: Load {
                all: Arc::clone(&self.load),
                bytes: 0,
            },
        };
        let mut places = HashMap::new();
        let mut found = Vec::new();
        let mut first = 0;
        for batch in group.read(&OF_EVERY_ROW)? {
            let batch = batch?;
            let rows = self.rows_before_end(&batch)?;
            let into = (&mut chunk.kinds, &mut places);
            let (batch, is_end) = (batch.slice(0, rows), rows < batch.num_rows());
            self.sift(&batch, group, first, into, &mut found, partial)?;
            if is_end {
                break;
            }
            first += batch.num_rows();
        }
        if !found.is_empty() {
            self.details(group, &found, &mut chunk)?;
            self.judge_alone(group, &mut chunk, partial);
        }
        Ok(chunk)
    }

    /// How many rows of a batch are looked at.
    fn rows_before_end(&self, batch: &RecordBatch) -> Result<usize, Failed> {
        let Some(end) = self.end else {
            return Ok(batch.num_rows());
        };
        let times = numbers::<TimestampMicrosecondType>(batch, "decided_at")?;
        // Times never decrease with `seq`.
        Ok(times.values().partition_point(|at| *at < end))
    }

    /// Counts what stays as it was, and finds the rows that have to be looked at.
    fn sift(
        &self,
        batch: &RecordBatch,
        group: &CallGroup,
        first: usize,
        (kinds, places): (&mut Vec<Arc<Kind>>, &mut HashMap<usize, u32>),
        found: &mut Vec<Found>,
        partial: &mut Partial,
    ) -> Result<(), Failed> {
        let telling = Telling::of(batch)?;
        let seqs = numbers::<Int64Type>(batch, "seq")?;
        let times = numbers::<TimestampMicrosecondType>(batch, "decided_at")?;
        let (seqs, times) = (seqs.values(), times.values());
        // Times never decrease with `seq`.
        let ReplayOptions { from, to, .. } = *self.options;
        let begin = from.map_or(0, |from| times.partition_point(|at| *at < from));
        let end = to.map_or(times.len(), |to| times.partition_point(|at| *at < to));
        let reported = begin..end.max(begin);
        let any_shared = group.is_shared(group.first_seq) || group.is_shared(group.last_seq);

        let mut slots: Vec<Slot> = Vec::new();
        let mut by_code: HashMap<u64, usize, foldhash::fast::FixedState> = HashMap::default();
        let rows = telling.codes.iter().zip(seqs.iter().zip(times.iter()));
        for (row, (code, (seq, decided_at))) in rows.enumerate() {
            let which = *by_code.entry(*code).or_insert_with(|| {
                slots.push(self.slot(&telling, row, kinds, places));
                slots.len() - 1
            });
            let Some(slot) = slots.get_mut(which) else {
                continue;
            };
            let kind = match slot.place {
                Some(place) => place,
                None if any_shared && group.is_shared(*seq) && slot.kind.is_call() => {
                    // It may be in another file too, and counts once.
                    place_of(&slot.kind, kinds, places)
                }
                None => {
                    slot.count += u64::from(reported.contains(&row));
                    continue;
                }
            };
            found.push(Found {
                row: (first + row) as u32,
                kind,
                seq: *seq,
                decided_at: *decided_at,
            });
        }
        let counted = |slot: &Slot| slot.place.is_none() && slot.kind.is_call() && slot.kind.taken;
        for slot in slots.iter().filter(|slot| counted(slot) && slot.count > 0) {
            partial.count(&slot.kind, Class::Same, slot.count);
        }
        let is_counted = |row: &usize| {
            let code = telling.codes.get(*row);
            let slot = code.and_then(|code| slots.get(*by_code.get(code)?));
            slot.is_some_and(counted)
        };
        let ends = [
            reported.clone().find(&is_counted),
            reported.rev().find(&is_counted),
        ];
        for at in ends.into_iter().flatten().filter_map(|row| times.get(row)) {
            partial.reach(*at);
        }
        Ok(())
    }

    fn slot(
        &self,
        telling: &Telling,
        row: usize,
        kinds: &mut Vec<Arc<Kind>>,
        places: &mut HashMap<usize, u32>,
    ) -> Slot {
        let (words, engine, via) = telling.row(row);
        let mut all = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = all.of_row(words, engine, &via);
        drop(all);
        let is_looked_at = match &kind.way {
            Way::Unseen => false,
            Way::Same => self.everything,
            Way::Noted(_) | Way::Alone(_) | Way::Ordered(_) => true,
        };
        let place = is_looked_at.then(|| place_of(&kind, kinds, places));
        Slot {
            kind,
            place,
            count: 0,
        }
    }

    /// Reads what is needed of the rows that were found.
    fn details(&self, group: &CallGroup, found: &[Found], chunk: &mut Chunk) -> Result<(), Failed> {
        let arguments = self.options.flips == Flips::All
            || chunk.kinds.iter().any(|kind| kind.reads_arguments());
        let columns = self.further.names(arguments);
        let is_sparse = found.len() < group.rows / SPARSE;
        let batches = if is_sparse {
            group.read_ranges(&columns, &ranges(found))?
        } else {
            group.read(&columns)?
        };
        // Where a row stands among those that are read.
        let place = |nth: usize, row: &Found| if is_sparse { nth } else { row.row as usize };
        let mut rows = found.iter().enumerate().peekable();
        let (mut first, mut bytes) = (0, size_of_val(found));
        for batch in batches {
            let batch = batch?;
            let end = first + batch.num_rows();
            while let Some((nth, row)) = rows.next_if(|(nth, row)| place(*nth, row) < end) {
                chunk.rows.push(Pending {
                    seq: row.seq,
                    decided_at: row.decided_at,
                    row: row.row,
                    kind: row.kind,
                    details: chunk.details.len() as u32,
                    place: (place(nth, row) - first) as u32,
                    ruled: 0,
                });
            }
            bytes += batch.get_array_memory_size();
            chunk.details.push(Details::of(&batch)?);
            first = end;
        }
        chunk.load.grow(bytes);
        Ok(())
    }

    /// Judges the rows for which nothing matters that came before them. What stays as it was is counted and done with.
    fn judge_alone(&self, group: &CallGroup, chunk: &mut Chunk, partial: &mut Partial) {
        let twin = || Twin::new(self.options.state, self.options.counters_per_grant);
        let mut alone = twin();
        let mut rows = std::mem::take(&mut chunk.rows);
        let mut ruled = Vec::new();
        rows.retain_mut(|row| {
            let Some(View { kind, details, .. }) = chunk.view(row) else {
                return false;
            };
            let Way::Alone(plan) = &kind.way else {
                return true;
            };
            let call = Call::of(kind, &chunk.node_name, details, row.decided_at);
            let said = call.judge(plan, &mut alone);
            if alone.is_in_doubt() {
                alone = twin();
            }
            if said.class() == Class::Same && !self.everything && !group.is_shared(row.seq) {
                if kind.taken && self.options.is_in_range(row.decided_at) {
                    partial.count(kind, Class::Same, 1);
                    partial.reach(row.decided_at);
                }
                return false;
            }
            ruled.push(said);
            row.ruled = ruled.len() as u32;
            true
        });
        (chunk.rows, chunk.ruled) = (rows, ruled);
    }
}

/// Where fewer rows than one in so many are looked at, the others are passed over when details are read.
const SPARSE: usize = 4;

/// The place of a kind among those of a chunk.
fn place_of(kind: &Arc<Kind>, kinds: &mut Vec<Arc<Kind>>, places: &mut HashMap<usize, u32>) -> u32 {
    *places.entry(kind.number).or_insert_with(|| {
        kinds.push(Arc::clone(kind));
        kinds.len() as u32 - 1
    })
}

/// Rows side by side as ranges.
fn ranges(found: &[Found]) -> Vec<Range<usize>> {
    let rows = found.chunk_by(|a, b| a.row + 1 == b.row);
    let range = |run: &[Found]| {
        let first = run.first().map_or(0, |row| row.row as usize);
        first..first + run.len()
    };
    rows.map(range).collect()
}

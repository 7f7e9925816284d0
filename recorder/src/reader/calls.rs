//! Calls of many files as one sorted sequence of batches.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};

use crate::layout::{Layout, Table};
use crate::{RecordError, RecordKeys, Segment, Storage, segments};

/// Batches of calls in (`node`, `seq`) order, each row once.
///
/// Files of one node overlap by the few calls that were open when one of them was sealed. So this merges: it gives out the
/// longest run of the file that is behind, as a slice of what was decoded, without a copy.
pub struct Calls {
    storage: Arc<dyn Storage>,
    keys: RecordKeys,
    /// `seq` and `decided_at`, then what was asked for.
    columns: Vec<String>,
    /// What was asked for.
    schema: SchemaRef,
    sources: VecDeque<Source>,
    open: Vec<Cursor>,
    last: Option<(String, i64)>,
    from: Option<i64>,
    to: Option<i64>,
    moment: Option<Moment>,
}

/// What it takes to find the rows again where files are joined while they are read.
struct Moment {
    layout: Layout,
    /// The last place of each node that the answer is of.
    last: BTreeMap<String, i64>,
    live: Vec<Source>,
    attempts: usize,
}

/// Rows not opened yet.
#[derive(Clone)]
struct Source {
    node: String,
    first_seq: i64,
    rows: SourceRows,
}

#[derive(Clone)]
enum SourceRows {
    Sealed(Segment),
    Live(RecordBatch),
}

impl Source {
    fn sealed(segment: Segment) -> Self {
        Self {
            node: segment.node.clone(),
            first_seq: segment.first_seq,
            rows: SourceRows::Sealed(segment),
        }
    }

    fn last_seq(&self) -> i64 {
        match &self.rows {
            SourceRows::Sealed(segment) => segment.last_seq,
            SourceRows::Live(rows) => seqs_last(rows),
        }
    }
}

/// How often files may be joined while the same rows are read.
const ATTEMPTS_MAX: usize = 100;

/// Columns every cursor reads for itself.
const OWN: [&str; 2] = ["seq", "decided_at"];

impl Calls {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        keys: RecordKeys,
        columns: &[&str],
        segments: Vec<Segment>,
        live: Vec<(String, RecordBatch)>,
        (from, to): (Option<i64>, Option<i64>),
    ) -> Result<Self, RecordError> {
        let schema = crate::calls_schema();
        let mut places = Vec::with_capacity(columns.len());
        for column in columns {
            let missing = |_| RecordError::NoColumn {
                table: "calls",
                column: (*column).to_owned(),
            };
            places.push(schema.index_of(column).map_err(missing)?);
        }
        let schema = Arc::new(schema.project(&places)?);
        let mut sources = Vec::new();
        sources.extend(segments.into_iter().map(Source::sealed));
        for (node, rows) in live.into_iter().filter(|(_, rows)| rows.num_rows() > 0) {
            let first_seq = seqs(&rows, 0).first().copied().unwrap_or(0);
            sources.push(Source {
                node,
                first_seq,
                rows: SourceRows::Live(rows),
            });
        }
        sources.sort_by(|a, b| (&a.node, a.first_seq).cmp(&(&b.node, b.first_seq)));
        let columns = OWN
            .iter()
            .chain(columns)
            .map(|column| (*column).to_owned())
            .collect();
        Ok(Self {
            storage,
            keys,
            columns,
            schema,
            sources: sources.into(),
            open: Vec::new(),
            last: None,
            from,
            to,
            moment: None,
        })
    }

    /// The rows of these files.
    pub(crate) fn of_files(
        storage: &Arc<dyn Storage>,
        keys: &RecordKeys,
        columns: &[&str],
        files: Vec<Segment>,
    ) -> Result<Self, RecordError> {
        Self::new(
            Arc::clone(storage),
            keys.clone(),
            columns,
            files,
            Vec::new(),
            (None, None),
        )
    }

    /// Goes on with the same rows where their files are joined meanwhile.
    pub(super) fn following(mut self, layout: &Layout) -> Self {
        let mut last = BTreeMap::new();
        for source in &self.sources {
            let to = last.entry(source.node.clone()).or_insert(i64::MIN);
            *to = source.last_seq().max(*to);
        }
        let is_live = |source: &&Source| matches!(source.rows, SourceRows::Live(_));
        self.moment = Some(Moment {
            layout: layout.clone(),
            last,
            live: self.sources.iter().filter(is_live).cloned().collect(),
            attempts: 0,
        });
        self
    }

    /// Looks for the rows not given out yet where they are now.
    fn find_again(&mut self, vanished: &Source, error: RecordError) -> Result<(), RecordError> {
        let Some(moment) = &mut self.moment else {
            return Err(error);
        };
        moment.attempts += 1;
        if moment.attempts > ATTEMPTS_MAX {
            return Err(error);
        }
        let days = self.from..=self.to;
        let found = segments::list(&*self.storage, &moment.layout, Table::Calls, days)?;
        let sealed = |source: &Source| match &source.rows {
            SourceRows::Sealed(segment) => Some(segment.clone()),
            SourceRows::Live(_) => None,
        };
        let open = self.open.iter().filter_map(|cursor| cursor.segment.clone());
        let before = self.sources.iter().chain([vanished]).filter_map(sealed);
        for gone in before.chain(open).filter(|gone| !found.contains(gone)) {
            let holds = |now: &Segment| {
                (&now.node, &now.date) == (&gone.node, &gone.date)
                    && now.first_seq <= gone.first_seq
                    && now.last_seq >= gone.last_seq
            };
            if !found.iter().any(holds) {
                // Its rows were removed: the answer would lack them.
                return Err(error);
            }
        }
        let last = self.last.as_ref();
        let is_ahead = |source: &Source| {
            let within = moment.last.get(&source.node);
            let behind =
                last.is_some_and(|(node, seq)| (&source.node, source.last_seq()) <= (node, *seq));
            within.is_some_and(|to| source.first_seq <= *to) && !behind
        };
        let sealed = found.into_iter().map(Source::sealed);
        let again = sealed.chain(moment.live.iter().cloned());
        let mut again: Vec<_> = again.filter(is_ahead).collect();
        again.sort_by(|a, b| (&a.node, a.first_seq).cmp(&(&b.node, b.first_seq)));
        self.open.clear();
        self.sources = again.into();
        Ok(())
    }

    /// Without rows that came after the moment that the answer is of.
    fn of_moment(&self, run: RecordBatch, node: &str) -> RecordBatch {
        let last = self.moment.as_ref().and_then(|m| m.last.get(node));
        let Some(last) = last else { return run };
        let count = seqs(&run, 0).partition_point(|seq| seq <= last);
        run.slice(0, count)
    }

    fn advance(&mut self) -> Result<Option<RecordBatch>, RecordError> {
        loop {
            self.open_due()?;
            let Some(behind) = self.behind() else {
                return Ok(None);
            };
            let until = self.until(behind);
            let Some(cursor) = self.open.get_mut(behind) else {
                return Ok(None);
            };
            let run = cursor.take_before(until)?;
            let (node, exhausted) = (cursor.node.clone(), cursor.is_exhausted());
            if exhausted {
                drop(self.open.swap_remove(behind));
            }
            // A row is never in two files; if somebody copied one into the folder, it still counts once.
            let seen = self
                .last
                .as_ref()
                .filter(|(of, _)| *of == node)
                .map(|(_, seq)| *seq);
            let run = self.of_moment(after(run, seen), &node);
            let Some(last_seq) = seqs(&run, 0).last().copied() else {
                continue;
            };
            self.last = Some((node, last_seq));
            let run = self.within(&run);
            if run.num_rows() > 0 {
                let rows = RecordBatchOptions::new().with_row_count(Some(run.num_rows()));
                let asked = run.columns().iter().skip(OWN.len()).cloned().collect();
                return Ok(Some(RecordBatch::try_new_with_options(
                    Arc::clone(&self.schema),
                    asked,
                    &rows,
                )?));
            }
        }
    }

    /// Opens what could hold the next row: the next source, and those that begin before its end.
    fn open_due(&mut self) -> Result<(), RecordError> {
        while let Some(source) = self.sources.front() {
            let head = self.open.iter().map(|cursor| cursor.head).min();
            let due = match (self.open.first(), head) {
                (Some(cursor), Some(head)) => {
                    cursor.node == source.node && source.first_seq <= head
                }
                _ => true,
            };
            if !due {
                return Ok(());
            }
            let Some(source) = self.sources.pop_front() else {
                return Ok(());
            };
            match Cursor::open(&*self.storage, &self.keys, source.clone(), &self.columns) {
                Ok(cursor) => self.open.extend(cursor),
                Err(error) if error.is_vanished() => self.find_again(&source, error)?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn behind(&self) -> Option<usize> {
        self.open
            .iter()
            .enumerate()
            .min_by_key(|(_, cursor)| cursor.head)
            .map(|(at, _)| at)
    }

    /// Where the run of this cursor ends: at the first row of any other of its node.
    fn until(&self, behind: usize) -> i64 {
        let others = self
            .open
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != behind)
            .map(|(_, cursor)| cursor.head);
        let node = self.open.get(behind).map(|cursor| cursor.node.as_str());
        let next = self
            .sources
            .front()
            .filter(|source| Some(source.node.as_str()) == node)
            .map(|source| source.first_seq);
        // The head itself always goes, also if another cursor stands at the same place.
        let head = self
            .open
            .get(behind)
            .map_or(i64::MAX, |cursor| cursor.head.saturating_add(1));
        others.chain(next).min().unwrap_or(i64::MAX).max(head)
    }

    /// Within the times asked for: times never decrease with `seq`.
    fn within(&self, run: &RecordBatch) -> RecordBatch {
        let times = run
            .column(1)
            .as_primitive::<TimestampMicrosecondType>()
            .values();
        let start = self
            .from
            .map_or(0, |from| times.partition_point(|at| *at < from));
        let end = self
            .to
            .map_or(times.len(), |to| times.partition_point(|at| *at < to));
        run.slice(start, end.saturating_sub(start))
    }
}

impl Iterator for Calls {
    type Item = Result<RecordBatch, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.sources.clear();
            self.open.clear();
        }
        next.transpose()
    }
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calls")
            .field("columns", &self.columns)
            .field("sources", &self.sources.len())
            .finish_non_exhaustive()
    }
}

/// A source being read.
struct Cursor {
    node: String,
    /// The file that it reads, if it is one.
    segment: Option<Segment>,
    batches: Box<dyn Iterator<Item = Result<RecordBatch, RecordError>> + Send>,
    batch: RecordBatch,
    /// `seq` of the first row not given out.
    head: i64,
}

impl Cursor {
    /// None if the source has no rows.
    fn open(
        storage: &dyn Storage,
        keys: &RecordKeys,
        source: Source,
        columns: &[String],
    ) -> Result<Option<Self>, RecordError> {
        let mut file = None;
        let batches: Box<dyn Iterator<Item = Result<RecordBatch, RecordError>> + Send> =
            match source.rows {
                SourceRows::Sealed(segment) => {
                    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
                    let (batches, places) =
                        segments::open(storage, &segment.path, Table::Calls, &columns, keys)?;
                    file = Some(segment);
                    Box::new(batches.map(move |batch| Ok(batch?.project(&places)?)))
                }
                SourceRows::Live(rows) => {
                    let schema = rows.schema();
                    let places: Result<Vec<_>, _> = columns
                        .iter()
                        .map(|column| schema.index_of(column))
                        .collect();
                    Box::new(std::iter::once(Ok(rows.project(&places?)?)))
                }
            };
        let empty = RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
        let mut cursor = Self {
            node: source.node,
            segment: file,
            batches,
            batch: empty,
            head: 0,
        };
        cursor.refill()?;
        Ok((!cursor.is_exhausted()).then_some(cursor))
    }

    /// The rows before this `seq`, of those decoded.
    fn take_before(&mut self, until: i64) -> Result<RecordBatch, RecordError> {
        let count = seqs(&self.batch, 0).partition_point(|seq| *seq < until);
        let run = self.batch.slice(0, count);
        self.batch = self.batch.slice(count, self.batch.num_rows() - count);
        self.refill()?;
        Ok(run)
    }

    fn refill(&mut self) -> Result<(), RecordError> {
        while self.batch.num_rows() == 0 {
            match self.batches.next() {
                Some(batch) => self.batch = batch?,
                None => return Ok(()),
            }
        }
        self.head = seqs(&self.batch, 0).first().copied().unwrap_or(i64::MAX);
        Ok(())
    }

    fn is_exhausted(&self) -> bool {
        self.batch.num_rows() == 0
    }
}

/// The rows behind this `seq`.
fn after(run: RecordBatch, seq: Option<i64>) -> RecordBatch {
    let Some(seen) = seq else { return run };
    let skip = seqs(&run, 0).partition_point(|seq| *seq <= seen);
    if skip == 0 {
        run
    } else {
        run.slice(skip, run.num_rows() - skip)
    }
}

fn seqs_last(batch: &RecordBatch) -> i64 {
    seqs(batch, 0).last().copied().unwrap_or(i64::MIN)
}

fn seqs(batch: &RecordBatch, column: usize) -> &[i64] {
    batch.column(column).as_primitive::<Int64Type>().values()
}

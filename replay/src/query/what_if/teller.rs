//! What replay says of each call, beside the call itself: both come in the order of the log, and meet by node and `seq`.

use std::cmp::Ordering;
use std::io;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Int64Array, RecordBatch, RecordBatchOptions, StringDictionaryBuilder,
    UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{Int32Type, Int64Type, SchemaRef};
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use tokio::sync::mpsc::Sender;
use weir_recorder::{Calls, RecordError, RecordReader};

use super::external;
use crate::columns::{Words, numbers};
use crate::digest::Line;
use crate::{ReplayError, ReplayOptions};

/// Why no more is told.
pub(super) enum Stop {
    /// Nobody wants to know any more.
    Unwanted,
    Failed(DataFusionError),
}

impl From<ReplayError> for Stop {
    fn from(error: ReplayError) -> Self {
        Self::Failed(external(error))
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        ReplayError::from(error).into()
    }
}

impl From<ArrowError> for Stop {
    fn from(error: ArrowError) -> Self {
        Self::Failed(error.into())
    }
}

/// What a column tells of a call, and what it told since the last batch.
enum Told {
    /// What is on record, in the column of this name.
    Recorded(String),
    /// A word of what replay says; null where there is none.
    Word(
        for<'l> fn(&Line<'l>) -> &'l str,
        StringDictionaryBuilder<Int32Type>,
    ),
    AfterDivergence(BooleanBuilder),
}

impl Told {
    /// What the column called `name` tells.
    fn of(name: &str) -> Self {
        let word: for<'l> fn(&Line<'l>) -> &'l str = match name {
            "class" => |line| line.class,
            "would_verdict" => |line| line.would_verdict,
            "would_rule" => |line| line.would_rule,
            "would_message" => |line| line.would_message,
            "would_reason" => |line| line.reason,
            "after_divergence" => return Self::AfterDivergence(BooleanBuilder::new()),
            _ => return Self::Recorded(name.to_owned()),
        };
        Self::Word(word, StringDictionaryBuilder::new())
    }

    fn push(&mut self, line: &Line<'_>) -> Result<(), ArrowError> {
        match self {
            Self::Recorded(_) => {}
            Self::Word(word, column) => match word(line) {
                "" => column.append_null(),
                word => drop(column.append(word)?),
            },
            Self::AfterDivergence(column) => column.append_value(line.after_divergence),
        }
        Ok(())
    }

    /// The column for the rows of `recorded` at these places.
    fn finish(
        &mut self,
        recorded: &RecordBatch,
        places: &UInt32Array,
    ) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Recorded(name) => match recorded.column_by_name(name) {
                Some(column) if places.len() == column.len() => Ok(Arc::clone(column)),
                Some(column) => take(column, places, None),
                None => Err(ArrowError::SchemaError(format!(
                    "column `{name}` was not read"
                ))),
            },
            Self::Word(_, column) => Ok(Arc::new(column.finish())),
            Self::AfterDivergence(column) => Ok(Arc::new(column.finish())),
        }
    }
}

/// Some calls as they are on record, being gone through.
struct Recorded {
    rows: RecordBatch,
    nodes: Words,
    seqs: Int64Array,
    next: usize,
}

impl Recorded {
    fn of(rows: RecordBatch) -> Result<Self, ReplayError> {
        Ok(Self {
            nodes: Words::of(&rows, "node")?,
            seqs: numbers::<Int64Type>(&rows, "seq")?,
            rows,
            next: 0,
        })
    }

    /// Where the next call stands in the log; none behind the last.
    fn head(&self) -> Option<(&str, i64)> {
        let seq = self.seqs.values().get(self.next)?;
        Some((self.nodes.at(self.next), *seq))
    }
}

/// Tells a query of each call: one batch for each batch of the record.
pub(super) struct Teller {
    schema: SchemaRef,
    columns: Vec<Told>,
    query: Sender<Result<RecordBatch, DataFusionError>>,
    calls: Calls,
    recorded: Option<Recorded>,
    /// The places in `recorded` of the calls that were told of.
    places: Vec<u32>,
    options: ReplayOptions,
}

impl Teller {
    pub(super) fn open(
        options: ReplayOptions,
        schema: &SchemaRef,
        query: Sender<Result<RecordBatch, DataFusionError>>,
    ) -> Result<Self, Stop> {
        let columns = schema.fields().iter().map(|field| Told::of(field.name()));
        let columns: Vec<Told> = columns.collect();
        let wanted = columns.iter().filter_map(|column| match column {
            Told::Recorded(name) if name != "node" && name != "seq" => Some(name.as_str()),
            Told::Recorded(_) | Told::Word(..) | Told::AfterDivergence(_) => None,
        });
        let read: Vec<&str> = ["node", "seq"].into_iter().chain(wanted).collect();
        let calls = RecordReader::open(&options.record).and_then(|reader| {
            let reader = reader.with_keys(options.record_keys.clone());
            reader.calls_between(&read, options.from, options.to)
        });
        Ok(Self {
            calls: calls.map_err(|error| failed(&options, error))?,
            schema: Arc::clone(schema),
            columns,
            query,
            recorded: None,
            places: Vec::new(),
            options,
        })
    }

    /// Tells of one call; lines come in the order of the log. A call that was removed from the record since it was judged is passed over.
    pub(super) fn take(&mut self, line: &Line<'_>) -> Result<(), Stop> {
        loop {
            let recorded = self.recorded.as_mut();
            let head = recorded.as_ref().and_then(|recorded| recorded.head());
            let order = head.map(|head| head.cmp(&(line.node, line.seq)));
            match (order, recorded) {
                (None, _) | (_, None) => {
                    if !self.turn()? {
                        return Ok(());
                    }
                }
                (Some(Ordering::Less), Some(recorded)) => recorded.next += 1,
                (Some(Ordering::Greater), _) => return Ok(()),
                (Some(Ordering::Equal), Some(recorded)) => {
                    self.places.push(recorded.next as u32);
                    recorded.next += 1;
                    for column in &mut self.columns {
                        column.push(line)?;
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Hands on what is left.
    pub(super) fn close(mut self) -> Result<(), Stop> {
        self.hand_on()
    }

    /// Goes on to the next calls on record; whether there are any.
    fn turn(&mut self) -> Result<bool, Stop> {
        self.hand_on()?;
        let next = self.calls.next().transpose();
        let next = next.map_err(|error| failed(&self.options, error))?;
        self.recorded = next.map(Recorded::of).transpose()?;
        Ok(self.recorded.is_some())
    }

    fn hand_on(&mut self) -> Result<(), Stop> {
        if self.query.is_closed() {
            return Err(Stop::Unwanted);
        }
        let Some(Recorded { rows, .. }) = &self.recorded else {
            return Ok(());
        };
        if self.places.is_empty() {
            return Ok(());
        }
        let places = UInt32Array::from(std::mem::take(&mut self.places));
        let columns = self.columns.iter_mut();
        let columns = columns.map(|column| column.finish(rows, &places));
        let columns = columns.collect::<Result<_, _>>()?;
        let count = RecordBatchOptions::new().with_row_count(Some(places.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &count)?;
        let sent = self.query.blocking_send(Ok(batch));
        sent.map_err(|_| Stop::Unwanted)
    }
}

fn failed(options: &ReplayOptions, cause: RecordError) -> Stop {
    Stop::from(ReplayError::Record {
        path: options.record.clone(),
        cause: Box::new(cause),
    })
}

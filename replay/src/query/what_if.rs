//! `what_if('candidate.json')`: the table `calls`, and beside each call what a candidate policy would
//! have said of it.
//!
//! It is a replay that notes every row, as for `--out`, and then goes through the calls on record beside
//! what it noted: the whole log up to the end of the range is judged, whatever is asked about, so that
//! limits meet every call in the state in which they would have met it. What the query filters narrows
//! what is told, what it selects which columns are read. A bound on `decided_at` from above ends the
//! replay there.

mod bounds;
mod teller;

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl};
use datafusion::datasource::TableProvider;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use datafusion::scalar::ScalarValue;
use tokio::sync::mpsc::Sender;
use weir_policy::Policy;
use weir_recorder::{RecordKeys, calls_schema};

use crate::run::replay_rows;
use crate::{Flips, PolicyFile, ReplayError, ReplayOptions, parse_time};
use bounds::Bounds;
use teller::{Stop, Teller};

/// Batches that may wait for the query.
const BATCHES_WAITING: usize = 2;

/// The columns of `calls`, and behind them those of the replay.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let calls = calls_schema();
    let mut fields: Vec<Arc<Field>> = calls.fields().iter().cloned().collect();
    let word = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    fields.push(Arc::new(Field::new("class", word.clone(), false)));
    for name in [
        "would_verdict",
        "would_rule",
        "would_message",
        "would_reason",
    ] {
        fields.push(Arc::new(Field::new(name, word.clone(), true)));
    }
    let after = Field::new("after_divergence", DataType::Boolean, false);
    fields.push(Arc::new(after));
    Arc::new(Schema::new(fields))
});

/// Why `what_if` was called in vain.
#[derive(Debug, thiserror::Error)]
enum Misuse {
    #[error(
        "what_if: expected a policy file and perhaps two times, each a constant: what_if('candidate.json'), \
         what_if('candidate.json', '2026-11-01', '2026-12-01'), with NULL for no bound"
    )]
    Arguments,
    #[error("what_if: cannot read the policy `{path}`: {cause}")]
    Read { path: String, cause: std::io::Error },
}

/// The table function.
#[derive(Debug)]
pub(super) struct WhatIf {
    record: PathBuf,
    keys: RecordKeys,
}

impl WhatIf {
    pub(super) fn of(record: &Path, keys: &RecordKeys) -> Self {
        Self {
            record: record.to_owned(),
            keys: keys.clone(),
        }
    }
}

impl TableFunctionImpl for WhatIf {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let (path, times) = match args.exprs() {
            [path] => (path, None),
            [path, from, to] => (path, Some((from, to))),
            _ => return Err(external(Misuse::Arguments)),
        };
        let path = constant(path)?.ok_or_else(|| external(Misuse::Arguments))?;
        let bytes = std::fs::read(&path).map_err(|cause| {
            external(Misuse::Read {
                path: crate::shown(&path).into_owned(),
                cause,
            })
        })?;
        Policy::load(&bytes, &path).map_err(|problems| external(ReplayError::Policy(problems)))?;
        let mut range = Bounds::default();
        if let Some((from, to)) = times {
            range.from = constant(from)?
                .map(|time| parse_time(&time))
                .transpose()
                .map_err(external)?;
            range.to = constant(to)?
                .map(|time| parse_time(&time))
                .transpose()
                .map_err(external)?;
        }
        Ok(Arc::new(Judgements {
            record: self.record.clone(),
            keys: self.keys.clone(),
            candidate: PolicyFile { path, bytes },
            range,
        }))
    }
}

/// A constant text; nothing for NULL.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of all expressions, one is a constant"
)]
fn constant(argument: &Expr) -> Result<Option<String>> {
    match argument {
        Expr::Literal(ScalarValue::Null, _) => Ok(None),
        Expr::Literal(value, _) => match value.try_as_str() {
            Some(text) => Ok(text.map(str::to_owned)),
            None => Err(external(Misuse::Arguments)),
        },
        _ => Err(external(Misuse::Arguments)),
    }
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// The calls of a record under one candidate.
#[derive(Debug)]
struct Judgements {
    record: PathBuf,
    keys: RecordKeys,
    candidate: PolicyFile,
    range: Bounds,
}

#[async_trait]
impl TableProvider for Judgements {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let pushed = filters.iter().map(|filter| {
            if Bounds::of(filter).is_some() {
                TableProviderFilterPushDown::Inexact
            } else {
                TableProviderFilterPushDown::Unsupported
            }
        });
        Ok(pushed.collect())
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(places) => Arc::new(SCHEMA.project(places)?),
            None => Arc::clone(&SCHEMA),
        };
        let range = filters
            .iter()
            .filter_map(Bounds::of)
            .fold(self.range, Bounds::and);
        let judging = Judging {
            schema: Arc::clone(&schema),
            record: self.record.clone(),
            keys: self.keys.clone(),
            candidate: self.candidate.clone(),
            range,
        };
        Ok(Arc::new(StreamingTableExec::try_new(
            schema,
            vec![Arc::new(judging)],
            None,
            [],
            false,
            limit,
        )?))
    }
}

/// A replay whose rows are a stream.
#[derive(Debug)]
struct Judging {
    schema: SchemaRef,
    record: PathBuf,
    keys: RecordKeys,
    candidate: PolicyFile,
    range: Bounds,
}

impl PartitionStream for Judging {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut stream =
            RecordBatchReceiverStream::builder(Arc::clone(&self.schema), BATCHES_WAITING);
        let options = ReplayOptions {
            record: self.record.clone(),
            record_keys: self.keys.clone(),
            candidate: Some(self.candidate.clone()),
            from: self.range.from,
            to: self.range.to,
            flips: Flips::First(0),
            ..ReplayOptions::default()
        };
        let (schema, query) = (Arc::clone(&self.schema), stream.tx());
        stream.spawn_blocking(move || tell(options, &schema, query));
        stream.build()
    }
}

/// Judges, and tells a query of each call.
fn tell(
    options: ReplayOptions,
    schema: &SchemaRef,
    query: Sender<Result<RecordBatch>>,
) -> Result<()> {
    let judged = replay_rows(&options, &|| !query.is_closed()).map_err(external)?;
    let Some(rows) = judged else {
        return Ok(());
    };
    let told = Teller::open(options, schema, query).and_then(|mut teller| {
        rows.each(|line| teller.take(line))?;
        teller.close()
    });
    match told {
        Ok(()) | Err(Stop::Unwanted) => Ok(()),
        Err(Stop::Failed(error)) => Err(error),
    }
}

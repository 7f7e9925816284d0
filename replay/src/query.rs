//! SQL over the record: `calls` and `events`, sealed and live, `changes`, the calls that change something, and views made of them.
//!
//! ```no_run
//! # async fn ask() -> Result<(), weir_replay::query::QueryError> {
//! use weir_replay::query::{answer, session};
//!
//! let context = session("record".as_ref(), &weir_recorder::RecordKeys::default())?;
//! let answer = answer(&context, "SELECT tool, verdict, count(*) FROM calls GROUP BY ALL").await?;
//! let page = answer.table(80);
//! # Ok(())
//! # }
//! ```
//!
//! Every scan opens the record anew, so a prompt that stays open for days sees new segments and the
//! journal. Statements that would change anything are refused: there is no DDL, DML, COPY or SET.
//! Memory is bounded; sorts, joins and aggregates that need more spill to the system's temporary
//! folder.
//!
//! Besides what DataFusion brings, some functions speak of the record's own forms:
//!
//! | Function | Gives |
//! |---|---|
//! | `json(text, pointer)` | the value at an RFC 6901 pointer in JSON text: strings as they read, anything else as JSON; null where there is none. `json(arguments, '/params/id')` |
//! | `json_keys(text)` | the keys of a JSON object, sorted, as a list; null for anything else |
//! | `json_shape(text)` | the keys of a JSON object, sorted, with the types of their values, as JSON text; null for anything else |
//! | `text -> path`, `text ->> path` | the value at `'$.disks[0].name'`, as JSON and as text |
//! | `what_if('candidate.json')` | as a table: `calls`, and what a candidate policy would have said of each |
//! | `bursts(decided_at, seconds, least)` | of a group: the most calls in a span, `times`, `first` and `last` of those that closed one with at least so many; null if none did |
//! | `uuid(call_id)` | the id as a UUID is written |
//! | `call_id('0197…')` | the id of a UUID, for `WHERE call_id = call_id('0197…')`, which reads only the row groups that may hold it |
//! | `hex(digest)` | the bytes in hex |

mod answer;
mod cell;
mod changes;
mod functions;
mod json;
mod memory;
mod named;
mod operators;
mod pace;
mod tables;
mod texts;
mod unlocking;
mod views;
mod what_if;
mod words;
mod yielding;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::registry::FunctionRegistry as _;
use datafusion::prelude::SessionConfig;
use weir_recorder::{RecordError, RecordKeys, RecordReader};

use crate::ReplayError;

pub use answer::Answer;
pub use datafusion::prelude::SessionContext;
pub use named::{Named, Parameter, UnknownName, named, named_all, questions_page};
pub use words::{Words, words};

/// How much memory one session's operators hold before they spill, where nobody says otherwise.
pub const MEMORY_BYTES_MAX: usize = 1 << 30;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The record cannot be read.
    #[error("record `{path}`: {cause}")]
    Record {
        /// The folder of the record.
        path: std::path::PathBuf,
        /// What the recorder's reader said.
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A column is encrypted, and the keys given do not open it.
    #[error("{0}")]
    Encrypted(String),
    /// The statement would change something.
    #[error("only questions are answered here: {0}")]
    ReadOnly(String),
    /// The file given to `what_if` is no policy. The text shows every problem with its place.
    #[error("{0}")]
    Policy(String),
    /// An operator that cannot spill needs more memory than the session has.
    #[error("the answer needs more memory than queries may hold: {cause}")]
    Memory {
        /// Which operator wanted how much.
        cause: String,
    },
    /// The statement cannot be understood or run.
    #[error("{0}")]
    Sql(String),
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        let record = causes(&error).find_map(|cause| cause.downcast_ref::<RecordError>());
        if let Some(record) = record.filter(|record| record.lacks_keys()) {
            return Self::Encrypted(record.to_string());
        }
        // What our own tables and functions say is said without the words of those who passed it on.
        if let DataFusionError::External(ours) = error.find_root() {
            return match ours.downcast_ref() {
                Some(ReplayError::Policy(problems)) => Self::Policy(problems.to_string()),
                Some(ReplayError::Record { cause, .. }) if lacks_keys(&**cause) => {
                    Self::Encrypted(cause.to_string())
                }
                Some(_) | None => Self::Sql(ours.to_string()),
            };
        }
        if let DataFusionError::ResourcesExhausted(cause) = error.find_root() {
            return Self::Memory {
                cause: cause.clone(),
            };
        }
        Self::Sql(error.strip_backtrace())
    }
}

/// A session that can ask the record in `record`; it fails where that is no record. Of a record that is encrypted, what needs none of
/// these keys can be asked without them.
pub fn session(record: &Path, keys: &RecordKeys) -> Result<SessionContext, QueryError> {
    session_within(record, keys, MEMORY_BYTES_MAX)
}

/// The same, whose operators hold at most so much memory before they spill.
pub fn session_within(
    record: &Path,
    keys: &RecordKeys,
    memory_bytes: usize,
) -> Result<SessionContext, QueryError> {
    let reader = RecordReader::open(record).map_err(|cause| QueryError::Record {
        path: record.to_owned(),
        cause: Box::new(cause),
    })?;
    drop(reader);
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_default_catalog_and_schema("weir", "record")
        .with_parquet_bloom_filter_pruning(true)
        .with_parquet_page_index_pruning(true);
    let options = config.options_mut();
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    // What each sort keeps for itself to merge what it spilled must fit several times.
    let kept = &mut options.execution.sort_spill_reservation_bytes;
    *kept = (*kept).min(memory_bytes / 16);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(memory::Shares::of(memory_bytes)))
        .build_arc()?;
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_physical_optimizer_rule(Arc::new(yielding::YieldingJoins))
        .build();
    let mut context = SessionContext::new_with_state(state);
    context.register_table("calls", Arc::new(tables::Calls::of(record, keys)))?;
    context.register_table("events", Arc::new(tables::Events::of(record)))?;
    context.register_table("changes", Arc::new(changes::Changes::of(record)))?;
    context.register_udtf("what_if", Arc::new(what_if::WhatIf::of(record, keys)));
    for function in functions::all() {
        context.register_udf(function);
    }
    context.register_udaf(pace::bursts());
    context.register_expr_planner(Arc::new(functions::operators()))?;
    views::register(&context)?;
    Ok(context)
}

/// Asks one question. Statements that would change anything are refused.
///
/// The future is boxed, so that DataFusion's plans are compiled here once and not where they are
/// awaited.
pub fn answer<'a>(
    context: &'a SessionContext,
    sql: &'a str,
) -> Pin<Box<dyn Future<Output = Result<Answer, QueryError>> + Send + 'a>> {
    Box::pin(async move {
        let options = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        let plan = context.state().create_logical_plan(sql).await?;
        options
            .verify_plan(&plan)
            .map_err(|error| QueryError::ReadOnly(error.strip_backtrace()))?;
        let mut attempts = 0;
        loop {
            let frame = context.execute_logical_plan(plan.clone()).await?;
            let schema = Arc::new(frame.schema().as_arrow().clone());
            match frame.collect().await {
                Ok(batches) => return Ok(Answer::new(schema, batches)),
                // Files were joined since they were listed: their rows are in others now.
                Err(error) if is_vanished(&error) && attempts < ATTEMPTS_MAX => attempts += 1,
                Err(error) => return Err(error.into()),
            }
        }
    })
}

/// Whether a replay failed because the keys given do not open what is encrypted.
fn lacks_keys(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    cause
        .downcast_ref::<RecordError>()
        .is_some_and(RecordError::lacks_keys)
}

/// How often files may be joined while one question is answered.
const ATTEMPTS_MAX: usize = 20;

/// Whether a file was gone when it was opened.
fn is_vanished(error: &DataFusionError) -> bool {
    causes(error).any(|error| {
        let is_gone = error
            .downcast_ref::<datafusion::object_store::Error>()
            .is_some_and(|e| matches!(e, datafusion::object_store::Error::NotFound { .. }));
        let is_absent = error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound);
        is_gone || is_absent
    })
}

/// An error and what it comes from.
fn causes<'e>(
    error: &'e DataFusionError,
) -> impl Iterator<Item = &'e (dyn std::error::Error + 'static)> {
    let first: &(dyn std::error::Error + 'static) = error;
    std::iter::successors(Some(first), |error| error.source())
}

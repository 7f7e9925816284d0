//! SQL over the record: `calls` and `events`, sealed and live.
//!
//! ```no_run
//! # async fn ask() -> Result<(), weir_replay::query::QueryError> {
//! use weir_replay::query::{answer, session};
//!
//! let context = session("record".as_ref())?;
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
//! Besides what DataFusion brings, three functions speak of the record's own forms:
//!
//! | Function | Gives |
//! |---|---|
//! | `json(text, pointer)` | the value at an RFC 6901 pointer in JSON text: strings as they read, anything else as JSON; null where there is none. `json(arguments, '/params/id')` |
//! | `uuid(call_id)` | the id as a UUID is written |
//! | `call_id('0197…')` | the id of a UUID, for `WHERE call_id = call_id('0197…')`, which reads only the row groups that may hold it |
//! | `hex(digest)` | the bytes in hex |

mod answer;
mod cell;
mod functions;
mod named;
mod tables;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use datafusion::execution::context::SQLOptions;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionConfig;
use weir_recorder::RecordReader;

pub use answer::Answer;
pub use datafusion::prelude::SessionContext;
pub use named::{Named, Parameter, UnknownName, named, named_all};

/// Most memory that one session's operators hold before they spill.
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
    /// The statement would change something.
    #[error("only questions are answered here: {0}")]
    ReadOnly(String),
    /// The statement cannot be understood or run.
    #[error("{0}")]
    Sql(String),
}

impl From<datafusion::error::DataFusionError> for QueryError {
    fn from(error: datafusion::error::DataFusionError) -> Self {
        Self::Sql(error.strip_backtrace())
    }
}

/// A session that can ask the record in `record`; it fails where that is no record.
pub fn session(record: &Path) -> Result<SessionContext, QueryError> {
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
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(MEMORY_BYTES_MAX)))
        .build_arc()?;
    let context = SessionContext::new_with_config_rt(config, runtime);
    context.register_table("calls", Arc::new(tables::Calls::of(record)))?;
    context.register_table("events", Arc::new(tables::Events::of(record)))?;
    for function in functions::all() {
        context.register_udf(function);
    }
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
        let frame = context.execute_logical_plan(plan).await?;
        let schema = Arc::new(frame.schema().as_arrow().clone());
        let batches = frame.collect().await?;
        Ok(Answer::new(schema, batches))
    })
}

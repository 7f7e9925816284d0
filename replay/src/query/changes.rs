//! The table `changes`: the calls that change something, few columns of them, from the projection that is sorted by tool and grant.
//!
//! What no file of the projection stands for, say today's calls, comes from `calls`: the answer is always whole.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType, col, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use weir_recorder::{
    CHANGES_COLUMNS, CHANGES_RISKS, RecordKeys, RecordReader, Segment, calls_schema, changes_schema,
};

use super::tables::{external, files, in_memory};

/// The table `changes` of a record.
pub(super) struct Changes {
    record: PathBuf,
}

impl Changes {
    pub(super) fn of(record: &Path) -> Self {
        Self {
            record: record.to_owned(),
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changes")
    }
}

#[async_trait]
impl TableProvider for Changes {
    fn schema(&self) -> SchemaRef {
        changes_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let reader = RecordReader::open(&self.record).map_err(external)?;
        let found = reader.changes().map_err(external)?;
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !found.projected.is_empty() {
            let paths = found.projected.iter().map(PathBuf::as_path);
            parts.push(
                files(
                    state,
                    changes_schema(),
                    paths,
                    &RecordKeys::default(),
                    projection,
                )
                .await?,
            );
        }
        if !found.others.is_empty() {
            parts.push(of_calls(state, &found.others, projection).await?);
        }
        if found.live.num_rows() > 0 || parts.is_empty() {
            parts.push(in_memory(found.live, projection)?);
        }
        match <[_; 1]>::try_from(parts) {
            Ok([only]) => Ok(only),
            Err(parts) => UnionExec::try_new(parts),
        }
    }
}

/// The same from files of `calls`.
async fn of_calls(
    state: &dyn Session,
    segments: &[Segment],
    projection: Option<&Vec<usize>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let calls = calls_schema();
    let places: Result<Vec<_>, _> = CHANGES_COLUMNS
        .iter()
        .map(|it| calls.index_of(it))
        .collect();
    let paths = segments.iter().map(|segment| &*segment.path);
    let scan = files(state, calls, paths, &RecordKeys::default(), Some(&places?)).await?;
    let schema = scan.schema();
    let risks = CHANGES_RISKS.iter().map(|risk| lit(*risk)).collect();
    let is_change = col("risk").in_list(risks, false);
    let is_change =
        state.create_physical_expr(is_change, &DFSchema::try_from(Arc::clone(&schema))?)?;
    let changes = Arc::new(FilterExec::try_new(is_change, scan)?);
    let Some(projection) = projection else {
        return Ok(changes);
    };
    let column = |place: &usize| -> (Arc<dyn PhysicalExpr>, String) {
        let name = schema.field(*place).name();
        (Arc::new(Column::new(name, *place)), name.clone())
    };
    let columns: Vec<_> = projection.iter().map(column).collect();
    Ok(Arc::new(ProjectionExec::try_new(columns, changes)?))
}

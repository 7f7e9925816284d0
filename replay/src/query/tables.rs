//! The record's tables as DataFusion reads them: the folder is looked at anew by every scan.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::datasource::TableProvider;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::object_store::ObjectStoreExt as _;
use datafusion::object_store::path::Path as StorePath;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use weir_recorder::{RecordError, RecordKeys, RecordReader, Segment, events_schema};

use super::texts;
use super::unlocking::Unlocking;

/// The table `calls`: sealed segments read with pruning, and the journal's rows from memory. Each
/// row is there exactly once, also while a segment is sealed at that moment.
pub(super) struct Calls {
    record: PathBuf,
    keys: RecordKeys,
}

impl Calls {
    pub(super) fn of(record: &Path, keys: &RecordKeys) -> Self {
        Self {
            record: record.to_owned(),
            keys: keys.clone(),
        }
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Calls")
    }
}

#[async_trait]
impl TableProvider for Calls {
    fn schema(&self) -> SchemaRef {
        texts::calls()
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
        let (segments, live) = one_moment(&self.record).map_err(external)?;
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !segments.is_empty() {
            let paths = segments.iter().map(|segment| &*segment.path);
            let files = files(state, texts::calls(), paths, &self.keys, projection);
            parts.push(files.await?);
        }
        if live.num_rows() > 0 || parts.is_empty() {
            parts.push(in_memory(texts::of_memory(&live)?, projection)?);
        }
        match <[_; 1]>::try_from(parts) {
            Ok([only]) => Ok(only),
            Err(parts) => UnionExec::try_new(parts),
        }
    }
}

/// The segments and the journal's rows as they were at one moment: where a segment appeared while
/// the journal was read, both are looked at again.
fn one_moment(record: &Path) -> std::result::Result<(Vec<Segment>, RecordBatch), RecordError> {
    let reader = RecordReader::open(record)?;
    let mut before = reader.segments()?;
    loop {
        let live = reader.live()?;
        let after = reader.segments()?;
        if before == after {
            return Ok((after, live));
        }
        before = after;
    }
}

/// The table `events`.
pub(super) struct Events {
    record: PathBuf,
}

impl Events {
    pub(super) fn of(record: &Path) -> Self {
        Self {
            record: record.to_owned(),
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events")
    }
}

#[async_trait]
impl TableProvider for Events {
    fn schema(&self) -> SchemaRef {
        events_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let reader = RecordReader::open(&self.record).map_err(external)?;
        let events = reader.events().map_err(external)?;
        in_memory(events, projection)
    }
}

/// Sealed files: one a group, so that they are read side by side. Filters reach them
/// through the optimizer, which knows how to push them through the union.
pub(super) async fn files(
    state: &dyn Session,
    schema: SchemaRef,
    paths: impl ExactSizeIterator<Item = &Path>,
    keys: &RecordKeys,
    projection: Option<&Vec<usize>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let url = ObjectStoreUrl::local_filesystem();
    let runtime = state.runtime_env();
    let store = runtime.object_store(&url)?;
    let mut groups = Vec::with_capacity(paths.len());
    for path in paths {
        let meta = store
            .head(&StorePath::from_absolute_path(std::fs::canonicalize(
                path,
            )?)?)
            .await?;
        groups.push(FileGroup::new(vec![PartitionedFile::new_from_meta(meta)]));
    }
    // A sealed file never changes, so what its footer says can be kept between questions.
    let footers = runtime.cache_manager.get_file_metadata_cache();
    let mut options = state.table_options().parquet.clone();
    options.global = state.config_options().execution.parquet.clone();
    let wanted = match projection {
        Some(places) => schema.project(places)?.fields,
        None => schema.fields.clone(),
    };
    let files = CachedParquetFileReaderFactory::new(store, footers);
    let files = Unlocking::new(files, keys.clone(), &wanted);
    let source = ParquetSource::new(TableSchema::from(schema))
        .with_table_parquet_options(options)
        .with_parquet_file_reader_factory(Arc::new(files));
    let scan = FileScanConfigBuilder::new(url, Arc::new(source))
        .with_file_groups(groups)
        .with_projection_indices(projection.cloned())?
        .build();
    Ok(DataSourceExec::from_data_source(scan))
}

pub(super) fn in_memory(
    batch: RecordBatch,
    projection: Option<&Vec<usize>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = batch.schema();
    Ok(MemorySourceConfig::try_new_exec(
        &[vec![batch]],
        schema,
        projection.cloned(),
    )?)
}

pub(super) fn external(error: impl std::error::Error + Send + Sync + 'static) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

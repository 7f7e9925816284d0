//! Sealed files as DataFusion reads them, decrypted where a query wants what is encrypted.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::Fields;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::error::Result;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use weir_recorder::RecordKeys;

/// Opens files for one scan, which wants some columns.
#[derive(Debug)]
pub(super) struct Unlocking {
    files: CachedParquetFileReaderFactory,
    scan: Arc<Scan>,
}

#[derive(Debug)]
struct Scan {
    keys: RecordKeys,
    wanted: Vec<String>,
}

impl Unlocking {
    pub(super) fn new(
        files: CachedParquetFileReaderFactory,
        keys: RecordKeys,
        wanted: &Fields,
    ) -> Self {
        let wanted = wanted.iter().map(|field| field.name().clone()).collect();
        let scan = Arc::new(Scan { keys, wanted });
        Self { files, scan }
    }
}

impl ParquetFileReaderFactory for Unlocking {
    fn create_reader(
        &self,
        partition_index: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let path = format!("/{}", file.object_meta.location);
        let inner = self
            .files
            .create_reader(partition_index, file, metadata_size_hint, metrics)?;
        let scan = Arc::clone(&self.scan);
        Ok(Box::new(Unlocked { inner, path, scan }))
    }
}

/// A file whose footer says what is encrypted, and how.
struct Unlocked {
    inner: Box<dyn AsyncFileReader + Send>,
    path: String,
    scan: Arc<Scan>,
}

impl AsyncFileReader for Unlocked {
    fn get_bytes(
        &mut self,
        range: Range<u64>,
    ) -> BoxFuture<'_, std::result::Result<bytes::Bytes, ParquetError>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, std::result::Result<Vec<bytes::Bytes>, ParquetError>> {
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, std::result::Result<Arc<ParquetMetaData>, ParquetError>> {
        async move {
            let metadata = self.inner.get_metadata(options).await?;
            let wanted: Vec<&str> = self.scan.wanted.iter().map(String::as_str).collect();
            #[cfg(feature = "encryption")]
            let keys = &self.scan.keys;
            // Without the feature nothing here decrypts, whatever keys there are.
            #[cfg(not(feature = "encryption"))]
            let keys = &RecordKeys::default();
            let opened = keys
                .open(Path::new(&self.path), &metadata, &wanted)
                .map_err(|closed| ParquetError::External(Box::new(closed)))?;
            #[cfg(feature = "encryption")]
            if let Some(decryption) = opened {
                let options = options.cloned().unwrap_or_default();
                let options = options.with_file_decryption_properties(decryption);
                return self.inner.get_metadata(Some(&options)).await;
            }
            #[cfg(not(feature = "encryption"))]
            let _nothing = opened;
            Ok(metadata)
        }
        .boxed()
    }
}

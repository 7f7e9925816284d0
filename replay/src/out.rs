//! `--out`: one row for every reported call, as Parquet.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use arrow::array::{
    ArrayRef, BooleanBuilder, FixedSizeBinaryBuilder, Int64Builder, RecordBatch,
    StringDictionaryBuilder,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::ReplayError;
use crate::digest::Line;

/// Rows collected before they are written.
const BATCH_ROWS: usize = 65_536;

/// The columns of `--out`.
static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let word = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    Arc::new(Schema::new(vec![
        Field::new("node", word(), false),
        Field::new("seq", DataType::Int64, false),
        Field::new("call_id", DataType::FixedSizeBinary(16), false),
        Field::new("class", word(), false),
        Field::new("reason", word(), false),
        Field::new("would_verdict", word(), false),
        Field::new("would_rule", word(), false),
        Field::new("would_message", word(), false),
        Field::new("after_divergence", DataType::Boolean, false),
    ]))
});

/// The file being written. It takes its name when it is complete.
pub(crate) struct Out {
    path: PathBuf,
    unfinished: PathBuf,
    writer: ArrowWriter<File>,
    words: [StringDictionaryBuilder<Int32Type>; 6],
    seq: Int64Builder,
    call_id: FixedSizeBinaryBuilder,
    after_divergence: BooleanBuilder,
    rows: usize,
}

impl Out {
    pub(crate) fn create(path: &Path) -> Result<Self, ReplayError> {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let file = File::create(&unfinished).map_err(|cause| failed(path, cause))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        let writer = ArrowWriter::try_new(file, Arc::clone(&SCHEMA), Some(properties))
            .map_err(|cause| failed(path, cause))?;
        Ok(Self {
            path: path.to_owned(),
            unfinished,
            writer,
            words: std::array::from_fn(|_| StringDictionaryBuilder::new()),
            seq: Int64Builder::new(),
            call_id: FixedSizeBinaryBuilder::new(16),
            after_divergence: BooleanBuilder::new(),
            rows: 0,
        })
    }

    /// Adds one row.
    pub(crate) fn push(&mut self, line: &Line<'_>) -> Result<(), ReplayError> {
        let values = [
            line.node,
            line.class,
            line.reason,
            line.would_verdict,
            line.would_rule,
            line.would_message,
        ];
        for (column, value) in self.words.iter_mut().zip(values) {
            column
                .append(value)
                .map_err(|cause| failed(&self.path, cause))?;
        }
        self.seq.append_value(line.seq);
        self.call_id
            .append_value(line.call_id)
            .map_err(|cause| failed(&self.path, cause))?;
        self.after_divergence.append_value(line.after_divergence);
        self.rows += 1;
        if self.rows == BATCH_ROWS {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), ReplayError> {
        if self.rows == 0 {
            return Ok(());
        }
        self.rows = 0;
        let [node, class, reason, verdict, rule, message] = self
            .words
            .each_mut()
            .map(|column| Arc::new(column.finish()) as ArrayRef);
        let columns: Vec<ArrayRef> = vec![
            node,
            Arc::new(self.seq.finish()),
            Arc::new(self.call_id.finish()),
            class,
            reason,
            verdict,
            rule,
            message,
            Arc::new(self.after_divergence.finish()),
        ];
        let batch = RecordBatch::try_new(Arc::clone(&SCHEMA), columns)
            .map_err(|cause| failed(&self.path, cause))?;
        self.writer
            .write(&batch)
            .map_err(|cause| failed(&self.path, cause))
    }

    /// Completes the file and gives it its name.
    pub(crate) fn close(mut self) -> Result<(), ReplayError> {
        self.flush()?;
        self.writer
            .close()
            .map_err(|cause| failed(&self.path, cause))?;
        std::fs::rename(&self.unfinished, &self.path).map_err(|cause| failed(&self.path, cause))
    }
}

fn failed(path: &Path, cause: impl std::error::Error + Send + Sync + 'static) -> ReplayError {
    ReplayError::Out {
        path: path.to_owned(),
        cause: Box::new(cause),
    }
}

//! Texts as queries hold them: as views into the pages that were read, so that choosing among rows copies no text.

use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::Result;
use weir_recorder::calls_schema;

/// The table `calls` with its texts as views. Words that repeat stay in dictionaries.
static CALLS: LazyLock<SchemaRef> = LazyLock::new(|| {
    let recorded = calls_schema();
    let field = |field: &Arc<Field>| {
        if *field.data_type() == DataType::Utf8 {
            Arc::new(Field::clone(field).with_data_type(DataType::Utf8View))
        } else {
            Arc::clone(field)
        }
    };
    let fields: Vec<_> = recorded.fields().iter().map(field).collect();
    Arc::new(Schema::new(fields))
});

/// The schema of `calls` in queries.
pub(super) fn calls() -> SchemaRef {
    Arc::clone(&CALLS)
}

/// Calls from memory in that schema.
pub(super) fn of_memory(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(CALLS.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type()));
    let columns = columns.collect::<Result<_, _>>()?;
    Ok(RecordBatch::try_new(calls(), columns)?)
}

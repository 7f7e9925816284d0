//! A dictionary column in the making.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringDictionaryBuilder};
use arrow::datatypes::Int32Type;

use crate::RecordError;

/// Builds a dictionary column run by run: most columns of most rows say what the row before said, and a comparison is
/// cheaper than a look into the dictionary.
#[derive(Default)]
pub(super) struct Word {
    column: StringDictionaryBuilder<Int32Type>,
    run: String,
    count: usize,
}

impl Word {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn append(&mut self, value: &str) -> Result<(), RecordError> {
        if self.count == 0 || self.run != value {
            self.end_run()?;
            self.run.clear();
            self.run.push_str(value);
        }
        self.count += 1;
        Ok(())
    }

    pub(super) fn append_null(&mut self) -> Result<(), RecordError> {
        self.end_run()?;
        self.column.append_null();
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, RecordError> {
        self.end_run()?;
        Ok(Arc::new(self.column.finish()))
    }

    fn end_run(&mut self) -> Result<(), RecordError> {
        if self.count > 0 {
            self.column.append_n(&self.run, self.count)?;
            self.count = 0;
        }
        Ok(())
    }
}

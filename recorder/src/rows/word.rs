//! A dictionary column in the making.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringDictionaryBuilder};
use arrow::datatypes::Int32Type;

use super::wire::{Read, Unreadable};

/// Builds a dictionary column run by run: most columns of most rows say what the row before said, and a comparison is
/// cheaper than a look into the dictionary, or than asking again whether the bytes are text.
#[derive(Default)]
pub(super) struct Word {
    column: StringDictionaryBuilder<Int32Type>,
    run: String,
    is_null: bool,
    count: usize,
}

impl Word {
    /// Adds the same word again or another one.
    #[inline]
    pub(super) fn append(&mut self, value: &[u8]) -> Read<()> {
        if self.count > 0 && !self.is_null && self.run.as_bytes() == value {
            self.count += 1;
            return Ok(());
        }
        self.begin_run(value)
    }

    #[inline]
    pub(super) fn append_option(&mut self, value: Option<&[u8]>) -> Read<()> {
        match value {
            Some(value) => self.append(value),
            None => self.append_null(),
        }
    }

    #[inline]
    fn append_null(&mut self) -> Read<()> {
        if !self.is_null {
            self.end_run()?;
            self.is_null = true;
        }
        self.count += 1;
        Ok(())
    }

    /// Adds so many rows more that say what the last one said, also if that was in the batch before.
    #[inline]
    pub(super) fn repeat(&mut self, count: usize) {
        self.count += count;
    }

    pub(super) fn finish(&mut self) -> Read<ArrayRef> {
        self.end_run()?;
        Ok(Arc::new(self.column.finish()))
    }

    fn begin_run(&mut self, value: &[u8]) -> Read<()> {
        let text = std::str::from_utf8(value).map_err(|_| Unreadable)?;
        self.end_run()?;
        self.run.clear();
        self.run.push_str(text);
        self.is_null = false;
        self.count = 1;
        Ok(())
    }

    fn end_run(&mut self) -> Read<()> {
        match std::mem::take(&mut self.count) {
            0 => {}
            count if self.is_null => self.column.append_nulls(count),
            1 => drop(self.column.append(&self.run)?),
            count => self.column.append_n(&self.run, count).map(drop)?,
        }
        Ok(())
    }
}

//! When the record was last silent for a while.

use arrow::array::{AsArray as _, PrimitiveArray};
use arrow::datatypes::TimestampMicrosecondType;

use super::RecordReader;
use crate::RecordError;

/// How much further back each look goes than the one before.
const FURTHER: i64 = 4;

impl RecordReader {
    /// The time of the first call after the last time that nothing was decided for `span`, looking back from `now`, all in
    /// microseconds; `now` where that is so now. None for a span so long that nothing can be said.
    pub fn silent_until(&self, span: i64, now: i64) -> Result<Option<i64>, RecordError> {
        if span <= 0 {
            return Ok(None);
        }
        let mut back = span.saturating_mul(FURTHER);
        loop {
            let from = now.saturating_sub(back);
            let mut last = from;
            let mut after = None;
            for batch in self.calls_between(&["decided_at"], Some(from), None)? {
                let batch = batch?;
                let times = batch
                    .column(0)
                    .as_primitive_opt::<TimestampMicrosecondType>();
                for at in times.into_iter().flat_map(PrimitiveArray::values) {
                    if at.saturating_sub(last) >= span {
                        after = Some(*at);
                    }
                    last = *at;
                }
            }
            if now.saturating_sub(last) >= span {
                after = Some(now);
            }
            // Before its first call the record was silent, so this ends.
            if after.is_some() || from < 0 {
                return Ok(after);
            }
            back = back.saturating_mul(FURTHER);
        }
    }
}

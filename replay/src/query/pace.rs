//! `bursts(decided_at, seconds, least)`: how many calls came within any span of that length.
//!
//! What a window function says of each call, said of a group at once: times are collected, sorted and
//! walked once, where a window would hold every row of the group.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, Int64Array, ListArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Fields, Int64Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{Accumulator, AggregateUDF, Volatility, create_udaf};
use datafusion::scalar::ScalarValue;

const UTC: &str = "UTC";
const SECOND: i64 = 1_000_000;

/// The aggregate function.
pub(super) fn bursts() -> AggregateUDF {
    let numbers = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
    create_udaf(
        "bursts",
        vec![time(), DataType::Int64, DataType::Int64],
        Arc::new(DataType::Struct(fields())),
        Volatility::Immutable,
        Arc::new(|_| Ok(Box::new(Bursts::default()))),
        Arc::new(vec![numbers, DataType::Int64, DataType::Int64]),
    )
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()))
}

/// What it gives: the most calls in one span, how many calls closed a span with at least so many, and the first and last of
/// these.
fn fields() -> Fields {
    Fields::from(vec![
        Field::new("calls", DataType::Int64, true),
        Field::new("times", DataType::Int64, true),
        Field::new("first", time(), true),
        Field::new("last", time(), true),
    ])
}

/// The times of one group.
#[derive(Debug, Default)]
struct Bursts {
    times: Vec<i64>,
    seconds: Option<i64>,
    least: Option<i64>,
}

/// What was found in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    calls: i64,
    times: i64,
    first: i64,
    last: i64,
}

impl Bursts {
    fn take_bounds(&mut self, seconds: &ArrayRef, least: &ArrayRef) {
        let first = |column: &ArrayRef| {
            let numbers = column.as_primitive::<Int64Type>();
            numbers.iter().flatten().next()
        };
        self.seconds = self.seconds.or_else(|| first(seconds));
        self.least = self.least.or_else(|| first(least));
    }

    /// The calls that close a span (t - length, both ends included) with at least `least` in it.
    fn find(&mut self) -> Option<Found> {
        let (length, least) = (self.seconds?.checked_mul(SECOND)?, self.least?);
        self.times.sort_unstable();
        let mut found: Option<Found> = None;
        let (mut begin, mut end) = (0, 0);
        let mut ahead = self.times.iter().peekable();
        while let Some(at) = ahead.next() {
            end += 1;
            // Calls at the same moment are in each other's span.
            let mut peers = 1;
            while ahead.next_if_eq(&at).is_some() {
                peers += 1;
                end += 1;
            }
            while self
                .times
                .get(begin)
                .is_some_and(|first| at.saturating_sub(*first) > length)
            {
                begin += 1;
            }
            let calls = (end - begin) as i64;
            if calls >= least {
                let before = found.get_or_insert(Found {
                    calls,
                    times: 0,
                    first: *at,
                    last: *at,
                });
                before.calls = before.calls.max(calls);
                before.times += peers;
                before.last = *at;
            }
        }
        found
    }
}

impl Accumulator for Bursts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [times, seconds, least] = values else {
            return Err(arity());
        };
        self.take_bounds(seconds, least);
        let times = times.as_primitive::<TimestampMicrosecondType>();
        if times.null_count() == 0 {
            self.times.extend_from_slice(times.values());
        } else {
            self.times.extend(times.iter().flatten());
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [times, seconds, least] = states else {
            return Err(arity());
        };
        self.take_bounds(seconds, least);
        for times in times.as_list::<i32>().iter().flatten() {
            let times = times.as_primitive::<Int64Type>();
            self.times.extend_from_slice(times.values());
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let times = std::mem::take(&mut self.times).into_iter().map(Some);
        let times = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(times)]);
        Ok(vec![
            ScalarValue::List(Arc::new(times)),
            ScalarValue::Int64(self.seconds),
            ScalarValue::Int64(self.least),
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some(found) = self.find() else {
            return ScalarValue::try_from(DataType::Struct(fields()));
        };
        let number = |number| Arc::new(Int64Array::from(vec![number])) as ArrayRef;
        let moment = |at| {
            let array = TimestampMicrosecondArray::from(vec![at]).with_timezone(UTC);
            Arc::new(array) as ArrayRef
        };
        let columns = vec![
            number(found.calls),
            number(found.times),
            moment(found.first),
            moment(found.last),
        ];
        let row = StructArray::try_new(fields(), columns, None)?;
        Ok(ScalarValue::Struct(Arc::new(row)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.times.capacity() * size_of::<i64>()
    }
}

fn arity() -> DataFusionError {
    DataFusionError::Execution("bursts: wrong number of arguments".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Bursts, Found, SECOND};

    fn found(times: &[i64], seconds: i64, least: i64) -> Option<Found> {
        let mut bursts = Bursts {
            times: times.iter().map(|at| at * SECOND).collect(),
            seconds: Some(seconds),
            least: Some(least),
        };
        bursts.find()
    }

    #[test]
    fn a_span_holds_both_its_ends() {
        let at = |calls, times, first, last| Found {
            calls,
            times,
            first: first * SECOND,
            last: last * SECOND,
        };
        assert_eq!(found(&[0, 5, 10], 10, 3), Some(at(3, 1, 10, 10)));
        assert_eq!(found(&[0, 5, 11], 10, 3), None);
        assert_eq!(found(&[7, 7, 7], 1, 2), Some(at(3, 3, 7, 7)));
        assert_eq!(found(&[], 10, 1), None);
    }

    proptest! {
        #[test]
        fn it_is_what_a_window_says_of_each_row(
            times in proptest::collection::vec(0_i64..40, 0..30),
            seconds in 1_i64..8,
            least in 1_i64..5,
        ) {
            let within = |at: i64| times.iter().filter(|t| **t <= at && at - **t <= seconds).count() as i64;
            let mut closing: Vec<i64> = times.iter().copied().filter(|at| within(*at) >= least).collect();
            closing.sort_unstable();
            let expected = closing.first().zip(closing.last()).map(|(first, last)| Found {
                calls: closing.iter().map(|at| within(*at)).max().unwrap_or_default(),
                times: closing.len() as i64,
                first: first * SECOND,
                last: last * SECOND,
            });
            prop_assert_eq!(found(&times, seconds, least), expected);
        }
    }
}

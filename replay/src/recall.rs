//! The arguments of listed flips, read where the replay itself did not need them.

use std::collections::BTreeMap;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use weir_recorder::{RecordError, RecordReader};

use crate::report::Flip;
use crate::symbols::{Symbols, Words};

/// Reads the arguments of listed flips, where the replay itself did not need them.
pub(crate) fn recall_arguments(
    reader: &RecordReader,
    flips: &mut [Flip],
) -> Result<(), RecordError> {
    if flips.is_empty() {
        return Ok(());
    }
    let mut wanted: BTreeMap<(String, i64), &mut Flip> = flips
        .iter_mut()
        .map(|flip| ((flip.node.clone(), flip.seq), flip))
        .collect();
    let columns = ["node", "seq", "arguments"];
    for segment in reader.segments()? {
        let here =
            (segment.node.clone(), segment.first_seq)..=(segment.node.clone(), segment.last_seq);
        if wanted.range(here).next().is_none() {
            continue;
        }
        for batch in reader.segment(&segment, &columns)? {
            recall_from(&batch?, &mut wanted);
        }
    }
    if !wanted.is_empty() {
        recall_from(&reader.live()?, &mut wanted);
    }
    Ok(())
}

fn recall_from(batch: &RecordBatch, wanted: &mut BTreeMap<(String, i64), &mut Flip>) {
    let (Some(seq), Some(arguments)) = (
        batch
            .column_by_name("seq")
            .and_then(|c| c.as_primitive_opt::<Int64Type>()),
        batch
            .column_by_name("arguments")
            .and_then(|c| c.as_string_opt::<i32>()),
    ) else {
        return;
    };
    let mut symbols = Symbols::default();
    let mut nodes = Words::of("node");
    if nodes.load(batch, &mut symbols).is_err() {
        return;
    }
    for row in 0..batch.num_rows() {
        let node = nodes.at(row, &mut symbols);
        let place = (symbols.word(node).to_owned(), seq.value(row));
        if let Some(flip) = wanted.remove(&place)
            && arguments.is_valid(row)
        {
            flip.arguments = Some(arguments.value(row).to_owned());
        }
    }
}

//! Verifying.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::time::Instant;

use arrow::array::{Array, AsArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use weir_recorder::{
    CompactRange, RecordReader, VerifyOptions, VerifyingKey, leaf_hash, prove, verify,
};

use crate::gauge::{cpu, memory};

/// Rows of a batch of the bare loop: as many as Weir decodes at once, which stay in the cache.
const BATCH_ROWS: usize = 8192;

/// Verifying, beside a bare loop that decodes the same columns and hashes as many leaves of the same size.
pub(crate) fn verifying(record: &Path, key: VerifyingKey) -> Result<(), Box<dyn Error>> {
    let options = VerifyOptions {
        keys: vec![key],
        ..VerifyOptions::default()
    };
    let [decided, finished] = leaf_sizes(record, &options)?;
    let (begun, cpu_begun) = (Instant::now(), cpu());
    let rows = bare(record, decided, finished)?;
    let (bare, cpu_bare) = (begun.elapsed().as_secs_f64(), cpu() - cpu_begun);
    let (before, _) = memory();
    let (begun, cpu_begun) = (Instant::now(), cpu());
    let verified = verify(record, &options)?;
    let (ours, cpu_ours) = (begun.elapsed().as_secs_f64(), cpu() - cpu_begun);
    println!(
        "verifying {rows} rows: {:.0} rows/s, bare loop {:.0} rows/s: {:.0}% ({:.0}% by CPU time; {}); \
         leaves of {decided} and {finished} bytes; peak {:.0} MB beside what was in use",
        rows / ours,
        rows / bare,
        100.0 * bare / ours,
        100.0 * cpu_bare / cpu_ours,
        verified.state,
        memory().1 - before
    );
    Ok(())
}

/// The bytes of both leaves of a call that ended.
fn leaf_sizes(record: &Path, options: &VerifyOptions<'_>) -> Result<[usize; 2], Box<dyn Error>> {
    for batch in RecordReader::open(record)?.calls(&["call_id", "finish_seq"])? {
        let batch = batch?;
        let ended = (0..batch.num_rows()).find(|i| batch.column(1).is_valid(*i));
        let Some(ended) = ended else { continue };
        let call = batch.column(0).as_fixed_size_binary().value(ended);
        let proof = prove(record, call.try_into()?, options)?;
        let sizes = proof.entries.iter().map(|entry| entry.leaf.len() * 3 / 4);
        return Ok(sizes.collect::<Vec<_>>().try_into().unwrap_or_default());
    }
    Ok([0; 2])
}

fn bare(record: &Path, decided: usize, finished: usize) -> Result<f64, Box<dyn Error>> {
    let (decided, finished) = (vec![7; decided], vec![7; finished]);
    let (mut rows, mut tree) = (0, CompactRange::default());
    for segment in RecordReader::open(record)?.segments()? {
        let file = ParquetRecordBatchReaderBuilder::try_new(File::open(&segment.path)?)?;
        for batch in file.with_batch_size(BATCH_ROWS).build()? {
            let batch = batch?;
            let ends = batch.column(1);
            for i in 0..batch.num_rows() {
                tree.push(leaf_hash(&decided));
                if ends.is_valid(i) {
                    tree.push(leaf_hash(&finished));
                }
            }
            rows += batch.num_rows();
        }
    }
    std::hint::black_box(tree.root());
    Ok(rows as f64)
}

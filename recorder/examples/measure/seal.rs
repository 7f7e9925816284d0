//! Sealing, and reading what was sealed.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use weir_recorder::{Disk, Durability, Log, RecordOptions, RecordReader, Recorder, VerifyingKey};

use crate::calls::{POLICY, RESOLVER, whole};
use crate::gauge::{cpu, cpu_of, cpu_of_main, memory, pause};

/// Rows that are sealed at once: as many as a record seals by itself.
const ROWS: i64 = 131_072;

/// The thread that seals.
const SEALER: &str = "weir-seal";

/// What a plain loop writes beside ours.
const TWENTY: [&str; 20] = [
    "seq",
    "decided_at",
    "received_at",
    "server",
    "grant",
    "session",
    "client_name",
    "client_version",
    "method",
    "wire_tool",
    "tool",
    "request_id",
    "arguments",
    "verdict",
    "reason",
    "rule",
    "policy_digest",
    "engine",
    "outcome",
    "upstream_us",
];

/// Writes and seals so many calls; the key that signed them.
pub(crate) fn seals(path: &Path, rows: i64) -> Result<VerifyingKey, Box<dyn Error>> {
    let files = rows.div_euclid(ROWS).max(1);
    let options = RecordOptions {
        durability: Durability::Interval(Duration::from_secs(1)),
        seal_rows: usize::MAX,
        journal_bytes_max: u64::MAX,
        queue_max: usize::MAX,
        queue_bytes_max: usize::MAX,
        ..RecordOptions::new(path)
    };
    let (recorder, mut log, _) = Recorder::open(options, Arc::new(Disk))?;
    recorder.keep_policy(POLICY, b"0")?;
    recorder.keep_resolver(RESOLVER, b"1")?;
    let (mut queueing, mut sealing) = (Duration::ZERO, Duration::ZERO);
    let (mut cpu_queueing, mut cpu_sealing, mut cpu_thread) = (0.0, 0.0, 0.0);
    let mut peak = 0.0_f64;
    for file in 0..files {
        let (begun, cpu_begun) = (Instant::now(), cpu());
        fill(&mut log, file * ROWS..(file + 1) * ROWS);
        queueing += begun.elapsed();
        settle(&recorder);
        cpu_queueing += cpu() - cpu_begun;
        let (before, _) = memory();
        let (begun, cpu_begun, thread_begun) = (Instant::now(), cpu(), cpu_of(SEALER));
        recorder.seal_now()?;
        sealing += begun.elapsed();
        cpu_sealing += cpu() - cpu_begun;
        cpu_thread += cpu_of(SEALER) - thread_begun;
        peak = peak.max(memory().1 - before);
    }
    let rows = (files * ROWS) as f64;
    println!(
        "queueing {:.0} calls/s, {:.0} per CPU second (decide and finish, writing and leaves included)",
        rows / queueing.as_secs_f64(),
        rows / cpu_queueing
    );
    let bare = bare(&recorder.reader())?;
    println!(
        "sealing  {:.0} rows/s, {:.0} per CPU second of the sealing thread, {:.0} of all that ran meanwhile (making the next journal file ready); \
         a bare loop of 20 columns {bare:.0} per CPU second ({:.0}%); peak {peak:.0} MB beside what was in use",
        rows / sealing.as_secs_f64(),
        rows / cpu_thread,
        rows / cpu_sealing,
        100.0 * rows / cpu_thread / bare,
    );
    columns(&recorder.reader(), rows)?;
    reads(&recorder.reader())?;
    let key = recorder.public_key();
    recorder.close()?;
    Ok(key)
}

fn fill(log: &mut Log, numbers: std::ops::Range<i64>) {
    numbers.for_each(|number| whole(log, number));
}

/// Waits until everything is written and hashed, so that a seal finds nothing left to do for others.
fn settle(recorder: &Recorder) {
    let mut before = -1.0;
    while recorder.health().waiting > 0 || (cpu_of("weir-leaves") - before).abs() > 1e-9 {
        before = cpu_of("weir-leaves");
        pause(50);
    }
}

/// Rows a CPU second of a plain loop from columns to Parquet over twenty of them, which are read before.
fn bare(reader: &RecordReader) -> Result<f64, Box<dyn Error>> {
    let batches: Vec<RecordBatch> = reader.calls(&TWENTY)?.take(16).collect::<Result<_, _>>()?;
    let Some(schema) = batches.first().map(RecordBatch::schema) else {
        return Ok(0.0);
    };
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .build();
    let begun = cpu_of_main();
    let mut rows = 0;
    for batch in &batches {
        let mut writer =
            ArrowWriter::try_new(Vec::new(), Arc::clone(&schema), Some(properties.clone()))?;
        writer.write(batch)?;
        rows += batch.num_rows();
        std::hint::black_box(writer.into_inner()?);
    }
    Ok(rows as f64 / (cpu_of_main() - begun))
}

/// What each column takes on disk.
fn columns(reader: &RecordReader, rows: f64) -> Result<(), Box<dyn Error>> {
    let (mut whole, mut of): (u64, BTreeMap<String, i64>) = (0, BTreeMap::new());
    for segment in reader.segments()? {
        whole += std::fs::metadata(&segment.path)?.len();
        let file = SerializedFileReader::new(File::open(&segment.path)?)?;
        for group in file.metadata().row_groups() {
            for column in group.columns() {
                let root = column.column_path().parts().first().cloned();
                *of.entry(root.unwrap_or_default()).or_default() += column.compressed_size();
            }
        }
    }
    let mut of: Vec<_> = of.into_iter().collect();
    of.sort_by_key(|(name, bytes)| (-bytes, name.clone()));
    let columns: i64 = of.iter().map(|(_, bytes)| bytes).sum();
    println!(
        "bytes a row: {:.1} in all, {:.2} of them indexes, filters and footers",
        whole as f64 / rows,
        (whole as f64 - columns as f64) / rows
    );
    for line in of.chunks(4) {
        let cell =
            |(name, bytes): &(String, i64)| format!("{name:>22} {:>6.2}", *bytes as f64 / rows);
        println!("{}", line.iter().map(cell).collect::<Vec<_>>().join(" "));
    }
    Ok(())
}

fn reads(reader: &RecordReader) -> Result<(), Box<dyn Error>> {
    let twelve = [
        "decided_at",
        "server",
        "grant",
        "session",
        "client_name",
        "client_version",
        "wire_tool",
        "tool",
        "verdict",
        "rule",
        "policy_digest",
        "engine",
    ];
    for (what, columns) in [
        ("12 columns", &twelve[..]),
        ("12 and arguments", &[&twelve[..], &["arguments"]].concat()),
    ] {
        let (begun, cpu_begun) = (Instant::now(), cpu());
        let mut read = 0;
        for batch in reader.calls(columns)? {
            read += batch?.num_rows();
        }
        let (wall, busy) = (begun.elapsed().as_secs_f64(), cpu() - cpu_begun);
        let millions = read as f64 / 1e6;
        println!(
            "reading  {:.2} M rows/s, {:.2} M per CPU second ({what})",
            millions / wall,
            millions / busy
        );
    }
    Ok(())
}

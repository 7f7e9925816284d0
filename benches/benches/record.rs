//! What the record costs: journal commits by batch beside a bare loop of write and `fdatasync`, and sealing to Parquet.
#![allow(
    clippy::expect_used,
    missing_docs,
    reason = "a bench that cannot be set up should stop at once"
)]

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use weir_benches::rows;
use weir_recorder::{Disk, Durability, Log, RecordOptions, Recorder};

const NOON: i64 = 1_795_348_800_000_000;
const SEALED_ROWS: usize = 100_000;

fn open(folder: &std::path::Path, durability: Durability) -> (Recorder, Log) {
    let options = RecordOptions {
        durability,
        seal_rows: usize::MAX,
        seal_age: Duration::from_hours(24),
        journal_bytes_max: u64::MAX,
        queue_max: 1 << 20,
        ..RecordOptions::new(folder.join("record"))
    };
    let (recorder, log, _) = Recorder::open(options, Arc::new(Disk)).expect("an empty folder");
    (recorder, log)
}

/// Decisions made durable, this many waiting at a time; beside it the disk's own rate at the same batch.
fn commit(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit to the journal");
    group
        .sample_size(20)
        .measurement_time(Duration::from_secs(5));
    for batch in [1_usize, 16, 128] {
        group.throughput(Throughput::Elements(batch as u64));
        let folder = tempfile::tempdir().expect("a folder");
        let (recorder, mut log) = open(folder.path(), Durability::Sync);
        let mut seq = 0;
        group.bench_function(format!("weir, {batch} a batch"), |b| {
            b.iter(|| {
                let waiting: Vec<_> = (0..batch)
                    .map(|_| {
                        seq += 1;
                        let stamp = log.stamp(NOON + seq);
                        log.decide(stamp, &rows::call(seq as u64))
                    })
                    .collect();
                for commit in waiting {
                    commit.wait_blocking().expect("durable");
                }
            });
        });
        recorder.close().expect("closed");

        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(folder.path().join("bare"))
            .expect("a file");
        let ahead = 64 << 20;
        file.write_all(&vec![0_u8; ahead]).expect("written");
        file.sync_all().expect("synced");
        file.seek(SeekFrom::Start(0)).expect("at the start");
        let bytes = vec![7_u8; batch * rows::JOURNAL_BYTES];
        group.bench_function(format!("bare write and fdatasync, {batch} a batch"), |b| {
            b.iter(|| {
                if file.stream_position().expect("a position") as usize + bytes.len() > ahead {
                    file.seek(SeekFrom::Start(0)).expect("at the start");
                }
                file.write_all(&bytes).expect("written");
                file.sync_data().expect("synced");
            });
        });
    }
    group.finish();
}

/// Journal to Parquet: sorted, compressed, indexed, synced, renamed.
fn seal(c: &mut Criterion) {
    let mut group = c.benchmark_group("seal to Parquet");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(SEALED_ROWS as u64));
    group.bench_function(format!("{SEALED_ROWS} rows"), |b| {
        b.iter_custom(|times| {
            let mut spent = Duration::ZERO;
            for _ in 0..times {
                let folder = tempfile::tempdir().expect("a folder");
                let (recorder, mut log) =
                    open(folder.path(), Durability::Interval(Duration::from_secs(1)));
                rows::write(&mut log, NOON, SEALED_ROWS);
                let start = Instant::now();
                recorder.seal_now().expect("sealed");
                spent += start.elapsed();
                recorder.close().expect("closed");
            }
            spent
        });
    });
    group.finish();
}

criterion_group!(benches, commit, seal);
criterion_main!(benches);

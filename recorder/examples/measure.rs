//! What a commit, a seal and a read cost on this machine: `cargo run --release -p weir-recorder --example measure [folder]`.
//!
//! Commits are compared with a bare loop of write and `fdatasync` over a zeroed file, in the same run on the same disk.
#![expect(clippy::print_stdout, reason = "figures for people")]

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use weir_recorder::{
    Call, CompactRange, Disk, Durability, Finish, LimitCount, Log, Outcome, RecordOptions,
    RecordReader, Recorder, Verdict, VerifyOptions, VerifyingKey, calls_schema, leaf_hash, verify,
};

/// The SHA-256 of `0` and of `1`, which stand for the documents that judged.
const POLICY: &str = "sha256:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9";
const RESOLVER: &str = "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
const NOON: i64 = 1_795_348_800_000_000;
const PERIOD: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn Error>> {
    let base = std::env::args()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = base.join(format!("weir-measure-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = commits(&folder).and_then(|()| seals_and_reads(&folder));
    std::fs::remove_dir_all(&folder)?;
    result
}

fn commits(folder: &Path) -> Result<(), Box<dyn Error>> {
    println!(
        "committers   bare sync/s   bare entries/s   commits/s   share   median wait   bare median"
    );
    for at_once in [1, 16, 128] {
        let (bare, bare_median) = bare(folder, at_once)?;
        let (ours, median) = ours(folder, at_once)?;
        let entries = bare * at_once as f64;
        let share = 100.0 * ours / entries;
        println!(
            "{at_once:>10} {bare:>13.0} {entries:>16.0} {ours:>11.0} {share:>6.0}% {median:>13.2?} {bare_median:>13.2?}"
        );
    }
    Ok(())
}

/// Syncs a second of a bare loop that writes so many entries each time.
fn bare(folder: &Path, entries: usize) -> Result<(f64, Duration), Box<dyn Error>> {
    let file = File::create(folder.join("bare"))?;
    file.write_all_at(&vec![0; 64 << 20], 0)?;
    file.sync_all()?;
    let batch = vec![7; 420 * entries];
    let (mut times, mut offset, begun) = (Vec::new(), 0, Instant::now());
    while begun.elapsed() < PERIOD && offset + (batch.len() as u64) < 64 << 20 {
        let once = Instant::now();
        file.write_all_at(&batch, offset)?;
        file.sync_data()?;
        offset += batch.len() as u64;
        times.push(once.elapsed());
    }
    Ok((
        times.len() as f64 / begun.elapsed().as_secs_f64(),
        median(times),
    ))
}

/// Commits a second of so many tasks, each waiting for its own.
fn ours(folder: &Path, at_once: usize) -> Result<(f64, Duration), Box<dyn Error>> {
    let options = RecordOptions {
        seal_rows: usize::MAX,
        ..RecordOptions::new(folder.join(format!("record-{at_once}")))
    };
    let (recorder, log, _) = Recorder::open(options, Arc::new(Disk))?;
    let log = Arc::new(Mutex::new(log));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()?;
    let begun = Instant::now();
    let times = runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for worker in 0..at_once as i64 {
            tasks.spawn(caller(Arc::clone(&log), worker, at_once as i64, begun));
        }
        tasks.join_all().await.concat()
    });
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    recorder.close()?;
    Ok((rate, median(times)))
}

async fn caller(log: Arc<Mutex<Log>>, mut number: i64, step: i64, begun: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    while begun.elapsed() < PERIOD {
        let once = Instant::now();
        let commit = with_call(number, |call| {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let stamp = log.stamp(NOON + number);
            log.decide(stamp, call)
        });
        if commit.wait().await.is_ok() {
            times.push(once.elapsed());
        }
        number += step;
    }
    times
}

/// CPU seconds of this process so far.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: f64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    ticks / 100.0
}

fn seals_and_reads(folder: &Path) -> Result<(), Box<dyn Error>> {
    const ROWS: i64 = 131_072;
    const FILES: i64 = 8;
    let path = folder.join("sealed");
    let options = RecordOptions {
        durability: Durability::Interval(Duration::from_secs(1)),
        seal_rows: usize::MAX,
        journal_bytes_max: u64::MAX,
        queue_max: usize::MAX,
        queue_bytes_max: usize::MAX,
        ..RecordOptions::new(&path)
    };
    let (recorder, mut log, _) = Recorder::open(options, Arc::new(Disk))?;
    recorder.keep_policy(POLICY, b"0")?;
    recorder.keep_resolver(RESOLVER, b"1")?;
    let (mut queueing, mut sealing, mut cpu_queueing, mut cpu_sealing) =
        (Duration::ZERO, Duration::ZERO, 0.0, 0.0);
    for file in 0..FILES {
        let (begun, cpu_begun) = (Instant::now(), cpu());
        (file * ROWS..(file + 1) * ROWS).for_each(|number| whole(&mut log, number));
        queueing += begun.elapsed();
        while recorder.health().waiting > 0 {
            std::thread::yield_now();
        }
        cpu_queueing += cpu() - cpu_begun;
        let (begun, cpu_begun) = (Instant::now(), cpu());
        recorder.seal_now()?;
        sealing += begun.elapsed();
        cpu_sealing += cpu() - cpu_begun;
    }
    let rows = (FILES * ROWS) as f64;
    let reader = recorder.reader();
    let mut bytes = 0;
    for segment in reader.segments()? {
        bytes += std::fs::metadata(&segment.path)?.len();
    }
    println!(
        "queueing {:.0} calls/s, {:.0} per CPU second (decide and finish, writing included)",
        rows / queueing.as_secs_f64(),
        rows / cpu_queueing
    );
    println!(
        "sealing  {:.0} rows/s, {:.0} per CPU second, {:.1} bytes a row",
        rows / sealing.as_secs_f64(),
        rows / cpu_sealing,
        bytes as f64 / rows
    );
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
    let key = recorder.public_key();
    recorder.close()?;
    verifying(&path, key)
}

/// Verifying, beside a bare loop that decodes the same columns and hashes as many leaves of the same size.
fn verifying(record: &Path, key: VerifyingKey) -> Result<(), Box<dyn Error>> {
    let reader = RecordReader::open(record)?;
    let schema = calls_schema();
    let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let begun = Instant::now();
    let (decided, finished) = ([7; 640], [7; 150]);
    let (mut rows, mut tree) = (0, CompactRange::default());
    for batch in reader.calls(&columns)? {
        for _ in 0..batch?.num_rows() {
            tree.push(leaf_hash(&decided));
            tree.push(leaf_hash(&finished));
            rows += 1;
        }
    }
    let bare = f64::from(rows) / begun.elapsed().as_secs_f64();
    let options = VerifyOptions {
        keys: vec![key],
        ..VerifyOptions::default()
    };
    let begun = Instant::now();
    let verified = verify(record, &options)?;
    let ours = f64::from(rows) / begun.elapsed().as_secs_f64();
    println!(
        "verifying {ours:.0} rows/s, bare loop {bare:.0} rows/s: {:.0}% ({})",
        100.0 * ours / bare,
        verified.state
    );
    Ok(())
}

fn whole(log: &mut Log, number: i64) {
    let seq = with_call(number, |call| {
        let stamp = log.stamp(NOON + number * 900);
        log.decide(stamp, call).seq()
    });
    let finish = Finish::<&str> {
        outcome: Outcome::Ok,
        status: Some(200),
        result_bytes: Some(180 + number % 700),
        result_digest: Some(spread(number + 1)),
        commit_us: Some(150 + (number % 90) as i32),
        upstream_us: Some(900 + number % 4000),
        ..Finish::default()
    };
    drop(log.finish(NOON + number * 900 + 600, seq, &finish));
}

/// A call as an agent on a NAS makes it.
fn with_call<T>(number: i64, then: impl FnOnce(&Call<&str>) -> T) -> T {
    const TOOLS: [&str; 8] = [
        "vm_stop",
        "vm_start",
        "service_stop",
        "service_restart",
        "dataset_list",
        "vm_list",
        "alert_list",
        "pool_status",
    ];
    let tool = TOOLS
        .get(spread(number)[0] as usize % TOOLS.len())
        .copied()
        .unwrap_or("vm_stop");
    let id = spread(number)[1];
    let arguments = format!(
        "{{\"category\":\"vm\",\"action\":\"{tool}\",\"params\":{{\"id\":{id},\"force\":false}}}}"
    );
    let effective = format!("{{\"id\":{id},\"force\":false}}");
    let session = format!("s-{:06}", number / 400);
    let request_id = format!("{}", number % 400);
    let counter = format!("nas/grant/ops-agent/{tool}/{tool}_rate/60");
    let allow = !id.is_multiple_of(16);
    let call = Call {
        call_id: spread(number),
        received_at: NOON + number * 900 - 40,
        server: Some("truenas"),
        grant: Some(if id.is_multiple_of(3) {
            "ops-agent"
        } else {
            "watch-agent"
        }),
        session: Some(&session),
        client_name: Some("claude-code"),
        client_version: Some("2.1.0"),
        client_address: Some("127.0.0.1"),
        protocol: Some("2025-11-25"),
        method: Some("tools/call"),
        wire_tool: Some("truenas"),
        tool: Some(tool),
        risk: Some("execute"),
        request_id: Some(&request_id),
        request_bytes: Some(160),
        arguments: Some(&arguments),
        effective_arguments: Some(&effective),
        arguments_digest: Some(spread(i64::from(id))),
        verdict: if allow { Verdict::Allow } else { Verdict::Deny },
        reason: Some(if allow { "allowed" } else { "limit_exceeded" }),
        rule: Some(if allow {
            ""
        } else {
            "/tools/vm_stop/limits/vm_stop_rate"
        }),
        via: vec!["truenas", tool],
        policy_digest: Some(POLICY),
        resolver_digest: Some(RESOLVER),
        engine: Some("1"),
        limit_counts: vec![LimitCount {
            counter: &counter,
            value: number % 10,
        }],
        decide_ns: Some(300 + (number % 200) as i32),
        ..Call::default()
    };
    then(&call)
}

/// Sixteen bytes that look random.
fn spread(number: i64) -> [u8; 16] {
    let mut x = (number as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        x.to_le_bytes()
    };
    let mut bytes = [0; 16];
    let (low, high) = bytes.split_at_mut(8);
    low.copy_from_slice(&next());
    high.copy_from_slice(&next());
    bytes
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

//! What a commit costs beside the disk's own sync.
//!
//! So many callers, each waiting for its own call before making the next. While one sync runs, those whom it will wake wait, and
//! the others queue for the next: a batch is about half of the callers. So Weir is compared with a bare loop of write and
//! `fdatasync` over a zeroed file at the batch that Weir had on average, in turns on the same disk; the last column is a bare loop
//! with one entry of every caller in each sync, which no closed loop of callers can reach. Beside a median stand the least and the
//! most of the turns.

use std::error::Error;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use weir_recorder::{Call, Disk, LimitCount, Log, RecordOptions, Recorder, Verdict};

use crate::gauge::median;

const NOON: i64 = 1_795_348_800_000_000;
/// Of each turn, and how many turns there are: many short ones, since others use the disk for seconds at a time.
const PERIOD: Duration = Duration::from_millis(100);
const TURNS: usize = 25;
/// Zeroed for the bare loop, which begins again at its end.
const BARE_BYTES: u64 = 64 << 20;

/// Commits at 1, 8, 64 and 512 callers.
pub(crate) fn commits(folder: &Path) -> Result<(), Box<dyn Error>> {
    println!("without sealing, journal zeroed before:");
    table(folder, true)?;
    println!("as configured by default, sealing beside it:");
    table(folder, false)
}

fn table(folder: &Path, only_commits: bool) -> Result<(), Box<dyn Error>> {
    println!(
        "callers  batch  commits/s  bare/s at that batch         share  median wait          in syncs       p99  bare/s, all callers  share"
    );
    for callers in [1, 8, 64, 512] {
        let name = format!("record-{callers}-{only_commits}");
        let mut options = RecordOptions::new(folder.join(&name));
        if only_commits {
            options.seal_rows = usize::MAX;
            options.seal_age = Duration::from_hours(1);
            options.journal_bytes_max = u64::MAX;
            options.journal_ahead_bytes = if callers > 64 { 640 << 20 } else { 256 << 20 };
        }
        let (recorder, log, _) = Recorder::open(options, Arc::new(Disk))?;
        let log = Arc::new(Mutex::new(log));
        let bytes = entry_bytes(&recorder, &log)?;
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            let ours = turn(&recorder, &log, callers)?;
            let same = bare(folder, (ours.batch * bytes).round() as usize)?;
            let all = bare(folder, (callers as f64 * bytes).round() as usize)?;
            turns.push((ours, same, all));
        }
        recorder.close()?;
        std::fs::remove_dir_all(folder.join(&name))?;
        let of = |figure: fn(&(Turn, Bare, Bare)) -> f64| median(turns.iter().map(figure));
        let ends = |figure: fn(&(Turn, Bare, Bare)) -> f64| {
            let figures = turns.iter().map(figure);
            figures.fold((f64::MAX, 0.0_f64), |(least, most), figure| {
                (least.min(figure), most.max(figure))
            })
        };
        let share: fn(&(Turn, Bare, Bare)) -> f64 =
            |(ours, same, _)| 100.0 * ours.rate / (same.syncs * ours.batch);
        let in_syncs: fn(&(Turn, Bare, Bare)) -> f64 = |(ours, same, _)| ours.median / same.median;
        let (shares, waits) = (ends(share), ends(in_syncs));
        println!(
            "{callers:>7} {:>6.1} {:>10.0} {:>21.0} {:>4.0}% ({:.0}-{:.0}) {:>8.0} µs {:>4.2} ({:.2}-{:.2}) {:>6.0} µs {:>20.0} {:>5.0}%",
            of(|(ours, ..)| ours.batch),
            of(|(ours, ..)| ours.rate),
            of(|(ours, same, _)| same.syncs * ours.batch),
            of(share),
            shares.0,
            shares.1,
            of(|(ours, ..)| ours.median),
            of(in_syncs),
            waits.0,
            waits.1,
            of(|(ours, ..)| ours.p99),
            of(|(ours, _, all)| all.syncs * ours.callers),
            100.0 * of(|(ours, _, all)| ours.rate / (all.syncs * ours.callers)),
        );
    }
    Ok(())
}

/// What one turn of Weir came to; times in microseconds.
struct Turn {
    callers: f64,
    rate: f64,
    batch: f64,
    median: f64,
    p99: f64,
}

/// What one turn of the bare loop came to.
struct Bare {
    /// A second.
    syncs: f64,
    /// Of one write and sync, in microseconds.
    median: f64,
}

fn turn(
    recorder: &Recorder,
    log: &Arc<Mutex<Log>>,
    callers: usize,
) -> Result<Turn, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()?;
    let before = recorder.health();
    let begun = Instant::now();
    let mut times = runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for caller in 0..callers {
            tasks.spawn(call_after_call(Arc::clone(log), caller, begun));
        }
        tasks.join_all().await.concat()
    });
    let rate = times.len() as f64 / begun.elapsed().as_secs_f64();
    let after = recorder.health();
    times.sort_unstable();
    let at = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        times
            .get(place)
            .map_or(0.0, |time| time.as_secs_f64() * 1e6)
    };
    Ok(Turn {
        callers: callers as f64,
        rate,
        batch: (after.durable - before.durable) as f64 / (after.syncs - before.syncs) as f64,
        median: at(0.5),
        p99: at(0.99),
    })
}

/// One caller: decides, waits until that is durable, and does it again.
async fn call_after_call(log: Arc<Mutex<Log>>, caller: usize, begun: Instant) -> Vec<Duration> {
    let session = format!("s-{caller:06}");
    let mut call = call(&session);
    let (mut times, mut number) = (Vec::with_capacity(1 << 16), 0_u64);
    while begun.elapsed() < PERIOD {
        number += 1;
        let (high, low) = call.call_id.split_at_mut(8);
        high.copy_from_slice(&number.to_be_bytes());
        low.copy_from_slice(&(caller as u64).to_be_bytes());
        let once = Instant::now();
        let commit = {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            let stamp = log.stamp(NOON);
            log.decide(stamp, &call)
        };
        if commit.wait().await.is_ok() {
            times.push(once.elapsed());
        }
    }
    times
}

/// Writes and syncs so many bytes a time.
fn bare(folder: &Path, bytes: usize) -> Result<Bare, Box<dyn Error>> {
    let path = folder.join("bare");
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path)?;
    if file.metadata()?.len() < BARE_BYTES {
        file.write_all_at(&vec![0; usize::try_from(BARE_BYTES)?], 0)?;
        file.sync_all()?;
    }
    let batch = vec![7; bytes];
    let (mut times, mut offset, begun) = (Vec::new(), 0, Instant::now());
    while begun.elapsed() < PERIOD {
        let once = Instant::now();
        if offset + bytes as u64 > BARE_BYTES {
            offset = 0;
        }
        file.write_all_at(&batch, offset)?;
        file.sync_data()?;
        offset += bytes as u64;
        times.push(once.elapsed().as_secs_f64() * 1e6);
    }
    Ok(Bare {
        syncs: times.len() as f64 / begun.elapsed().as_secs_f64(),
        median: median(times.into_iter()),
    })
}

/// Bytes of one entry in the journal: its length stands in front of it, behind the file's head of twelve bytes and a header.
fn entry_bytes(recorder: &Recorder, log: &Mutex<Log>) -> Result<f64, Box<dyn Error>> {
    let commit = {
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = log.stamp(NOON);
        log.decide(stamp, &call("s-000000"))
    };
    commit.wait_blocking()?;
    let mut longest = 0;
    for entry in std::fs::read_dir(recorder.path().join("journal"))? {
        let bytes = std::fs::read(entry?.path())?;
        let length = |at: usize| {
            let four = bytes.get(at..at + 4)?;
            Some(u32::from_le_bytes(four.try_into().ok()?) as usize + 8)
        };
        let entry = length(12).and_then(|header| length(12 + header));
        longest = longest.max(entry.unwrap_or_default());
    }
    Ok(longest as f64)
}

/// A call as an agent on a NAS makes it.
fn call(session: &str) -> Call<&str> {
    Call {
        received_at: NOON,
        server: Some("truenas"),
        grant: Some("ops-agent"),
        session: Some(session),
        client_name: Some("claude-code"),
        client_version: Some("2.1.0"),
        client_address: Some("127.0.0.1"),
        protocol: Some("2025-11-25"),
        method: Some("tools/call"),
        wire_tool: Some("truenas"),
        tool: Some("vm_stop"),
        risk: Some("execute"),
        request_id: Some("17"),
        request_bytes: Some(160),
        arguments: Some(r#"{"category":"vm","action":"vm_stop","params":{"id":7,"force":false}}"#),
        effective_arguments: Some(r#"{"id":7,"force":false}"#),
        arguments_digest: Some([7; 16]),
        // Denied calls have no end, so that only decisions are measured.
        verdict: Verdict::Deny,
        reason: Some("limit_exceeded"),
        rule: Some("/tools/vm_stop/limits/vm_stop_rate"),
        via: vec!["truenas", "vm_stop"],
        policy_digest: Some(
            "sha256:5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9",
        ),
        resolver_digest: Some(
            "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
        ),
        engine: Some("1"),
        limit_counts: vec![LimitCount {
            counter: "nas/grant/ops-agent/vm_stop/vm_stop_rate/60",
            value: 10,
        }],
        decide_ns: Some(300),
        ..Call::default()
    }
}

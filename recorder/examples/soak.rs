//! A record at full rate, for as long as you like, on a disk that is full twice: `e2e/soak [seconds]` mounts a small file system and
//! runs `soak FOLDER [SECONDS [CALLERS]]` on it.
//!
//! A day of the record's clock passes in a twentieth of the run. Days are read, held against what callers were told, and removed
//! once they are three days old, so that space is bounded; what is left is read at the end. Every call that was
//! acknowledged must be there once and allowed, and none that was refused.
#![expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    reason = "figures for people, by the clock"
)]

use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use jiff::Timestamp;
use weir_recorder::{
    Call, Calls, Disk, Finish, Log, Outcome, RecordError, RecordOptions, Recorder, Unrecorded,
    Verdict,
};

type Fallible<T> = Result<T, Box<dyn Error>>;

const NOON: i64 = 1_795_348_800_000_000;
const DAY: i64 = 86_400_000_000;
/// Days that stay readable.
const DAYS_KEPT: i64 = 3;
/// Days, and so turns of the report, in a run.
const DAYS: u32 = 20;
/// Calls that a run may make.
const CALLS_MAX: usize = 1 << 27;

fn main() -> Fallible<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(
        arguments
            .next()
            .ok_or("usage: soak FOLDER [SECONDS [CALLERS]]")?,
    );
    let seconds = arguments.next().map_or(Ok(600), |text| text.parse())?;
    let callers = arguments.next().map_or(Ok(64), |text| text.parse())?;
    let options = RecordOptions {
        seal_age: Duration::from_secs(5),
        ..RecordOptions::new(folder.join("record"))
    };
    let (recorder, log, _) = Recorder::open(options, Arc::new(Disk))?;
    let soak = Arc::new(Soak {
        recorder,
        log: Mutex::new(log),
        folder,
        begun: Instant::now(),
        day: Duration::from_secs(seconds) / DAYS,
        next: AtomicU64::new(0),
        acknowledged: Marks::new(),
        refused: Marks::new(),
        seen: Marks::new(),
        waits: Waits::new(),
        faults: Mutex::default(),
        over: AtomicBool::new(false),
    });
    println!(
        "{callers} callers for {seconds} s; a day of the record takes {:?}",
        soak.day
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    for _ in 0..callers {
        runtime.spawn(call(Arc::clone(&soak)));
    }
    let memory = watch(&soak, Duration::from_secs(seconds))?;
    soak.over.store(true, Relaxed);
    runtime.shutdown_timeout(Duration::from_secs(10));
    soak.recorder.close()?;
    soak.look(soak.recorder.reader().calls(COLUMNS)?)?;
    Ok(if soak.judge(&memory) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct Soak {
    recorder: Recorder,
    log: Mutex<Log>,
    folder: PathBuf,
    begun: Instant,
    /// How long a day of the record takes.
    day: Duration,
    /// The next call's number, which is its id.
    next: AtomicU64,
    acknowledged: Marks,
    refused: Marks,
    seen: Marks,
    waits: Waits,
    faults: Mutex<Vec<String>>,
    over: AtomicBool,
}

/// One caller: decides, waits, ends, and again.
async fn call(soak: Arc<Soak>) {
    while !soak.over.load(Relaxed) {
        let number = soak.next.fetch_add(1, Relaxed);
        let once = Instant::now();
        let commit = soak.with_call(number, |call| {
            let mut log = soak.log.lock().unwrap_or_else(PoisonError::into_inner);
            let stamp = log.stamp(soak.now());
            log.decide(stamp, call)
        });
        match commit.wait().await {
            Ok(permit) => {
                soak.waits.add(once.elapsed());
                soak.acknowledged.set(number);
                let Some(permit) = permit else { continue };
                let end = Finish {
                    status: Some(200),
                    ..Finish::<&str> {
                        outcome: Outcome::Ok,
                        ..Finish::default()
                    }
                };
                // An outcome that finds no room is tried again; what became of one that did is the recorder's matter.
                while soak.finish(permit.seq(), &end) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            Err(Unrecorded::Closed) => return,
            Err(_) => {
                soak.refused.set(number);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}

const COLUMNS: &[&str] = &["call_id", "verdict"];

impl Soak {
    /// The record's time: a day in every `day`.
    fn now(&self) -> i64 {
        let days = self.begun.elapsed().as_secs_f64() / self.day.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, reason = "some days")]
        let passed = (days * DAY as f64) as i64;
        NOON + passed
    }

    /// Whether there was no room for it.
    fn finish(&self, seq: i64, end: &Finish<&str>) -> bool {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let commit = log.finish(self.now(), seq, end);
        matches!(commit.refused(), Some(Unrecorded::QueueFull))
    }

    fn with_call<R>(&self, number: u64, f: impl FnOnce(&Call<&str>) -> R) -> R {
        let mut call_id = [0; 16];
        let (_, low) = call_id.split_at_mut(8);
        low.copy_from_slice(&number.to_be_bytes());
        let arguments = format!("{{\"id\":{},\"timeout\":30}}", number % 97);
        let session = format!("b7a67c4e65f0{:04}", number / 50 % 500);
        f(&Call {
            call_id,
            received_at: self.now(),
            verdict: Verdict::Allow,
            server: Some("nas"),
            grant: Some(if number.is_multiple_of(3) {
                "ops"
            } else {
                "helpdesk"
            }),
            session: Some(&session),
            client_name: Some("helpdesk-copilot"),
            client_version: Some("0.9.3"),
            client_address: Some("192.0.2.7"),
            protocol: Some("2025-11-25"),
            method: Some("tools/call"),
            wire_tool: Some("vm_stop"),
            tool: Some("vm_stop"),
            risk: Some("write"),
            request_id: Some("17"),
            arguments: Some(&arguments),
            arguments_digest: Some(call_id),
            reason: Some("allowed"),
            rule: Some(""),
            engine: Some("1"),
            decide_ns: Some(900),
            ..Call::default()
        })
    }

    fn fault(&self, what: String) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if faults.len() < 20 {
            println!("FAULT: {what}");
        }
        faults.push(what);
    }

    /// Holds rows against what callers were told.
    fn look(&self, calls: Calls) -> Result<u64, RecordError> {
        let mut rows = 0;
        for batch in calls {
            for (number, verdict) in numbered(&batch?) {
                rows += 1;
                if !self.seen.set(number) {
                    self.fault(format!("call {number} is there twice"));
                }
                if verdict == "allow" && self.refused.is_set(number) {
                    self.fault(format!(
                        "call {number} was refused and is recorded as allowed"
                    ));
                }
                if verdict != "allow" && self.acknowledged.is_set(number) {
                    self.fault(format!(
                        "call {number} was acknowledged and is recorded as {verdict}"
                    ));
                }
            }
        }
        Ok(rows)
    }

    /// Looks at the days that are old enough, and removes them.
    fn retire(&self, retired: &mut i64) -> Fallible<()> {
        let until = (self.now() - NOON) / DAY - DAYS_KEPT;
        while *retired < until {
            // The first day begins at noon; midnights are half a day off. Only what is sealed: a straggler is read at the end.
            let midnight = Timestamp::from_microsecond(NOON - DAY / 2 + *retired * DAY)?;
            let date = midnight.strftime("%Y-%m-%d").to_string();
            let reader = self.recorder.reader();
            for segment in reader
                .segments()?
                .iter()
                .filter(|segment| segment.date == date)
            {
                self.look(reader.segment(segment, COLUMNS)?)?;
                fs::remove_file(&segment.path)?;
            }
            *retired += 1;
        }
        Ok(())
    }

    /// Says what came of it.
    fn judge(&self, memory: &[(f64, f64)]) -> bool {
        let made = self.next.load(Relaxed);
        let lost = (0..made)
            .filter(|n| self.acknowledged.is_set(*n) && !self.seen.is_set(*n))
            .count();
        if lost > 0 {
            self.fault(format!("{lost} acknowledged calls are not in the record"));
        }
        // The first tenth is warming up; a few files' worth of buffers more or less is noise.
        let settled = memory.get(memory.len() / 10..).unwrap_or_default();
        let (early, late) = settled.split_at(settled.len() / 2);
        let mean =
            |of: &[(f64, f64)]| of.iter().map(|(_, mib)| mib).sum::<f64>() / of.len().max(1) as f64;
        let (early, late) = (mean(early), mean(late));
        if memory.len() >= 300
            && self.begun.elapsed() > Duration::from_mins(5)
            && late > early * 1.15 + 16.0
        {
            self.fault(format!("memory grew from {early:.0} to {late:.0} MiB"));
        }
        let faults = self
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len();
        println!(
            "{} acknowledged, {} refused, {} rows read; {lost} lost, {faults} faults\n\
             memory {early:.0} MiB on average in the first half, {late:.0} in the second, {:+.2} MiB a minute",
            self.acknowledged.count(made),
            self.refused.count(made),
            self.seen.count(made),
            slope(settled) * 60.0,
        );
        faults == 0
    }
}

/// Reports, fills the disk twice and frees it again, and retires days, until the time is over; the memory in use, by second.
fn watch(soak: &Soak, length: Duration) -> Fallible<Vec<(f64, f64)>> {
    let mut memory = Vec::new();
    let (mut retired, mut reported, mut made) = (0, Duration::ZERO, 0);
    let mut episodes = vec![length * 2 / 3, length / 3];
    println!(
        "   time   commits/s   refused/s    p50     p99     max     memory   journals   disk free"
    );
    while soak.begun.elapsed() < length {
        thread::sleep(length / 600);
        memory.push((soak.begun.elapsed().as_secs_f64(), resident_mib()?));
        if episodes
            .last()
            .is_some_and(|at| soak.begun.elapsed() >= *at)
        {
            episodes.pop();
            episode(soak, length / DAYS)?;
        }
        soak.retire(&mut retired)?;
        let since = soak.begun.elapsed().saturating_sub(reported);
        if since >= length / 10 {
            let (acknowledged, refused) = (soak.acknowledged.total(), soak.refused.total());
            let rate = |n: u64| n as f64 / since.as_secs_f64();
            let [p50, p99, max] = soak.waits.take();
            println!(
                "{:>5.0} s {:>11.0} {:>11.0} {p50:>7.1?} {p99:>7.1?} {max:>7.0?} {:>6.0} MiB {:>8} {:>8} MiB",
                soak.begun.elapsed().as_secs_f64(),
                rate(acknowledged - made),
                rate(refused),
                resident_mib()?,
                fs::read_dir(soak.folder.join("record/journal"))?.count(),
                free_mib(&soak.folder)?,
            );
            soak.refused.forget_total();
            made = acknowledged;
            reported = soak.begun.elapsed();
        }
    }
    Ok(memory)
}

/// The disk is full for so long; then it is not.
fn episode(soak: &Soak, length: Duration) -> Fallible<()> {
    let path = soak.folder.join("ballast");
    let mut ballast = File::create(&path)?;
    // What is free, and what becomes free meanwhile; and once calls are refused, for so long.
    let (begun, chunk) = (Instant::now(), vec![1; 1 << 20]);
    let (mut full, mut refusing) = (None, None);
    while refusing.is_none_or(|since| begun.elapsed() < since + length) {
        if ballast.write_all(&chunk).is_err() {
            full.get_or_insert(begun.elapsed());
            thread::sleep(Duration::from_millis(5));
        }
        if !soak.recorder.health().recording {
            refusing.get_or_insert(begun.elapsed());
        }
        if begun.elapsed() > length + Duration::from_mins(2) {
            break;
        }
    }
    let refusing = refusing
        .zip(full)
        .map(|(refusing, full)| refusing.saturating_sub(full));
    let before = soak.acknowledged.total();
    let health = soak.recorder.health();
    println!(
        "  the disk is full: refusing after {}, then for {length:?}; fault `{}`",
        refusing.map_or("never".into(), |after| format!("{after:.1?}")),
        health.fault.unwrap_or_default()
    );
    if refusing.is_none() {
        soak.fault("the full disk was never noticed".into());
    }
    drop(ballast);
    fs::remove_file(path)?;
    let freed = Instant::now();
    while !soak.recorder.health().recording || soak.acknowledged.total() == before {
        if freed.elapsed() > Duration::from_secs(30) {
            return Err("it does not recover".into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    let calls = freed.elapsed();
    while soak.recorder.health().fault.is_some() {
        if freed.elapsed() > Duration::from_mins(1) {
            return Err(format!("it does not recover: {:?}", soak.recorder.health()).into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    println!(
        "  room again: calls pass after {calls:.1?}, no fault is left after {:.1?}",
        freed.elapsed()
    );
    Ok(())
}

/// One bit for each call's number; all of its memory is in use from the start.
struct Marks {
    bits: Vec<AtomicU64>,
    total: AtomicU64,
}

impl Marks {
    fn new() -> Self {
        let bits: Vec<_> = (0..CALLS_MAX / 64).map(|_| AtomicU64::new(1)).collect();
        for word in &bits {
            word.store(0, Relaxed);
        }
        Self {
            bits,
            total: AtomicU64::new(0),
        }
    }

    fn word(&self, number: u64) -> Option<(&AtomicU64, u64)> {
        let word = self.bits.get(usize::try_from(number / 64).ok()?)?;
        Some((word, 1 << (number % 64)))
    }

    /// Whether it was not set before.
    fn set(&self, number: u64) -> bool {
        self.total.fetch_add(1, Relaxed);
        self.word(number)
            .is_some_and(|(word, bit)| word.fetch_or(bit, Relaxed) & bit == 0)
    }

    fn is_set(&self, number: u64) -> bool {
        self.word(number)
            .is_some_and(|(word, bit)| word.load(Relaxed) & bit != 0)
    }

    fn count(&self, until: u64) -> usize {
        (0..until).filter(|number| self.is_set(*number)).count()
    }

    fn total(&self) -> u64 {
        self.total.load(Relaxed)
    }

    fn forget_total(&self) {
        self.total.store(0, Relaxed);
    }
}

/// How long calls waited: counts by sixteenths of powers of two of microseconds.
struct Waits(Vec<AtomicU64>);

impl Waits {
    fn new() -> Self {
        Self((0..40 * 16).map(|_| AtomicU64::new(0)).collect())
    }

    fn add(&self, wait: Duration) {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX).max(16);
        let power = micros.ilog2();
        let sixteenth = (micros >> (power - 4)) & 15;
        let at = usize::try_from(u64::from(power) * 16 + sixteenth).unwrap_or(0);
        if let Some(count) = self.0.get(at) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Median, 99th percentile and longest; counting begins anew.
    fn take(&self) -> [Duration; 3] {
        let counts: Vec<u64> = self.0.iter().map(|count| count.swap(0, Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        [all / 2, all - all / 100, all.saturating_sub(1)].map(|rank| {
            let mut below = 0;
            let at = counts.iter().position(|count| {
                below += count;
                below > rank
            });
            let at = at.unwrap_or(0) as u64;
            Duration::from_micros((16 + at % 16) << (at / 16).saturating_sub(4))
        })
    }
}

/// The calls of a batch: number and verdict.
fn numbered(batch: &RecordBatch) -> Vec<(u64, String)> {
    let ids = batch.column(0).as_fixed_size_binary();
    let Ok(verdicts) = cast(batch.column(1), &DataType::Utf8) else {
        return Vec::new();
    };
    let verdicts = verdicts.as_string::<i32>();
    let number = |id: &[u8]| {
        id.last_chunk()
            .map_or(u64::MAX, |low| u64::from_be_bytes(*low))
    };
    ids.iter()
        .flatten()
        .map(number)
        .zip(verdicts.iter().flatten().map(str::to_owned))
        .collect()
}

fn resident_mib() -> Fallible<f64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = text.split_whitespace().nth(1).ok_or("no statm")?.parse()?;
    Ok(pages * 4096.0 / f64::from(1 << 20))
}

fn free_mib(folder: &Path) -> Fallible<String> {
    let ran = std::process::Command::new("df")
        .arg("--output=avail")
        .arg("-m")
        .arg(folder)
        .output()?;
    let text = String::from_utf8(ran.stdout)?;
    Ok(text.lines().nth(1).unwrap_or("").trim().to_owned())
}

/// Of the line that fits best, a second.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (x, y) = points
        .iter()
        .fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), p| {
        (above + (p.0 - x) * (p.1 - y), below + (p.0 - x) * (p.0 - x))
    });
    above / below.max(f64::MIN_POSITIVE)
}

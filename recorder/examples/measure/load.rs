//! Commits while a seal runs.

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use weir_recorder::{Disk, Log, RecordOptions, Recorder};

use crate::calls::{NOON, with_call};
use crate::gauge::{pause, percentile};

/// How long each is measured.
const PERIOD: Duration = Duration::from_secs(2);
const CALLERS: i64 = 64;
const ROUNDS: usize = 5;

/// The time that 99 of 100 commits of 64 callers do not exceed, with and without a seal every second, in turns.
pub(crate) fn seals_under_load(folder: &Path) -> Result<(), Box<dyn Error>> {
    let options = RecordOptions {
        seal_rows: usize::MAX,
        seal_age: Duration::from_hours(1),
        ..RecordOptions::new(folder.join("load"))
    };
    let (recorder, log, _) = Recorder::open(options, Arc::new(Disk))?;
    let log = Arc::new(Mutex::new(log));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()?;
    let (mut alone, mut sealed, mut seals) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        for with_seals in [false, true] {
            let stop = Arc::new(AtomicBool::new(false));
            let sealing = with_seals.then(|| every_second(recorder.clone(), Arc::clone(&stop)));
            let begun = Instant::now();
            let times = runtime.block_on(async {
                let mut tasks = tokio::task::JoinSet::new();
                for worker in 0..CALLERS {
                    tasks.spawn(caller(Arc::clone(&log), worker, CALLERS, begun));
                }
                tasks.join_all().await.concat()
            });
            stop.store(true, Ordering::Relaxed);
            match sealing.map(std::thread::JoinHandle::join) {
                Some(count) => {
                    seals += count.unwrap_or_default();
                    sealed.extend(times);
                }
                None => alone.extend(times),
            }
        }
    }
    let (commits, beside) = (alone.len(), sealed.len());
    for hundredths in [50, 99] {
        let (alone, sealed) = (
            percentile(alone.clone(), hundredths),
            percentile(sealed.clone(), hundredths),
        );
        let more = 100.0 * (sealed.as_secs_f64() / alone.as_secs_f64() - 1.0);
        println!(
            "p{hundredths} of a commit, {CALLERS} callers: {alone:.2?}, with {seals} seals {sealed:.2?} ({more:+.0}%; {commits} and {beside} commits)"
        );
    }
    recorder.close()?;
    Ok(())
}

/// Seals each second until told to stop; how often.
fn every_second(recorder: Recorder, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            pause(500);
            count += usize::from(recorder.seal_now().is_ok());
            pause(500);
        }
        count
    })
}

/// One caller: decides, waits until that is durable, and does it again.
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

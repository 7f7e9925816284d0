//! What is read off this process and its figures.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// CPU seconds of this process so far.
pub(crate) fn cpu() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
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

/// CPU seconds so far of the threads of this name.
pub(crate) fn cpu_of(name: &str) -> f64 {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten();
    let seconds = |task: std::io::Result<fs::DirEntry>| {
        let task = task.ok()?.path();
        let of = fs::read_to_string(task.join("comm")).ok()?;
        (of.trim() == name).then(|| spent(&task)).flatten()
    };
    tasks.filter_map(seconds).sum()
}

/// CPU seconds so far of the first thread.
pub(crate) fn cpu_of_main() -> f64 {
    let first = std::process::id().to_string();
    spent(&Path::new("/proc/self/task").join(first)).unwrap_or_default()
}

/// CPU seconds of a thread, to the nanosecond, unlike those of the process.
fn spent(task: &Path) -> Option<f64> {
    let spent = fs::read_to_string(task.join("schedstat")).ok()?;
    let nanos: f64 = spent.split_whitespace().next()?.parse().ok()?;
    Some(nanos / 1e9)
}

/// Memory in use, and the most since this was last asked, in MB.
pub(crate) fn memory() -> (f64, f64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let megabytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
    };
    // Where the kernel does not let it be reset, the peak is that of the whole run.
    drop(fs::write("/proc/self/clear_refs", "5"));
    (
        megabytes("VmRSS:").unwrap_or_default(),
        megabytes("VmHWM:").unwrap_or_default(),
    )
}

/// The middle one.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The one that so many in a hundred do not exceed.
pub(crate) fn percentile(mut times: Vec<Duration>, hundredths: usize) -> Duration {
    times.sort_unstable();
    let place = times.len() * hundredths / 100;
    times.get(place).copied().unwrap_or_default()
}

/// Lets so much time pass.
#[expect(clippy::disallowed_methods, reason = "what is measured here is time")]
pub(crate) fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

//! What a replay costs: the published limits, then rules on arguments, beside a bare loop that only reads the same columns.
//!
//! Processor time is that of all threads together, so that it says what one core does. With `WEIR_BENCH_RECORD=DIR` the record
//! there is replayed, say one of `weir generate --calls 10000000 --out DIR`.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    dead_code,
    reason = "a bench that cannot be set up should stop at once"
)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use weir_benches::bare;
use weir_replay::{ReplayOptions, replay};

#[path = "../../replay/tests/replay/support/mod.rs"]
mod support;

use support::{Asked, Dice, Record, SIX, Scribe};

const CALLS: u64 = 400_000;

/// What the catalogue publishes, in short: reads free, writes and stops limited by the minute.
const NAMES: &str = r#"{"version":"1","default":"deny","hide":["vm_delete","pool_export"],
 "tools":{"vm_list":{},"vm_get":{},"disk_*":{},"service_query":{},
  "vm_stop":{"limits":[{"counter":"vm_stop_rate","window":"minute","max":10,"scope":"grant"}]},
  "service_stop":{"limits":[{"counter":"service_stop_rate","window":"minute","max":10,"scope":"grant"}]},
  "vm_start":{"limits":[{"counter":"vm_start_rate","window":"minute","max":30,"scope":"grant"}]}}}"#;

/// The same with rules on the arguments of every tool but one.
const ARGUMENTS: &str = r#"{"version":"1","default":"deny","hide":["vm_delete","pool_export"],
 "tools":{"vm_list":{},"vm_get":{"require":[{"conditions":[{"path":"args.id","op":"type","value":"integer"}]}]},
  "disk_*":{"deny_if":[{"conditions":[{"path":"args.name","op":"regex","value":"^boot"}]}]},
  "service_query":{"deny_if":[{"conditions":[{"path":"args.service","op":"eq","value":"root"}]}]},
  "vm_stop":{"require":[{"conditions":[{"path":"args.id","op":"type","value":"integer"}]}],
             "deny_if":[{"conditions":[{"path":"args.force","op":"eq","value":true}]}],
             "limits":[{"counter":"vm_stop_rate","window":"minute","max":10,"scope":"grant"}]},
  "service_stop":{"deny_if":[{"conditions":[{"path":"args.service","op":"in","value":["ssh","nfs"]}]}],
             "limits":[{"counter":"service_stop_rate","window":"minute","max":10,"scope":"grant"}]},
  "vm_start":{"limits":[{"counter":"vm_start_rate","window":"minute","max":30,"per":["args.id"]}]}}}"#;

/// Rules on the arguments of two tools out of eight, as `weir generate --argument-rules` and the demo's candidate have them.
const CAREFUL: &str = r#"{"version":"1","default":"allow","hide":["vm_delete","pool_export"],
 "tools":{"truenas_api_call":{},
  "vm_stop":{"require":[{"conditions":[{"path":"args.id","op":"type","value":"integer"}]}],
             "deny_if":[{"conditions":[{"path":"args.force","op":"eq","value":true}]}],
             "limits":[{"counter":"vm_stop_rate","window":"minute","max":10},
                       {"counter":"vm_stop_each","window":"minute","max":3,"per":["args.id"]}]},
  "service_stop":{"deny_if":[{"conditions":[{"path":"args.service","op":"in","value":["ssh"]}]}],
             "limits":[{"counter":"service_stop_rate","window":"minute","max":10}]}}}"#;

fn benches_of_replay(c: &mut Criterion) {
    let kept = std::env::var_os("WEIR_BENCH_RECORD").map(PathBuf::from);
    let written = kept.is_none().then(write);
    let path = kept.unwrap_or_else(|| written.as_ref().map(Record::path).unwrap_or_default());
    let calls = bare::read(&path, &["seq"]);
    let names = bare::NAMES;
    let arguments = [&names[..], &["arguments", "redacted"]].concat();
    for clock in [Clock::Processor, Clock::Wall] {
        let mut group = c.benchmark_group(format!("replay of {calls} calls, {clock:?} time"));
        group
            .sample_size(10)
            .throughput(Throughput::Elements(calls));
        timed(&mut group, clock, "bare: read the columns", || {
            bare::read(&path, &names)
        });
        timed(&mut group, clock, "limits, no arguments", || {
            replayed(&path, NAMES)
        });
        timed(
            &mut group,
            clock,
            "bare: read the columns and arguments",
            || bare::read(&path, &arguments),
        );
        timed(&mut group, clock, "argument rules", || {
            replayed(&path, ARGUMENTS)
        });
        timed(&mut group, clock, "argument rules on two tools", || {
            replayed(&path, CAREFUL)
        });
        group.finish();
    }
}

/// What time is measured of.
#[derive(Debug, Clone, Copy)]
enum Clock {
    /// Of all threads together.
    Processor,
    Wall,
}

fn replayed(record: &Path, candidate: &str) -> u64 {
    let options = ReplayOptions {
        record: record.to_owned(),
        candidate: Some(support::file(candidate)),
        ..ReplayOptions::default()
    };
    replay(&options).expect("a record").record.calls
}

fn timed(
    group: &mut BenchmarkGroup<'_, WallTime>,
    clock: Clock,
    name: &str,
    mut work: impl FnMut() -> u64,
) {
    group.bench_function(name, |b| {
        b.iter_custom(|times| {
            let (began, before) = (Instant::now(), processor_time());
            for _ in 0..times {
                black_box(work());
            }
            match clock {
                Clock::Processor => processor_time().saturating_sub(before),
                Clock::Wall => began.elapsed(),
            }
        });
    });
}

fn write() -> Record {
    let mut scribe = Scribe::new();
    let policy = scribe.policy(NAMES);
    let mut dice = Dice::new(1);
    let mut at = SIX;
    for _ in 0..CALLS {
        at += 20_000 + dice.below(400_000) as i64;
        let tool = dice.pick(&[
            "vm_list",
            "vm_get",
            "disk_query",
            "service_query",
            "vm_stop",
            "service_stop",
            "vm_start",
            "vm_delete",
        ]);
        let arguments = format!(
            r#"{{"id":{},"name":"disk-{}","service":"{}","options":{{"limit":50,"offset":{},"select":["id","name","state"]}}}}"#,
            dice.below(40),
            dice.below(12),
            dice.pick(&["ssh", "smb", "nfs"]),
            dice.below(1000)
        );
        let grant = dice.pick(&["ops-agent", "night-agent", "backup-agent"]);
        let session = format!("{grant}-{}", at / 1_800_000_000);
        let asked = Asked {
            server: "nas",
            grant,
            session: &session,
            tool,
            arguments: &arguments,
        };
        scribe.ended(at, Some(&policy), asked);
    }
    scribe.close()
}

/// Processor time of all threads so far, from the kernel's count of hundredths of a second.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |place: usize| fields[place].parse::<u64>().expect("a count of ticks");
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

criterion_group!(benches, benches_of_replay);
criterion_main!(benches);

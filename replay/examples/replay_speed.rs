//! How fast a replay is: `cargo run --release -p weir-replay --example replay_speed -- [CALLS] [DIR]`.
//!
//! Writes that many calls through the real recorder and the real engine (or, with a folder, reads
//! the record there), then replays them with and without argument rules, three times each. Prints
//! calls per second of wall time, and per second of processor time over all threads, which is what
//! one core would do.

#![allow(
    clippy::print_stdout,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a measuring program"
)]

use std::path::PathBuf;
use std::time::Instant;

use weir_replay::{ReplayOptions, replay};

#[path = "../tests/replay/support/mod.rs"]
mod support;

use support::{Asked, Dice, SIX, Scribe};

/// What the catalogue publishes, in short: reads free, writes and stops limited by the minute.
const NAMES: &str = r#"{"version":"1","default":"deny","hide":["vm_delete","pool_export"],
 "tools":{"vm_list":{},"vm_get":{},"disk_*":{},"service_query":{},
  "vm_stop":{"limits":[{"counter":"vm_stop_rate","window":"minute","max":10,"scope":"grant"}]},
  "service_stop":{"limits":[{"counter":"service_stop_rate","window":"minute","max":10,"scope":"grant"}]},
  "vm_start":{"limits":[{"counter":"vm_start_rate","window":"minute","max":30,"scope":"grant"}]}}}"#;

/// The same with rules on the arguments of what stops things.
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

fn main() {
    let mut arguments = std::env::args().skip(1);
    let calls: u64 = arguments
        .next()
        .map_or(1_000_000, |calls| calls.parse().expect("a number of calls"));
    let kept: Option<PathBuf> = arguments.next().map(PathBuf::from);
    let record = kept.is_none().then(|| write(calls));
    let path = kept.unwrap_or_else(|| {
        record
            .as_ref()
            .map(support::Record::path)
            .unwrap_or_default()
    });
    for (what, candidate) in [("names alone", NAMES), ("arguments", ARGUMENTS)] {
        for _ in 0..3 {
            let options = ReplayOptions {
                record: path.clone(),
                candidate: Some(support::file(candidate)),
                ..ReplayOptions::default()
            };
            let (start, spent) = (Instant::now(), processor_seconds());
            let report = replay(&options).unwrap();
            let (wall, spent) = (start.elapsed().as_secs_f64(), processor_seconds() - spent);
            let rate = |seconds: f64| report.record.calls as f64 / seconds / 1e6;
            println!(
                "{what:<12} {:>9} calls, {:>7} flips: {:.2} M/s wall, {:.2} M/s and core",
                report.record.calls,
                report.classes.flips(),
                rate(wall),
                rate(spent)
            );
        }
    }
}

fn write(calls: u64) -> support::Record {
    let start = Instant::now();
    let mut scribe = Scribe::new();
    let policy = scribe.policy(NAMES);
    let mut dice = Dice::new(1);
    let mut at = SIX;
    for _ in 0..calls {
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
        scribe.ended(
            at,
            Some(&policy),
            Asked {
                server: "nas",
                grant,
                session: &session,
                tool,
                arguments: &arguments,
            },
        );
    }
    let record = scribe.close();
    println!(
        "{calls} calls written in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    record
}

/// Processor time of all threads so far, from the kernel's count of hundredths of a second.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

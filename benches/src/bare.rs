//! The bare loop beside a replay: it reads, and does nothing with what it read.

use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use weir_recorder::RecordReader;

/// The columns that a replay reads of calls; the last two only of those that it has to look at.
pub const NAMES: [&str; 16] = [
    "seq",
    "decided_at",
    "direction",
    "server",
    "grant",
    "wire_tool",
    "tool",
    "verdict",
    "reason",
    "rule",
    "policy_digest",
    "resolver_digest",
    "engine",
    "via",
    "call_id",
    "session",
];

/// Reads these columns of every row, on all cores, and does nothing with them; how many rows there are.
///
/// # Panics
///
/// If there is no record, or it cannot be read.
pub fn read(record: &Path, columns: &[&str]) -> u64 {
    let reader = RecordReader::open(record).expect("a record");
    let groups = reader.groups().expect("its files");
    let (next, rows) = (AtomicUsize::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
                    for batch in group.read(columns).expect("its columns") {
                        let read = black_box(batch.expect("rows")).num_rows();
                        rows.fetch_add(read as u64, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    rows.into_inner()
}

//! The recorder from outside: on a real folder, and on storages that lose power, fail and hang.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::semicolon_if_nothing_returned,
    clippy::struct_excessive_bools,
    clippy::must_use_candidate,
    clippy::missing_panics_doc,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

mod backlog;
mod budget;
mod changes;
mod compaction;
mod disk;
#[cfg(feature = "encryption")]
mod encryption;
#[cfg(not(feature = "encryption"))]
mod encryption_not_built;
mod evidence;
mod faults;
mod files;
mod golden;
mod held;
mod layout;
mod lingering;
mod lives;
mod lock;
mod matrix;
mod memory;
mod model;
mod power;
mod pressure;
mod retention;
mod small_disk;
mod support;
mod tally;
mod tamper;
mod unwritten;
mod written;

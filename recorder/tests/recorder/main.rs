//! The recorder from outside: on a real folder, and on storages that lose power, fail and hang.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::semicolon_if_nothing_returned,
    clippy::struct_excessive_bools,
    clippy::must_use_candidate,
    clippy::missing_panics_doc,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

mod disk;
mod evidence;
mod faults;
mod layout;
mod memory;
mod model;
mod power;
mod support;
mod tamper;
mod written;

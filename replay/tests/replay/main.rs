//! Replay and query on records that the real recorder wrote and the real engine judged. One binary,
//! so that DataFusion is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    reason = "tests"
)]

mod formats;
mod oracle;
mod query;
mod questions;
mod redacted;
mod report;
mod sql;
mod support;
mod what_if;

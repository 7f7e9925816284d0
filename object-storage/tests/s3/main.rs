//! Shipping and verifying against an S3 server that runs here, and that fails on request.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::unused_self,
    clippy::case_sensitive_file_extension_comparisons,
    unreachable_pub,
    missing_docs,
    reason = "tests"
)]

mod faults;
mod retention;
mod rig;
mod server;
mod shipping;
mod tamper;
mod writing;

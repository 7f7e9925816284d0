//! What stands behind Weir, met over real sockets and real pipes: what goes out, what comes back, and what is said of a
//! message that got no answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod common;
mod http;
mod http2;
mod shared;
mod sse;
mod stdio;
mod tls;

//! The proxy over the wire: real TLS on loopback, a real record, an MCP server in the same process that writes down what
//! reaches it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod calls;
mod configuration;
mod faults;
mod limits;
mod refusals;
mod rig;
mod secrets;
mod sessions;
mod stop;

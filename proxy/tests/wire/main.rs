//! The proxy over the wire: real TLS on loopback, a real record, an MCP server in the same process that writes down what
//! reaches it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod access;
mod agents;
#[cfg(target_os = "linux")]
mod alive;
mod bounds;
mod calls;
mod certificates;
mod configuration;
mod door;
mod faults;
mod issuer;
mod keeping;
mod limits;
mod ready;
mod refusals;
mod reload;
mod resumption;
mod rig;
mod secrets;
mod sessions;
mod shadow;
mod stop;
mod traces;
mod unrecorded;

//! TLS, HTTP, MCP, upstreams, grants: the life of a call.
//!
//! This crate never forwards what it did not judge and record, never evaluates a policy by itself (it asks
//! `weir-policy`), never prints, and never reads the environment.

mod admin;
pub mod config;
mod definitions;
mod enforce;
mod gate;
mod grants;
pub mod leave;
pub mod ledger;
mod listener;
pub mod listing;
mod serve;
mod sessions;
pub mod sse;
mod telemetry;
mod tls;
pub mod upstream;

pub use config::{Config, ConfigProblems};
pub use ledger::{Clock, Ledger, LedgerOptions};
pub use serve::{Fault, Ready, ServeError, Serving, serve, serve_on};
pub use tls::local_ca;

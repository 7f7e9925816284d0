//! TLS, HTTP, MCP, upstreams, grants: the life of a call.
//!
//! This crate never forwards what it did not judge and record, never evaluates a policy by itself (it asks
//! `weir-policy`), never prints, and never reads the environment.

pub mod config;
pub mod leave;
pub mod listing;
mod serve;
pub mod sse;
pub mod upstream;

pub use config::{Config, ConfigProblems};
pub use serve::{Fault, Ready, ServeError, serve};

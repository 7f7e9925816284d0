//! TLS, HTTP, MCP, upstreams, grants: the life of a call.
//!
//! This crate never forwards what it did not judge and record, never evaluates a policy by itself (it asks
//! `weir-policy`), never prints, and never reads the environment.

mod admin;
mod approvals;
mod bounds;
mod call_id;
mod certificate;
pub mod config;
mod definitions;
mod enforce;
mod gate;
mod grants;
mod headers;
pub mod keeping;
pub mod leave;
pub mod ledger;
mod listener;
pub mod listing;
mod oauth;
mod outlive;
mod peer;
mod reload;
mod replica;
mod serve;
mod sessions;
pub mod sse;
mod stall;
mod standing;
mod strangers;
mod telemetry;
mod tls;
mod traces;
pub mod upstream;
mod wrap;

pub use config::{Config, ConfigProblems};
pub use ledger::{Clock, Ledger, LedgerOptions};
pub use reload::{Reloaded, Reloader};
pub use replica::{ReplicaHealth, ReplicaSlot};
pub use serve::{Fault, Ready, ServeError, Serving, serve, serve_on};
pub use tls::{ClientIdentity, client_identity, local_ca};
pub use wrap::{WrapEnd, Wrapping, wrap};

//! The record run again: what-if under a candidate, and SQL over the record.
//!
//! [`replay`] judges every recorded call twice, by the policy that was in force and by a candidate,
//! each with counters of its own, in the order of the log, and says which calls would have gone
//! another way. [`query`] answers questions in SQL.
//!
//! This crate never opens a socket, never writes to a record, and never prints; it judges with the
//! very code that judged live, so a decision that comes out otherwise is a bug, and a class of its
//! own.

mod answered;
mod call;
mod chunk;
mod class;
mod codes;
mod columns;
pub mod digest;
mod engine;
mod error;
mod kept;
mod kind;
mod measure;
mod notable;
mod options;
mod order;
mod out;
mod partial;
mod partition;
mod plan;
pub mod query;
mod recall;
mod report;
mod ruled;
mod run;
mod scopes;
mod selection;
mod shown;
mod summary;
mod symbols;
mod timeline;
mod twin;
mod verified;

pub use class::{Class, Classes};
pub use error::ReplayError;
pub use options::{
    COUNTERS_PER_GRANT, Flips, PolicyFile, Progress, ReplayOptions, Stage, State, Verify,
    parse_time,
};
pub use report::{
    Budget, Candidate, Changes, Document, Drift, Exit, Extent, Flip, Moment, Replaced, Report,
};
pub use run::replay;
pub use shown::shown;

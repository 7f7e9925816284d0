//! The record run again: what-if under a candidate, and SQL over the record.
//!
//! [`replay`] judges every recorded call twice, by the policy that was in force and by a candidate,
//! each with counters of its own, in the order of the log, and says which calls would have gone
//! another way. [`query`] answers questions in SQL.
//!
//! This crate never opens a socket, never writes to a record, and never prints; it judges with the
//! very code that judged live, so a decision that comes out otherwise is a bug, and a class of its
//! own.

mod call;
mod class;
pub mod digest;
mod error;
mod foregone;
mod kept;
mod kind;
mod measure;
mod options;
mod out;
mod plan;
pub mod query;
mod recall;
mod report;
mod rows;
mod ruled;
mod run;
mod selection;
mod shown;
mod symbols;
mod tally;
mod twin;

pub use class::{Class, Classes};
pub use error::ReplayError;
pub use options::{
    COUNTERS_PER_GRANT, Flips, PolicyFile, Progress, ReplayOptions, State, parse_time,
};
pub use report::{Budget, Candidate, Changes, Drift, Exit, Extent, Flip, Report};
pub use run::replay;
pub use shown::shown;

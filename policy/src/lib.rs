//! What a call means and whether it may pass.
//!
//! This crate never does I/O, never reads a clock, never draws a random number and never awaits:
//! bytes, context and time come in as values, a decision goes out. The live proxy and replay go
//! through the same door, so they cannot disagree.

mod decision;
mod reading;
mod value;

pub use decision::{Decision, Reason, Verdict};
pub use reading::{Arguments, Context, Micros, Reading, ReadingRole, Resolution, Risk};
pub use value::{Number, Object, Value};

//! What a call means and whether it may pass.
//!
//! This crate never does I/O, never reads a clock, never draws a random number and never awaits:
//! bytes, context and time come in as values, a decision goes out. The live proxy and replay go
//! through the same door, so they cannot disagree.

mod counters;
mod decision;
mod digest;
mod evaluate;
mod judge;
mod malformed;
mod message;
mod policy;
mod problem;
mod profile;
mod reading;
mod resolver;
mod risk;
mod strict;
mod text;
mod value;

pub use counters::{Counters, LimitCount, Reservation};
pub use decision::{Decision, Reason, Verdict};
pub use digest::{Digest, NotADigest};
pub use evaluate::{Admission, Evaluation, evaluate};
pub use judge::{ENGINE, Judgement, judge};
pub use malformed::{Flaw, Malformed};
pub use message::{
    Answer, Ask, AskKind, Id, Message, Notification, Request, Response, known_method,
};
pub use policy::Policy;
pub use problem::{Problem, Problems, Severity};
pub use profile::{Kind, Operation, Placement, Profile, Schema};
pub use reading::{Arguments, Context, Micros, Reading, ReadingRole, Resolution, Risk};
pub use resolver::{
    AliasSpec, DispatchSpec, JsonSource, Resolver, ResolverProblem, ResolverSpec, SourceSpec,
};
pub use text::Text;
pub use value::{Number, Object, Value};

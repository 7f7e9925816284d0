//! What a call means and whether it may pass.
//!
//! This crate never does I/O, never reads a clock, never draws a random number and never awaits:
//! bytes, context and time come in as values, a decision goes out. The live proxy and replay go
//! through the same door, so they cannot disagree.

mod calendar;
mod counters;
mod decision;
mod digest;
mod document;
mod door;
mod evaluate;
mod explain;
mod few;
mod glob;
mod judge;
mod key;
mod limit;
mod lint;
mod malformed;
mod message;
mod number;
mod operand;
mod operator;
mod path;
mod policy;
mod predicate;
mod problem;
mod profile;
mod reading;
mod resolver;
mod risk;
mod rules;
mod strict;
mod text;
mod value;
mod window;

pub use counters::{Counters, LimitCount, Reservation};
pub use decision::{Decision, Reason, Verdict};
pub use digest::{Digest, NotADigest};
pub use door::{Ruling, judge_bytes};
pub use evaluate::{Admission, Evaluation, evaluate};
pub use explain::{Explanation, LimitUse, Outcome, Stage, Step, explain};
pub use judge::{ENGINE, Judgement, judge};
pub use limit::Scope;
pub use lint::Catalogue;
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

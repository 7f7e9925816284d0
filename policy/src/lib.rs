//! What a call means and whether it may pass.
//!
//! This crate never does I/O, never reads a clock, never draws a random number and never awaits:
//! bytes, context and time come in as values, a decision goes out. The live proxy and replay go
//! through the same door, so they cannot disagree.
//!
//! ```
//! use weir_policy::{Arguments, Context, Counters, Micros, Policy, Reading, ReadingRole, Resolution, Value, judge};
//!
//! let document = br#"{"version": "1", "default": "deny", "tools": {"vm_stop": {
//!     "deny_if": [{"conditions": [{"path": "args.force", "op": "eq", "value": true}], "on_deny": "Ask a person."}],
//!     "limits": [{"counter": "stops", "window": "minute", "max": 1}]}}}"#;
//! let policy = Policy::load(document, "ops.json")?;
//! let mut counters = Counters::new(1_000);
//! let mut decide = |arguments: &str, at: Micros| {
//!     let arguments = Value::parse(arguments)?;
//!     let reading = Reading {
//!         tool: "vm_stop".into(),
//!         arguments: Arguments::Message(&arguments),
//!         role: ReadingRole::Full,
//!     };
//!     let call = Resolution { readings: [reading].into_iter().collect(), via: Default::default(), risk: None };
//!     let context = Context {
//!         node: "n1", server: "truenas", grant: "ops-agent", session: "s1",
//!         client_name: "", client_version: "", received_at: at,
//!     };
//!     Ok::<_, weir_policy::Malformed>(judge(Some(&policy), &call, &context, &mut counters, at).decision)
//! };
//! assert_eq!(decide(r#"{"id": 7, "force": true}"#, Micros(0))?.message, "Ask a person.");
//! assert!(decide(r#"{"id": 7}"#, Micros(0))?.is_allow());
//! assert_eq!(decide(r#"{"id": 8}"#, Micros(1))?.rule, "/tools/vm_stop/limits/stops");
//! assert!(decide(r#"{"id": 8}"#, Micros(60_000_000))?.is_allow());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod asked;
mod calendar;
mod compare;
mod counters;
mod decision;
mod diff;
mod digest;
mod document;
mod door;
mod evaluate;
mod explain;
mod few;
mod foregone;
mod glob;
mod judge;
mod key;
mod learn;
mod limit;
mod lint;
mod malformed;
mod message;
mod needs;
mod number;
mod operand;
mod operator;
mod path;
mod policy;
mod predicate;
mod problem;
mod profile;
mod reading;
mod redaction;
mod resolver;
mod risk;
mod rules;
mod short;
mod spelled;
mod strict;
mod suite;
mod text;
mod value;
mod weigh;
mod window;

pub use asked::Asked;
pub use compare::{Comparison, Obstacle, Reach, SampleCall, Witness, compare};
pub use counters::{Counters, LimitCount, Reservation};
pub use decision::{Decision, Reason, Verdict};
pub use diff::{Change, ChangeKind, Diff, Effect, ToolChange};
pub use digest::{Digest, NotADigest};
pub use door::{Ruling, judge_bytes};
pub use evaluate::{Admission, Evaluation, evaluate};
pub use explain::{Explanation, LimitUse, Outcome, Stage, Step, explain};
pub use foregone::foregone;
pub use glob::Glob;
pub use judge::{ENGINE, Judgement, judge};
pub use learn::{Learned, Learning, Margin};
pub use limit::Scope;
pub use lint::Catalogue;
pub use malformed::{Flaw, Malformed};
pub use message::{
    Answer, Ask, AskKind, Id, Message, Notification, Request, Response, known_method,
    recorded_arguments,
};
pub use needs::Needs;
pub use policy::Policy;
pub use problem::{Problem, Problems, Severity};
pub use profile::{Kind, Operation, Placement, Profile, Schema};
pub use reading::{Arguments, Context, Micros, Reading, ReadingRole, Resolution, Risk};
pub use redaction::{KeyedDigest, MARK, Redacted, Redaction, RedactionProblem, is_replaced};
pub use resolver::{
    AliasSpec, DispatchSpec, JsonSource, Resolver, ResolverProblem, ResolverSpec, SourceSpec,
};
pub use suite::{Case, CasePolicy, Evidence, Miss, RecordCase, Share, Suite, SuiteProblem};
pub use text::Text;
pub use value::{Number, Object, Value};
pub use weigh::{Doubt, OnRecord, Testimony, Weighed, weigh};

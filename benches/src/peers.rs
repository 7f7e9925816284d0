//! Other policy engines, asked the same stateless question from the same bytes.
//!
//! The question, for N tools named `tool_0` … `tool_{N-1}`: is the tool one of them, is `id` a number, and is
//! `force` not true? Each peer gets what its own documentation recommends for speed: policies compiled once, the
//! message parsed by `serde_json` (or the peer's own JSON reader), one evaluation a call.

mod cedar;
mod common_expression;
mod rego;

pub use cedar::Cedar;
pub use common_expression::CommonExpression;
pub use rego::Rego;

/// An engine that can be asked from the bytes of a message.
pub trait Peer {
    /// The name that stands in the figures.
    const NAME: &'static str;
    /// Compiles the question for this many tools.
    fn with_tools(tools: usize) -> Self;
    /// Whether the call in `message` may pass.
    fn allows(&mut self, message: &[u8]) -> bool;
}

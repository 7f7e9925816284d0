//! A quota of a policy, and the key of the counter that it asks (DESIGN 5.3).

#![expect(
    clippy::inline_always,
    reason = "the hot path: its results are large, and must not be moved"
)]

use std::sync::Arc;

use crate::key::{Head, Key, Sealed, is_long, push_value, shorten};
use crate::number::Decimal;
use crate::path::{Facts, Path};
use crate::problem::Span;
use crate::window::Window;
use crate::{Number, Text, Value};

/// What a counter is shared by. Ordered from the finest to the coarsest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Each session counts by itself.
    Session,
    /// Each grant counts by itself.
    Grant,
    /// All grants of a server count together.
    Server,
    /// All servers of a node count together.
    Node,
}

impl Scope {
    /// The word that policies use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Grant => "grant",
            Self::Server => "server",
            Self::Node => "node",
        }
    }
}

/// One limit of a tool, or of all tools.
#[derive(Debug, Clone)]
pub(crate) struct Limit {
    /// The rule id, made at load.
    pub(crate) id: Text,
    /// What the caller is told.
    pub(crate) message: Text,
    pub(crate) window: Window,
    /// `max` in whole units, as written.
    pub(crate) max: u64,
    pub(crate) scope: Scope,
    pub(crate) per: Vec<Path>,
    pub(crate) increment_from: Option<Path>,
    /// Whether it counts calls of all tools together.
    pub(crate) all_tools: bool,
    /// The part of the key that is the same for every call.
    head: Arc<Sealed>,
    pub(crate) span: Span,
}

/// A limit as the document states it.
pub(crate) struct LimitSpec {
    pub(crate) id: Text,
    pub(crate) message: Text,
    pub(crate) counter: String,
    pub(crate) window: Window,
    pub(crate) max: u64,
    pub(crate) scope: Scope,
    pub(crate) per: Vec<Path>,
    pub(crate) increment_from: Option<Path>,
    pub(crate) all_tools: bool,
    pub(crate) span: Span,
}

/// Why a limit cannot count a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uncountable {
    /// A `per` value is missing or null.
    MissingKey,
    /// The amount is missing, negative or no number.
    BadAmount,
}

impl Limit {
    /// Whether its key or its amount comes from the arguments.
    pub(crate) fn reads_arguments(&self) -> bool {
        self.paths().any(Path::reads_arguments)
    }

    /// Whether it counts under the same name, window, scope and amount as `other`: for equal names and values, in one counter.
    pub(crate) fn counts_with(&self, other: &Self) -> bool {
        self.head == other.head
    }

    pub(crate) fn new(spec: LimitSpec) -> Self {
        let LimitSpec {
            id,
            message,
            counter,
            window,
            max,
            scope,
            per,
            increment_from,
            all_tools,
            span,
        } = spec;
        let amount_path = increment_from.as_ref().map(ToString::to_string);
        let head = Head {
            scope,
            window,
            all_tools,
            counter: &counter,
            increment_from: amount_path.as_deref(),
        }
        .seal();
        Self {
            id,
            message,
            window,
            max,
            scope,
            per,
            increment_from,
            all_tools,
            head,
            span,
        }
    }

    /// `max` in the unit the counter counts in.
    #[inline(always)]
    pub(crate) fn ceiling(&self) -> u128 {
        match self.increment_from {
            Some(_) => u128::from(self.max) * 1_000_000,
            None => u128::from(self.max),
        }
    }

    /// What the call takes: 1, or its amount in millionths.
    #[inline(always)]
    pub(crate) fn amount(
        &self,
        facts: &Facts<'_>,
        arguments: &Value<'_>,
    ) -> Result<u128, Uncountable> {
        let Some(path) = &self.increment_from else {
            return Ok(1);
        };
        match path.find(facts, arguments).value() {
            Some(Value::Number(Number::Integer(amount))) => match u128::try_from(*amount) {
                Ok(amount) => Ok(amount * 1_000_000),
                Err(_) => Err(Uncountable::BadAmount),
            },
            Some(Value::Number(number @ Number::Decimal(_))) => Decimal::of(number)
                .and_then(|amount| amount.millionths())
                .ok_or(Uncountable::BadAmount),
            _ => Err(Uncountable::BadAmount),
        }
    }

    /// Where the limit counts (server or node), whose calls (a grant's, a session's or everybody's), and
    /// of which tool (or of all).
    #[inline(always)]
    pub(crate) fn names<'a>(&self, facts: &Facts<'a>) -> [&'a str; 3] {
        let context = facts.context;
        let (place, holder) = match self.scope {
            Scope::Node => (context.node, ""),
            Scope::Server => (context.server, ""),
            Scope::Grant => (context.server, context.grant),
            Scope::Session => (context.server, context.session),
        };
        [place, holder, if self.all_tools { "" } else { facts.tool }]
    }

    /// The key of the counter that a call asks. `values` gets what must be written down for it: the
    /// `per` values, and names too long to keep.
    ///
    /// It is built where the caller has it: moving it costs more than looking it up.
    #[inline(always)]
    pub(crate) fn fill<'k>(
        &'k self,
        key: &mut Key<'k>,
        facts: &Facts<'k>,
        arguments: &Value<'_>,
        values: &'k mut Vec<u8>,
    ) -> Result<(), Uncountable> {
        key.names = self.names(facts);
        // no name is longer than all of them together
        if !self.per.is_empty() || is_long(key.names.iter().map(|name| name.len()).sum()) {
            self.write_values(&mut key.names, facts, arguments, values)?;
            key.values = values;
        }
        Ok(())
    }

    /// A key of this limit that has yet to be filled.
    #[inline(always)]
    pub(crate) fn blank_key(&self) -> Key<'_> {
        Key {
            head: &self.head,
            names: [""; 3],
            values: &[],
        }
    }

    #[inline(never)]
    fn write_values(
        &self,
        names: &mut [&str; 3],
        facts: &Facts<'_>,
        arguments: &Value<'_>,
        values: &mut Vec<u8>,
    ) -> Result<(), Uncountable> {
        values.clear();
        if names.iter().any(|name| is_long(name.len())) {
            shorten(names, values);
        }
        for path in &self.per {
            match path.find(facts, arguments).value() {
                None | Some(Value::Null) => return Err(Uncountable::MissingKey),
                Some(value) => push_value(values, value),
            }
        }
        Ok(())
    }
}

//! How a call is to be read: its names, from the wire name to what it does, and its context.

use std::borrow::Cow;
use std::ops::Deref;

use smallvec::SmallVec;

use crate::Value;

/// Microseconds since the Unix epoch, UTC. The only form of time this crate knows; always passed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Micros(pub i64);

/// What a rule may ask about besides the arguments.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The proxy that judges.
    pub node: &'a str,
    /// The upstream server.
    pub server: &'a str,
    /// The caller's grant.
    pub grant: &'a str,
    /// The session.
    pub session: &'a str,
    /// `clientInfo.name`, empty if unknown.
    pub client_name: &'a str,
    /// `clientInfo.version`, empty if unknown.
    pub client_version: &'a str,
    /// When the body was complete: what `time.*` reads.
    pub received_at: Micros,
}

/// Which part a name plays when several names stand for one call (DESIGN 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadingRole {
    /// A dispatcher whose operation replaces it: its own rules apply, the default does not.
    Dispatcher,
    /// A name that must be admitted by its own rules or the default.
    Full,
    /// As `Full`, but only a policy that names it literally admits it: globs and `default: allow` do not count.
    LiteralOnly,
}

/// One name of a call with the arguments it is judged on.
#[derive(Debug, Clone)]
pub struct Reading<'a> {
    /// The name policy looks up.
    pub tool: Cow<'a, str>,
    /// The arguments; always an object for tools.
    pub arguments: Arguments<'a>,
    /// How it is judged.
    pub role: ReadingRole,
}

/// The arguments of one reading: part of the message, or built by an alias.
#[derive(Debug, Clone)]
pub enum Arguments<'a> {
    /// As they stand in the message.
    Message(&'a Value<'a>),
    /// Built from the message by an alias.
    Built(Box<Value<'a>>),
}

impl<'a> Deref for Arguments<'a> {
    type Target = Value<'a>;

    fn deref(&self) -> &Value<'a> {
        match self {
            Self::Message(value) => value,
            Self::Built(value) => value,
        }
    }
}

/// Every reading of a call, wire name first; the last one is the effective tool.
#[derive(Debug, Clone)]
pub struct Resolution<'a> {
    /// Wire name first, effective tool last; never empty.
    pub readings: SmallVec<[Reading<'a>; 2]>,
    /// The steps that led from the first reading to the last: `dispatch:truenas`, `alias:truenas_api_call`.
    pub via: SmallVec<[Cow<'a, str>; 2]>,
    /// The class of the effective tool, where it is known; else its name tells. Ask [`Resolution::risk`].
    pub risk: Option<Risk>,
}

impl Resolution<'_> {
    /// The class of the effective tool. Reading a name takes longer than judging the call: only who
    /// records or shows the class should ask.
    pub fn risk(&self) -> Risk {
        let effective = self.readings.last();
        self.risk
            .unwrap_or_else(|| Risk::of_name(effective.map_or("", |reading| &reading.tool)))
    }
}

/// What kind of harm a tool can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Risk {
    /// Looks only.
    Read,
    /// Changes settings or data.
    Write,
    /// Starts, stops or runs something.
    Execute,
    /// Removes what cannot be brought back.
    Destructive,
    /// Moves money.
    Financial,
}

impl Risk {
    /// The word that stands in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Execute => "execute",
            Self::Destructive => "destructive",
            Self::Financial => "financial",
        }
    }
}

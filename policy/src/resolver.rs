//! How the calls of one server are read: from the wire tool to what the call does (DESIGN 5.5).

mod alias;
mod document;
mod index;
mod path;
mod pointer;
mod spec;
mod uri;

use std::borrow::Cow;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::{SmallVec, smallvec};

use crate::malformed::{Flaw, Malformed};
use crate::message::{Ask, AskKind, NO_ARGUMENTS, is_name, is_reserved};
use crate::profile::Profile;
use crate::{Arguments, Decision, Digest, Reading, ReadingRole, Resolution, Risk, Value};

use alias::Hatch;
use pointer::Pointer;

pub use spec::{AliasSpec, DispatchSpec, JsonSource, ResolverProblem, ResolverSpec, SourceSpec};

/// A call may lead through this many dispatchers and aliases. The servers known need two.
const STEPS_MAX: usize = 4;

/// What the names of resources begin with.
const RESOURCE: &str = "resource:";

/// What a hatch call that no alias knows is called, after the hatch's own name.
const UNMATCHED: &str = ":unmatched";

/// The reading of one server's calls: dispatchers, aliases and profile, compiled.
#[derive(Debug)]
pub struct Resolver {
    steps: HashMap<String, Step, FixedState>,
    profile: Option<Arc<Profile>>,
    document: Vec<u8>,
    digest: Digest,
}

/// What leads from one name to the next.
#[derive(Debug)]
enum Step {
    Dispatch(Dispatch),
    Alias(Hatch),
}

/// A tool that takes the real operation as an argument.
#[derive(Debug)]
struct Dispatch {
    via: String,
    operation: Pointer,
    arguments: Pointer,
}

/// A name on the way, with its arguments and how it is judged if it is the last one.
struct Place<'a> {
    tool: Cow<'a, str>,
    arguments: Arguments<'a>,
    role: ReadingRole,
}

impl Resolver {
    /// The reading of a server whose tools are what they are called.
    pub fn plain() -> Self {
        Self::assemble(
            HashMap::with_hasher(FixedState::default()),
            None,
            document::plain(),
        )
    }

    fn assemble(
        steps: HashMap<String, Step, FixedState>,
        profile: Option<Arc<Profile>>,
        document: Vec<u8>,
    ) -> Self {
        Self {
            steps,
            profile,
            digest: Digest::of(&document),
            document,
        }
    }

    /// Compiles what a configuration says of one server.
    pub fn compile(spec: &ResolverSpec) -> Result<Self, ResolverProblem> {
        document::compile(spec)
    }

    /// Reads a document as [`Resolver::document`] gave it.
    pub fn load(json: &[u8]) -> Result<Self, ResolverProblem> {
        document::load(json)
    }

    /// Everything that resolution depends on, as one JSON document; the same configuration always gives
    /// the same bytes.
    pub fn document(&self) -> &[u8] {
        &self.document
    }

    /// The name of [`Resolver::document`].
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What is known of this kind of server.
    pub fn profile(&self) -> Option<&Profile> {
        self.profile.as_deref()
    }

    /// Every name that a call goes by, from the wire tool to what it does, or the denial of a call that
    /// cannot be read or that no policy may let through.
    pub fn resolve<'a>(&'a self, ask: &'a Ask<'a>) -> Result<Resolution<'a>, Decision> {
        let wire = Place {
            tool: Cow::Borrowed(ask.wire_tool.as_ref()),
            arguments: Arguments::Message(ask.arguments),
            role: ReadingRole::Full,
        };
        let risk = match ask.kind {
            AskKind::ToolCall if self.steps.is_empty() && self.profile.is_none() => None,
            AskKind::ToolCall => return self.follow(wire, Vetting::Due),
            AskKind::Resource => return Ok(resource(wire)),
            AskKind::Prompt => Some(Risk::Read),
            AskKind::Method => Some(Risk::Write),
        };
        Ok(Resolution {
            readings: smallvec![wire.into()],
            via: SmallVec::new(),
            risk,
        })
    }

    /// The readings of a recorded call in whose arguments values were replaced: by the names on record, since live read them
    /// from the arguments as they were. `arguments` is what is left of them; none where nothing was kept, and nowhere where
    /// it does not lead to the same names. Whether parameters are what the profile allows was asked then.
    pub fn from_redacted<'a>(
        &'a self,
        wire_tool: &'a str,
        via: &[&'a str],
        tool: &'a str,
        arguments: Option<&'a Value<'a>>,
    ) -> Option<Resolution<'a>> {
        let names = self.from_recorded(wire_tool, via, tool);
        let Some(arguments) = arguments else {
            return names;
        };
        let wire = Place {
            tool: Cow::Borrowed(wire_tool),
            arguments: Arguments::Message(arguments),
            role: ReadingRole::Full,
        };
        let read = match AskKind::of_name(wire_tool) {
            AskKind::ToolCall => self.follow(wire, Vetting::Done).ok()?,
            AskKind::Resource => resource(wire),
            AskKind::Prompt | AskKind::Method => Resolution {
                readings: smallvec![wire.into()],
                via: SmallVec::new(),
                risk: None,
            },
        };
        names.filter(|names| same_names(&read, names)).map(|_| read)
    }

    fn follow<'a>(
        &'a self,
        mut place: Place<'a>,
        vetting: Vetting,
    ) -> Result<Resolution<'a>, Decision> {
        let mut readings = SmallVec::new();
        let mut via = SmallVec::new();
        while place.role == ReadingRole::Full {
            let step = self.steps.get(place.tool.as_ref());
            let next = match (step, &place.arguments) {
                (None, _) => None,
                (Some(step), Arguments::Message(arguments)) => self.next(step, arguments)?,
                (Some(step), Arguments::Built(arguments)) => {
                    self.next(step, arguments)?.map(Place::into_owned)
                }
            };
            if vetting == Vetting::Due
                && let Some(operation) = self
                    .profile()
                    .and_then(|profile| profile.checked(&place.tool))
            {
                operation.check(&place.arguments)?;
            }
            let (Some(step), Some(next)) = (step, next) else {
                break;
            };
            if via.len() == STEPS_MAX {
                return Err(Malformed::new(Flaw::ResolutionTooDeep).decision());
            }
            via.push(Cow::Borrowed(step.via()));
            place.role = step.role();
            readings.push(std::mem::replace(&mut place, next).into());
        }
        let risk = self.risk(&place.tool);
        readings.push(place.into());
        Ok(Resolution {
            readings,
            via,
            risk,
        })
    }

    /// Where `step` leads with these arguments; none where the tool is itself.
    fn next<'a>(
        &'a self,
        step: &'a Step,
        arguments: &'a Value<'a>,
    ) -> Result<Option<Place<'a>>, Decision> {
        match step {
            Step::Alias(hatch) => hatch.next(arguments).map(Some),
            Step::Dispatch(dispatch) => {
                let next = dispatch
                    .next(arguments)
                    .map_err(|flaw| Malformed::new(flaw).decision())?;
                Ok(next.map(|(operation, arguments)| Place {
                    role: self.dispatched_role(operation),
                    tool: Cow::Borrowed(operation),
                    arguments: Arguments::Message(arguments),
                }))
            }
        }
    }

    /// An operation that a profiled server is not known to have is admitted by its own name only.
    fn dispatched_role(&self, operation: &str) -> ReadingRole {
        match self.profile() {
            Some(profile) if profile.operation(operation).is_none() => ReadingRole::LiteralOnly,
            _ => ReadingRole::Full,
        }
    }

    /// The class of a tool, where more is known of it than its name.
    fn risk(&self, tool: &str) -> Option<Risk> {
        match self.profile().and_then(|profile| profile.checked(tool)) {
            Some(operation) => Some(operation.risk()),
            // What a hatch does is unknown, and it may be anything.
            None if tool.ends_with(UNMATCHED) => Some(Risk::Destructive),
            None => None,
        }
    }

    /// The readings of a recorded call by name and role, without its arguments: enough for a policy whose
    /// rules read none. `via` and `tool` are the record's columns; none where they do not fit together.
    /// For whatever [`Resolver::resolve`] accepts, both give the same names and roles.
    pub fn from_recorded<'a>(
        &'a self,
        wire_tool: &'a str,
        via: &[&'a str],
        tool: &'a str,
    ) -> Option<Resolution<'a>> {
        if AskKind::of_name(wire_tool) == AskKind::Resource {
            let read = resource(Place {
                tool: Cow::Borrowed(wire_tool),
                arguments: Arguments::Message(&NO_ARGUMENTS),
                role: ReadingRole::Full,
            });
            let names = (read.readings.last()).is_some_and(|last| last.tool == tool);
            return (names && read.via.as_slice() == via).then_some(read);
        }
        let mut readings = SmallVec::new();
        let mut role = ReadingRole::Full;
        for (place, step) in via.iter().enumerate() {
            let (kind, name) = step.split_once(':')?;
            if place == 0 && name != wire_tool {
                return None;
            }
            role = match kind {
                "dispatch" => ReadingRole::Dispatcher,
                "alias" => ReadingRole::Full,
                _ => return None,
            };
            readings.push(unargued(name, role));
        }
        let last = match via.last() {
            None if tool != wire_tool => return None,
            None => ReadingRole::Full,
            Some(_) if role == ReadingRole::Dispatcher => self.dispatched_role(tool),
            Some(_) => alias::role(
                tool,
                readings
                    .last()
                    .map_or("", |hatch: &Reading<'_>| &hatch.tool),
            ),
        };
        readings.push(unargued(tool, last));
        let risk = match wire_tool.split_once(':') {
            Some(("resource" | "prompt", _)) => Some(Risk::Read),
            Some(("method", _)) => Some(Risk::Write),
            _ => self.risk(tool),
        };
        Some(Resolution {
            readings,
            via: via.iter().map(|step| Cow::Borrowed(*step)).collect(),
            risk,
        })
    }
}

/// A read by the URI as it came, and by its other spellings, if it has any: what a policy says of one of these counts too, but the
/// default does not, since the server may not know it by them.
fn resource(wire: Place<'_>) -> Resolution<'_> {
    let uri = wire.tool.strip_prefix(RESOURCE).unwrap_or_default();
    let spellings = uri::spellings(uri);
    let mut via = SmallVec::new();
    if !spellings.is_empty() {
        via.push(Cow::Owned(format!("uri:{}", wire.tool)));
    }
    let mut readings: SmallVec<[Reading<'_>; 2]> = smallvec![wire.into()];
    readings.extend(spellings.into_iter().map(|spelling| Reading {
        tool: Cow::Owned(format!("{RESOURCE}{spelling}")),
        arguments: Arguments::Message(&NO_ARGUMENTS),
        role: ReadingRole::Dispatcher,
    }));
    Resolution {
        readings,
        via,
        risk: Some(Risk::Read),
    }
}

/// Whether the parameters of operations are still to be compared with the profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vetting {
    Due,
    Done,
}

fn same_names(one: &Resolution<'_>, other: &Resolution<'_>) -> bool {
    let names = |resolution: &Resolution<'_>| {
        let names = resolution.readings.iter();
        names
            .map(|reading| (reading.tool.to_string(), reading.role))
            .collect::<Vec<_>>()
    };
    one.via == other.via && names(one) == names(other)
}

fn unargued(tool: &str, role: ReadingRole) -> Reading<'_> {
    Reading {
        tool: Cow::Borrowed(tool),
        arguments: Arguments::Message(&NO_ARGUMENTS),
        role,
    }
}

impl Step {
    fn via(&self) -> &str {
        match self {
            Self::Dispatch(dispatch) => &dispatch.via,
            Self::Alias(hatch) => hatch.via(),
        }
    }

    /// How the tool that was left behind is judged.
    fn role(&self) -> ReadingRole {
        match self {
            Self::Dispatch(_) => ReadingRole::Dispatcher,
            Self::Alias(_) => ReadingRole::Full,
        }
    }
}

impl Dispatch {
    fn next<'a>(&self, arguments: &'a Value<'a>) -> Result<Option<(&'a str, &'a Value<'a>)>, Flaw> {
        let operation = match self.operation.find(arguments) {
            None => return Ok(None),
            Some(Value::String(operation)) if is_name(operation) && !is_reserved(operation) => {
                operation
            }
            Some(_) => return Err(Flaw::Operation),
        };
        match self.arguments.find(arguments) {
            None | Some(Value::Null) => Ok(Some((operation, &NO_ARGUMENTS))),
            Some(object @ Value::Object(_)) => Ok(Some((operation, object))),
            Some(_) => Err(Flaw::OperationArguments),
        }
    }
}

impl Place<'_> {
    fn into_owned(self) -> Place<'static> {
        Place {
            tool: Cow::Owned(self.tool.into_owned()),
            arguments: Arguments::Built(Box::new(self.arguments.to_owned_value())),
            role: self.role,
        }
    }
}

impl<'a> From<Place<'a>> for Reading<'a> {
    fn from(place: Place<'a>) -> Self {
        Self {
            tool: place.tool,
            arguments: place.arguments,
            role: place.role,
        }
    }
}

//! A concrete call made from what may stand at each path, and what a policy says of it.

use crate::path::{Path, Root, Step, child};
use crate::{
    Ask, Context, Counters, Decision, Micros, Number, Object, Policy, Resolver, Value, judge,
};

use super::cells::What;
use super::matter::{Asked, Matter, is_bare};
use super::solve::Stand;
use super::tree::{Tree, put};

/// So many examples of one way are tried.
const EXAMPLES_MAX: usize = 64;
/// So many values of one path are tried.
const VALUES_MAX: usize = 6;

/// Counters enough for whatever is judged here: how many a grant may hold is a matter of the proxy's configuration.
const COUNTERS: usize = 1_000_000;

/// Monday, 5 January 2026, and half a year later, at midnight in UTC.
const WEEKS: [i64; 2] = [1_767_571_200, 1_783_296_000];

/// One call to a server whose tools are what they are called, and when it comes.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleCall {
    /// The tool, or another name that policies speak of.
    pub tool: String,
    /// The arguments, an object.
    pub arguments: Value<'static>,
    /// The server.
    pub server: String,
    /// The grant.
    pub grant: String,
    /// The session; it belongs to its grant.
    pub session: String,
    /// `clientInfo.name`, empty if unknown.
    pub client_name: String,
    /// `clientInfo.version`, empty if unknown.
    pub client_version: String,
    /// When it arrives and is decided.
    pub at: Micros,
}

impl SampleCall {
    /// What `policy` says of it after what `counters` counted, by the very code that judges calls on the wire. A person who is asked
    /// does not approve, so that such a call takes nothing.
    pub fn judge(&self, policy: &Policy, counters: &mut Counters) -> Decision {
        let resolver = Resolver::plain();
        let ask = Ask::recorded(&self.tool, &self.arguments);
        let context = Context {
            node: "node",
            server: &self.server,
            grant: &self.grant,
            session: &self.session,
            client_name: &self.client_name,
            client_version: &self.client_version,
            received_at: self.at,
        };
        match resolver.resolve(&ask) {
            Ok(resolution) => {
                let judgement = judge(Some(policy), &resolution, &context, counters, self.at);
                let held = judgement.decision.is_pending();
                if let Some(taken) = judgement.reservation.filter(|_| held) {
                    counters.give_back(&taken, self.at);
                }
                judgement.decision
            }
            Err(decision) => decision,
        }
    }

    /// The same with another value at `path`; unchanged if nothing can stand there.
    pub(super) fn with(&self, path: &Path, value: Value<'static>) -> Self {
        let mut call = self.clone();
        if path.root == Root::Arguments {
            put(&mut call.arguments, &path.steps, value);
        }
        call
    }

    /// What stands at `path` of the arguments.
    pub(super) fn at_path(&self, path: &Path) -> Option<&Value<'static>> {
        let keys = path.steps.iter().map(|step| match step {
            Step::Key(key, index) => Some((key, *index)),
            Step::Each => None,
        });
        let mut value = &self.arguments;
        for key in keys {
            let (key, index) = key?;
            value = child(value, key, index)?;
        }
        Some(value)
    }
}

/// Nothing counted yet.
pub(super) fn counters() -> Counters {
    Counters::new(COUNTERS)
}

/// How far a policy lets a call go: refused, to a person who is asked, or through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Refused.
    Denied,
    /// A person is asked.
    Asked,
    /// Through.
    Allowed,
}

impl Reach {
    /// How far a call goes that is decided so.
    pub fn of(decision: &Decision) -> Self {
        if decision.is_allow() {
            Self::Allowed
        } else if decision.is_pending() {
            Self::Asked
        } else {
            Self::Denied
        }
    }

    /// The word that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied => "deny",
            Self::Asked => "ask",
            Self::Allowed => "allow",
        }
    }
}

/// Examples of calls in which the values stand as `stand` says.
pub(super) fn examples(matter: &Matter<'_>, stand: &Stand) -> Vec<SampleCall> {
    let paths = matter.paths.len();
    let first = vec![0; paths];
    let mut picks = vec![first.clone()];
    for value in 1..VALUES_MAX {
        picks.push(vec![value; paths]);
        for path in 0..paths {
            let mut pick = first.clone();
            if let Some(chosen) = pick.get_mut(path) {
                *chosen = value;
            }
            picks.push(pick);
        }
    }
    picks.truncate(EXAMPLES_MAX);
    picks
        .iter()
        .filter_map(|pick| example(matter, stand, pick))
        .collect()
}

/// An example with the `pick`-th value at each path that has so many.
fn example(matter: &Matter<'_>, stand: &Stand, pick: &[usize]) -> Option<SampleCall> {
    let mut call = SampleCall {
        tool: matter.tool.to_owned(),
        arguments: Value::Object(Object::default()),
        server: "nas".to_owned(),
        grant: "ops-agent".to_owned(),
        session: "ops-agent/1".to_owned(),
        client_name: String::new(),
        client_version: String::new(),
        at: Micros(0),
    };
    let mut tree = Tree::default();
    let mut times: Vec<(&Asked<'_>, i64)> = Vec::new();
    for (place, asked) in matter.paths.iter().enumerate() {
        let pick = pick.get(place).copied().unwrap_or(0);
        let all = stand.all.get(place)?;
        if asked.has_each() {
            let mut needed = stand.needed(place);
            if needed.is_empty() {
                needed.push(all.clone());
            }
            let elements: Option<Vec<_>> = needed
                .iter()
                .map(|cells| choose(asked, cells, pick))
                .collect();
            tree.insert_each(&asked.path.steps, &elements?)?;
            continue;
        }
        let what = choose(asked, all, pick)?;
        let text = match what {
            What::Missing => None,
            What::Like(value) if asked.path.root == Root::Arguments => {
                tree.insert(&asked.path.steps, value, 0)?;
                continue;
            }
            What::Like(Value::Number(Number::Integer(number))) => {
                times.push((asked, *number));
                continue;
            }
            What::Like(Value::String(text)) => Some(text.clone().into_owned()),
            What::Like(_) | What::NoList | What::EmptyList | What::Unknown => return None,
        };
        let Some(text) = text else { continue };
        match asked.path.root {
            Root::Tool | Root::WireTool => call.tool = text,
            Root::Server => call.server = text,
            Root::Grant => call.grant = text,
            Root::Session => call.session = text,
            Root::ClientName => call.client_name = text,
            Root::ClientVersion => call.client_version = text,
            Root::Arguments | Root::Hour | Root::Weekday => return None,
        }
    }
    if !is_bare(&call.tool) {
        call.arguments = tree.value()?;
    }
    call.at = moment(&times)?;
    Some(call)
}

/// The `pick`-th of these cells that has an example; the last, if there are not so many.
fn choose<'m>(asked: &'m Asked<'_>, cells: &[bool], pick: usize) -> Option<&'m What> {
    let left = asked
        .cells
        .iter()
        .zip(cells)
        .filter(|(_, is_left)| **is_left);
    let known = left.map(|(cell, _)| &cell.what);
    let known: Vec<_> = known
        .filter(|what| !matches!(what, What::Unknown))
        .collect();
    known.get(pick).or(known.last()).copied()
}

/// A full hour at which every calendar shows what it should.
fn moment(times: &[(&Asked<'_>, i64)]) -> Option<Micros> {
    let hours = WEEKS
        .iter()
        .flat_map(|week| (0..168).map(move |hour| week + hour * 3_600));
    let shows = |asked: &Asked<'_>, at: Micros| {
        if asked.path.root == Root::Hour {
            asked.calendar.hour(at)
        } else {
            asked.calendar.weekday(at)
        }
    };
    hours.map(|seconds| Micros(seconds * 1_000_000)).find(|at| {
        times
            .iter()
            .all(|(asked, number)| shows(asked, *at) == *number)
    })
}

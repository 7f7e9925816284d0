//! The canonical document of a resolver: everything that resolution depends on, kept beside the policies.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use serde::{Deserialize, Serialize};

use super::alias::{Alias, Hatch};
use super::pointer::Pointer;
use super::spec::{AliasSpec, DispatchSpec, JsonSource, ResolverProblem, ResolverSpec, SourceSpec};
use super::{Dispatch, Resolver, STEPS_MAX, Step, UNMATCHED};
use crate::message::{is_name, is_reserved};
use crate::profile::{BodySource, Profile, ProfileSource};
use crate::strict::{DEPTH_MAX, VALUES_MAX};

/// The version of how resolution works.
const VERSION: &str = "1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    resolver: String,
    limits: Limits,
    dispatch: Vec<DispatchSpec>,
    alias: Vec<AliasSpec>,
    profile: Option<ProfileSource>,
}

/// The limits of reading; a message beyond them is malformed, so they decide too.
#[derive(Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Limits {
    depth: usize,
    values: usize,
    steps: usize,
}

const LIMITS: Limits = Limits {
    depth: DEPTH_MAX,
    values: VALUES_MAX,
    steps: STEPS_MAX,
};

impl Document {
    fn new(
        dispatch: Vec<DispatchSpec>,
        alias: Vec<AliasSpec>,
        profile: Option<ProfileSource>,
    ) -> Self {
        Self {
            resolver: VERSION.to_owned(),
            limits: LIMITS,
            dispatch,
            alias,
            profile,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        // Strings, lists and maps with string keys: none of them can fail to serialise.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

pub(super) fn plain() -> Vec<u8> {
    Document::new(Vec::new(), Vec::new(), None).bytes()
}

pub(super) fn compile(spec: &ResolverSpec) -> Result<Resolver, ResolverProblem> {
    let profile = match &spec.profile {
        None => None,
        Some(name) => Some(
            Profile::named(name).ok_or_else(|| ResolverProblem::UnknownProfile(name.clone()))?,
        ),
    };
    let source = profile.as_ref().map(|profile| profile.source().clone());
    let document = Document::new(spec.dispatch.clone(), spec.alias.clone(), source);
    assemble(&document, profile, document.bytes())
}

pub(super) fn load(json: &[u8]) -> Result<Resolver, ResolverProblem> {
    let document: Document = serde_json::from_slice(json)?;
    if document.resolver != VERSION || document.limits != LIMITS {
        return Err(ResolverProblem::Version);
    }
    let profile = document
        .profile
        .clone()
        .map(|source| Arc::new(Profile::compile(source)));
    assemble(&document, profile, json.to_vec())
}

fn assemble(
    document: &Document,
    profile: Option<Arc<Profile>>,
    bytes: Vec<u8>,
) -> Result<Resolver, ResolverProblem> {
    let mut steps: HashMap<String, Step, FixedState> = HashMap::with_hasher(FixedState::default());
    for spec in &document.dispatch {
        let step = Step::Dispatch(Dispatch::compile(spec)?);
        if steps.insert(spec.tool.clone(), step).is_some() {
            return Err(ResolverProblem::Declared(spec.tool.clone()));
        }
    }
    let source = document.profile.as_ref();
    // A dispatcher that the configuration declares itself is read as it says.
    if let Some(dispatch) = source.and_then(|source| source.dispatch.as_ref()) {
        let spec = DispatchSpec {
            tool: dispatch.tool.clone(),
            operation: dispatch.operation.clone(),
            arguments: dispatch.arguments.clone(),
        };
        let step = Step::Dispatch(Dispatch::compile(&spec)?);
        steps.entry(spec.tool).or_insert(step);
    }
    let mut hatches: BTreeMap<&str, Vec<Alias>> = BTreeMap::new();
    let profiled = source.map(profile_aliases).unwrap_or_default();
    for spec in document.alias.iter().chain(&profiled) {
        named(&spec.tool)?;
        named(&spec.operation)?;
        hatches
            .entry(&spec.tool)
            .or_default()
            .push(Alias::compile(spec)?);
    }
    for (tool, aliases) in hatches {
        let hatch = Step::Alias(Hatch::new(tool, aliases));
        if steps.insert(tool.to_owned(), hatch).is_some() {
            return Err(ResolverProblem::Declared(tool.to_owned()));
        }
    }
    Ok(Resolver::assemble(steps, profile, bytes))
}

impl Dispatch {
    fn compile(spec: &DispatchSpec) -> Result<Self, ResolverProblem> {
        named(&spec.tool)?;
        Ok(Self {
            via: format!("dispatch:{}", spec.tool),
            operation: pointer(&spec.tool, &spec.operation)?,
            arguments: pointer(&spec.tool, &spec.arguments)?,
        })
    }
}

fn named(name: &str) -> Result<(), ResolverProblem> {
    if is_name(name) && !is_reserved(name) && !name.ends_with(UNMATCHED) {
        return Ok(());
    }
    Err(ResolverProblem::Name(name.to_owned()))
}

pub(super) fn pointer(tool: &str, text: &str) -> Result<Pointer, ResolverProblem> {
    Pointer::parse(text).ok_or_else(|| ResolverProblem::Pointer {
        tool: tool.to_owned(),
        pointer: text.to_owned(),
    })
}

/// The aliases of a profile's hatch: one for each request that an operation makes.
fn profile_aliases(profile: &ProfileSource) -> Vec<AliasSpec> {
    let Some(hatch) = &profile.hatch else {
        return Vec::new();
    };
    let alias = |operation: &str, method: &str, path: &str, body: &BodySource| AliasSpec {
        tool: hatch.tool.clone(),
        pattern: [
            (hatch.method.clone(), method.to_owned()),
            (hatch.path.clone(), path.to_owned()),
        ]
        .into(),
        operation: operation.to_owned(),
        arguments: sources(path, &hatch.body, body),
        prefix: profile.prefix.clone(),
    };
    let operations = profile.operations.iter();
    let requests =
        operations.flat_map(|(name, o)| o.requests.iter().map(move |request| (name, request)));
    requests
        .map(|(name, request)| alias(name, &request.method, &request.path, &request.body))
        .collect()
}

/// Where the arguments of an operation come from: the body, and the places of the path.
fn sources(path: &str, pointer: &str, body: &BodySource) -> BTreeMap<String, SourceSpec> {
    let target = body
        .whole
        .as_ref()
        .map(|name| format!("/{name}"))
        .unwrap_or_default();
    let json = JsonSource {
        json: pointer.to_owned(),
        rename: body.rename.clone(),
        lift: body.lift.clone(),
    };
    let places = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let names = places.map(|place| place.split_once(':').map_or(place, |(name, _)| name));
    let mut sources: BTreeMap<_, _> = names
        .map(|name| (format!("/{name}"), SourceSpec::Text(format!("{{{name}}}"))))
        .collect();
    sources.insert(target, SourceSpec::Json(json));
    sources
}

//! Escape hatches: tools that can do what another one does, read as what they do.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::document::pointer;
use super::index::Index;
use super::path::{Captured, Captures, RequestPath, Template, prefix};
use super::pointer::Pointer;
use super::spec::{AliasSpec, JsonSource, ResolverProblem, SourceSpec};
use super::{Place, UNMATCHED};
use crate::profile::arguments_denied;
use crate::{Arguments, Decision, Number, Object, ReadingRole, Value};

/// Every alias of one tool, the most specific first.
#[derive(Debug)]
pub(super) struct Hatch {
    via: String,
    unmatched: String,
    aliases: Vec<Alias>,
    /// Where paths stand and what they may begin with, each once: a call's path is cut once, not once
    /// for every alias.
    paths: Vec<(Pointer, Vec<String>)>,
    index: Index,
}

/// One form of a hatch's call, and what it does.
#[derive(Debug)]
pub(super) struct Alias {
    exact: Vec<(Pointer, String)>,
    paths: Vec<(Pointer, Template)>,
    /// For each of `paths`, which of its hatch's paths it is compared with.
    places: Vec<usize>,
    prefix: Vec<String>,
    operation: String,
    arguments: Vec<(Target, Source)>,
}

/// The paths of one call, in the order of its hatch's `paths`; none where no text stands.
type CallPaths<'a> = SmallVec<[Option<RequestPath<'a>>; 1]>;

/// Where an argument goes.
#[derive(Debug)]
enum Target {
    Whole,
    Member(String),
}

/// Where it comes from.
#[derive(Debug)]
enum Source {
    Constant(String),
    Captured(String),
    Json {
        at: Pointer,
        rename: Vec<(String, String)>,
        lift: Vec<String>,
    },
}

/// How the tool that a hatch leads to is judged.
pub(super) fn role(tool: &str, hatch: &str) -> ReadingRole {
    if tool.strip_prefix(hatch) == Some(UNMATCHED) {
        ReadingRole::LiteralOnly
    } else {
        ReadingRole::Full
    }
}

impl Hatch {
    pub(super) fn new(tool: &str, mut aliases: Vec<Alias>) -> Self {
        aliases.sort_by_key(|alias| std::cmp::Reverse(alias.specificity()));
        let mut paths: Vec<(Pointer, Vec<String>)> = Vec::new();
        let mut index = Index::default();
        for (number, alias) in aliases.iter_mut().enumerate() {
            for (at, _) in &alias.paths {
                let path = (at.clone(), alias.prefix.clone());
                let known = paths.iter().position(|known| *known == path);
                alias.places.push(known.unwrap_or(paths.len()));
                if known.is_none() {
                    paths.push(path);
                }
            }
            let templates = alias.paths.iter().map(|(_, template)| template);
            let first = alias.places.iter().copied().zip(templates).next();
            index.add(number, first);
        }
        Self {
            via: format!("alias:{tool}"),
            unmatched: format!("{tool}{UNMATCHED}"),
            aliases,
            paths,
            index,
        }
    }

    pub(super) fn via(&self) -> &str {
        &self.via
    }

    /// What a call with these arguments does: an operation, or something unknown. A path that would be
    /// another one on its way is denied, whatever it matches.
    pub(super) fn next<'a>(&'a self, arguments: &'a Value<'a>) -> Result<Place<'a>, Decision> {
        let mut paths = CallPaths::new();
        for (at, prefix) in &self.paths {
            paths.push(match at.find(arguments) {
                Some(Value::String(text)) => Some(
                    RequestPath::parse(text, prefix)
                        .map_err(|_| self.refuse("the path holds what URL parsing would change"))?,
                ),
                _ => None,
            });
        }
        let candidates = self.index.candidates(&paths);
        let candidates = candidates.into_iter().filter_map(|n| self.aliases.get(n));
        let matching = first_match(candidates, arguments, &paths);
        if let Some((alias, captures)) = matching {
            let built = alias
                .build(arguments, &captures)
                .map_err(|what| self.refuse(what))?;
            return Ok(Place {
                tool: Cow::Borrowed(&alias.operation),
                arguments: Arguments::Built(Box::new(Value::Object(built))),
                role: ReadingRole::Full,
            });
        }
        Ok(Place {
            tool: Cow::Borrowed(&self.unmatched),
            arguments: Arguments::Message(arguments),
            role: ReadingRole::LiteralOnly,
        })
    }

    fn refuse(&self, what: &str) -> Decision {
        arguments_denied(&format!(
            "`{}`: {what}",
            self.unmatched.trim_end_matches(UNMATCHED)
        ))
    }
}

/// The first of `aliases` whose form the call has, and what stood in the places of its path.
fn first_match<'a>(
    mut aliases: impl Iterator<Item = &'a Alias>,
    arguments: &'a Value<'a>,
    paths: &CallPaths<'a>,
) -> Option<(&'a Alias, Captures<'a, 'a>)> {
    aliases.find_map(|alias| Some((alias, alias.captures(arguments, paths)?)))
}

impl Alias {
    pub(super) fn compile(spec: &AliasSpec) -> Result<Self, ResolverProblem> {
        let tool = || spec.tool.clone();
        if spec.pattern.is_empty() {
            return Err(ResolverProblem::Pattern(tool()));
        }
        let mut alias = Self {
            exact: Vec::new(),
            paths: Vec::new(),
            places: Vec::new(),
            prefix: prefix(&spec.prefix),
            operation: spec.operation.clone(),
            arguments: Vec::new(),
        };
        for (at, text) in &spec.pattern {
            let at = pointer(&spec.tool, at)?;
            if !text.starts_with('/') {
                alias.exact.push((at, text.clone()));
                continue;
            }
            let template = Template::parse(text).ok_or_else(|| ResolverProblem::Template {
                tool: tool(),
                template: text.clone(),
            })?;
            alias.paths.push((at, template));
        }
        for (at, source) in &spec.arguments {
            let target = pointer(&spec.tool, at)?;
            let target = match target.member() {
                _ if target.is_root() => Target::Whole,
                Some(name) => Target::Member(name.to_owned()),
                None => {
                    return Err(ResolverProblem::Target {
                        tool: tool(),
                        pointer: at.clone(),
                    });
                }
            };
            alias
                .arguments
                .push((target, alias.source(&spec.tool, source)?));
        }
        Ok(alias)
    }

    fn source(&self, tool: &str, spec: &SourceSpec) -> Result<Source, ResolverProblem> {
        match spec {
            SourceSpec::Json(JsonSource { json, rename, lift }) => Ok(Source::Json {
                at: pointer(tool, json)?,
                rename: rename.clone().into_iter().collect(),
                lift: lift.clone(),
            }),
            SourceSpec::Text(text) => {
                match text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
                    None => Ok(Source::Constant(text.clone())),
                    Some(place) if self.has_place(place) => Ok(Source::Captured(place.to_owned())),
                    Some(place) => Err(ResolverProblem::Place {
                        tool: tool.to_owned(),
                        place: place.to_owned(),
                    }),
                }
            }
        }
    }

    fn has_place(&self, place: &str) -> bool {
        self.paths
            .iter()
            .any(|(_, template)| template.names().any(|name| name == place))
    }

    /// What stood in the places of the alias's path, if the call has its form.
    fn captures<'a>(
        &'a self,
        arguments: &'a Value<'a>,
        paths: &CallPaths<'a>,
    ) -> Option<Captures<'a, 'a>> {
        let mut captures = Captures::new();
        for ((_, template), place) in self.paths.iter().zip(&self.places) {
            captures.extend(template.captures(paths.get(*place)?.as_ref()?)?);
        }
        let exact = self.exact.iter().all(
            |(at, exact)| matches!(at.find(arguments), Some(Value::String(text)) if text == exact),
        );
        exact.then_some(captures)
    }

    /// Of two aliases that match, the one that fixes more is meant.
    fn specificity(&self) -> usize {
        let fixed = self.paths.iter().map(|(_, template)| template.fixed());
        self.exact.len() + fixed.sum::<usize>()
    }

    /// The arguments of what is done.
    fn build<'a>(
        &'a self,
        arguments: &'a Value<'a>,
        captures: &Captures<'a, 'a>,
    ) -> Result<Object<'a>, &'static str> {
        let mut built = Object::default();
        for (target, source) in &self.arguments {
            let Some(value) = source.value(arguments, captures)? else {
                continue;
            };
            match (target, value) {
                (Target::Member(name), value) => built.0.push((Cow::Borrowed(name), value)),
                (Target::Whole, Value::Object(object)) => built.0.extend(object.0),
                (Target::Whole, _) => return Err("the body must be an object"),
            }
        }
        unambiguous(built)
    }
}

impl Source {
    fn value<'a>(
        &'a self,
        arguments: &'a Value<'a>,
        captures: &Captures<'a, 'a>,
    ) -> Result<Option<Value<'a>>, &'static str> {
        match self {
            Self::Constant(text) => Ok(Some(Value::String(Cow::Borrowed(text)))),
            Self::Captured(place) => {
                let capture = captures.iter().find(|(name, _)| name == place);
                Ok(capture.map(|(_, captured)| match captured {
                    Captured::Integer(integer) => Value::Number(Number::Integer(*integer)),
                    Captured::Text(text) => Value::String(Cow::Borrowed(text)),
                }))
            }
            Self::Json { at, rename, lift } => {
                let value = match at.find(arguments) {
                    None | Some(Value::Null) => return Ok(None),
                    Some(Value::String(text)) => {
                        Value::parse(text).map_err(|_| "the body is not strict JSON")?
                    }
                    Some(_) => return Err("the body must be a string that holds JSON"),
                };
                if let Value::Object(object) = value {
                    return reshape(object, rename, lift).map(Value::Object).map(Some);
                }
                Ok(Some(value))
            }
        }
    }
}

/// The members of `object` under the names that the operation gives them.
fn reshape<'a>(
    object: Object<'a>,
    rename: &'a [(String, String)],
    lift: &[String],
) -> Result<Object<'a>, &'static str> {
    if rename.is_empty() && lift.is_empty() {
        return Ok(object);
    }
    let mut shaped = Object::default();
    for (key, value) in object.0 {
        let lifted = lift.iter().any(|name| *name == key);
        match value {
            Value::Object(inner) if lifted => shaped.0.extend(inner.0),
            value @ (Value::Object(_)
            | Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_)) => {
                let renamed = rename.iter().find(|(from, _)| *from == key);
                let name = renamed.map_or(key, |(_, to)| Cow::Borrowed(to));
                shaped.0.push((name, value));
            }
        }
    }
    unambiguous(shaped)
}

/// Two sources for one argument could be read in two ways.
fn unambiguous(object: Object<'_>) -> Result<Object<'_>, &'static str> {
    if object.has_duplicate() {
        return Err("an argument is given twice");
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Every path of up to three segments out of `parts`.
    fn paths(parts: &[&str]) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut longest = all.clone();
        for _ in 0..3 {
            let longer = |path: &String| {
                let path = path.clone();
                parts.iter().map(move |part| format!("{path}/{part}"))
            };
            longest = longest.iter().flat_map(longer).collect();
            all.extend_from_slice(&longest);
        }
        all.retain(|path| !path.is_empty());
        all
    }

    fn alias(method: &str, path: Option<(&str, &str)>, prefix: &str) -> Option<Alias> {
        let mut pattern = vec![("/m".to_owned(), method.to_owned())];
        pattern.extend(path.map(|(at, path)| (at.to_owned(), path.to_owned())));
        let name = path.map_or("none", |(_, path)| path);
        Alias::compile(&AliasSpec {
            tool: "hatch".to_owned(),
            pattern: pattern.into_iter().collect(),
            operation: format!("{method} {name} {prefix}"),
            arguments: [].into(),
            prefix: prefix.to_owned(),
        })
        .ok()
    }

    #[test]
    fn the_index_chooses_as_trying_every_alias_does() {
        let mut aliases = Vec::new();
        for (n, path) in paths(&["a", "b", "{x}", "{y:integer}"]).iter().enumerate() {
            let method = if n % 3 == 0 { "PUT" } else { "GET" };
            let at = if n % 7 == 0 { "/q" } else { "/p" };
            let prefix = if n % 5 == 0 { "/a" } else { "/api" };
            aliases.extend(alias(method, Some((at, path)), prefix));
        }
        aliases.extend(alias("PUT", None, "/api"));
        let hatch = Hatch::new("hatch", aliases);
        let mut matched = 0;
        for method in ["GET", "PUT", "POST"] {
            for path in paths(&["a", "b", "7", "api"]) {
                for at in ["p", "q"] {
                    let text = format!(r#"{{"m": "{method}", "{at}": "{path}"}}"#);
                    let arguments = Value::parse(&text).unwrap();
                    let cut = |(at, prefix): &(Pointer, Vec<String>)| match at.find(&arguments) {
                        Some(Value::String(text)) => RequestPath::parse(text, prefix).ok(),
                        _ => None,
                    };
                    let cut: CallPaths<'_> = hatch.paths.iter().map(cut).collect();
                    let tried = first_match(hatch.aliases.iter(), &arguments, &cut);
                    let expected = tried.map_or("hatch:unmatched", |(alias, _)| &alias.operation);
                    assert_eq!(hatch.next(&arguments).unwrap().tool, expected, "{text}");
                    matched += usize::from(expected != "hatch:unmatched");
                }
            }
        }
        assert!(matched > 200, "{matched}");
    }
}

//! What a configuration says about reading a server's calls.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How the calls of one server are to be read: the `dispatch`, `alias` and `profile` of `[[server]]`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolverSpec {
    /// Tools that take the real operation as an argument.
    #[serde(default)]
    pub dispatch: Vec<DispatchSpec>,
    /// Tools that can do what another one does.
    #[serde(default)]
    pub alias: Vec<AliasSpec>,
    /// The kind of server, where it is a known one; brings its own dispatcher and aliases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
}

/// `tool{operation: X, arguments: P}` is `X(P)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DispatchSpec {
    /// The wire tool.
    pub tool: String,
    /// JSON pointer to the operation's name.
    pub operation: String,
    /// JSON pointer to its arguments.
    pub arguments: String,
}

/// A call of `tool` that matches does what `operation` does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasSpec {
    /// The escape hatch.
    pub tool: String,
    /// JSON pointer → what must stand there: a text exactly, or, from `/` on, a path with places in
    /// braces, `{id}` for a segment and `{id:integer}` for an integer.
    #[serde(rename = "match")]
    pub pattern: BTreeMap<String, String>,
    /// What it does.
    #[serde(rename = "as")]
    pub operation: String,
    /// Where the arguments come from: JSON pointer (the whole, or one member) → source.
    #[serde(default)]
    pub arguments: BTreeMap<String, SourceSpec>,
    /// What paths may begin with and what is dropped then.
    #[serde(default = "api_prefix")]
    pub prefix: String,
}

fn api_prefix() -> String {
    "/api/v2.0".to_owned()
}

/// Where an argument comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SourceSpec {
    /// `{id}`: what stood in that place of the path; any other text: itself.
    Text(String),
    /// JSON inside a string.
    Json(JsonSource),
}

/// JSON inside a string argument, read as strictly as a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonSource {
    /// JSON pointer to the string.
    pub json: String,
    /// Members that have another name as an argument.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rename: BTreeMap<String, String>,
    /// Members that are objects whose own members are the arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lift: Vec<String>,
}

/// Why a configuration or a kept document does not say how calls are to be read.
#[derive(Debug, thiserror::Error)]
pub enum ResolverProblem {
    /// No such profile.
    #[error("unknown profile `{0}`: did you mean `truenas`?")]
    UnknownProfile(String),
    /// A pointer that is none.
    #[error("`{tool}`: `{pointer}` is no JSON pointer: it must be empty or begin with `/`")]
    Pointer {
        /// The tool whose entry it is.
        tool: String,
        /// The text.
        pointer: String,
    },
    /// A path template that is none.
    #[error(
        "`{tool}`: `{template}` is no path template: a place is a whole segment, `{{id}}` or `{{id:integer}}`"
    )]
    Template {
        /// The tool whose entry it is.
        tool: String,
        /// The text.
        template: String,
    },
    /// A source names a place that the path does not have.
    #[error("`{tool}`: the path has no place `{place}`")]
    Place {
        /// The tool whose entry it is.
        tool: String,
        /// The place's name.
        place: String,
    },
    /// An argument is to go deeper than one member.
    #[error(
        "`{tool}`: `{pointer}` is no place for an argument: the whole (empty) or one member (`/name`)"
    )]
    Target {
        /// The tool whose entry it is.
        tool: String,
        /// The text.
        pointer: String,
    },
    /// A name that no tool can have.
    #[error("`{0}` is no tool's name")]
    Name(String),
    /// One tool is declared twice, or as dispatcher and alias.
    #[error("`{0}` is declared more than once, or both as a dispatcher and as an alias")]
    Declared(String),
    /// An alias without a pattern would match everything.
    #[error("`{0}`: an alias needs something to match")]
    Pattern(String),
    /// A kept document that cannot be read.
    #[error("the resolver document cannot be read: {0}")]
    Document(#[from] serde_json::Error),
    /// A kept document of another version, or made with other limits.
    #[error("the resolver document was made by another version of resolution")]
    Version,
}

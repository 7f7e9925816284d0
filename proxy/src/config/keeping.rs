//! What the record keeps: `redact…` of `[record]` and of each server, `audit`, and how long results may be.

use weir_policy::Redaction;

use super::section::{Found, Section};
use crate::keeping::{Audit, AuditLevel, Keeping};

/// What `[record]` says for all servers.
#[derive(Debug, Clone)]
pub(super) struct Secrets {
    arguments: Vec<String>,
    results: Vec<String>,
    keys: Vec<String>,
    inline_bytes_max: usize,
    bytes_max: usize,
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            arguments: Vec::new(),
            results: Vec::new(),
            keys: usual_keys(),
            inline_bytes_max: 16 << 10,
            bytes_max: 32 << 20,
        }
    }
}

fn usual_keys() -> Vec<String> {
    let keys = Redaction::secret_keys().iter();
    keys.map(|key| (*key).to_owned()).collect()
}

/// Reads what `[record]` says for all servers.
pub(super) fn read_secrets(section: &Section<'_, '_>) -> Secrets {
    let mut secrets = Secrets::default();
    if section.flag("redact_usual_keys") == Some(false) {
        secrets.keys.clear();
    }
    add(section, &mut secrets);
    if let Some(results) = section.table("results") {
        let bytes =
            |key, most, default: usize| results.number(key, 0..most, default as u64) as usize;
        secrets.inline_bytes_max = bytes("inline_bytes_max", 1 << 20, secrets.inline_bytes_max);
        secrets.bytes_max = bytes("bytes_max", 1 << 30, secrets.bytes_max);
        results.finish();
    }
    secrets
}

/// Reads what a server says, on top of what holds for all.
pub(super) fn read_keeping(section: &Section<'_, '_>, common: &Secrets) -> Keeping {
    let mut secrets = common.clone();
    add(section, &mut secrets);
    // What is wrong with a pointer or a name was told where it stands.
    let compile =
        |pointers: &[String]| Redaction::compile(pointers, &secrets.keys).unwrap_or_default();
    Keeping {
        audit: read_audit(section),
        arguments: compile(&secrets.arguments),
        results: compile(&secrets.results),
        inline_bytes_max: secrets.inline_bytes_max,
        bytes_max: secrets.bytes_max,
    }
}

/// Adds the lists of one section, each entry checked by itself.
fn add(section: &Section<'_, '_>, secrets: &mut Secrets) {
    const NONE: [&str; 0] = [];
    let checked = |found: Vec<Found<&str>>, check: &dyn Fn(&str) -> Result<Redaction, _>| {
        let mut fine = Vec::new();
        for found in found {
            match check(found.value) {
                Ok(_) => fine.push(found.value.to_owned()),
                Err(problem) => {
                    let problem: weir_policy::RedactionProblem = problem;
                    section
                        .source
                        .problem(&found.span, problem.to_string(), None);
                }
            }
        }
        fine
    };
    let pointer = |text: &str| Redaction::compile([text], NONE);
    let key = |text: &str| Redaction::compile(NONE, [text]);
    secrets
        .arguments
        .extend(checked(section.strings("redact"), &pointer));
    secrets
        .results
        .extend(checked(section.strings("redact_results"), &pointer));
    secrets
        .keys
        .extend(checked(section.strings("redact_keys"), &key));
}

/// `audit = "request"`, or a table of tool names and globs.
fn read_audit(section: &Section<'_, '_>) -> Audit {
    let usual = Audit::of(AuditLevel::Request);
    let Some(found) = section.raw("audit") else {
        return usual;
    };
    let problem = |span: std::ops::Range<usize>, message: String| {
        let hint =
            "\"metadata\" (no arguments, no results), \"request\" (arguments) or \"result\" (both)";
        section
            .source
            .problem(&span, message, Some(hint.to_owned()));
    };
    let level = |value: &toml::Spanned<toml::de::DeValue<'_>>| {
        let level = value.get_ref().as_str().and_then(AuditLevel::parse);
        if level.is_none() {
            problem(value.span(), "not an audit level".to_owned());
        }
        level
    };
    let Some(table) = found.get_ref().as_table() else {
        return level(found).map_or(usual, Audit::of);
    };
    let levels: Vec<_> = table
        .iter()
        .filter_map(|(tool, value)| Some((tool.get_ref().to_string(), level(value)?)))
        .collect();
    Audit::by_tool(levels).unwrap_or_else(|what| {
        problem(
            found.span(),
            format!("a tool of `audit` is no glob: {what}"),
        );
        usual
    })
}

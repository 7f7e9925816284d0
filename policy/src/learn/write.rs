//! What was learned, as a document and as reasons.

use crate::Micros;
use crate::glob::Glob;
use crate::key::escape;
use crate::operand::quoted;

use super::seen::{Seen, Shape};
use super::{Learned, Learning, Margin, Tool};

pub(super) fn write(learning: &Learning, about: &str) -> Learned {
    let mut evidence = Vec::new();
    let tools = learning.tools.iter();
    let tools = tools.map(|(name, tool)| {
        if learning.dispatchers.contains(name) {
            return bare(name, tool, &mut evidence);
        }
        entry(name, tool, learning.margin, &mut evidence)
    });
    let tools: Vec<String> = tools.collect();
    let document = format!(
        "{{\n  \"version\": \"1\",\n  \"description\": {},\n  \"default\": \"deny\",\n  \"tools\": {{\n{}\n  }}\n}}\n",
        quoted(about),
        tools.join(",\n")
    );
    Learned { document, evidence }
}

/// A tool without rules.
fn bare(name: &str, tool: &Tool, evidence: &mut Vec<(String, String)>) -> String {
    let key = key_of(name);
    let about = about(tool);
    evidence.push((format!("/tools/{}", escape(&key)), about.clone()));
    format!(
        "    {}: {{\n      \"description\": {}\n    }}",
        quoted(&key),
        quoted(&about)
    )
}

fn about(tool: &Tool) -> String {
    format!(
        "{} from {} to {}",
        calls(tool.calls),
        day(tool.first),
        day(tool.last)
    )
}

/// The rules of one tool as they are found.
struct Entry<'a> {
    base: String,
    require: Vec<String>,
    deny_if: Vec<String>,
    limits: Vec<String>,
    evidence: &'a mut Vec<(String, String)>,
}

fn entry(name: &str, tool: &Tool, margin: Margin, evidence: &mut Vec<(String, String)>) -> String {
    let key = key_of(name);
    let mut entry = Entry {
        base: format!("/tools/{}", escape(&key)),
        require: Vec::new(),
        deny_if: Vec::new(),
        limits: Vec::new(),
        evidence,
    };
    let about = about(tool);
    entry.evidence.push((entry.base.clone(), about.clone()));
    for (path, seen) in &tool.paths {
        let shape = seen.shape(margin);
        if is_required(tool, path, seen) {
            entry.required(path, seen, &shape);
        } else {
            entry.optional(tool, path, seen, &shape);
        }
    }
    for parameter in &tool.parameters {
        let path = super::member("args", parameter);
        if !tool.paths.contains_key(&path) {
            entry.unused(&path, tool.calls);
        }
    }
    if tool.has_more {
        let why = "some arguments lie deeper or are more than were looked at: no rule holds them";
        entry.evidence.push((entry.base.clone(), why.to_owned()));
    }
    if tool.is_effective {
        entry.limit(name, "minute", tool.minutes, margin);
        entry.limit(name, "hour", tool.hours, margin);
    }
    let mut members = vec![format!("      \"description\": {}", quoted(&about))];
    for (key, list) in [
        ("require", &entry.require),
        ("deny_if", &entry.deny_if),
        ("limits", &entry.limits),
    ] {
        if !list.is_empty() {
            members.push(format!(
                "      \"{key}\": [\n        {}\n      ]",
                list.join(",\n        ")
            ));
        }
    }
    format!("    {}: {{\n{}\n    }}", quoted(&key), members.join(",\n"))
}

/// The key that stands for this very name: what would make it a glob is escaped.
fn key_of(name: &str) -> String {
    if !Glob::is_glob(name) {
        return name.to_owned();
    }
    let mut key = String::new();
    for c in name.chars() {
        if "*?[]{},\\".contains(c) {
            key.push('\\');
        }
        key.push(c);
    }
    key
}

/// Whether something stood there in every call. Of elements and what is in them nobody can say: an array may be empty.
fn is_required(tool: &Tool, path: &str, seen: &Seen) -> bool {
    seen.calls == tool.calls && !path.contains(".*")
}

impl Entry<'_> {
    /// What must be there, and be so.
    fn required(&mut self, path: &str, seen: &Seen, shape: &Shape) {
        let why = reason(seen, shape);
        let at = quoted(path);
        let condition = |op: &str, value: &str| {
            format!("{{\"path\": {at}, \"op\": \"{op}\", \"value\": {value}}}")
        };
        let (op, conditions) = match shape {
            Shape::OneOf(values) => ("in", condition("in", &format!("[{}]", values.join(", ")))),
            Shape::Range(kind, low, high) => (
                "type",
                [
                    condition("type", &format!("\"{kind}\"")),
                    condition("gte", low),
                    condition("lte", high),
                ]
                .join(", "),
            ),
            Shape::Like(regex) => ("regex", condition("regex", &quoted(regex))),
            Shape::Type(kind) => ("type", condition("type", &format!("\"{kind}\""))),
            Shape::Anything => {
                let rule = format!("{}/require/{}-exists", self.base, escape(path));
                self.evidence.push((rule, why));
                self.require.push(format!(
                    "{{\"conditions\": [{}]}}",
                    condition("exists", "true")
                ));
                return;
            }
        };
        let rule = format!("{}/require/{}-{op}", self.base, escape(path));
        self.evidence.push((rule, why));
        let told = quoted(&format!("{path} is not as usual."));
        self.require.push(format!(
            "{{\"conditions\": [{conditions}], \"on_deny\": {told}}}"
        ));
    }

    /// What may be missing, but if it is there, must be so: denied is what is otherwise, and what has another type.
    fn optional(&mut self, tool: &Tool, path: &str, seen: &Seen, shape: &Shape) {
        let why = format!(
            "in {} of {}; {}",
            seen.calls,
            calls(tool.calls),
            reason(seen, shape)
        );
        let mut deny = |op: &str, value: String| {
            let rule = format!("{}/deny_if/{}-{op}", self.base, escape(path));
            self.evidence.push((rule, why.clone()));
            let told = quoted(&format!("{path} is not as usual."));
            self.deny_if.push(format!(
                "{{\"conditions\": [{{\"path\": {}, \"op\": \"{op}\", \"value\": {value}}}], \"on_deny\": {told}}}",
                quoted(path)
            ));
        };
        match shape {
            Shape::OneOf(values) => deny("not_in", format!("[{}]", values.join(", "))),
            Shape::Range(_, low, high) => {
                deny("lt", low.clone());
                deny("gt", high.clone());
            }
            // no text comes before the empty one, and nothing else compares with a text
            Shape::Like(_) | Shape::Type("string") => deny("lt", "\"\"".to_owned()),
            Shape::Type(_) | Shape::Anything => {
                let rule = self.base.clone();
                self.evidence
                    .push((rule, format!("{path}: {why}; no rule can hold it")));
            }
        }
    }

    /// A parameter that the server has and no call used.
    fn unused(&mut self, path: &str, count: u64) {
        let rule = format!("{}/deny_if/{}-exists", self.base, escape(path));
        self.evidence.push((
            rule,
            format!("the server knows it, and none of {} used it", calls(count)),
        ));
        let told = quoted(&format!("{path} is not as usual."));
        self.deny_if.push(format!(
            "{{\"conditions\": [{{\"path\": {}, \"op\": \"exists\", \"value\": true}}], \"on_deny\": {told}}}",
            quoted(path)
        ));
    }

    fn limit(&mut self, name: &str, window: &str, peak: super::Peak, margin: Margin) {
        let max = margin.over(peak.most);
        let counter = format!("{name}_{window}");
        let rule = format!("{}/limits/{}", self.base, escape(&counter));
        let why = format!(
            "at most {} in one {window}, the one from {}; {} with the margin",
            calls(peak.most),
            time(Micros(peak.at)),
            max
        );
        self.evidence.push((rule, why));
        self.limits.push(format!(
            "{{\"counter\": {}, \"window\": \"{window}\", \"max\": {max}, \"scope\": \"grant\"}}",
            quoted(&counter)
        ));
    }
}

fn reason(seen: &Seen, shape: &Shape) -> String {
    let redacted = if seen.is_redacted {
        "; its values were redacted"
    } else {
        ""
    };
    let values = format!("{} values", seen.values);
    let what = match shape {
        Shape::OneOf(list) => format!("{values}, all of them among {}", list.len()),
        Shape::Range(kind, ..) => format!("{values}, of type {kind}, in this range and a margin"),
        Shape::Like(_) => format!("{values}, of these letters, this long and a margin"),
        Shape::Type(kind) => format!("{values}, all of type {kind}"),
        Shape::Anything => format!("{values} of several types"),
    };
    format!("{what}{redacted}")
}

fn calls(count: u64) -> String {
    if count == 1 {
        "1 call".to_owned()
    } else {
        format!("{count} calls")
    }
}

fn day(at: Option<Micros>) -> String {
    at.map_or_else(|| "–".to_owned(), time)
}

/// A moment in UTC, to the second.
fn time(at: Micros) -> String {
    jiff::Timestamp::from_second(at.0.div_euclid(1_000_000))
        .map_or_else(|_| at.0.to_string(), |moment| moment.to_string())
}

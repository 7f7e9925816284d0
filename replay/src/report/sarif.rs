//! The report for code scanning: one result for each rule that would change what happened, at its place in the candidate's file.
//!
//! SARIF tells of places in files that are under review. A candidate is such a file and its rules are such places; single calls are not,
//! and so they are only counted here.

use serde_json::{Value, json};

use super::{Candidate, Changes, Report};
use crate::measure::grouped;

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

impl Report {
    /// The report as SARIF 2.1.0, ending in a line feed.
    pub fn sarif(&self) -> String {
        let place = self.candidate.as_ref().or(self.assigned.values().next());
        let rules: Vec<Value> = self
            .by_rule
            .keys()
            .map(|rule| json!({"id": rule, "shortDescription": {"text": rule}}))
            .collect();
        let results: Vec<Value> = self
            .by_rule
            .iter()
            .map(|(rule, changes)| self.result(rule, changes, place))
            .collect();
        let sarif = json!({
            "$schema": SCHEMA,
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {
                    "name": "weir replay",
                    "version": env!("CARGO_PKG_VERSION"),
                    "rules": rules,
                }},
                "results": results,
                "properties": {
                    "answer": self.sentence(),
                    "evidence": self.verified(),
                    "result_digest": self.result_digest,
                },
            }],
        });
        let mut text = serde_json::to_string_pretty(&sarif).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The text of a candidate.
    fn document(&self, digest: &str) -> Option<&str> {
        let documents = self.replaced.iter().map(|replaced| &replaced.by);
        let mut found = documents.filter(|document| document.digest == digest);
        found.next().map(|document| document.text.as_str())
    }

    fn result(&self, rule: &str, changes: &Changes, place: Option<&Candidate>) -> Value {
        let kinds = [
            (changes.newly_denied, "newly denied"),
            (changes.newly_held, "newly held for a person"),
            (changes.newly_allowed, "newly allowed"),
        ];
        let kinds = kinds.iter().filter(|(count, _)| *count > 0);
        let kinds: Vec<_> = kinds
            .map(|(count, what)| format!("{} {what}", grouped(*count)))
            .collect();
        let text = format!(
            "{}: of {} calls on record {} would have been",
            rule,
            grouped(self.record.calls),
            kinds.join(", ")
        );
        let mut result = json!({
            "ruleId": rule,
            "level": "warning",
            "message": {"text": text},
            "partialFingerprints": {"rule/v1": rule},
        });
        if let (Some(place), Some(members)) = (place, result.as_object_mut()) {
            let document = self.document(&place.digest);
            let line = document.map_or(1, |document| line_of(rule, document));
            members.insert(
                "locations".into(),
                json!([{"physicalLocation": {
                    "artifactLocation": {"uri": uri(&place.path)},
                    "region": {"startLine": line},
                }}]),
            );
        }
        result
    }
}

/// The line on which the tool of a rule stands as a key in a policy document; the first if it does not.
fn line_of(rule: &str, document: &str) -> usize {
    let mut segments = rule.split('/').skip(1);
    let name = match segments.next() {
        Some("tools") => segments.next(),
        found => found,
    };
    let name = name
        .unwrap_or_default()
        .replace("~1", "/")
        .replace("~0", "~");
    let key = serde_json::to_string(&name).unwrap_or_default();
    let lines = document.lines().zip(1..);
    let mut keys = lines.filter(|(line, _)| {
        let behind = line.split_once(key.as_str()).map(|(_, behind)| behind);
        behind.is_some_and(|behind| behind.trim_start().starts_with(':'))
    });
    keys.next().map_or(1, |(_, line)| line)
}

/// A path as a relative reference: what cannot stand in one is written in percent.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push('%');
            uri.push_str(&hex::encode_upper([byte]));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::{line_of, uri};

    #[test]
    fn a_rule_is_found_where_its_tool_stands_as_a_key() {
        let document = "{\"version\": \"1\",\n \"description\": \"vm_stop\",\n \"tools\": {\n  \"vm_stop\" : {}}}";
        assert_eq!(line_of("/tools/vm_stop/limits/x", document), 4);
        assert_eq!(line_of("(default deny)", document), 1);
        assert_eq!(line_of("/tools/none/limits/x", document), 1);
    }

    #[test]
    fn a_path_becomes_a_reference() {
        assert_eq!(uri("policies/a b#1.json"), "policies/a%20b%231.json");
    }
}

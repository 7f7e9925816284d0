//! The report for machines: stable keys in a fixed order, lists sorted by name.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::{Candidate, Changes, Flip, Report};
use crate::options::moment;
use crate::{Classes, Verify};

impl Report {
    /// The report as one JSON document (DESIGN 7), ending in a line feed.
    pub fn to_json(&self) -> String {
        // Nothing in the document can fail to serialize: it holds strings, numbers and raw values.
        let mut text = serde_json::to_string_pretty(&Document::of(self)).unwrap_or_default();
        text.push('\n');
        text
    }
}

#[derive(Serialize)]
struct Document<'a> {
    candidate: Option<Named<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    assigned: Vec<Assigned<'a>>,
    record: Record<'a>,
    policies_in_force: usize,
    classes: &'a Classes,
    coverage: f64,
    by_tool: Vec<ByTool<'a>>,
    by_rule: Vec<ByRule<'a>>,
    by_grant: Vec<ByGrant<'a>>,
    not_replayable: &'a BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    in_doubt: &'a BTreeMap<String, u64>,
    flips_outside: u64,
    flips: Vec<FlipLine<'a>>,
    drifts: Vec<DriftLine<'a>>,
    result_digest: &'a str,
}

impl<'a> Document<'a> {
    fn of(report: &'a Report) -> Self {
        Self {
            candidate: report.candidate.as_ref().map(Named::of),
            assigned: report
                .assigned
                .iter()
                .map(|(grant, candidate)| Assigned {
                    grant,
                    candidate: Named::of(candidate),
                })
                .collect(),
            record: Record {
                calls: report.record.calls,
                from: report.record.from.map(moment),
                to: report.record.to.map(moment),
                verified: report.record.verified != Verify::Nothing,
                verified_by: report.record.verified.as_str(),
                complete_from: report.record.complete_from.map(moment),
            },
            policies_in_force: report.policies_in_force,
            classes: &report.classes,
            coverage: report.classes.coverage(),
            by_tool: report
                .by_tool
                .iter()
                .map(|(tool, c)| ByTool {
                    tool,
                    changes: Calls::of(c),
                })
                .collect(),
            by_rule: report
                .by_rule
                .iter()
                .map(|(rule, c)| ByRule {
                    rule,
                    changes: Flips::of(c),
                })
                .collect(),
            by_grant: report
                .by_grant
                .iter()
                .map(|(grant, c)| ByGrant {
                    grant,
                    changes: Calls::of(c),
                })
                .collect(),
            not_replayable: &report.not_replayable,
            in_doubt: &report.in_doubt,
            flips_outside: report.flips_outside,
            flips: report.flips.iter().map(FlipLine::of).collect(),
            drifts: report
                .drifts
                .iter()
                .map(|drift| DriftLine {
                    node: &drift.node,
                    seq: drift.seq,
                    tool: &drift.tool,
                    was: Was {
                        verdict: &drift.was_verdict,
                        rule: &drift.was_rule,
                    },
                    now: Was {
                        verdict: &drift.now_verdict,
                        rule: &drift.now_rule,
                    },
                })
                .collect(),
            result_digest: &report.result_digest,
        }
    }
}

#[derive(Serialize)]
struct Named<'a> {
    path: &'a str,
    digest: &'a str,
}

impl<'a> Named<'a> {
    fn of(candidate: &'a Candidate) -> Self {
        Self {
            path: &candidate.path,
            digest: &candidate.digest,
        }
    }
}

#[derive(Serialize)]
struct Assigned<'a> {
    grant: &'a str,
    #[serde(flatten)]
    candidate: Named<'a>,
}

#[derive(Serialize)]
struct Record<'a> {
    calls: u64,
    from: Option<String>,
    to: Option<String>,
    verified: bool,
    verified_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete_from: Option<String>,
}

impl Serialize for Classes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (class, count) in self.iter() {
            map.serialize_entry(class.as_str(), &count)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Calls {
    calls: u64,
    #[serde(flatten)]
    flips: Flips,
}

impl Calls {
    fn of(changes: &Changes) -> Self {
        Self {
            calls: changes.calls,
            flips: Flips::of(changes),
        }
    }
}

#[derive(Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the fields are the keys of the document"
)]
struct Flips {
    newly_denied: u64,
    newly_allowed: u64,
    newly_held: u64,
}

impl Flips {
    fn of(changes: &Changes) -> Self {
        Self {
            newly_denied: changes.newly_denied,
            newly_allowed: changes.newly_allowed,
            newly_held: changes.newly_held,
        }
    }
}

#[derive(Serialize)]
struct ByTool<'a> {
    tool: &'a str,
    #[serde(flatten)]
    changes: Calls,
}

#[derive(Serialize)]
struct ByRule<'a> {
    rule: &'a str,
    #[serde(flatten)]
    changes: Flips,
}

#[derive(Serialize)]
struct ByGrant<'a> {
    grant: &'a str,
    #[serde(flatten)]
    changes: Calls,
}

#[derive(Serialize)]
struct FlipLine<'a> {
    node: &'a str,
    seq: i64,
    call_id: String,
    decided_at: String,
    grant: &'a str,
    session: &'a str,
    tool: &'a str,
    arguments: Recorded<'a>,
    class: &'a str,
    was: Was<'a>,
    would_be: WouldBe<'a>,
    after_divergence: bool,
}

impl<'a> FlipLine<'a> {
    fn of(flip: &'a Flip) -> Self {
        Self {
            node: &flip.node,
            seq: flip.seq,
            call_id: uuid_text(&flip.call_id),
            decided_at: moment(flip.decided_at),
            grant: &flip.grant,
            session: &flip.session,
            tool: &flip.tool,
            arguments: Recorded::of(flip.arguments.as_deref()),
            class: flip.class.as_str(),
            was: Was {
                verdict: &flip.was_verdict,
                rule: &flip.was_rule,
            },
            would_be: WouldBe {
                verdict: &flip.would_verdict,
                rule: &flip.would_rule,
                message: &flip.would_message,
            },
            after_divergence: flip.after_divergence,
        }
    }
}

/// Recorded arguments, as they stood where they are JSON: numbers keep every digit.
#[derive(Serialize)]
#[serde(untagged)]
enum Recorded<'a> {
    Json(&'a RawValue),
    Text(&'a str),
    Absent,
}

impl<'a> Recorded<'a> {
    fn of(text: Option<&'a str>) -> Self {
        match text {
            None => Self::Absent,
            Some(text) => serde_json::from_str(text).map_or(Self::Text(text), Self::Json),
        }
    }
}

#[derive(Serialize)]
struct Was<'a> {
    verdict: &'a str,
    rule: &'a str,
}

#[derive(Serialize)]
struct WouldBe<'a> {
    verdict: &'a str,
    rule: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct DriftLine<'a> {
    node: &'a str,
    seq: i64,
    tool: &'a str,
    was: Was<'a>,
    now: Was<'a>,
}

/// A 16-byte id as a UUID is written.
pub(crate) fn uuid_text(id: &[u8; 16]) -> String {
    let digits = hex::encode(id);
    let part = |range| digits.get(range).unwrap_or_default();
    [
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32),
    ]
    .join("-")
}

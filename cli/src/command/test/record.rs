//! A record judged again by the policy of a file: within its budgets, and as its labels say?

use std::collections::{BTreeMap, HashMap};
use std::fs;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use serde::Deserialize;
use weir_policy::{Evidence, RecordCase, Share};
use weir_recorder::RecordReader;
use weir_replay::{Class, Flips, PolicyFile, ReplayOptions, Report, Verify, replay, shown};

use super::Difference;
use super::files::TestFile;
use crate::command::verify::believed;
use crate::record_keys::KeysArgument;

/// So many calls that are not as expected are shown.
const SHOWN: usize = 5;

pub(super) fn run(file: &TestFile, case: &RecordCase) -> Result<Vec<Difference>, String> {
    let policy = file.policy()?;
    let report = replay(&ReplayOptions {
        candidate: Some(PolicyFile {
            path: policy.name().to_owned(),
            bytes: policy.document().to_vec(),
        }),
        grant: case.grant.clone(),
        server: case.server.clone(),
        flips: Flips::All,
        ..of_record(file, case)?
    })
    .map_err(|error| error.to_string())?;
    let mut differences = budgets(case, &report);
    if report.classes.of(Class::EngineDrift) > 0 {
        return Err(
            "the policies in force no longer give what is on record: see `weir replay`".into(),
        );
    }
    if let Some(labels) = &case.labels {
        let path = file.beside(labels);
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("cannot read the labels `{}`: {error}", path.display()))?;
        let ends = Ends::of(file, case, &report)?;
        differences.extend(labelled(case, &Labels::parse(&text)?, &ends)?);
    } else if !case.expect.is_empty() {
        return Err("it expects something of labels, and names no `labels`".to_owned());
    }
    Ok(differences)
}

/// A replay of the record, with as much of its evidence checked as the file wants.
fn of_record(file: &TestFile, case: &RecordCase) -> Result<ReplayOptions, String> {
    let record = file.beside(&case.record);
    let verify = match case.verify {
        Evidence::None => Verify::Nothing,
        Evidence::Files => Verify::Files,
        Evidence::Full => Verify::Rows,
    };
    let keys = if verify == Verify::Nothing {
        Vec::new()
    } else {
        let given: Vec<_> = case.key.iter().map(|key| file.beside(key)).collect();
        believed(&record, &given).map_err(|error| {
            format!("{error}; name the public key as `key`, or write `\"verify\": \"none\"`")
        })?
    };
    let record_keys = KeysArgument::default().read(&record);
    Ok(ReplayOptions {
        record,
        record_keys: record_keys.map_err(|error| format!("{error:#}"))?,
        verify,
        keys,
        ..ReplayOptions::default()
    })
}

fn budgets(case: &RecordCase, report: &Report) -> Vec<Difference> {
    let classes = &report.classes;
    let counts = [
        (
            "newly denied",
            case.max_newly_denied,
            classes.of(Class::NewlyDenied) + classes.of(Class::NewlyHeld),
            [Class::NewlyDenied, Class::NewlyHeld],
        ),
        (
            "newly allowed",
            case.max_newly_allowed,
            classes.of(Class::NewlyAllowed),
            [Class::NewlyAllowed; 2],
        ),
    ];
    let mut differences = Vec::new();
    for (what, most, count, of) in counts {
        let Some(most) = most.filter(|most| count > *most) else {
            continue;
        };
        let flips = report.flips.iter().filter(|flip| of.contains(&flip.class));
        let flips = flips.take(SHOWN).map(|flip| {
            format!(
                "{} {} {} {}: {} ({})",
                flip.seq,
                shown(&flip.grant),
                shown(&flip.tool),
                shown(flip.arguments.as_deref().unwrap_or("")),
                flip.would_verdict,
                shown(&flip.would_rule)
            )
        });
        differences.push(Difference {
            of: format!("{what} calls"),
            expected: format!("at most {most}"),
            found: format!("{count} of {}", report.record.calls),
            more: flips.collect(),
        });
    }
    let coverage = classes.coverage();
    if let Some(least) = case.min_coverage.filter(|least| coverage < *least) {
        differences.push(Difference {
            of: "calls with a certain answer".to_owned(),
            expected: format!("at least {}", percent(least)),
            found: percent(coverage),
            more: Vec::new(),
        });
    }
    differences
}

/// What a file says of calls.
#[derive(Debug, Default)]
struct Labels {
    by_call: HashMap<String, String>,
    by_request: HashMap<(String, String), String>,
}

#[derive(Deserialize)]
struct Line {
    label: String,
    call_id: Option<String>,
    grant: Option<String>,
    id: Option<serde_json::Value>,
}

impl Labels {
    fn parse(text: &str) -> Result<Self, String> {
        let mut labels = Self::default();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let place = format!("line {} of the labels", number + 1);
            let line: Line =
                serde_json::from_str(line).map_err(|error| format!("{place}: {error}"))?;
            match (line.call_id, line.grant, line.id) {
                (Some(call), _, _) => {
                    labels.by_call.insert(call, line.label);
                }
                (None, Some(grant), Some(id)) => {
                    labels
                        .by_request
                        .insert((grant, id.to_string()), line.label);
                }
                // what an agent sent that is no call, such as a notification
                _ => {}
            }
        }
        Ok(labels)
    }

    fn of(&self, call: &Recorded) -> Option<&String> {
        let by_call = self.by_call.get(&call.call_id);
        by_call.or_else(|| {
            self.by_request
                .get(&(call.grant.clone(), call.request_id.clone()))
        })
    }
}

/// How each call of the record ends under the policy.
struct Ends(Vec<Recorded>);

struct Recorded {
    seq: i64,
    call_id: String,
    grant: String,
    request_id: String,
    tool: String,
    /// `allow`, `deny` or `hold`.
    verdict: String,
    rule: String,
}

const COLUMNS: [&str; 8] = [
    "node",
    "seq",
    "call_id",
    "grant",
    "request_id",
    "tool",
    "verdict",
    "rule",
];

impl Ends {
    /// What does not flip ends as it did; a call in doubt keeps what is on record.
    fn of(file: &TestFile, case: &RecordCase, report: &Report) -> Result<Self, String> {
        let told = |error: weir_recorder::RecordError| format!("record `{}`: {error}", case.record);
        let flips: HashMap<(&str, i64), _> = report
            .flips
            .iter()
            .map(|flip| ((flip.node.as_str(), flip.seq), flip))
            .collect();
        let reader = RecordReader::open(file.beside(&case.record)).map_err(told)?;
        let mut ends = Vec::new();
        for batch in reader.calls(&COLUMNS).map_err(told)? {
            let batch = batch.map_err(told)?;
            let words = |name: &str| word(&batch, name);
            let (node, grant, id) = (words("node")?, words("grant")?, words("request_id")?);
            let (tool, verdict, rule) = (words("tool")?, words("verdict")?, words("rule")?);
            let column = |name: &str| {
                batch
                    .column_by_name(name)
                    .ok_or_else(|| format!("the record has no column `{name}`"))
            };
            let seq = column("seq")?;
            let seq = seq
                .as_primitive_opt::<Int64Type>()
                .ok_or("the column `seq` is no number")?;
            let call_id = column("call_id")?;
            let call_id = call_id
                .as_fixed_size_binary_opt()
                .ok_or("the column `call_id` holds no ids")?;
            for row in 0..batch.num_rows() {
                let node = node.of(row);
                let flip = flips.get(&(node.as_str(), seq.value(row)));
                let bytes = <[u8; 16]>::try_from(call_id.value(row)).unwrap_or_default();
                ends.push(Recorded {
                    seq: seq.value(row),
                    call_id: uuid::Uuid::from_bytes(bytes).to_string(),
                    grant: grant.of(row),
                    request_id: id.of(row),
                    tool: tool.of(row),
                    verdict: flip
                        .map_or_else(|| verdict.of(row), |flip| flip.would_verdict.clone()),
                    rule: flip.map_or_else(|| rule.of(row), |flip| flip.would_rule.clone()),
                });
            }
        }
        let is_taken =
            |call: &Recorded| case.grant.as_ref().is_none_or(|grant| *grant == call.grant);
        ends.retain(is_taken);
        Ok(Self(ends))
    }
}

/// A column of texts.
struct Words(arrow::array::ArrayRef);

fn word(batch: &RecordBatch, name: &str) -> Result<Words, String> {
    let column = batch.column_by_name(name);
    let column = column.ok_or_else(|| format!("the record has no column `{name}`"))?;
    let text =
        cast(column, &DataType::Utf8).map_err(|error| format!("column `{name}`: {error}"))?;
    Ok(Words(text))
}

impl Words {
    fn of(&self, row: usize) -> String {
        let texts = self.0.as_string_opt::<i32>();
        texts
            .filter(|texts| texts.is_valid(row))
            .map_or_else(String::new, |texts| texts.value(row).to_owned())
    }
}

fn labelled(case: &RecordCase, labels: &Labels, ends: &Ends) -> Result<Vec<Difference>, String> {
    let mut by_label: BTreeMap<&str, Vec<&Recorded>> = BTreeMap::new();
    for call in &ends.0 {
        if let Some(label) = labels.of(call) {
            by_label.entry(label).or_default().push(call);
        }
    }
    let mut differences = Vec::new();
    for (label, share) in &case.expect {
        let Some(calls) = by_label.get(label.as_str()) else {
            let known: Vec<_> = by_label.keys().copied().collect();
            let known = known.join("`, `");
            return Err(format!(
                "no call of the record is labelled `{label}`; there are `{known}`"
            ));
        };
        let Share { deny, allow } = *share;
        for (word, least, is_denied) in [("denied", deny, true), ("allowed", allow, false)] {
            let Some(least) = least else { continue };
            let (met, missed): (Vec<&Recorded>, Vec<&Recorded>) = calls
                .iter()
                .partition(|call| (call.verdict != "allow") == is_denied);
            let share = met.len() as f64 / calls.len() as f64;
            if share >= least {
                continue;
            }
            let line = |call: &&Recorded| {
                let rule = if call.rule.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", shown(&call.rule))
                };
                format!(
                    "{} {} {}: {}{rule}",
                    call.seq,
                    shown(&call.grant),
                    shown(&call.tool),
                    call.verdict
                )
            };
            differences.push(Difference {
                of: format!("calls labelled `{label}`"),
                expected: format!("at least {} {word}", percent(least)),
                found: format!("{}: {} of {}", percent(share), met.len(), calls.len()),
                more: missed.iter().take(SHOWN).map(line).collect(),
            });
        }
    }
    Ok(differences)
}

fn percent(share: f64) -> String {
    let text = format!("{:.1}", share * 100.0);
    format!("{} %", text.trim_end_matches(".0"))
}

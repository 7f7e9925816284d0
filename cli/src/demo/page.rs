//! The page the demo ends with: the morning, the proof, what other policies would have blocked, and how to go on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use weir_corpus::{Label, Morning};

use super::agent::{Sent, Told};
use super::folder::Folder;
use super::proof::Proof;
use super::whatif::{Answer, ByRule};
use crate::terminal::{ACCENT, DIM, ERROR, GOOD, RESET, STRONG};

/// The tools that the candidates are about.
const STOPS: [&str; 2] = ["vm_stop", "service_stop"];
/// Rows of the comparison by tool that are shown.
const TOOLS_SHOWN: usize = 8;

/// The whole page.
pub fn page(
    folder: &Folder,
    morning: &Morning,
    sent: &[Sent],
    proof: &Proof,
    answers: &[Answer],
    took: Duration,
) -> String {
    let sections = [
        heading("The morning", &morning.story),
        labels(sent),
        refusals(sent),
        heading("The record against the world", &proof.sentence()),
        compared(proof),
        heading(
            "What other policies would have blocked",
            "replayed from the record, each call in the state it would have met",
        ),
        blocked(answers),
        rules(answers),
        soundness(answers),
        onward(folder),
        format!("{DIM}{:.1} s, start to finish{RESET}\n", took.as_secs_f32()),
    ];
    let shown: Vec<String> = sections
        .into_iter()
        .filter(|section| !section.is_empty())
        .collect();
    format!("\n{}", shown.join("\n"))
}

fn heading(title: &str, text: &str) -> String {
    format!("{STRONG}{title}{RESET}\n{}\n", wrapped(text))
}

/// Messages by what a person would call them.
fn labels(sent: &[Sent]) -> String {
    let mut table = table(&["", "messages", "answered", "refused", "for example"]);
    for label in Label::ALL {
        let of: Vec<&Sent> = sent
            .iter()
            .filter(|sent| sent.label == label.as_str())
            .collect();
        let refused = of.iter().filter(|sent| sent.told.is_refused()).count();
        let example = of.iter().find_map(|sent| example(sent)).unwrap_or_default();
        table.add_row([
            Cell::new(label.as_str()),
            number(of.len()),
            number(of.len() - refused),
            number(refused),
            Cell::new(example),
        ]);
    }
    format!("{table}\n")
}

/// A call as an analyst would note it down.
fn example(sent: &Sent) -> Option<String> {
    let arguments: serde_json::Value = serde_json::from_str(sent.arguments.as_deref()?).ok()?;
    if sent.operation.is_empty() {
        return None;
    }
    // A dispatcher wraps the operation's own arguments.
    let own = if arguments.get("action").is_some() {
        arguments.get("params")
    } else {
        Some(&arguments)
    };
    let own = own.map(ToString::to_string).unwrap_or_default();
    Some(clipped(format!("{} {own}", sent.operation).trim_end(), 60))
}

/// What Weir refused while the agents worked, by rule.
fn refusals(sent: &[Sent]) -> String {
    let mut by_rule: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for sent in sent {
        if let Told::Refused { rule, message } = &sent.told {
            let rule = if rule.is_empty() { "(malformed)" } else { rule };
            *by_rule.entry((rule, message)).or_default() += 1;
        }
    }
    let lines = by_rule.iter().map(|((rule, message), times)| {
        let message = clipped(message.trim_start_matches("[POLICY DENIED] "), 70);
        format!("  {ERROR}{times:>3} ×{RESET} {rule}  {DIM}{message}{RESET}\n")
    });
    let lines = lines.collect::<Vec<_>>().concat();
    if lines.is_empty() {
        lines
    } else {
        format!("Refused while they worked:\n{lines}")
    }
}

fn compared(proof: &Proof) -> String {
    let mut tools: Vec<_> = proof.tools.iter().collect();
    tools.sort_by_key(|(_, counts)| std::cmp::Reverse(counts.allowed + counts.denied));
    let mut table = table(&["tool", "let through", "refused", "answered with an error"]);
    for (tool, counts) in tools.iter().take(TOOLS_SHOWN) {
        table.add_row([
            Cell::new(tool),
            number(counts.allowed),
            number(counts.denied),
            number(counts.failed),
        ]);
    }
    let rest = tools.len().saturating_sub(TOOLS_SHOWN);
    let rest = if rest > 0 {
        format!("{DIM}and {rest} more tools{RESET}\n")
    } else {
        String::new()
    };
    let differences: Vec<_> = proof
        .differences
        .iter()
        .map(|difference| format!("{ERROR}differs{RESET}: {difference}\n"))
        .collect();
    format!("{table}\n{rest}{}", differences.concat())
}

/// One line for each policy, one column for each stop.
fn blocked(answers: &[Answer]) -> String {
    let calls = |tool| answers.first().map_or(0, |answer| answer.of_tool(tool).0);
    let mut heads = vec!["policy".to_owned()];
    heads.extend(STOPS.map(|tool| format!("{tool}\n{} calls", calls(tool))));
    heads.push("anything else".to_owned());
    let mut table = table(&heads);
    for answer in answers {
        let stops = STOPS.map(|tool| answer.of_tool(tool).1);
        let other = answer.report.classes.newly_denied - stops.iter().sum::<u64>();
        let name = match answer.file.rsplit('/').next() {
            Some(file) if !file.is_empty() => format!("{file}\n{}", answer.title),
            _ => answer.title.to_owned(),
        };
        let mut row = vec![Cell::new(name)];
        row.extend(stops.into_iter().chain([other]).map(|count| {
            let text = if count == 0 {
                "–".to_owned()
            } else {
                format!("{count} blocked")
            };
            Cell::new(text).set_alignment(CellAlignment::Right)
        }));
        table.add_row(row);
    }
    format!("{table}\n")
}

/// Which rules would have done it, to whom, and in which words.
fn rules(answers: &[Answer]) -> String {
    answers
        .iter()
        .filter(|answer| !answer.report.by_rule.is_empty())
        .map(|answer| {
            let rules = answer
                .report
                .by_rule
                .iter()
                .filter(|by_rule| by_rule.newly_denied > 0);
            let lines: Vec<_> = rules.map(|by_rule| rule(answer, by_rule)).collect();
            format!("{ACCENT}{}{RESET}\n{}", answer.file, lines.concat())
        })
        .collect::<Vec<_>>()
        .concat()
}

fn rule(answer: &Answer, by_rule: &ByRule) -> String {
    let flips: Vec<_> = answer
        .report
        .flips
        .iter()
        .filter(|flip| flip.would_be.rule == by_rule.rule)
        .collect();
    let grants: BTreeSet<&str> = flips.iter().map(|flip| flip.grant.as_str()).collect();
    let grants: Vec<&str> = grants.into_iter().collect();
    let message = flips
        .first()
        .map_or("", |flip| flip.would_be.message.as_str());
    format!(
        "  {ERROR}{:>3} ×{RESET} {}  {DIM}{}: {}{RESET}\n",
        by_rule.newly_denied,
        by_rule.rule,
        grants.join(", "),
        clipped(message, 76)
    )
}

fn soundness(answers: &[Answer]) -> String {
    if answers.iter().all(Answer::is_sound) {
        format!(
            "{GOOD}✓{RESET} under its own policy the record shows no flip and no drift, so the answers above can be believed\n"
        )
    } else {
        format!(
            "{ERROR}✗{RESET} the replay of the record under its own policy changed something: that is a bug in Weir\n"
        )
    }
}

/// Commands to paste.
fn onward(folder: &Folder) -> String {
    let (weir, shown) = (invoked(), folder.shown());
    let commands = [
        format!(
            "{weir} query --record {shown}/record \"SELECT decided_at, tool, verdict, rule, arguments FROM calls WHERE tool IN ('vm_stop', 'service_stop')\""
        ),
        format!(
            "{weir} replay --record {shown}/record --policy {shown}/policies/careful-stops.json"
        ),
        format!(
            "duckdb -c \"SELECT tool, verdict, count(*) FROM '{shown}/record/calls/*/*.parquet' GROUP BY ALL ORDER BY 3 DESC\""
        ),
        format!("{weir} verify --record {shown}/record"),
        format!("{weir} policy check {shown}/policies/careful-stops.json"),
    ];
    let lines = commands.map(|command| format!("  {ACCENT}{command}{RESET}\n"));
    format!("{STRONG}Go on{RESET}\n{}", lines.concat())
}

/// This program as it was called, so that a pasted command finds it.
fn invoked() -> String {
    std::env::args().next().unwrap_or_else(|| "weir".to_owned())
}

fn table<S: ToString>(heads: &[S]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heads.iter().map(ToString::to_string));
    table
}

fn number(count: usize) -> Cell {
    Cell::new(count).set_alignment(CellAlignment::Right)
}

/// The text in lines of at most 96 columns.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= 96 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

fn clipped(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}

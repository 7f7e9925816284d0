//! The answer for people: a page for the terminal, and one for a pull request.

use weir_policy::{Change, Comparison, Decision, Effect, Reach, Witness};
use weir_replay::shown;

use crate::terminal::{ACCENT, DIM, ERROR, GOOD, RESET, STRONG, WARNING};

use super::record::{Apart, Compared};
use super::{Answer, moment, runs};

/// So many calls of a record are listed.
const LISTED: usize = 20;

pub(super) fn text(answer: &Answer) -> String {
    let mut page = Vec::new();
    page.push(format!(
        "{STRONG}{}{RESET} against {STRONG}{}{RESET}",
        answer.new_name, answer.old_name
    ));
    page.push(String::new());
    for change in &answer.changes.general {
        page.extend(change_lines("", change));
    }
    for tool in &answer.changes.tools {
        let effect = effect(tool.effect);
        page.push(format!(
            "{STRONG}{}{RESET}  {}, {effect}",
            shown(&tool.key),
            tool.kind.as_str()
        ));
        for change in &tool.rules {
            page.extend(change_lines("  ", change));
        }
    }
    if answer.changes.is_empty() {
        page.push("no rule says anything else".to_owned());
    }
    page.push(String::new());
    page.extend(verdict(answer));
    if let Some(compared) = &answer.record {
        page.push(String::new());
        page.extend(record(compared));
    }
    page.join("\n") + "\n"
}

fn change_lines(indent: &str, change: &Change) -> Vec<String> {
    let mut lines = vec![format!(
        "{indent}{ACCENT}{}{RESET}  {}, {}",
        shown(&change.rule),
        change.kind.as_str(),
        effect(change.effect)
    )];
    let sides = [("-", &change.before), ("+", &change.after)];
    for (sign, text) in sides {
        if let Some(text) = text {
            lines.push(format!("{indent}  {sign} {}", shown(text)));
        }
    }
    lines
}

fn effect(effect: Effect) -> String {
    let style = match effect {
        Effect::Same => DIM,
        Effect::Tighter => GOOD,
        Effect::Looser => ERROR,
        Effect::Mixed | Effect::Unclear => WARNING,
    };
    format!("{style}{}{RESET}", effect.as_str())
}

/// Whether the new policy lets more through.
fn verdict(answer: &Answer) -> Vec<String> {
    let (old, new) = (&answer.old_name, &answer.new_name);
    match &answer.wider {
        Comparison::NowhereWider => {
            let more = match answer.narrower {
                Comparison::NowhereWider => "and the other way round: they let the same through",
                Comparison::Wider(_) => "and refuses what it lets through",
                Comparison::Unknown(_) => "whether it is narrower is unknown",
            };
            vec![
                format!(
                    "{GOOD}NOWHERE WIDER{RESET}  whatever passes under {new} passes under {old},"
                ),
                format!("               {more}."),
            ]
        }
        Comparison::Wider(witness) => {
            let mut lines = vec![format!(
                "{ERROR}WIDER{RESET}  {new} lets through what {old} does not:"
            )];
            lines.extend(witness_lines(witness, old, new));
            lines
        }
        Comparison::Unknown(obstacles) => {
            let mut lines = vec![format!(
                "{WARNING}UNKNOWN{RESET}  whether {new} is wider than {old} was not found out:"
            )];
            for obstacle in obstacles {
                lines.push(format!(
                    "  {ACCENT}{}{RESET} of calls like {}: {}",
                    shown(&obstacle.rule),
                    shown(&obstacle.tool),
                    obstacle.why
                ));
            }
            lines
        }
    }
}

fn witness_lines(witness: &Witness, old: &str, new: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (times, call) in runs(&witness.calls) {
        let times = if witness.calls.len() == 1 {
            String::new()
        } else {
            format!("{times} × ")
        };
        lines.push(format!(
            "  {times}{STRONG}{}{RESET} {}",
            shown(&call.tool),
            shown(&call.arguments.to_json())
        ));
        let client = match call.client_name.as_str() {
            "" => String::new(),
            name => format!(", client {} {}", shown(name), shown(&call.client_version)),
        };
        lines.push(format!(
            "    {DIM}server {}, grant {}, session {}{client}, at {}{RESET}",
            shown(&call.server),
            shown(&call.grant),
            shown(&call.session),
            moment(call)
        ));
    }
    let which = if witness.calls.len() == 1 {
        ""
    } else {
        " the last"
    };
    lines.push(format!(
        "  {new} decides{which}: {}",
        decision(&witness.new)
    ));
    lines.push(format!(
        "  {old} decides{which}: {}",
        decision(&witness.old)
    ));
    lines
}

fn decision(decision: &Decision) -> String {
    match Reach::of(decision) {
        Reach::Allowed => format!("{GOOD}allow{RESET}"),
        Reach::Asked => format!("{WARNING}ask{RESET} a person, by {}", shown(&decision.rule)),
        Reach::Denied => format!(
            "{ERROR}deny{RESET} by {ACCENT}{}{RESET} ({})",
            shown(&decision.rule),
            decision.reason.as_str()
        ),
    }
}

fn record(compared: &Compared) -> Vec<String> {
    let apart = &compared.calls_apart;
    let mut lines = vec![format!(
        "{STRONG}on record{RESET}  {} of {} calls are judged differently",
        apart.len(),
        compared.calls
    )];
    lines.push(format!("           {}", compared.verified.told()));
    if compared.uncertain > 0 {
        lines.push(format!(
            "           of {} it is uncertain: a value was redacted, or a policy is not kept",
            compared.uncertain
        ));
    }
    for Apart { call, old, new } in apart.iter().take(LISTED) {
        let side = |(verdict, rule): &(String, String)| match rule.as_str() {
            "" => verdict.clone(),
            rule => format!("{verdict} ({})", shown(rule)),
        };
        lines.push(format!(
            "  {} {} {}: {} → {}",
            call.seq,
            shown(&call.grant),
            shown(&call.tool),
            side(old),
            side(new)
        ));
    }
    if apart.len() > LISTED {
        let more = apart.len() - LISTED;
        lines.push(format!("  … and {more} more: --format json lists all"));
    }
    lines
}

pub(super) fn markdown(answer: &Answer) -> String {
    let mut page = vec![format!(
        "### `{}` against `{}`",
        answer.new_name, answer.old_name
    )];
    let plain = |lines: Vec<String>| {
        let text = anstream::adapter::strip_str(&lines.join("\n")).to_string();
        // a text in a fence ends only at a fence
        format!("```text\n{}\n```", text.replace("```", "` ` `"))
    };
    page.push(plain(verdict(answer)));
    if !answer.changes.is_empty() {
        let mut table = vec![
            "| rule | change | before | after | effect |".to_owned(),
            "|---|---|---|---|---|".to_owned(),
        ];
        table.extend(answer.changes.general.iter().map(row));
        for tool in &answer.changes.tools {
            table.push(format!(
                "| **{}** | {} | | | **{}** |",
                cell(&tool.key),
                tool.kind.as_str(),
                tool.effect.as_str()
            ));
            table.extend(tool.rules.iter().map(row));
        }
        page.push(table.join("\n"));
    }
    if let Some(compared) = &answer.record {
        page.push(plain(record(compared)));
    }
    page.join("\n\n") + "\n"
}

fn row(change: &Change) -> String {
    let side = |text: &Option<String>| text.as_deref().map(cell).unwrap_or_default();
    format!(
        "| {} | {} | {} | {} | {} |",
        cell(&change.rule),
        change.kind.as_str(),
        side(&change.before),
        side(&change.after),
        change.effect.as_str()
    )
}

/// A text as code inside a table.
fn cell(text: &str) -> String {
    let text = shown(text).replace('|', "\\|");
    // code that holds a back-tick is fenced by two
    if text.contains('`') {
        format!("`` {text} ``")
    } else {
        format!("`{text}`")
    }
}

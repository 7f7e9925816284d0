//! A scan for people.

use std::collections::BTreeMap;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use weir_policy::Risk;
use weir_replay::shown;

use super::Scanned;
use super::finding::Finding;
use super::past::Since;
use crate::terminal::{DIM, ERROR, RESET, STRONG, WARNING};

pub(super) fn text(scanned: &[Scanned]) -> String {
    scanned.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn one(scanned: &Scanned) -> String {
    let mut page = String::new();
    let profile = scanned
        .profile
        .as_deref()
        .map(|name| format!(", profile {name}"))
        .unwrap_or_default();
    let title = shown(&scanned.title);
    page.extend([format!(
        "{STRONG}{}{RESET}  {title}{profile}\n",
        shown(&scanned.server)
    )]);
    page.extend([format!("{DIM}{}{RESET}\n\n", classes(&scanned.tools))]);
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    let grants = scanned
        .tools
        .first()
        .map(|finding| finding.policies.keys())
        .into_iter()
        .flatten();
    let head = ["tool", "class", "by"].into_iter().map(str::to_owned);
    table.set_header(head.chain(grants.cloned()).chain([String::new()]));
    for finding in &scanned.tools {
        let name = match &finding.via {
            Some(via) => format!("{} > {}", shown(via), shown(&finding.tool)),
            None => shown(&finding.tool).into_owned(),
        };
        let cells = [
            name,
            finding.risk.as_str().to_owned(),
            finding.why.to_owned(),
        ];
        let said = finding.policies.values().map(|said| (*said).to_owned());
        table.add_row(cells.into_iter().chain(said).chain([notes(finding)]));
    }
    for line in table.lines() {
        page.push_str(line.strip_prefix(' ').unwrap_or(&line).trim_end());
        page.push('\n');
    }
    for gone in &scanned.gone {
        page.extend([format!(
            "{WARNING}gone{RESET}: `{}` was known, and is listed no more\n",
            shown(gone)
        )]);
    }
    if !scanned.differences.is_empty() {
        page.push_str("\nThe server and its profile differ:\n");
        for difference in &scanned.differences {
            page.extend([format!("  {}\n", shown(difference))]);
        }
    }
    page
}

/// How many there are of each class.
fn classes(findings: &[Finding]) -> String {
    let mut counts: BTreeMap<Risk, usize> = BTreeMap::new();
    for finding in findings {
        *counts.entry(finding.risk).or_default() += 1;
    }
    let counts = counts
        .iter()
        .rev()
        .map(|(risk, count)| format!("{count} {}", risk.as_str()));
    let all = format!("{} can be called: ", findings.len());
    [all, counts.collect::<Vec<_>>().join(", ")].concat()
}

fn notes(finding: &Finding) -> String {
    let since = match finding.since {
        Some(Since::Changed) => Some(format!("{ERROR}its definition changed{RESET}")),
        Some(Since::New) => Some(format!("{WARNING}new{RESET}")),
        None => None,
    };
    let claim = finding.claim.map(str::to_owned);
    since
        .into_iter()
        .chain(claim)
        .collect::<Vec<_>>()
        .join("; ")
}

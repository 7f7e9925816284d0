//! The report for pull requests: Markdown that draws on GitHub and GitLab.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::escape::markdown as safe;
use super::words::{changed, class, short};
use super::{Changes, Report};
use crate::measure::{cut, grouped, share};

/// Rows of a table before it says how many more there are.
const ROWS_LISTED: usize = 12;
/// Flips that are listed.
const FLIPS_LISTED: usize = 20;
/// Columns of recorded text in a cell.
const CELL: usize = 120;

impl Report {
    /// The report as Markdown, for a comment on a pull request. Nothing recorded in it can be markup, a link or a mention.
    pub fn markdown(&self) -> String {
        let mut page = Page::default();
        page.line(&format!("### Replay: {}", safe(&self.subject())));
        page.line("");
        page.line(&format!("**{}**", safe(&self.sentence())));
        page.line("");
        let facts = [
            self.extent(),
            self.completeness(),
            Some(self.verified().to_owned()),
        ];
        for fact in facts.into_iter().flatten() {
            page.line(&format!("- {}", safe(&fact)));
        }
        page.line("");
        page.table(&["class", "calls", "share"], &["", ":", ":"]);
        let total = self.classes.total();
        for (of, count) in self.classes.iter().filter(|(_, count)| *count > 0) {
            page.row(&[class(of), grouped(count), share(count, total)]);
        }
        page.changes("tool", &self.by_tool);
        page.changes("rule", &self.by_rule);
        page.changes("grant", &self.by_grant);
        self.markdown_flips(&mut page);
        self.markdown_trouble(&mut page);
        page.line("");
        page.line(&format!("<sub>result {}</sub>", safe(&self.result_digest)));
        page.0
    }

    fn markdown_flips(&self, page: &mut Page) {
        if self.flips.is_empty() {
            return;
        }
        page.line("");
        page.line("<details><summary>What would have gone another way</summary>");
        page.line("");
        page.table(
            &["decided at", "grant", "tool", "arguments", "", "by"],
            &[""; 6],
        );
        for flip in self.flips.iter().take(FLIPS_LISTED) {
            let arguments = flip.arguments.as_deref().unwrap_or_default();
            let mark = if flip.after_divergence { " ~" } else { "" };
            page.row(&[
                short(flip.decided_at),
                safe(&cut(&flip.grant, CELL)),
                safe(&cut(&flip.tool, CELL)),
                safe(&cut(arguments, CELL)),
                format!("{}{mark}", class(flip.class)),
                safe(&cut(&flip.by(), CELL)),
            ]);
        }
        page.line("");
        let listed = self.flips.len().min(FLIPS_LISTED) as u64;
        let more = self.classes.flips().saturating_sub(listed);
        if more > 0 {
            page.line(&format!("… and {} more.", grouped(more)));
        }
        if self.flips.iter().any(|flip| flip.after_divergence) {
            page.line("~ its session had already gone another way: the agent might not have made this call.");
        }
        page.line("");
        page.line("</details>");
    }

    fn markdown_trouble(&self, page: &mut Page) {
        for (title, reasons) in self.uncertain() {
            if reasons.is_empty() {
                continue;
            }
            page.line("");
            page.table(&[title, "calls"], &["", ":"]);
            for (reason, count) in reasons {
                page.row(&[safe(&cut(reason, CELL)), grouped(*count)]);
            }
        }
        if self.flips_outside > 0 {
            page.line("");
            let flips = super::words::calls(self.flips_outside);
            page.line(&format!(
                "Beyond the selection {flips} flipped through counters they share."
            ));
        }
        if !self.drifts.is_empty() {
            page.line("");
            page.line("> **Engine drift**: the policy in force no longer gives the decision on record. This is a bug in Weir, and the answer above cannot be trusted.");
            page.line("");
            page.table(&["seq", "tool", "was", "is"], &[":", "", "", ""]);
            for drift in &self.drifts {
                page.row(&[
                    drift.seq.to_string(),
                    safe(&drift.tool),
                    safe(&format!("{} {}", drift.was_verdict, drift.was_rule)),
                    safe(&format!("{} {}", drift.now_verdict, drift.now_rule)),
                ]);
            }
        }
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    /// The head of a table: names, and `:` where numbers stand to the right.
    fn table(&mut self, names: &[&str], sides: &[&str]) {
        self.line(&format!("| {} |", names.join(" | ")));
        let sides: Vec<String> = sides.iter().map(|side| format!("---{side}")).collect();
        self.line(&format!("| {} |", sides.join(" | ")));
    }

    /// Cells, escaped already.
    fn row(&mut self, cells: &[String]) {
        let _fine = writeln!(self.0, "| {} |", cells.join(" | "));
    }

    fn changes(&mut self, what: &str, rows: &BTreeMap<String, Changes>) {
        let (changed, unchanged) = changed(rows);
        if changed.is_empty() {
            return;
        }
        self.line("");
        self.table(
            &[what, "calls", "denied", "held", "allowed"],
            &["", ":", ":", ":", ":"],
        );
        for (name, changes) in changed.iter().take(ROWS_LISTED) {
            let count = |count: u64| {
                if count == 0 {
                    "·".into()
                } else {
                    grouped(count)
                }
            };
            self.row(&[
                safe(&cut(name, CELL)),
                count(changes.calls),
                count(changes.newly_denied),
                count(changes.newly_held),
                count(changes.newly_allowed),
            ]);
        }
        let more = changed.len().saturating_sub(ROWS_LISTED);
        let notes = [(more, "more"), (unchanged, "unchanged")];
        let notes = notes.iter().filter(|(count, _)| *count > 0);
        let notes: Vec<_> = notes
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if !notes.is_empty() {
            self.line("");
            self.line(&format!("… and {}.", notes.join(", ")));
        }
    }
}

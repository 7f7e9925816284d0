//! The report for people, in 80 columns.

use std::collections::BTreeMap;

use super::words::{calls, changed, class, clock, short};
use super::{Changes, Flip, Report};
use crate::measure::{cut, grouped, left, right, share, width};
use crate::shown;

const COLUMNS: usize = 80;
/// Runs of flips that [`Report::text`] lists.
const RUNS_LISTED: usize = 10;
/// Rows of a table before it says how many more there are.
const ROWS_LISTED: usize = 12;

impl Report {
    /// The report as a page of text, 80 columns wide. Recorded text in it is escaped.
    pub fn text(&self) -> String {
        self.text_listing(RUNS_LISTED)
    }

    /// As [`Report::text`], listing at most `runs` runs of flips.
    pub fn text_listing(&self, runs: usize) -> String {
        let mut page = Page::default();
        self.head(&mut page);
        self.classes(&mut page);
        page.changes("tool", &self.by_tool, true);
        page.changes("rule", &self.by_rule, false);
        page.changes("grant", &self.by_grant, true);
        self.flips(&mut page, runs);
        self.trouble(&mut page);
        page.blank();
        page.line(&format!("result {}", self.result_digest));
        page.0
    }

    fn head(&self, page: &mut Page) {
        page.line(&format!("REPLAY  {}", self.subject()));
        let facts = [
            self.extent(),
            self.completeness(),
            Some(self.verified().to_owned()),
        ];
        for fact in facts.into_iter().flatten() {
            page.line(&format!("        {fact}"));
        }
        page.blank();
        let sentence = self.sentence();
        if width(&sentence) <= COLUMNS {
            page.line(&sentence);
        } else {
            let (answer, flips) = self.answer();
            page.line(&format!("{answer}:"));
            page.line(&format!("{}.", flips.join(", ")));
        }
    }

    fn classes(&self, page: &mut Page) {
        let total = self.classes.total();
        if total == 0 {
            return;
        }
        page.blank();
        for (of, count) in self.classes.iter().filter(|(_, count)| *count > 0) {
            let bar = (count * 34).div_ceil(total) as usize;
            page.line(&format!(
                "  {} {} {}  {}",
                left(&class(of), 20),
                right(&grouped(count), 11),
                right(&share(count, total), 8),
                "█".repeat(bar)
            ));
        }
    }

    fn flips(&self, page: &mut Page, most: usize) {
        if self.flips.is_empty() {
            return;
        }
        page.blank();
        page.line("What would have gone another way");
        let runs = runs(&self.flips);
        let mut shown_flips = 0;
        for run in runs.iter().take(most) {
            page.blank();
            page.run(run);
            shown_flips += run.len() as u64;
        }
        let more = self.classes.flips().saturating_sub(shown_flips);
        if more > 0 {
            page.blank();
            page.line(&format!(
                "  … and {} more (--flips all --format json lists every one)",
                grouped(more)
            ));
        }
        if self.flips.iter().any(|flip| flip.after_divergence) {
            page.blank();
            page.line("  ~ its session had already gone another way: the agent might not have");
            page.line("    made this call");
        }
    }

    fn trouble(&self, page: &mut Page) {
        for (title, reasons) in self.uncertain() {
            if reasons.is_empty() {
                continue;
            }
            page.blank();
            page.line(title);
            for (reason, count) in reasons {
                page.line(&format!(
                    "  {} {}",
                    right(&grouped(*count), 11),
                    shown(reason)
                ));
            }
        }
        if self.flips_outside > 0 {
            page.blank();
            page.line(&format!(
                "Beyond the selection {} flipped through counters they share.",
                calls(self.flips_outside)
            ));
        }
        if !self.drifts.is_empty() {
            page.blank();
            page.line("ENGINE DRIFT: the policy in force no longer gives the decision on record.");
            page.line("This is a bug in weir, and the answer above cannot be trusted.");
            for drift in &self.drifts {
                page.line(&format!(
                    "  seq {} {}: was {} {}, is {} {}",
                    drift.seq,
                    shown(&drift.tool),
                    drift.was_verdict,
                    shown(&drift.was_rule),
                    drift.now_verdict,
                    shown(&drift.now_rule)
                ));
            }
        }
    }
}

/// Neighbouring flips of one kind: a runaway loop is one run, not thirty entries.
fn runs(flips: &[Flip]) -> Vec<&[Flip]> {
    flips
        .chunk_by(|a, b| {
            (
                &a.node,
                &a.grant,
                &a.session,
                &a.tool,
                a.class,
                &a.would_rule,
                &a.was_rule,
            ) == (
                &b.node,
                &b.grant,
                &b.session,
                &b.tool,
                b.class,
                &b.would_rule,
                &b.was_rule,
            )
        })
        .collect()
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(cut(text, COLUMNS).trim_end());
        self.0.push('\n');
    }

    fn blank(&mut self) {
        self.0.push('\n');
    }

    /// One table: rows with flips, most flips first; then how many had none.
    fn changes(&mut self, what: &str, rows: &BTreeMap<String, Changes>, with_calls: bool) {
        let (changed, unchanged) = changed(rows);
        if changed.is_empty() {
            return;
        }
        let name = if with_calls { 42 } else { 51 };
        self.blank();
        let mut head = format!("By {}", left(what, name - 1));
        for column in with_calls
            .then_some("calls")
            .into_iter()
            .chain(["denied", "held", "allowed"])
        {
            head.push_str(&right(column, 9));
        }
        self.line(&head);
        for (row, changes) in changed.iter().take(ROWS_LISTED) {
            let mut line = format!("  {}", left(&shown(row), name));
            for count in with_calls.then_some(changes.calls).into_iter().chain([
                changes.newly_denied,
                changes.newly_held,
                changes.newly_allowed,
            ]) {
                let count = if count == 0 {
                    "·".into()
                } else {
                    grouped(count)
                };
                line.push_str(&right(&count, 9));
            }
            self.line(&line);
        }
        let unlisted = changed.len().saturating_sub(ROWS_LISTED);
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        if unlisted > 0 {
            self.line(&format!(
                "  … and {unlisted} more {what}{}",
                plural(unlisted)
            ));
        }
        if unchanged > 0 {
            self.line(&format!(
                "  {unchanged} {what}{} unchanged",
                plural(unchanged)
            ));
        }
    }

    fn run(&mut self, run: &[Flip]) {
        let (Some(first), Some(last)) = (run.first(), run.last()) else {
            return;
        };
        let mark = if first.after_divergence { '~' } else { ' ' };
        let arguments = first.arguments.as_deref().unwrap_or("{}");
        self.line(&format!(
            "{mark} {}  {}  {} {}",
            short(first.decided_at),
            shown(&first.grant),
            shown(&first.tool),
            shown(arguments)
        ));
        self.line(&format!(
            "      {} {}",
            class(first.class),
            shown(&first.by())
        ));
        if !first.would_message.is_empty() {
            self.line(&format!("      “{}”", shown(&first.would_message)));
        }
        match run.len() {
            1 => {}
            2 => self.line(&format!(
                "      and once more at {}",
                clock(last.decided_at)
            )),
            count => self.line(&format!(
                "      and {} more like it until {}",
                grouped(count as u64 - 1),
                clock(last.decided_at)
            )),
        }
    }
}

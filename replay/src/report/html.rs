//! The report as one page that needs nothing else: no script, no font, no picture from anywhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::escape::markup as safe;
use super::words::{changed, class, name_of, short};
use super::{Changes, Report};
use crate::measure::{grouped, share};
use crate::{Class, Verify};

mod chart;
mod difference;

const STYLE: &str = include_str!("html/style.css");

/// Rows of a table before it says how many more there are.
const ROWS_LISTED: usize = 200;

impl Report {
    /// The report as one HTML page: light and dark, and fit for paper. Every recorded text in it is escaped, and the page forbids
    /// itself to run or load anything.
    pub fn html(&self) -> String {
        let mut page = Page::default();
        page.line("<!doctype html>");
        page.line("<html lang=\"en\"><head><meta charset=\"utf-8\">");
        page.line("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">");
        page.line("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
        page.line("<meta name=\"color-scheme\" content=\"light dark\">");
        page.line(&format!("<title>Replay: {}</title>", safe(&self.subject())));
        page.line(&format!("<style>{STYLE}</style></head><body><main>"));
        self.html_head(&mut page);
        self.html_classes(&mut page);
        page.line(&chart::over_time(&self.timeline));
        page.changes("By tool", "tool", &self.by_tool);
        page.changes("By rule", "rule", &self.by_rule);
        page.changes("By grant", "grant", &self.by_grant);
        self.html_flips(&mut page);
        self.html_uncertain(&mut page);
        self.html_drifts(&mut page);
        for replaced in &self.replaced {
            page.line(&difference::section(replaced));
        }
        page.line(&format!(
            "<footer>result <code>{}</code></footer>",
            safe(&self.result_digest)
        ));
        page.line("</main></body></html>");
        page.0
    }

    fn html_head(&self, page: &mut Page) {
        page.line("<header>");
        page.line(&format!(
            "<p class=\"kicker\">Replay: {}</p>",
            safe(&self.subject())
        ));
        let (answer, flips) = self.answer();
        page.line(&format!("<h1>{}</h1>", safe(&answer)));
        if !flips.is_empty() {
            page.line(&format!(
                "<p class=\"lead\">{}</p>",
                safe(&flips.join(" · "))
            ));
        }
        let facts = [self.extent(), self.completeness()];
        for fact in facts.into_iter().flatten() {
            page.line(&format!("<p>{}</p>", safe(&fact)));
        }
        let how = match self.record.verified {
            Verify::Nothing => "warn",
            Verify::Files | Verify::Rows => "good",
        };
        page.line(&format!("<p class=\"{how}\">{}</p>", safe(self.verified())));
        if self.flips_outside > 0 {
            let flips = super::words::calls(self.flips_outside);
            page.line(&format!(
                "<p class=\"warn\">Beyond the selection {} flipped through counters they share.</p>",
                safe(&flips)
            ));
        }
        let candidates = self.candidate.iter().chain(self.assigned.values());
        for candidate in candidates {
            page.line(&format!(
                "<p class=\"dim\">{} is <code>{}</code></p>",
                safe(&name_of(candidate)),
                safe(&candidate.digest)
            ));
        }
        page.line("</header>");
    }

    fn html_classes(&self, page: &mut Page) {
        let total = self.classes.total();
        if total == 0 {
            return;
        }
        page.line("<ul class=\"tiles\">");
        for (of, count) in self.classes.iter().filter(|(_, count)| *count > 0) {
            page.line(&format!(
                "<li class=\"{}\"><b>{}</b><span>{}</span><small>{}</small></li>",
                tone(of),
                grouped(count),
                class(of),
                safe(&share(count, total))
            ));
        }
        page.line("</ul>");
    }

    fn html_flips(&self, page: &mut Page) {
        if self.flips.is_empty() {
            return;
        }
        page.line("<section><h2>What would have gone another way</h2>");
        page.line("<table class=\"flips\"><thead><tr><th>decided at (UTC)</th><th>grant</th><th>tool and arguments</th><th>would be</th></tr></thead><tbody>");
        for flip in &self.flips {
            let mark = if flip.after_divergence {
                " <abbr title=\"its session had already gone another way\">~</abbr>"
            } else {
                ""
            };
            let message = if flip.would_message.is_empty() {
                String::new()
            } else {
                format!("<br><q>{}</q>", safe(&flip.would_message))
            };
            page.line(&format!(
                "<tr><td>{}</td><td>{}<br><small>{}</small></td><td>{}<br><code>{}</code></td><td><em class=\"{}\">{}</em>{mark}<br><code>{}</code>{message}</td></tr>",
                short(flip.decided_at),
                safe(&flip.grant),
                safe(&flip.session),
                safe(&flip.tool),
                safe(flip.arguments.as_deref().unwrap_or("no arguments on record")),
                tone(flip.class),
                class(flip.class),
                safe(&flip.by()),
            ));
        }
        page.line("</tbody></table>");
        let more = self.classes.flips().saturating_sub(self.flips.len() as u64);
        if more > 0 {
            page.line(&format!(
                "<p class=\"dim\">… and {} more (<code>--flips all</code> lists every one)</p>",
                grouped(more)
            ));
        }
        if self.flips.iter().any(|flip| flip.after_divergence) {
            page.line("<p class=\"dim\">~ its session had already gone another way: the agent might not have made this call</p>");
        }
        page.line("</section>");
    }

    fn html_uncertain(&self, page: &mut Page) {
        if self
            .uncertain()
            .iter()
            .all(|(_, reasons)| reasons.is_empty())
        {
            return;
        }
        let (total, coverage) = (self.classes.total(), self.classes.coverage());
        let certain = (coverage * total as f64).round() as u64;
        page.line("<section><h2>What is uncertain, and why</h2>");
        page.line(&format!(
            "<p>{} of the calls got a certain answer.</p>",
            safe(&share(certain, total))
        ));
        page.line("<table><thead><tr><th></th><th>because of</th><th class=\"n\">calls</th></tr></thead><tbody>");
        for (title, reasons) in self.uncertain() {
            for (reason, count) in reasons {
                page.line(&format!(
                    "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td></tr>",
                    title.to_lowercase(),
                    safe(reason),
                    grouped(*count)
                ));
            }
        }
        page.line("</tbody></table></section>");
    }

    fn html_drifts(&self, page: &mut Page) {
        if self.drifts.is_empty() {
            return;
        }
        page.line("<section class=\"warn\"><h2>Engine drift</h2><p>The policy in force no longer gives the decision on record. This is a bug in Weir, and the answer above cannot be trusted.</p>");
        page.line("<table><thead><tr><th class=\"n\">seq</th><th>tool</th><th>was</th><th>is</th></tr></thead><tbody>");
        for drift in &self.drifts {
            page.line(&format!(
                "<tr><td class=\"n\">{}</td><td>{}</td><td>{} <code>{}</code></td><td>{} <code>{}</code></td></tr>",
                drift.seq,
                safe(&drift.tool),
                safe(&drift.was_verdict),
                safe(&drift.was_rule),
                safe(&drift.now_verdict),
                safe(&drift.now_rule)
            ));
        }
        page.line("</tbody></table></section>");
    }
}

/// How a class is coloured.
fn tone(class: Class) -> &'static str {
    match class {
        Class::NewlyDenied => "denied",
        Class::NewlyHeld => "held",
        Class::NewlyAllowed => "allowed",
        Class::MaybeDenied | Class::MaybeAllowed | Class::NotReplayable => "unsure",
        Class::EngineDrift | Class::EngineChanged => "drift",
        Class::Same | Class::SameReasonChanged => "same",
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    /// One table of names with flips, the most flips first, each with a bar.
    fn changes(&mut self, title: &str, what: &str, rows: &BTreeMap<String, Changes>) {
        let (changed, unchanged) = changed(rows);
        let Some(most) = changed.first().map(|(_, changes)| changes.flips()) else {
            return;
        };
        self.line(&format!(
            "<section><h2>{title}</h2><table class=\"by\"><thead><tr><th>{what}</th><th class=\"bar\"></th><th class=\"n\">calls</th><th class=\"n\">denied</th><th class=\"n\">held</th><th class=\"n\">allowed</th></tr></thead><tbody>"
        ));
        for (name, changes) in changed.iter().take(ROWS_LISTED) {
            let mut cells = String::new();
            for count in [
                changes.calls,
                changes.newly_denied,
                changes.newly_held,
                changes.newly_allowed,
            ] {
                let count = if count == 0 {
                    "·".into()
                } else {
                    grouped(count)
                };
                let _fine = write!(cells, "<td class=\"n\">{count}</td>");
            }
            self.line(&format!(
                "<tr><td>{}</td><td class=\"bar\">{}</td>{cells}</tr>",
                safe(name),
                chart::bar(changes, most)
            ));
        }
        self.line("</tbody></table>");
        let more = changed.len().saturating_sub(ROWS_LISTED);
        let notes = [(more, "more"), (unchanged, "unchanged")];
        let notes = notes.iter().filter(|(count, _)| *count > 0);
        let notes: Vec<_> = notes
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        if !notes.is_empty() {
            self.line(&format!("<p class=\"dim\">… and {}</p>", notes.join(", ")));
        }
        self.line("</section>");
    }
}

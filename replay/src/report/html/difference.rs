//! What the candidate changes in a policy, as text.

use std::fmt::Write as _;

use similar::{ChangeTag, TextDiff};

use super::super::Replaced;
use super::super::escape::markup as safe;

/// Lines of a difference that are shown.
const LINES_LISTED: usize = 2000;

/// The difference between a policy that was in force and the one that took its place.
pub(super) fn section(replaced: &Replaced) -> String {
    let Replaced { was, by } = replaced;
    let title = format!(
        "<h2>The policy</h2><p class=\"dim\"><code>{}</code> against the one in force, <code>{}</code></p>",
        safe(&by.digest),
        safe(&was.digest)
    );
    if was.digest == by.digest {
        return format!("<section>{title}<p>It is the same.</p></section>");
    }
    let (before, after) = (laid_out(&was.text), laid_out(&by.text));
    let difference = TextDiff::from_lines(&before, &after);
    let mut lines = String::new();
    let mut listed = 0;
    for group in difference.grouped_ops(3) {
        if listed > 0 {
            lines.push_str("<span class=\"gap\">⋯</span>\n");
        }
        for operation in group {
            for change in difference.iter_changes(&operation) {
                if listed >= LINES_LISTED {
                    continue;
                }
                listed += 1;
                let (mark, tone) = match change.tag() {
                    ChangeTag::Delete => ('-', "del"),
                    ChangeTag::Insert => ('+', "ins"),
                    ChangeTag::Equal => (' ', "eq"),
                };
                let line = change.value().trim_end_matches('\n');
                let _fine = writeln!(lines, "<span class=\"{tone}\">{mark} {}</span>", safe(line));
            }
        }
    }
    format!("<section>{title}<pre class=\"diff\">{lines}</pre></section>")
}

/// A document with one member a line, so that what differs is rules and not spaces.
fn laid_out(document: &str) -> String {
    let value = serde_json::from_str::<serde_json::Value>(document);
    let text = value.and_then(|value| serde_json::to_string_pretty(&value));
    let mut text = text.unwrap_or_else(|_| document.to_owned());
    text.push('\n');
    text
}

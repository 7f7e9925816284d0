//! Questions as a person reads them. Whatever an agent wrote is shown with its invisible characters written out, so that it
//! cannot paint another call than the one that waits.

use anstyle::Style;
use jiff::Timestamp;
use serde_json::Value;
use weir_replay::shown;

use crate::terminal::{ACCENT, DIM, ERROR, GOOD, STRONG};

/// Of arguments so many characters stand in a list; `show` has them whole.
const LISTED_MAX: usize = 60;

/// A member that is text; empty if there is none.
pub(super) fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// What waits, one line each.
pub(super) fn list(held: &[Value]) -> String {
    if held.is_empty() {
        return "nothing waits\n".into();
    }
    let lines = held.iter().map(|question| {
        let arguments = text(question, "arguments");
        let arguments = shown(arguments);
        let cut: String = arguments.chars().take(LISTED_MAX).collect();
        let more = if cut.len() < arguments.len() {
            " …"
        } else {
            ""
        };
        let id: String = text(question, "id").chars().take(8).collect();
        format!(
            "{ACCENT}{id}{ACCENT:#}  {:<9}  {}  {STRONG}{}{STRONG:#}  {cut}{more}\n",
            left(question),
            shown(text(question, "grant")),
            shown(text(question, "tool")),
        )
    });
    lines.collect()
}

/// One question whole, or what became of it.
pub(super) fn whole(question: &Value) -> String {
    let of = |member| shown(text(question, member)).into_owned();
    let line = |label: &str, value: String| {
        if value.is_empty() {
            value
        } else {
            format!("{DIM}{label:<12}{DIM:#} {value}\n")
        }
    };
    let strong = |value: String, style: Style| format!("{style}{value}{style:#}");
    let state = text(question, "state");
    let style = if state == "approved" { GOOD } else { ERROR };
    let mut page = String::new();
    page += &line("question", strong(of("id"), ACCENT));
    page += &if state == "held" {
        line("waits for", left(question))
    } else {
        let by = of("by");
        let by = if by.is_empty() {
            by
        } else {
            format!(" by {by}")
        };
        let at = of("answered_at");
        line(
            "answered",
            format!("{}{by} at {at}", strong(state.into(), style)),
        )
    };
    page += &line("asked", of("asked_at"));
    page += &line("grant", of("grant"));
    page += &line("from", format!("{} {}", of("address"), of("client")));
    page += &line("session", of("session"));
    page += &line("server", of("server"));
    page += &line("tool", strong(of("tool"), STRONG));
    if text(question, "wire_tool") != text(question, "tool") {
        page += &line("called as", of("wire_tool"));
    }
    page += &line("risk", of("risk"));
    page += &line("rule", of("rule"));
    page += &line("because", of("message"));
    page += &line("call", of("call_id"));
    page += &line("digest", of("digest"));
    let redacted = question.get("redacted").and_then(Value::as_array);
    let redacted: Vec<_> = redacted
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(shown)
        .collect();
    page += &line("redacted", redacted.join(", "));
    page += &block("arguments", text(question, "arguments"));
    page += &block("which means", text(question, "effective_arguments"));
    page
}

/// What was answered, in a line.
pub(super) fn answered(question: &Value, state: &str) -> String {
    let style = if state == "approved" { GOOD } else { ERROR };
    format!(
        "{style}{}{style:#} {} {}\n",
        shown(state),
        shown(text(question, "tool")),
        shown(text(question, "arguments")),
    )
}

fn block(label: &str, json: &str) -> String {
    if json.is_empty() {
        return String::new();
    }
    let mut block = format!("{DIM}{label}{DIM:#}\n");
    for line in laid_out(json) {
        block.extend(["  ", &*shown(&line), "\n"]);
    }
    block
}

/// JSON over lines: every token as it stood, only the white space between them is ours. So nothing hides behind a screenful of
/// blanks, and no number is shown as another.
fn laid_out(json: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    let put = |lines: &mut Vec<String>, c: char| {
        if let Some(line) = lines.last_mut() {
            line.push(c);
        }
    };
    let begin = |lines: &mut Vec<String>, depth: usize| lines.push("  ".repeat(depth));
    let mut tokens = json.chars().peekable();
    while let Some(c) = tokens.next() {
        if in_text {
            put(&mut lines, c);
            in_text = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            ' ' | '\t' | '\n' | '\r' => {}
            '"' => {
                in_text = true;
                put(&mut lines, c);
            }
            '{' | '[' => {
                put(&mut lines, c);
                while tokens.next_if(char::is_ascii_whitespace).is_some() {}
                if let Some(end) = tokens.next_if(|next| matches!(next, '}' | ']')) {
                    put(&mut lines, end);
                } else {
                    depth += 1;
                    begin(&mut lines, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                begin(&mut lines, depth);
                put(&mut lines, c);
            }
            ',' => {
                put(&mut lines, c);
                begin(&mut lines, depth);
            }
            ':' => {
                put(&mut lines, c);
                put(&mut lines, ' ');
            }
            c => put(&mut lines, c),
        }
    }
    lines
}

/// How long a person still has.
fn left(question: &Value) -> String {
    let Ok(expires_at) = text(question, "expires_at").parse::<Timestamp>() else {
        return String::new();
    };
    let seconds = (expires_at.as_second() - Timestamp::now().as_second()).max(0);
    let (minutes, rest) = (seconds / 60, seconds % 60);
    if minutes > 0 {
        format!("{minutes} min {rest} s")
    } else {
        format!("{rest} s")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn every_token_is_laid_out_as_it_stood() {
        let json =
            r#"{ "id":7,   "big": 12345678901234567890.10,"t":"a \" , {","none":{},"l":[1, [ ]]}"#;
        let lines = laid_out(json);
        assert_eq!(
            lines,
            [
                "{",
                r#"  "id": 7,"#,
                r#"  "big": 12345678901234567890.10,"#,
                r#"  "t": "a \" , {","#,
                r#"  "none": {},"#,
                r#"  "l": ["#,
                "    1,",
                "    []",
                "  ]",
                "}"
            ]
        );
    }

    #[test]
    fn hostile_arguments_paint_nothing() {
        let arguments = "{\"a\":\"\u{202e}7 :di\u{1b}[2J\u{9b}1A\u{200b}\"}";
        let question = json!({
            "id": "ab12", "state": "held", "tool": "vm_stop\u{1b}[1A", "arguments": arguments,
            "grant": "ops\u{202e}", "message": "\r\nsaid", "redacted": ["/a\u{7}"],
        });
        for page in [
            whole(&question),
            list(std::slice::from_ref(&question)),
            answered(&question, "approved\u{1b}"),
        ] {
            let page = anstream::adapter::strip_str(&page).to_string();
            let painted: Vec<char> = page
                .chars()
                .filter(|c| (c.is_control() && *c != '\n') || matches!(c, '\u{202e}' | '\u{200b}'))
                .collect();
            assert!(painted.is_empty(), "{painted:?} in {page}");
            assert!(page.contains(r"\u{202e}7 :di\u{1b}[2J"), "{page}");
        }
    }
}

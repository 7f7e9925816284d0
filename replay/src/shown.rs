//! Recorded text made safe to show: it was written by whoever sent the call.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` with every character that could move the cursor, hide or reorder what is read written
/// out, as `\n` or `\u{202e}`. Text without such characters is borrowed.
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if is_hidden(c) => {
                // Writing to a string cannot fail.
                if write!(safe, "\\u{{{:x}}}", u32::from(c)).is_err() {
                    safe.push('\u{fffd}');
                }
            }
            c => safe.push(c),
        }
    }
    Cow::Owned(safe)
}

/// Control characters, and the format characters that a reader cannot see.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn plain_text_is_untouched() {
        assert_eq!(
            shown("vm_stop {\"id\": 7} größe 机"),
            "vm_stop {\"id\": 7} größe 机"
        );
    }

    #[test]
    fn an_escape_sequence_cannot_reach_the_terminal() {
        assert_eq!(shown("\u{1b}[2Jgone\r\n"), "\\u{1b}[2Jgone\\r\\n");
        assert_eq!(shown("\u{9b}2J"), "\\u{9b}2J");
    }

    #[test]
    fn reordering_and_invisible_characters_are_written_out() {
        assert_eq!(shown("vm\u{202e}pots"), "vm\\u{202e}pots");
        assert_eq!(shown("a\u{200b}b\u{feff}"), "a\\u{200b}b\\u{feff}");
        assert_eq!(shown("tag\u{e0041}"), "tag\\u{e0041}");
    }
}

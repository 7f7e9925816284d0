//! Recorded text made safe to stand in documents that other programs draw: it was written by whoever sent the call.

use crate::shown;

/// Text in HTML and XML, between tags or in a quoted attribute. What cannot be seen is written out, as in [`shown`].
pub(super) fn markup(text: &str) -> String {
    let text = shown(text);
    let mut safe = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // XML has no way to say these.
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// Text in Markdown: no character of it begins markup, a link, a mention or a table cell.
pub(super) fn markdown(text: &str) -> String {
    let text = shown(text);
    let mut safe = String::with_capacity(text.len() + text.len() / 4);
    for c in text.chars() {
        if c.is_ascii_punctuation() && !matches!(c, '/' | '-' | ',') {
            safe.push_str("&#");
            safe.push_str(&u32::from(c).to_string());
            safe.push(';');
        } else {
            safe.push(c);
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::{markdown, markup};

    #[test]
    fn no_character_of_a_text_begins_markup() {
        let hostile = "<img src=x onerror='a()'> & \"</script>\u{202e}\u{1b}[2J\u{ffff}";
        let safe = markup(hostile);
        assert_eq!(
            safe,
            "&lt;img src=x onerror=&#39;a()&#39;&gt; &amp; &quot;&lt;/script&gt;\\u{202e}\\u{1b}[2J\u{fffd}"
        );
        let safe = markdown("@team | `x` [a](https://b.c) <b> #1 _x_ :x: www.x.y\n# h");
        assert!(
            !safe.chars().any(|c| "@|`[]()<>_:.*!\n".contains(c)),
            "{safe}"
        );
        assert!(!safe.replace("&#", "").contains('#'), "{safe}");
    }
}

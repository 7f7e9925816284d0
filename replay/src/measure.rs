//! Text in columns: how wide it is on a terminal, cut and padded to fit.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// How many columns `text` takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// `text` in at most `columns`; where something is cut off, `…` stands for it.
pub(crate) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        let next = used + c.width().unwrap_or(0);
        if next + 1 > columns {
            break;
        }
        used = next;
        kept.push(c);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// `text` cut and padded on the right to exactly `columns`.
pub(crate) fn left(text: &str, columns: usize) -> String {
    let mut text = cut(text, columns);
    text.extend(std::iter::repeat_n(
        ' ',
        columns.saturating_sub(width(&text)),
    ));
    text
}

/// `text` cut and padded on the left to exactly `columns`.
pub(crate) fn right(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    let mut padded: String =
        std::iter::repeat_n(' ', columns.saturating_sub(width(&text))).collect();
    padded.push_str(&text);
    padded
}

/// A count as people read it: `1,234,567`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `part` of `whole` in percent, never rounded to none or all: `0.1 %` may be `< 0.1 %`.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if whole == 0 || part == 0 {
        return "0 %".into();
    }
    if part == whole {
        return "100 %".into();
    }
    let tenths = u128::from(part) * 1000 / u128::from(whole);
    match tenths {
        0 => "< 0.1 %".into(),
        tenths => format!("{}.{} %", tenths / 10, tenths % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::{cut, grouped, left, right, share, width};

    #[test]
    fn wide_characters_count_double() {
        assert_eq!(width("机a"), 3);
        assert_eq!(cut("机机机", 5), "机机…");
        assert_eq!(left("机", 4), "机  ");
        assert_eq!(right("7", 3), "  7");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn counts_and_shares_read_well() {
        assert_eq!(
            [grouped(0), grouped(999), grouped(1_234_567)],
            ["0", "999", "1,234,567"]
        );
        assert_eq!(
            [
                share(0, 9),
                share(9, 9),
                share(1, 9999),
                share(9998, 9999),
                share(1, 3)
            ],
            ["0 %", "100 %", "< 0.1 %", "99.9 %", "33.3 %"]
        );
    }
}

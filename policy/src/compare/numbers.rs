//! Numbers between numbers: an example of each kind that lies strictly between two of a policy's.

use std::cmp::Ordering;

use crate::number::Decimal;

/// How far digits are appended to get below a bound.
const DIGITS_MAX: usize = 80;

/// Examples strictly between two neighbours.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Between {
    /// A whole number, if there is one.
    pub(super) whole: Option<String>,
    /// A number with a fraction. There always is one, unless it would need too many digits.
    pub(super) broken: Option<String>,
    /// Whether whole numbers may lie between although none is given.
    pub(super) unsure: bool,
}

/// What lies strictly between `low` and `high`; a bound that is missing is infinite. Both have one sign, or are zero.
pub(super) fn between(low: Option<&Decimal>, high: Option<&Decimal>) -> Between {
    let zero = Decimal::from(0);
    let is_negative = high.is_some_and(|high| *high <= zero);
    let mirrored = |number: Option<&Decimal>| number.and_then(negate);
    // of a negative stretch, the mirror image
    let (low, high) = if is_negative {
        (mirrored(high), mirrored(low))
    } else {
        (low.cloned(), high.cloned())
    };
    let low = low.unwrap_or(zero);
    let found = above(&low, high.as_ref());
    let sign = |text: String| {
        if is_negative {
            format!("-{text}")
        } else {
            text
        }
    };
    Between {
        whole: found.whole.map(sign),
        broken: found.broken.map(sign),
        unsure: found.unsure,
    }
}

/// As [`between`], for bounds that are not negative.
fn above(low: &Decimal, high: Option<&Decimal>) -> Between {
    let fits = |text: &String| {
        let number = Decimal::parse(text);
        number.is_some_and(|n| n > *low && high.is_none_or(|high| n < *high))
    };
    let is_whole = |text: &String| Decimal::parse(text).is_some_and(|n| n.is_integer());
    let (digits, exponent) = parts(low);
    // a little more than `low`: its digits, some zeros, a five
    let more = |zeros: usize| {
        let nought = "0".repeat(zeros);
        format!("{digits}{nought}5e{}", exponent - zeros as i64 - 1)
    };
    let mut candidates = (0..DIGITS_MAX).map(more).filter(fits);
    let broken = if digits.is_empty() {
        (1..i64::MAX)
            .map(|places| {
                1_i64
                    .checked_shl(places.min(40) as u32 - 1)
                    .unwrap_or(i64::MAX)
            })
            .map(|places| format!("5e-{places}"))
            .take(40)
            .find(fits)
    } else {
        candidates.find(|text| !is_whole(text))
    };
    let next = floor(low).map(|whole| (whole + 1).to_string());
    let broken = broken.map(|text| plain(&text));
    if let Some(next) = next {
        return Between {
            whole: Some(next).filter(fits),
            broken,
            unsure: false,
        };
    }
    let whole = (0..DIGITS_MAX).map(more).filter(fits).find(is_whole);
    Between {
        unsure: whole.is_none(),
        whole,
        broken,
    }
}

/// The digits and the exponent of a number that is not negative.
fn parts(number: &Decimal) -> (String, i64) {
    let text = number.to_string();
    match text.split_once('e') {
        Some((digits, exponent)) => (digits.to_owned(), exponent.parse().unwrap_or(0)),
        None => (String::new(), 0),
    }
}

/// The greatest whole number that is not greater, if it is not too large to count with.
fn floor(number: &Decimal) -> Option<i128> {
    let (digits, exponent) = parts(number);
    let length = digits.len() as i64;
    if length + exponent <= 0 {
        return Some(0);
    }
    if length + exponent > 36 || length > 36 {
        return None;
    }
    let value: i128 = digits.parse().ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs().try_into().ok()?)?;
    if exponent < 0 {
        Some(value / power)
    } else {
        value.checked_mul(power)
    }
}

fn negate(number: &Decimal) -> Option<Decimal> {
    let text = number.to_string();
    match text.strip_prefix('-') {
        Some(rest) => Decimal::parse(rest),
        None => Decimal::parse(&format!("-{text}")),
    }
}

fn plain(text: &str) -> String {
    Decimal::parse(text).map_or_else(|| text.to_owned(), |number| number.plain())
}

/// Sorted, each once, with zero among them.
pub(super) fn sorted(mut numbers: Vec<Decimal>) -> Vec<Decimal> {
    numbers.push(Decimal::from(0));
    numbers.sort_by(|a, b| if a == b { Ordering::Equal } else { a.cmp(b) });
    numbers.dedup();
    numbers
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn examples_lie_strictly_between() {
        let bounds = [
            "-1e400",
            "-1e40",
            "-8",
            "-7.5",
            "-7",
            "-1e-30",
            "0",
            "1e-300",
            "0.5",
            "6",
            "7",
            "7.5",
            "9007199254740993",
            "1e30",
            "1e36",
            "1e37",
            "2e37",
            "1e400",
        ];
        let bounds: Vec<Decimal> = bounds.iter().map(|b| Decimal::parse(b).unwrap()).collect();
        for pair in bounds.windows(2) {
            let [low, high] = pair else { unreachable!() };
            let found = between(Some(low), Some(high));
            for (text, is_whole) in [(&found.whole, true), (&found.broken, false)] {
                let Some(text) = text else { continue };
                let number = Decimal::parse(text).unwrap();
                assert!(*low < number && number < *high, "{low} {text} {high}");
                assert_eq!(number.is_integer(), is_whole, "{low} {text} {high}");
            }
            assert!(!found.unsure);
        }
        let of = |low: &str, high: &str| {
            between(Decimal::parse(low).as_ref(), Decimal::parse(high).as_ref())
        };
        assert_eq!(of("6", "7").whole, None);
        assert_eq!(of("6", "7").broken.unwrap(), "6.5");
        assert_eq!(of("6", "8").whole.unwrap(), "7");
        assert_eq!(of("0", "").whole.unwrap(), "1");
        assert_eq!(of("", "0").whole.unwrap(), "-1");
        assert_eq!(of("", "-7.5").whole.unwrap(), "-8");
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        for (text, read) in [
            ("65e-1", "6.5"),
            ("5e-3", "0.005"),
            ("-7e2", "-700"),
            ("1e400", "1e400"),
        ] {
            assert_eq!(plain(text), read);
        }
    }
}

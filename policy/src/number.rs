//! Numbers without rounding: comparison by value, and amounts in millionths.

use std::cmp::Ordering;
use std::fmt;

use smallvec::SmallVec;

use crate::Number;

/// Exponents beyond this are cut to it. Numbers of a policy stay far below ([`Decimal::fits_policy`]),
/// so a comparison between a policy's number and a call's stays exact.
const EXPONENT_MAX: i64 = 1_000_000_000_000_000;

/// The largest exponent a policy may write.
const POLICY_EXPONENT_MAX: i64 = 1_000_000_000;

/// More than any `max` in millionths: an amount that does not fit stands for "over every limit".
pub(crate) const AMOUNT_MAX: u128 = 1 << 100;

const _: () = assert!(AMOUNT_MAX > u64::MAX as u128 * 1_000_000);

/// A decimal in normal form, `0.d₁d₂d₃… × 10^scale`: no leading and no trailing zero digit, zero has
/// no digits. Equal values have equal forms.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Decimal {
    negative: bool,
    digits: SmallVec<[u8; 24]>,
    scale: i64,
}

impl Decimal {
    /// Reads a JSON number; nothing else is a decimal.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (rest, 0),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some(parts) => parts,
            None => (mantissa, ""),
        };
        let digits = || whole.bytes().chain(fraction.bytes());
        if whole.is_empty() || !digits().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let leading = digits().take_while(|digit| *digit == b'0').count();
        let mut digits: SmallVec<[u8; 24]> = digits().skip(leading).collect();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        if digits.is_empty() {
            return Some(Self {
                negative: false,
                digits,
                scale: 0,
            });
        }
        let scale = exponent + whole.len() as i64 - leading as i64;
        Some(Self {
            negative,
            digits,
            scale,
        })
    }

    /// The exact value of a number of a call; `None` if its text is no JSON number.
    pub(crate) fn of(number: &Number<'_>) -> Option<Self> {
        match number {
            Number::Integer(integer) => Some(Self::from(*integer)),
            Number::Decimal(text) => Self::parse(text),
        }
    }

    /// Whether a policy may hold this number: its exponent is far from where exponents are cut.
    pub(crate) fn fits_policy(&self) -> bool {
        self.scale.abs() <= POLICY_EXPONENT_MAX
    }

    /// Whether there is no fractional part, however it was written.
    pub(crate) fn is_integer(&self) -> bool {
        self.digits.is_empty() || self.digits.len() as i64 <= self.scale
    }

    /// The number as people write it, where that is short: `6.5`, `700`, `1e400`.
    pub(crate) fn plain(&self) -> String {
        let digits = String::from_utf8_lossy(&self.digits);
        let length = self.digits.len() as i64;
        let sign = if self.negative { "-" } else { "" };
        let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or_default());
        match self.scale {
            scale if !(-20..=20).contains(&scale) || length > 40 => self.to_string(),
            scale if scale <= 0 && length > 0 => format!("{sign}0.{}{digits}", zeros(-scale)),
            scale if scale < length => {
                let (whole, fraction) = digits.split_at(usize::try_from(scale).unwrap_or_default());
                format!("{sign}{whole}.{fraction}")
            }
            _ if length == 0 => "0".to_owned(),
            scale => format!("{sign}{digits}{}", zeros(scale - length)),
        }
    }

    /// The value, if it is an integer of 64 bits.
    pub(crate) fn to_i64(&self) -> Option<i64> {
        if self.digits.is_empty() {
            return Some(0);
        }
        if !self.is_integer() || self.scale > 19 {
            return None;
        }
        let magnitude = self.leading_digits(self.scale);
        let value = if self.negative {
            -(magnitude as i128)
        } else {
            magnitude as i128
        };
        i64::try_from(value).ok()
    }

    /// The value in millionths, rounded up; `None` if it is negative. [`AMOUNT_MAX`] if it does not fit.
    pub(crate) fn millionths(&self) -> Option<u128> {
        if self.negative {
            return None;
        }
        if self.digits.is_empty() {
            return Some(0);
        }
        let places = self.scale + 6;
        if places > 31 {
            return Some(AMOUNT_MAX);
        }
        if places <= 0 {
            return Some(1);
        }
        let rounding = u128::from(self.digits.len() as i64 > places);
        Some((self.leading_digits(places) + rounding).min(AMOUNT_MAX))
    }

    /// The first `places` digits as a whole number; digits that are not there are zeros. At most 38.
    fn leading_digits(&self, places: i64) -> u128 {
        let digits = self.digits.iter().copied().chain(std::iter::repeat(b'0'));
        digits
            .take(places as usize)
            .fold(0, |value, digit| value * 10 + u128::from(digit - b'0'))
    }

    fn cmp_magnitude(&self, other: &Self) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => self
                .scale
                .cmp(&other.scale)
                .then_with(|| self.digits.cmp(&other.digits)),
        }
    }
}

/// The normal form in JSON: `15e-1`.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.digits.is_empty() {
            return f.write_str("0");
        }
        let sign = if self.negative { "-" } else { "" };
        let digits = std::str::from_utf8(&self.digits).map_err(|_| fmt::Error)?;
        write!(
            f,
            "{sign}{digits}e{}",
            self.scale - self.digits.len() as i64
        )
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        let mut digits = SmallVec::new();
        let mut rest = value.unsigned_abs();
        while rest > 0 {
            digits.push(b'0' + (rest % 10) as u8);
            rest /= 10;
        }
        digits.reverse();
        let scale = digits.len() as i64;
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        Self {
            negative: value < 0,
            digits,
            scale,
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, false) => self.cmp_magnitude(other),
            (true, true) => other.cmp_magnitude(self),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn parse_exponent(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes() {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] | rest => (1, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let cut = |value: i64, digit: &u8| (value * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX);
    Some(sign * digits.iter().fold(0, cut))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    #[test]
    fn equal_values_have_one_form() {
        for (a, b) in [
            ("7", "7.0"),
            ("7", "70e-1"),
            ("0", "-0"),
            ("0", "0e999999999999999999999"),
            ("1e2", "100"),
            ("0.05", "5E-2"),
        ] {
            assert_eq!(decimal(a), decimal(b), "{a} {b}");
        }
        assert_eq!(Decimal::from(i64::MIN), decimal("-9223372036854775808"));
        assert_eq!(Decimal::from(1_200), decimal("1.2e+3"));
    }

    #[test]
    fn order_is_by_value_beyond_every_machine_number() {
        let ascending = [
            "-1e999999999",
            "-9007199254740993",
            "-9007199254740992",
            "-1.5",
            "-1e-400",
            "0",
            "1e-999999999",
            "0.1",
            "0.10000000000000000001",
            "9007199254740992",
            "9007199254740993",
            "18446744073709551616",
            "1e400",
            "1.1e400",
            "1e999999999",
            "1e99999999999999999999",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(decimal(a).cmp(&decimal(b)), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn what_is_no_json_number_is_no_decimal() {
        for text in [
            "", "-", "1.", ".5", "1e", "1e+", "+1", "NaN", "0x1", "1_0", "1e1.5", "--1",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn integers_are_seen_however_written() {
        for text in ["7", "7.0", "7e0", "-0.0", "1e400", "1500e-2"] {
            assert!(decimal(text).is_integer(), "{text}");
        }
        for text in ["7.5", "1e-1", "1501e-2", "1e-400"] {
            assert!(!decimal(text).is_integer(), "{text}");
        }
        assert_eq!(decimal("-9223372036854775808.0").to_i64(), Some(i64::MIN));
        assert_eq!(decimal("9223372036854775808").to_i64(), None);
        assert_eq!(decimal("1e400").to_i64(), None);
    }

    #[test]
    fn amounts_are_millionths_rounded_up() {
        for (text, millionths) in [
            ("0", Some(0)),
            ("-0.0", Some(0)),
            ("1", Some(1_000_000)),
            ("0.0000001", Some(1)),
            ("1e-999999999", Some(1)),
            ("1.0000001", Some(1_000_001)),
            ("12.5", Some(12_500_000)),
            ("-0.1", None),
            ("-1e-99", None),
            ("1e24", Some(10_u128.pow(30).min(AMOUNT_MAX))),
            ("1e25", Some(AMOUNT_MAX)),
            ("1e400", Some(AMOUNT_MAX)),
        ] {
            assert_eq!(decimal(text).millionths(), millionths, "{text}");
        }
    }
}

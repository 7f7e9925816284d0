//! `retain` under `[record]`: which calls are kept.

use std::time::Duration;

use weir_recorder::Retain;

use super::section::{Found, Section};

/// Reads `{ age = "90d", bytes = "50GB" }`, either or both.
pub(super) fn read(section: &Section<'_, '_>) -> Retain {
    let mut retain = Retain::default();
    if let Some(found) = section.string("age") {
        retain.age = days(found.value);
        if retain.age.is_none() {
            refuse(section, &found, "write whole days: \"90d\"");
        }
    }
    if let Some(found) = section.string("bytes") {
        retain.bytes = bytes(found.value);
        if retain.bytes.is_none() {
            refuse(
                section,
                &found,
                "write a number with its unit: \"50GB\" or \"500MB\"",
            );
        }
    }
    retain
}

fn refuse(section: &Section<'_, '_>, found: &Found<&str>, hint: &str) {
    let message = format!("`{}` says not what is to be kept", found.value);
    section
        .source
        .problem(&found.span, message, Some(hint.to_owned()));
}

/// Whole days, at least one.
fn days(text: &str) -> Option<Duration> {
    let days: u64 = text.strip_suffix('d')?.parse().ok()?;
    let seconds = days.checked_mul(86_400)?;
    (1..=36_500)
        .contains(&days)
        .then(|| Duration::from_secs(seconds))
}

/// A size with its unit.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let units = [
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    let (number, unit) = units
        .iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
    let number: u64 = number.trim_end().parse().ok()?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_whole_days_and_sizes_have_a_unit() {
        assert_eq!(days("90d"), Some(Duration::from_hours(90 * 24)));
        assert_eq!(bytes("50GB"), Some(50_000_000_000));
        for wrong in ["", "d", "0d", "-1d", "90", "1.5d", "99999999999999999999d"] {
            assert_eq!(days(wrong), None, "{wrong}");
        }
        for wrong in ["", "GB", "0GB", "50", "50 gb", "1e3GB", "99999999999TB"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}

//! `time.hour` and `time.weekday`: the wall clock of a policy at a moment that is passed in.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::Micros;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// UTC, or the time zone a policy names.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Calendar(Option<TimeZone>);

/// The zone's name.
impl fmt::Display for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = self.0.as_ref().and_then(TimeZone::iana_name);
        f.write_str(zone.unwrap_or("UTC"))
    }
}

impl Calendar {
    /// The zone of an IANA name, from the database that is part of the program.
    pub(crate) fn of_zone(name: &str) -> Option<Self> {
        TimeZoneDatabase::bundled()
            .get(name)
            .ok()
            .map(|zone| Self(Some(zone)))
    }

    /// 0 to 23.
    pub(crate) fn hour(&self, at: Micros) -> i64 {
        self.seconds(at).rem_euclid(DAY) / HOUR
    }

    /// 1 (Monday) to 7.
    pub(crate) fn weekday(&self, at: Micros) -> i64 {
        // 1 January 1970 was a Thursday
        (self.seconds(at).div_euclid(DAY) + 3).rem_euclid(7) + 1
    }

    /// Local seconds since 1970-01-01T00:00.
    fn seconds(&self, at: Micros) -> i64 {
        let utc = at.0.div_euclid(1_000_000);
        let offset = self.0.as_ref().map_or(0, |zone| {
            let moment = Timestamp::from_second(utc).unwrap_or(Timestamp::UNIX_EPOCH);
            i64::from(zone.to_offset(moment).seconds())
        });
        utc.saturating_add(offset)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn at(text: &str) -> Micros {
        Micros(text.parse::<Timestamp>().unwrap().as_microsecond())
    }

    #[test]
    fn utc_by_default() {
        let utc = Calendar::default();
        assert_eq!(
            (
                utc.hour(at("2026-11-22T23:59:59.999999Z")),
                utc.weekday(at("2026-11-22T23:59:59Z"))
            ),
            (23, 7)
        );
        assert_eq!(
            (
                utc.hour(at("2026-11-23T00:00:00Z")),
                utc.weekday(at("2026-11-23T00:00:00Z"))
            ),
            (0, 1)
        );
        assert_eq!(
            (
                utc.hour(at("1969-12-31T23:30:00Z")),
                utc.weekday(at("1969-12-31T23:30:00Z"))
            ),
            (23, 3)
        );
    }

    #[test]
    fn a_zone_moves_hour_and_day_with_its_summer_time() {
        let berlin = Calendar::of_zone("Europe/Berlin").unwrap();
        assert_eq!(berlin.hour(at("2026-01-15T23:30:00Z")), 0);
        assert_eq!(berlin.weekday(at("2026-01-15T23:30:00Z")), 5);
        assert_eq!(berlin.hour(at("2026-07-15T22:30:00Z")), 0);
        assert!(Calendar::of_zone("Europe/Atlantis").is_none());
    }
}

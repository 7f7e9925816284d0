//! `bytes_max` and `reserve` under `[record]`: how much disk the record may take.

use super::RecordConfig;
use super::retain::bytes;
use super::section::{Found, Section};

/// The journal alone takes some 140 MB: what is in use, what is made ahead, what is being sealed; and the reserve counts twice.
const BYTES_MAX_MIN: u64 = 512_000_000;

/// What a fault and a stop need at the very least: a journal file, and the segment that it becomes.
const RESERVE_MIN: u64 = 16_000_000;

/// Reads both.
pub(super) fn read(section: &Section<'_, '_>, record: &mut RecordConfig) {
    if let Some(reserve) = size(section, "reserve", RESERVE_MIN) {
        record.reserve_bytes = reserve.value;
    }
    if let Some(most) = size(section, "bytes_max", BYTES_MAX_MIN) {
        if most.value / 4 < record.reserve_bytes {
            let message = "`bytes_max` is less than four times the `reserve`, which is part of it";
            section.source.problem(&most.span, message, None);
        }
        record.bytes_max = Some(most.value);
    }
}

fn size(section: &Section<'_, '_>, key: &'static str, least: u64) -> Option<Found<u64>> {
    let found = section.string(key)?;
    let Some(value) = bytes(found.value).filter(|bytes| *bytes >= least) else {
        let message = format!("`{}` is no size for `{key}`", found.value);
        let megabytes = least / 1_000_000;
        let hint = format!(
            "write a number with its unit, \"50GB\" or \"500MB\", of at least {megabytes}MB"
        );
        section.source.problem(&found.span, message, Some(hint));
        return None;
    };
    let span = found.span;
    Some(Found { value, span })
}

//! The ids of calls: UUIDv7 by the time of arrival.

use std::cell::RefCell;

use weir_policy::Micros;

/// Random bytes of one id.
const RANDOM: usize = 10;
/// So many ids are made of what the system is asked for at once: a question for each would be a system call for each call.
const IDS: usize = 128;

thread_local! {
    static AHEAD: RefCell<Vec<[u8; RANDOM]>> = const { RefCell::new(Vec::new()) };
}

/// A new id.
pub(crate) fn fresh(received_at: Micros) -> [u8; 16] {
    let millis = received_at.0.div_euclid(1_000).unsigned_abs();
    let random = AHEAD.with_borrow_mut(|ahead| ahead.pop().or_else(|| refill(ahead)));
    match random {
        Some(random) => *uuid::Builder::from_unix_timestamp_millis(millis, &random)
            .into_uuid()
            .as_bytes(),
        None => *uuid::Uuid::now_v7().as_bytes(),
    }
}

/// Fills up, and takes one; none where the system gives no random bytes.
fn refill(ahead: &mut Vec<[u8; RANDOM]>) -> Option<[u8; RANDOM]> {
    let mut bytes = [0; RANDOM * IDS];
    getrandom::fill(&mut bytes).ok()?;
    ahead.extend(bytes.as_chunks::<RANDOM>().0);
    ahead.pop()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_and_tell_the_time() {
        let at = Micros(1_795_348_800_123_456);
        let ids: Vec<_> = (0..3 * IDS)
            .map(|_| uuid::Uuid::from_bytes(fresh(at)))
            .collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        for id in ids {
            assert_eq!(id.get_version_num(), 7);
            let told = id.get_timestamp().map(|at| at.to_unix());
            assert_eq!(told, Some((1_795_348_800, 123_000_000)));
        }
    }
}

//! How soon a command that keeps ending may be started again. Each grant is looked at by itself: who makes its children end keeps
//! nobody else waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A child that ran for this long was well.
const WELL: Duration = Duration::from_secs(10);
/// The pause after two children in a row that were not; twice as long after each further one, up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// By grant: the children that ended by themselves too soon, one after the other.
#[derive(Debug, Default)]
pub(super) struct Backoff(Mutex<HashMap<Arc<str>, Ended>>);

#[derive(Debug)]
struct Ended {
    in_a_row: u32,
    last: Instant,
}

impl Backoff {
    /// Whether another one may be started; if not, in how long.
    pub(super) fn admits(&self, grant: &str, now: Instant) -> Result<(), Duration> {
        let grants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ended) = grants.get(grant).filter(|ended| ended.in_a_row > 1) else {
            return Ok(());
        };
        let doubled = 2_u32.saturating_pow(ended.in_a_row - 2);
        let pause = PAUSE.0.saturating_mul(doubled).min(PAUSE.1);
        let left = (ended.last + pause).saturating_duration_since(now);
        if left.is_zero() { Ok(()) } else { Err(left) }
    }

    /// A child that was started then ended by itself now.
    pub(super) fn note(&self, grant: &Arc<str>, started: Instant, now: Instant) {
        let mut grants = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.duration_since(started) >= WELL {
            grants.remove(grant);
            return;
        }
        let ended = grants.entry(Arc::clone(grant)).or_insert(Ended {
            in_a_row: 0,
            last: now,
        });
        ended.in_a_row = ended.in_a_row.saturating_add(1);
        ended.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound_and_a_long_life_ends_them() {
        let (backoff, ops) = (Backoff::default(), Arc::from("ops"));
        let began = Instant::now();
        assert_eq!(backoff.admits("ops", began), Ok(()));
        let mut pauses = Vec::new();
        for _ in 0..9 {
            backoff.note(&ops, began, began);
            let pause = backoff.admits("ops", began).err();
            pauses.push(pause.map_or(0, |pause| pause.as_millis()));
        }
        let expected = [0, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000];
        assert_eq!(pauses, expected);
        assert_eq!(backoff.admits("dev", began), Ok(()));
        assert_eq!(backoff.admits("ops", began + PAUSE.1), Ok(()));
        backoff.note(&ops, began, began + WELL);
        assert_eq!(backoff.admits("ops", began + WELL), Ok(()));
    }
}

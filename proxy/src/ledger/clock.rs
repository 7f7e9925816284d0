//! The time of the log: the wall clock when the process began, carried on by the monotonic clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_policy::Micros;

/// Where decisions get their time from. Never goes backwards by itself; the log adds its own maximum.
#[derive(Debug)]
pub enum Clock {
    /// Real time.
    System(SystemClock),
    /// Time that only moves when it is set: for generated traffic and tests.
    Simulated(AtomicI64),
}

/// Start time plus monotonic time, with the steps of the wall clock that were adopted.
#[derive(Debug)]
pub struct SystemClock {
    began: Instant,
    /// Microseconds since the epoch at `began`, adopted steps included.
    base: AtomicI64,
    /// What the wall clock was last found to be ahead of us by.
    ahead: AtomicI64,
}

/// The wall clock moved against the monotonic one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockStep {
    /// By how much, in microseconds; negative is backwards.
    pub by: i64,
    /// Whether the log's time follows it.
    pub adopted: bool,
}

/// A step smaller than this is drift, and nobody's business.
const STEP_MIN: i64 = 1_000_000;
/// A forward jump beyond this is not believed: it would end every window at once.
const JUMP_MAX: i64 = 5 * 60 * 1_000_000;

impl Clock {
    /// Real time, not before `floor`: the last time in the log.
    pub fn system(floor: Option<i64>) -> Self {
        let wall = wall_micros();
        let base = wall.max(floor.unwrap_or(wall));
        Self::System(SystemClock {
            began: Instant::now(),
            base: AtomicI64::new(base),
            ahead: AtomicI64::new(wall - base),
        })
    }

    /// Time that stands still until it is set.
    pub fn simulated(at: Micros) -> Self {
        Self::Simulated(AtomicI64::new(at.0))
    }

    /// Sets a simulated clock, never back; a real one does not listen.
    pub fn set(&self, at: Micros) {
        if let Self::Simulated(now) = self {
            now.fetch_max(at.0, Ordering::Relaxed);
        }
    }

    /// The time now.
    pub fn now(&self) -> Micros {
        match self {
            Self::System(clock) => Micros(clock.now()),
            Self::Simulated(now) => Micros(now.load(Ordering::Relaxed)),
        }
    }

    /// Looks at the wall clock, and adopts its step where that is safe.
    pub(super) fn check(&self) -> Option<ClockStep> {
        match self {
            Self::System(clock) => clock.check(wall_micros()),
            Self::Simulated(_) => None,
        }
    }
}

impl SystemClock {
    fn now(&self) -> i64 {
        self.base
            .load(Ordering::Relaxed)
            .saturating_add(micros(self.began.elapsed()))
    }

    fn check(&self, wall: i64) -> Option<ClockStep> {
        let ahead = wall - self.now();
        let by = ahead - self.ahead.load(Ordering::Relaxed);
        if by.abs() <= STEP_MIN {
            return None;
        }
        // Only what lies ahead of us can be adopted: the log's time does not go back.
        let adopted = by > 0 && by <= JUMP_MAX && ahead > 0;
        if adopted {
            self.base.fetch_add(ahead.min(by), Ordering::Relaxed);
        }
        self.ahead.store(wall - self.now(), Ordering::Relaxed);
        Some(ClockStep { by, adopted })
    }
}

fn wall_micros() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, micros)
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::*;

    fn system(floor: Option<i64>) -> SystemClock {
        match Clock::system(floor) {
            Clock::System(clock) => clock,
            Clock::Simulated(_) => panic!("a system clock is real"),
        }
    }

    #[test]
    fn time_goes_on_from_the_last_entry_when_the_wall_clock_was_set_back() {
        let future = wall_micros() + 3_600_000_000;
        let clock = Clock::system(Some(future));
        assert!(clock.now().0 >= future);
    }

    #[test]
    fn a_small_forward_step_is_adopted_and_told_once() {
        let clock = system(None);
        let wall = clock.now() + 60_000_000;
        let step = clock.check(wall).unwrap();
        assert!(step.adopted && (59_000_000..61_000_000).contains(&step.by));
        assert!(clock.now() >= wall - 1_000);
        assert_eq!(clock.check(wall), None);
    }

    #[test]
    fn a_jump_of_an_hour_is_told_and_not_adopted() {
        let clock = system(None);
        let before = clock.now();
        let step = clock.check(before + 3_600_000_000).unwrap();
        assert!(!step.adopted);
        assert!(clock.now() < before + 60_000_000);
        assert_eq!(clock.check(before + 3_600_000_000), None);
    }

    #[test]
    fn a_step_back_is_told_and_time_goes_on() {
        let clock = system(None);
        let before = clock.now();
        let step = clock.check(before - 30_000_000).unwrap();
        assert!(!step.adopted && step.by < 0);
        assert!(clock.now() >= before);
    }
}

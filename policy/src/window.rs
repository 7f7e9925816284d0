//! How much was counted in a window of time: fixed and aligned, or sliding and exact.

use std::collections::VecDeque;

use crate::Micros;

/// The length of a window, and whether it slides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    pub(crate) micros: i64,
    pub(crate) sliding: bool,
}

impl Window {
    /// The end of a window, or of a span, that something counted at `at` falls into.
    pub(crate) fn first_end(self, at: Micros) -> i64 {
        let start = if self.sliding {
            at.0
        } else {
            aligned(at, self.micros)
        };
        start.saturating_add(self.micros)
    }
}

/// What one counter holds.
#[derive(Debug, Clone)]
pub(crate) enum Tally {
    /// Everything since the window began; windows are aligned to the Unix epoch.
    Fixed {
        micros: i64,
        start: i64,
        count: u128,
    },
    /// Every admission of the span (t − W, t], oldest first.
    Sliding {
        micros: i64,
        marks: VecDeque<Mark>,
        sum: u128,
    },
}

/// What was admitted at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    at: i64,
    amount: u128,
}

impl Tally {
    /// Nothing counted yet.
    pub(crate) fn new(window: Window, at: Micros) -> Self {
        if window.sliding {
            return Self::Sliding {
                micros: window.micros,
                marks: VecDeque::new(),
                sum: 0,
            };
        }
        Self::Fixed {
            micros: window.micros,
            start: aligned(at, window.micros),
            count: 0,
        }
    }

    /// What counts at `at`.
    #[inline]
    pub(crate) fn used(&mut self, at: Micros) -> u128 {
        self.roll(at);
        self.sum()
    }

    /// What counted when it was last asked.
    pub(crate) fn sum(&self) -> u128 {
        match self {
            Self::Fixed { count, .. } => *count,
            Self::Sliding { sum, .. } => *sum,
        }
    }

    /// Counts `amount` at `at`.
    #[inline]
    pub(crate) fn add(&mut self, at: Micros, amount: u128) {
        self.roll(at);
        self.count(at, amount);
    }

    /// As [`Tally::add`], where it was just asked what is used at `at`.
    #[inline]
    pub(crate) fn count(&mut self, at: Micros, amount: u128) {
        match self {
            Self::Fixed { count, .. } => *count = count.saturating_add(amount),
            Self::Sliding { marks, sum, .. } => {
                *sum = sum.saturating_add(amount);
                match marks.back_mut() {
                    Some(last) if last.at >= at.0 => {
                        last.amount = last.amount.saturating_add(amount);
                    }
                    Some(_) | None => marks.push_back(Mark { at: at.0, amount }),
                }
            }
        }
    }

    /// Takes back `amount` that was counted at `then`, if that still counts at `at`. Never below zero.
    pub(crate) fn give_back(&mut self, then: Micros, at: Micros, amount: u128) {
        self.roll(at);
        match self {
            // the window of `at`, after rolling: what was counted before it is gone already
            Self::Fixed { start, count, .. } => {
                if then.0 >= *start {
                    *count = count.saturating_sub(amount);
                }
            }
            Self::Sliding { marks, sum, .. } => {
                let place = marks.partition_point(|mark| mark.at < then.0);
                if let Some(mark) = marks.get_mut(place).filter(|mark| mark.at == then.0) {
                    let back = mark.amount.min(amount);
                    mark.amount -= back;
                    *sum -= back;
                    if mark.amount == 0 {
                        marks.remove(place);
                    }
                }
            }
        }
    }

    /// When nothing that counts now counts any more.
    pub(crate) fn ends(&self) -> i64 {
        match self {
            Self::Fixed { micros, start, .. } => start.saturating_add(*micros),
            Self::Sliding { micros, marks, .. } => marks
                .back()
                .map_or(i64::MIN, |mark| mark.at.saturating_add(*micros)),
        }
    }

    /// How long until `amount` fits under `ceiling`, in milliseconds rounded up; `None` if it never will.
    pub(crate) fn retry_after_ms(&self, at: Micros, amount: u128, ceiling: u128) -> Option<u64> {
        let room = ceiling.checked_sub(amount)?;
        let frees = match self {
            Self::Fixed { micros, start, .. } => start.saturating_add(*micros),
            Self::Sliding { micros, marks, sum } => {
                let mut left = *sum;
                let last = marks.iter().find(|mark| {
                    left = left.saturating_sub(mark.amount);
                    left <= room
                })?;
                last.at.saturating_add(*micros)
            }
        };
        u64::try_from(frees.saturating_sub(at.0))
            .ok()
            .map(|micros| micros.div_ceil(1_000))
    }

    /// Forgets what no longer counts at `at`. Time that runs backwards stays in the window it is in.
    #[inline]
    fn roll(&mut self, at: Micros) {
        match self {
            Self::Fixed {
                micros,
                start,
                count,
            } => {
                if at.0.saturating_sub(*start) >= *micros {
                    *start = aligned(at, *micros);
                    *count = 0;
                }
            }
            Self::Sliding { micros, marks, sum } => slide(marks, sum, at.0.saturating_sub(*micros)),
        }
    }
}

/// Forgets the marks up to `past`.
fn slide(marks: &mut VecDeque<Mark>, sum: &mut u128, past: i64) {
    while let Some(oldest) = marks.front().filter(|mark| mark.at <= past) {
        *sum = sum.saturating_sub(oldest.amount);
        marks.pop_front();
    }
}

/// The start of the fixed window that `at` lies in.
fn aligned(at: Micros, micros: i64) -> i64 {
    at.0.saturating_sub(at.0.rem_euclid(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIXED: Window = Window {
        micros: 60_000_000,
        sliding: false,
    };
    const SLIDING: Window = Window {
        micros: 60_000_000,
        sliding: true,
    };

    fn s(seconds: i64) -> Micros {
        Micros(seconds * 1_000_000)
    }

    #[test]
    fn a_fixed_window_is_aligned_to_the_epoch() {
        let mut tally = Tally::new(FIXED, s(119));
        tally.add(s(119), 1);
        assert_eq!(tally.sum(), 1);
        assert_eq!(tally.retry_after_ms(s(119), 1, 1), Some(1_000));
        assert_eq!(tally.used(Micros(119_999_999)), 1);
        assert_eq!(tally.used(s(120)), 0);
        let mut early = Tally::new(FIXED, s(-1));
        early.add(s(-1), 1);
        assert_eq!(early.used(s(0)), 0);
    }

    #[test]
    fn a_reservation_exactly_one_span_old_no_longer_counts() {
        let mut tally = Tally::new(SLIDING, s(10));
        tally.add(s(10), 1);
        tally.add(s(30), 2);
        assert_eq!(tally.used(Micros(69_999_999)), 3);
        assert_eq!(tally.retry_after_ms(s(40), 1, 3), Some(30_000));
        assert_eq!(tally.retry_after_ms(s(40), 2, 3), Some(50_000));
        assert_eq!(tally.retry_after_ms(s(40), 4, 3), None);
        assert_eq!(tally.used(s(70)), 2);
        assert_eq!(tally.used(s(90)), 0);
    }

    #[test]
    fn giving_back_ends_with_the_window() {
        let mut fixed = Tally::new(FIXED, s(59));
        fixed.add(s(59), 5);
        fixed.add(s(61), 5);
        fixed.give_back(s(59), s(62), 5);
        assert_eq!(fixed.used(s(62)), 5);
        fixed.give_back(s(61), s(63), 7);
        assert_eq!(fixed.used(s(63)), 0);
        let mut sliding = Tally::new(SLIDING, s(59));
        sliding.add(s(59), 5);
        sliding.add(s(61), 5);
        sliding.give_back(s(59), s(62), 5);
        assert_eq!(sliding.used(s(62)), 5);
        sliding.give_back(s(61), s(121), 5);
        assert_eq!(sliding.used(s(121)), 0);
    }
}

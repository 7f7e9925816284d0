//! Flips over time: equal spans of the time that a report is about.

use crate::Class;
use crate::report::{Changes, Moment};

/// How many spans there are at most.
const SPANS: i64 = 60;

/// Spans of time, and the flips in each.
pub(crate) struct Timeline {
    from: i64,
    span: i64,
    changes: Vec<Changes>,
}

impl Timeline {
    /// Over the time between two calls, both of them within.
    pub(crate) fn over(from: Option<i64>, to: Option<i64>) -> Self {
        let (Some(from), Some(to)) = (from, to) else {
            return Self {
                from: 0,
                span: 1,
                changes: Vec::new(),
            };
        };
        let whole = to.saturating_sub(from).saturating_add(1);
        // No more spans than microseconds, and none that begins behind the last call.
        let span = whole.div_euclid(SPANS) + i64::from(whole % SPANS > 0);
        let count = whole.div_euclid(span) + i64::from(whole % span > 0);
        Self {
            from,
            span,
            changes: vec![Changes::default(); count as usize],
        }
    }

    /// Counts one call.
    pub(crate) fn count(&mut self, at: i64, class: Class) {
        let which = at.saturating_sub(self.from).div_euclid(self.span);
        let changes = usize::try_from(which).ok();
        if let Some(changes) = changes.and_then(|which| self.changes.get_mut(which)) {
            changes.count(class, 1);
        }
    }

    /// The spans, with where they begin.
    pub(crate) fn moments(self) -> Vec<Moment> {
        let Self {
            from,
            span,
            changes,
        } = self;
        let starts = (0..).map(|nth: i64| from + nth * span);
        let moments = starts.zip(changes);
        moments
            .map(|(from, changes)| Moment {
                from,
                to: from + span,
                changes,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_call_is_in_one_span_whatever_the_length() {
        for length in [0, 1, 59, 60, 61, 119, 1000, 86_400_000_000] {
            let mut timeline = Timeline::over(Some(1000), Some(1000 + length));
            for at in [0, length / 3, length / 2, length] {
                timeline.count(1000 + at, Class::NewlyDenied);
            }
            let moments = timeline.moments();
            assert!(moments.len() <= 60, "{length}");
            let calls: u64 = moments
                .iter()
                .map(|moment| moment.changes.newly_denied)
                .sum();
            assert_eq!(calls, 4, "{length}");
            let last = moments.last().unwrap();
            assert!(last.from <= 1000 + length && last.to > 1000 + length);
        }
        assert_eq!(Timeline::over(None, None).moments(), []);
    }
}

//! How a server has answered of late, for whoever asks what is wrong.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::upstream::{Cause, ForwardError};

/// What is known of one server since the start.
#[derive(Debug, Default)]
pub(crate) struct Standing(Mutex<Told>);

/// As [`Standing`], at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// When it last answered.
    pub(crate) answered_at: Option<Timestamp>,
    /// When it last failed.
    pub(crate) failed_at: Option<Timestamp>,
    /// What was wrong then; may name hosts and paths, never what a message said.
    pub(crate) failure: Option<String>,
}

impl Standing {
    pub(crate) fn answered(&self) {
        self.told().answered_at = Some(Timestamp::now());
    }

    /// It brought no answer. That a client left, or that there was no place, is not its fault.
    pub(crate) fn failed(&self, error: &ForwardError) {
        match error.cause {
            Cause::Cancelled | Cause::Busy => {}
            Cause::Unreachable | Cause::Timeout | Cause::Broken | Cause::BadAnswer => {
                self.failed_with(error.to_string());
            }
        }
    }

    pub(crate) fn failed_with(&self, failure: String) {
        let mut told = self.told();
        told.failed_at = Some(Timestamp::now());
        told.failure = Some(failure);
    }

    pub(crate) fn now(&self) -> Told {
        self.told().clone()
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    /// `unused`, `ok` or `failing`: what the newest exchange said.
    pub(crate) fn state(&self) -> &'static str {
        match (self.answered_at, self.failed_at) {
            (None, None) => "unused",
            (answered, failed) if failed > answered => "failing",
            _ => "ok",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::Reached;

    #[test]
    fn the_newest_exchange_says_how_a_server_stands() {
        let standing = Standing::default();
        let error = |cause| ForwardError {
            reached: Reached::Never,
            cause,
            detail: "no route".to_owned(),
        };
        assert_eq!(standing.now().state(), "unused");
        standing.failed(&error(Cause::Cancelled));
        assert_eq!(standing.now().state(), "unused", "that is not its fault");
        standing.failed(&error(Cause::Unreachable));
        let told = standing.now();
        assert_eq!(told.state(), "failing");
        assert_eq!(
            told.failure.as_deref(),
            Some("the server cannot be reached: no route")
        );
        standing.answered();
        assert_eq!(standing.now().state(), "ok");
    }
}

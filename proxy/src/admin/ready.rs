//! `/readyz`: whether a call that came now would be judged, recorded and forwarded; and if not, which part is not there.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::Serialize;
use weir_recorder::Durability;

use super::Desk;
use crate::gate::Gate;
use crate::serve::Progress;

/// What `/readyz` says.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Readiness {
    pub(super) ready: bool,
    checks: Checks,
}

/// Every part that a call needs.
#[derive(Debug, Serialize, PartialEq, Eq)]
struct Checks {
    /// A decision can be made durable.
    record: Check,
    /// Every counter is as the record has it.
    counters: Check,
    /// Clients can connect.
    listeners: Check,
    /// The stop has not begun.
    drain: Check,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
struct Check {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// What must be known although nothing fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

/// Nothing fails where the operator wants no record; who looks whether calls are recorded must not read a bare `ok`.
const NOT_RECORDED: &str = "recording is off: calls are judged and forwarded, and not written down";

pub(super) async fn readyz(State(desk): State<Arc<Desk>>) -> (StatusCode, Json<Readiness>) {
    let readiness = Readiness::of(&desk.progress, desk.gate());
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(readiness))
}

impl Readiness {
    pub(super) fn of(progress: &Progress, gate: Option<&Arc<Gate>>) -> Self {
        let is_stopping = gate.is_some_and(|gate| gate.stopping.is_cancelled());
        let checks = Checks {
            record: match gate.map(|gate| gate.recorder.health()) {
                Some(health) if health.recording => Check {
                    note: gate.and_then(|gate| {
                        (gate.recorder.durability() == Durability::Off).then_some(NOT_RECORDED)
                    }),
                    ..Check::fine()
                },
                Some(health) => Check::failed(
                    health
                        .fault
                        .as_deref()
                        .unwrap_or("it is closed: the proxy has stopped"),
                ),
                None if progress.has_record() => Check::fine(),
                None => Check::failed("it is being opened: what the last run left is recovered"),
            },
            counters: Check::of(
                progress.has_counters(),
                "they are being rebuilt from the record",
            ),
            listeners: Check::of(
                progress.is_listening(),
                if is_stopping {
                    "they are closed: the proxy stops"
                } else {
                    "they take nobody before the counters are rebuilt"
                },
            ),
            drain: Check::of(
                !is_stopping,
                "the stop has begun: calls under way may end, no others are taken",
            ),
        };
        let Checks {
            record,
            counters,
            listeners,
            drain,
        } = &checks;
        Self {
            ready: [record, counters, listeners, drain].iter().all(|it| it.ok),
            checks,
        }
    }
}

impl Check {
    fn fine() -> Self {
        Self {
            ok: true,
            why: None,
            note: None,
        }
    }

    fn failed(why: &str) -> Self {
        Self {
            ok: false,
            why: Some(why.to_owned()),
            note: None,
        }
    }

    fn of(ok: bool, why_not: &str) -> Self {
        if ok {
            Self::fine()
        } else {
            Self::failed(why_not)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_start_is_told_apart() {
        let progress = Progress::default();
        let failing = |progress: &Progress| {
            let Readiness { ready, checks } = Readiness::of(progress, None);
            assert!(!ready || [&checks.record, &checks.counters].iter().all(|it| it.ok));
            [
                ("record", checks.record),
                ("counters", checks.counters),
                ("listeners", checks.listeners),
                ("drain", checks.drain),
            ]
            .into_iter()
            .filter_map(|(name, check)| {
                assert_eq!(check.ok, check.why.is_none(), "{name}");
                (!check.ok).then_some(name)
            })
            .collect::<Vec<_>>()
        };
        assert_eq!(failing(&progress), ["record", "counters", "listeners"]);
        progress.record_opened();
        assert_eq!(failing(&progress), ["counters", "listeners"]);
        progress.counters_rebuilt();
        assert_eq!(failing(&progress), ["listeners"]);
        progress.listens(true);
        assert!(failing(&progress).is_empty());
        assert!(Readiness::of(&progress, None).ready);
        progress.listens(false);
        assert_eq!(failing(&progress), ["listeners"]);
    }
}

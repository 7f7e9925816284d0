//! What happened, as figures: one typed method for each thing that happens.
//!
//! A proxy has its own registry rather than the process's, so that several can run side by side. Tool names are the
//! caller's choice, so only the first so many become labels.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use metrics::{Counter, Histogram, Key, Label, Level, Metadata, Recorder as _, SharedString, Unit};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use self::found::Found;
use crate::bounds::Full;

mod found;

/// Decisions whose wait for the disk is remembered one by one.
const COMMITS_KEPT: usize = 1024;

/// Tools that may become a label; later ones are `other`.
const TOOLS_MAX: usize = 256;

/// Candidates that may become a label; later ones are `other`.
const CANDIDATES_MAX: usize = 64;

/// From a tenth of a millisecond to five minutes.
const BUCKETS: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0,
];

const HERE: Metadata<'static> = Metadata::new("weir_proxy", Level::INFO, Some("weir_proxy"));

/// The figures of one proxy.
pub(crate) struct Telemetry {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    tools: Names,
    candidates: Names,
    grants: Mutex<HashMap<String, Fared>>,
    commits: Mutex<VecDeque<Duration>>,
    /// By server, grant, tool, verdict and reason.
    calls: Found<Counter, 5>,
    /// By server, method and outcome.
    durations: Found<Histogram, 3>,
    commit: OnceLock<Histogram>,
}

/// What became of the calls of one grant since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fared {
    /// Calls that were decided.
    pub(crate) calls: u64,
    /// Of these, those that were denied.
    pub(crate) denied: u64,
    /// Messages that were refused before any policy was asked.
    pub(crate) refused: u64,
}

/// How long the newest decisions waited until they were durable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommitWaits {
    pub(crate) count: usize,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Names that have become labels, up to so many.
struct Names(Mutex<HashSet<String>>, usize);

/// A call that was decided.
pub(crate) struct CallDecided<'a> {
    pub(crate) server: &'a str,
    pub(crate) grant: &'a str,
    pub(crate) tool: &'a str,
    pub(crate) verdict: &'static str,
    pub(crate) reason: &'static str,
}

impl CallDecided<'_> {
    /// The values of its labels, with its tool called so.
    fn labels<'a>(&'a self, tool: &'a str) -> [&'a str; 5] {
        [self.server, self.grant, tool, self.verdict, self.reason]
    }
}

impl Telemetry {
    pub(crate) fn new() -> Self {
        // A bucket list that is not empty is always accepted; with none, histograms become summaries.
        let builder = PrometheusBuilder::new();
        let builder = builder
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)
            .unwrap_or_default();
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        for (name, text) in DESCRIPTIONS {
            recorder.describe_counter(name.into(), None, SharedString::const_str(text));
        }
        recorder.describe_histogram(
            DURATION.into(),
            Some(Unit::Seconds),
            SharedString::const_str("From the complete request to the complete answer."),
        );
        recorder.describe_histogram(
            COMMIT.into(),
            Some(Unit::Seconds),
            SharedString::const_str("From a decision to its being durable."),
        );
        for (name, text) in GAUGES {
            recorder.describe_gauge(name.into(), None, SharedString::const_str(text));
        }
        recorder.describe_histogram(
            APPROVAL_WAIT.into(),
            Some(Unit::Seconds),
            SharedString::const_str("From the question to a person to its answer."),
        );
        Self {
            recorder,
            handle,
            tools: Names(Mutex::default(), TOOLS_MAX),
            candidates: Names(Mutex::default(), CANDIDATES_MAX),
            grants: Mutex::default(),
            commits: Mutex::default(),
            calls: Found::default(),
            durations: Found::default(),
            commit: OnceLock::new(),
        }
    }

    /// All figures, as Prometheus reads them.
    pub(crate) fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }

    pub(crate) fn decided(&self, call: &CallDecided<'_>) {
        self.note(call.grant, |fared| {
            fared.calls += 1;
            fared.denied += u64::from(call.verdict == "deny");
        });
        if call.reason == "counter_capacity" {
            self.limit_refused("counters", "grant", call.grant);
        }
        let counter = self.calls.known(call.labels(call.tool)).unwrap_or_else(|| {
            let tool = self.tools.label(call.tool);
            self.calls.get(call.labels(&tool), || {
                let labels = vec![
                    label("server", call.server),
                    label("grant", call.grant),
                    label("tool", &tool),
                    Label::from_static_parts("verdict", call.verdict),
                    Label::from_static_parts("reason", call.reason),
                ];
                self.recorder
                    .register_counter(&Key::from_parts(CALLS, labels), &HERE)
            })
        });
        counter.increment(1);
    }

    /// What a candidate would have made of a call, in the words of replay.
    pub(crate) fn shadow(&self, grant: &str, candidate: &str, class: &'static str) {
        let candidate = self.candidates.label(candidate);
        self.count(
            SHADOW,
            vec![
                label("grant", grant),
                label("candidate", &candidate),
                Label::from_static_parts("class", class),
            ],
            1,
        );
    }

    pub(crate) fn finished(
        &self,
        server: &str,
        method: &str,
        outcome: &'static str,
        took: Duration,
    ) {
        let method = known(method);
        let histogram = self.durations.get([server, method, outcome], || {
            let labels = vec![
                label("server", server),
                label("mcp_method_name", method),
                Label::from_static_parts("outcome", outcome),
            ];
            self.recorder
                .register_histogram(&Key::from_parts(DURATION, labels), &HERE)
        });
        histogram.record(took.as_secs_f64());
    }

    /// A held call was answered, or its time ran out, or its caller left; so long after it was asked.
    pub(crate) fn answered(&self, answer: &'static str, waited: Duration) {
        let labels = vec![Label::from_static_parts("answer", answer)];
        self.count(APPROVALS, labels.clone(), 1);
        self.recorder
            .register_histogram(&Key::from_parts(APPROVAL_WAIT, labels), &HERE)
            .record(waited.as_secs_f64());
    }

    /// A message that was refused before any policy was asked.
    pub(crate) fn refused(&self, grant: &str, flaw: &'static str) {
        self.note(grant, |fared| fared.refused += 1);
        self.count(
            REFUSED,
            vec![
                label("grant", grant),
                Label::from_static_parts("reason", flaw),
            ],
            1,
        );
    }

    /// Refusals that were counted instead of recorded.
    pub(crate) fn suppressed(&self, grant: &str) {
        self.count(SUPPRESSED, vec![label("grant", grant)], 1);
    }

    /// A call that was refused because its decision could not be made durable.
    pub(crate) fn unrecorded(&self, server: &str) {
        self.count(UNRECORDED, vec![label("server", server)], 1);
    }

    /// A result that its audit level keeps and that was not: too long, or the disk did not take it.
    pub(crate) fn result_not_kept(&self, server: &str) {
        self.count(RESULTS_NOT_KEPT, vec![label("server", server)], 1);
    }

    /// A bound that is reached, and for whom if that is known.
    pub(crate) fn full(&self, full: &Full, grant: Option<&str>) {
        let scope = if full.of_grant { "grant" } else { "all" };
        self.limit_refused(full.resource.as_str(), scope, grant.unwrap_or_default());
    }

    fn limit_refused(&self, limit: &'static str, scope: &'static str, grant: &str) {
        self.count(
            LIMIT_REFUSED,
            vec![
                Label::from_static_parts("limit", limit),
                Label::from_static_parts("scope", scope),
                label("grant", grant),
            ],
            1,
        );
    }

    /// A decision that waited so long until it was durable.
    pub(crate) fn committed(&self, waited: Duration) {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        if commits.len() >= COMMITS_KEPT {
            commits.pop_front();
        }
        commits.push_back(waited);
        drop(commits);
        self.commit
            .get_or_init(|| {
                self.recorder
                    .register_histogram(&Key::from_static_name(COMMIT), &HERE)
            })
            .record(waited.as_secs_f64());
    }

    /// How long the newest decisions waited; none while there was none.
    pub(crate) fn commit_waits(&self) -> Option<CommitWaits> {
        let commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sorted: Vec<Duration> = commits.iter().copied().collect();
        drop(commits);
        sorted.sort_unstable();
        let count = sorted.len();
        let at = |percent: usize| sorted.get((count * percent).div_ceil(100).saturating_sub(1));
        Some(CommitWaits {
            count,
            p50: *at(50)?,
            p99: *at(99)?,
        })
    }

    /// What became of a grant's calls.
    pub(crate) fn fared(&self, grant: &str) -> Fared {
        let grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        grants.get(grant).copied().unwrap_or_default()
    }

    fn note(&self, grant: &str, change: impl FnOnce(&mut Fared)) {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        match grants.get_mut(grant) {
            Some(fared) => change(fared),
            None => change(grants.entry(grant.to_owned()).or_default()),
        }
    }

    /// A changed configuration that came into force, or did not.
    pub(crate) fn reloaded(&self, result: &'static str) {
        self.count(RELOADS, vec![Label::from_static_parts("result", result)], 1);
    }

    /// A request, or a handshake, that opened no grant.
    pub(crate) fn unauthenticated(&self, why: &'static str) {
        let labels = vec![Label::from_static_parts("reason", why)];
        self.count(STRANGERS, labels, 1);
    }

    /// A connection that ended before its first request, by phase and cause.
    pub(crate) fn connection_refused(&self, why: &'static str) {
        self.count(
            TURNED_AWAY,
            vec![Label::from_static_parts("reason", why)],
            1,
        );
    }

    /// A count that is kept elsewhere.
    pub(crate) fn total(&self, name: &'static str, reason: Option<&'static str>, value: u64) {
        let labels = reason.map(|reason| Label::from_static_parts("reason", reason));
        let key = Key::from_parts(name, Vec::from_iter(labels));
        self.recorder.register_counter(&key, &HERE).absolute(value);
    }

    pub(crate) fn gauge(&self, name: &'static str, value: f64) {
        self.recorder
            .register_gauge(&Key::from_static_name(name), &HERE)
            .set(value);
    }

    /// How much of a limit is used, and how much there is: in all, or of one grant.
    pub(crate) fn limit(&self, limit: &'static str, grant: Option<&str>, used: usize, most: usize) {
        let names = match grant {
            None => ["weir_limit_in_use", "weir_limit_max"],
            Some(_) => ["weir_grant_limit_in_use", "weir_grant_limit_max"],
        };
        for (name, value) in names.into_iter().zip([used, most]) {
            let mut labels = vec![Label::from_static_parts("limit", limit)];
            labels.extend(grant.map(|grant| label("grant", grant)));
            self.recorder
                .register_gauge(&Key::from_parts(name, labels), &HERE)
                .set(value as f64);
        }
    }

    fn count(&self, name: &'static str, labels: Vec<Label>, by: u64) {
        self.recorder
            .register_counter(&Key::from_parts(name, labels), &HERE)
            .increment(by);
    }
}

impl Names {
    fn label(&self, name: &str) -> String {
        let Self(names, most) = self;
        let mut names = names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.contains(name)
            || (names.len() < *most && name.len() <= 128 && names.insert(name.to_owned()))
        {
            name.to_owned()
        } else {
            "other".to_owned()
        }
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Telemetry")
    }
}

const CALLS: &str = "weir_calls_total";
const COMMIT: &str = "weir_commit_seconds";
const LIMIT_REFUSED: &str = "weir_limit_refused_total";
const SHADOW: &str = "weir_shadow_calls_total";
const REFUSED: &str = "weir_refusals_total";
const SUPPRESSED: &str = "weir_suppressed_total";
const UNRECORDED: &str = "weir_unrecorded_total";
const RESULTS_NOT_KEPT: &str = "weir_results_not_kept_total";
const RELOADS: &str = "weir_reloads_total";
const STRANGERS: &str = "weir_unauthenticated_total";
const TURNED_AWAY: &str = "weir_connections_refused_total";
const DURATION: &str = "mcp_server_operation_duration_seconds";

const APPROVALS: &str = "weir_approvals_total";
const APPROVAL_WAIT: &str = "weir_approval_wait_seconds";

const DESCRIPTIONS: [(&str, &str); 13] = [
    (
        APPROVALS,
        "Held calls by what became of them: `approved`, `approval_denied`, `approval_timeout`, `approval_withdrawn`, `approval_stopped`.",
    ),
    (
        RELOADS,
        "Changed configurations that came into force (`ok`), or did not (`refused`).",
    ),
    (CALLS, "Calls decided."),
    (
        LIMIT_REFUSED,
        "Connections, requests, streams, sessions and counters refused since there were as many as may be: of one grant (`scope=\"grant\"`), or in all.",
    ),
    (
        SHADOW,
        "Calls by what a candidate judged alongside would have made of them: `same`, `newly_denied`, `newly_allowed`, `newly_held`.",
    ),
    (
        REFUSED,
        "Messages refused because they could be read in two ways, or not at all.",
    ),
    (
        "weir_spans_exported_total",
        "Spans that the collector of traces took.",
    ),
    (
        "weir_spans_dropped_total",
        "Spans that are lost: the queue was full (`queue`), or the collector did not take them (`collector`).",
    ),
    (SUPPRESSED, "Refusals counted instead of recorded."),
    (
        UNRECORDED,
        "Calls refused because their decision could not be made durable.",
    ),
    (
        RESULTS_NOT_KEPT,
        "Results of which only length and digest were recorded although more was asked for.",
    ),
    (
        STRANGERS,
        "Requests and handshakes that opened no grant, by what was wrong with what they showed.",
    ),
    (
        TURNED_AWAY,
        "Connections closed before their first request.",
    ),
];

const GAUGES: [(&str, &str); 4] = [
    (
        "weir_limit_in_use",
        "How many there are in all of what is limited.",
    ),
    ("weir_limit_max", "How many there may be in all."),
    (
        "weir_grant_limit_in_use",
        "How many a grant has of what is limited.",
    ),
    ("weir_grant_limit_max", "How many a grant may have."),
];

fn label(key: &'static str, value: &str) -> Label {
    Label::new(key, value.to_owned())
}

/// A method's name, if the protocol knows it: others are the caller's invention.
fn known(method: &str) -> &str {
    let judged = matches!(method, "tools/call" | "resources/read" | "prompts/get");
    if judged || weir_policy::known_method(method) {
        method
    } else {
        "other"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn of_the_newest_commits_half_and_all_but_one_in_a_hundred_are_told() {
        let telemetry = Telemetry::new();
        assert!(telemetry.commit_waits().is_none());
        for ms in 0..2 * COMMITS_KEPT as u64 {
            telemetry.committed(Duration::from_millis(ms));
        }
        let waits = telemetry.commit_waits().unwrap();
        assert_eq!(waits.count, COMMITS_KEPT);
        assert_eq!(waits.p50, Duration::from_millis(1024 + 511));
        assert_eq!(waits.p99, Duration::from_millis(1024 + 1013));
    }

    #[test]
    fn invented_tool_names_do_not_become_labels_without_end() {
        let telemetry = Telemetry::new();
        for n in 0..2 * TOOLS_MAX {
            let tool = format!("tool_{n}");
            telemetry.decided(&CallDecided {
                server: "nas",
                grant: "ops",
                tool: &tool,
                verdict: "deny",
                reason: "default_deny",
            });
        }
        let text = telemetry.render();
        assert_eq!(
            text.lines()
                .filter(|line| line.starts_with("weir_calls_total{"))
                .count(),
            TOOLS_MAX + 1
        );
        assert!(text.contains("tool=\"other\""));
    }
}

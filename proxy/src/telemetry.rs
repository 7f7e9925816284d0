//! What happened, as figures: one typed method for each thing that happens.
//!
//! A proxy has its own registry rather than the process's, so that several can run side by side. Tool names are the
//! caller's choice, so only the first so many become labels.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Key, Label, Level, Metadata, Recorder as _, SharedString, Unit};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

/// Tools that may become a label; later ones are `other`.
const TOOLS_MAX: usize = 256;

/// From a tenth of a millisecond to five minutes.
const BUCKETS: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0,
];

const HERE: Metadata<'static> = Metadata::new("weir_proxy", Level::INFO, Some("weir_proxy"));

/// The figures of one proxy.
pub(crate) struct Telemetry {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    tools: Mutex<HashSet<String>>,
}

/// A call that was decided.
pub(crate) struct CallDecided<'a> {
    pub(crate) server: &'a str,
    pub(crate) grant: &'a str,
    pub(crate) tool: &'a str,
    pub(crate) verdict: &'static str,
    pub(crate) reason: &'static str,
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
        Self {
            recorder,
            handle,
            tools: Mutex::default(),
        }
    }

    /// All figures, as Prometheus reads them.
    pub(crate) fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }

    pub(crate) fn decided(&self, call: &CallDecided<'_>) {
        let tool = self.tool_label(call.tool);
        self.count(
            CALLS,
            vec![
                label("server", call.server),
                label("grant", call.grant),
                label("tool", &tool),
                Label::from_static_parts("verdict", call.verdict),
                Label::from_static_parts("reason", call.reason),
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
        let labels = vec![
            label("server", server),
            label("mcp_method_name", known(method)),
            Label::from_static_parts("outcome", outcome),
        ];
        let histogram = self
            .recorder
            .register_histogram(&Key::from_parts(DURATION, labels), &HERE);
        histogram.record(took.as_secs_f64());
    }

    /// A message that was refused before any policy was asked.
    pub(crate) fn refused(&self, grant: &str, flaw: &'static str) {
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

    pub(crate) fn unauthenticated(&self) {
        self.count(STRANGERS, Vec::new(), 1);
    }

    /// A connection that ended before its first request, by phase and cause.
    pub(crate) fn connection_refused(&self, why: &'static str) {
        self.count(
            TURNED_AWAY,
            vec![Label::from_static_parts("reason", why)],
            1,
        );
    }

    pub(crate) fn gauge(&self, name: &'static str, value: f64) {
        self.recorder
            .register_gauge(&Key::from_static_name(name), &HERE)
            .set(value);
    }

    fn count(&self, name: &'static str, labels: Vec<Label>, by: u64) {
        self.recorder
            .register_counter(&Key::from_parts(name, labels), &HERE)
            .increment(by);
    }

    fn tool_label(&self, tool: &str) -> String {
        let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if tools.contains(tool)
            || (tools.len() < TOOLS_MAX && tool.len() <= 128 && tools.insert(tool.to_owned()))
        {
            tool.to_owned()
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
const REFUSED: &str = "weir_refusals_total";
const SUPPRESSED: &str = "weir_suppressed_total";
const UNRECORDED: &str = "weir_unrecorded_total";
const STRANGERS: &str = "weir_unauthenticated_total";
const TURNED_AWAY: &str = "weir_connections_refused_total";
const DURATION: &str = "mcp_server_operation_duration_seconds";

const DESCRIPTIONS: [(&str, &str); 6] = [
    (CALLS, "Calls decided."),
    (
        REFUSED,
        "Messages refused because they could be read in two ways, or not at all.",
    ),
    (SUPPRESSED, "Refusals counted instead of recorded."),
    (
        UNRECORDED,
        "Calls refused because their decision could not be made durable.",
    ),
    (STRANGERS, "Requests without a valid token."),
    (
        TURNED_AWAY,
        "Connections closed before their first request.",
    ),
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
    use super::*;

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

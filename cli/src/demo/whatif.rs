//! What other policies would have made of the morning: the answers of `weir replay --format json`.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use weir_replay::{Flips, PolicyFile, ReplayOptions, Verify, replay};

use crate::command::verify::believed;

use super::folder::Folder;

/// The candidates, with what to call them.
const CANDIDATES: [(&str, &str); 2] = [
    (
        "published-stops.json",
        "the published rules for vm_stop and service_stop",
    ),
    (
        "careful-stops.json",
        "the same, plus what the morning taught",
    ),
];

/// What one candidate would have changed.
pub struct Answer {
    /// The candidate's file, as a command line would name it; empty for the policies in force.
    pub file: String,
    /// What to call it.
    pub title: &'static str,
    /// The report.
    pub report: Report,
}

/// The part of a replay's report that the page shows.
#[derive(Deserialize)]
pub struct Report {
    pub classes: Classes,
    pub by_tool: Vec<ByTool>,
    pub by_rule: Vec<ByRule>,
    pub flips: Vec<Flip>,
}

#[derive(Deserialize)]
pub struct Classes {
    pub newly_denied: u64,
    pub newly_allowed: u64,
    pub engine_drift: u64,
    pub not_replayable: u64,
}

#[derive(Deserialize)]
pub struct ByTool {
    pub tool: String,
    pub calls: u64,
    pub newly_denied: u64,
}

#[derive(Deserialize)]
pub struct ByRule {
    pub rule: String,
    pub newly_denied: u64,
}

#[derive(Deserialize)]
pub struct Flip {
    pub grant: String,
    pub would_be: WouldBe,
}

#[derive(Deserialize)]
pub struct WouldBe {
    pub rule: String,
    pub message: String,
}

/// Replays the record under its own policies, which must change nothing, and under every candidate.
pub fn answers(folder: &Folder) -> anyhow::Result<Vec<Answer>> {
    let record = folder.record();
    let own = report(&record, None)?;
    let mut answers = vec![Answer {
        file: String::new(),
        title: "the policy that was in force",
        report: own,
    }];
    for (file, title) in CANDIDATES {
        let path = folder.policy(file);
        let bytes =
            std::fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let shown = format!("{}/policies/{file}", folder.shown());
        let report = report(
            &record,
            Some(PolicyFile {
                path: shown.clone(),
                bytes,
            }),
        )?;
        answers.push(Answer {
            file: shown,
            title,
            report,
        });
    }
    Ok(answers)
}

fn report(record: &Path, candidate: Option<PolicyFile>) -> anyhow::Result<Report> {
    let options = ReplayOptions {
        record: record.to_owned(),
        verify: Verify::Files,
        keys: believed(record, &[])?,
        candidate,
        flips: Flips::All,
        ..ReplayOptions::default()
    };
    let report = replay(&options).context("the replay failed")?;
    serde_json::from_str(&report.to_json()).context("the replay's report is not what it used to be")
}

impl Answer {
    /// Whether the replay itself can be believed: no drift, nothing left out, and no flip where nothing was changed.
    pub fn is_sound(&self) -> bool {
        let classes = &self.report.classes;
        let own = self.file.is_empty();
        classes.engine_drift == 0
            && classes.not_replayable == 0
            && (!own || classes.newly_denied + classes.newly_allowed == 0)
    }

    /// Calls of a tool, and how many of them would have been blocked.
    pub fn of_tool(&self, tool: &str) -> (u64, u64) {
        let found = self
            .report
            .by_tool
            .iter()
            .find(|by_tool| by_tool.tool == tool);
        found.map_or((0, 0), |by_tool| (by_tool.calls, by_tool.newly_denied))
    }
}

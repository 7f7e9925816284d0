//! The record held against what the agents sent and were told, and against the NAS servers' own logs.

use std::collections::BTreeMap;

use anyhow::{Context as _, anyhow};
use arrow::array::{Array as _, AsArray as _, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use weir_corpus::Morning;
use weir_recorder::RecordReader;

use super::agent::Sent;
use super::folder::Folder;
use crate::nas::log;

/// What the comparison came to.
pub struct Proof {
    /// What every tool came to, by name.
    pub tools: BTreeMap<String, Counts>,
    /// Requests sent, malformed ones included.
    pub sent: usize,
    /// Rows of requests in the record.
    pub recorded: usize,
    /// Calls and reads the record says were let through to a server.
    pub let_through: usize,
    /// Calls and reads that the NAS servers say arrived.
    pub arrived: usize,
    /// Everything that does not agree, in words.
    pub differences: Vec<String>,
}

/// How often a tool was asked for, refused, and reached the NAS.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Rows with verdict allow.
    pub allowed: usize,
    /// Rows with verdict deny.
    pub denied: usize,
    /// Allowed rows whose answer was no success.
    pub failed: usize,
}

/// One row of the record, as text.
struct Row {
    grant: String,
    server: String,
    method: String,
    wire_tool: String,
    tool: String,
    request_id: String,
    arguments: String,
    verdict: String,
    rule: String,
    outcome: String,
}

impl Proof {
    /// Compares the three accounts of the morning.
    pub fn of(folder: &Folder, morning: &Morning, sent: &[Sent]) -> anyhow::Result<Self> {
        let rows = rows(folder)?;
        let requests: Vec<&Row> = rows
            .iter()
            .filter(|row| !row.method.starts_with("notifications/"))
            .collect();
        let mut proof = Self {
            tools: BTreeMap::new(),
            sent: sent.len(),
            recorded: requests.len(),
            let_through: 0,
            arrived: 0,
            differences: Vec::new(),
        };
        proof.count_tools(&requests);
        proof.agents(&requests, sent);
        proof.servers(folder, &requests)?;
        let expected = morning.calls.len() + morning.agents.len();
        if proof.sent != expected {
            proof.differences.push(format!(
                "the script has {expected} requests, {} were sent",
                proof.sent
            ));
        }
        Ok(proof)
    }

    /// Whether all accounts agree.
    pub fn holds(&self) -> bool {
        self.differences.is_empty()
    }

    /// The result in a sentence.
    pub fn sentence(&self) -> String {
        if self.holds() {
            format!(
                "{} requests sent, {} recorded; {} let through, {} in the NAS servers' own logs: exactly the same",
                self.sent, self.recorded, self.let_through, self.arrived
            )
        } else {
            format!(
                "the record and the world differ in {} ways",
                self.differences.len()
            )
        }
    }

    fn count_tools(&mut self, rows: &[&Row]) {
        for row in rows
            .iter()
            .filter(|row| row.method == "tools/call" && !row.tool.is_empty())
        {
            let counts = self.tools.entry(row.tool.clone()).or_default();
            match (row.verdict.as_str(), row.outcome.as_str()) {
                ("allow", "ok") => counts.allowed += 1,
                ("allow", _) => {
                    counts.allowed += 1;
                    counts.failed += 1;
                }
                _ => counts.denied += 1,
            }
        }
    }

    /// One request, one row; and the row says what the agent was told.
    fn agents(&mut self, rows: &[&Row], sent: &[Sent]) {
        let mut by_id: BTreeMap<(&str, String), Vec<&Row>> = BTreeMap::new();
        let mut malformed: BTreeMap<&str, i64> = BTreeMap::new();
        for row in rows {
            if row.rule == "(malformed)" {
                *malformed.entry(&row.grant).or_default() += 1;
            } else {
                by_id
                    .entry((&row.grant, row.request_id.clone()))
                    .or_default()
                    .push(row);
            }
        }
        for sent in sent {
            let Some(id) = sent.id else {
                if !sent.told.is_refused() {
                    self.differences
                        .push(format!("{}: malformed bytes were answered", sent.grant));
                }
                *malformed.entry(&sent.grant).or_default() -= 1;
                continue;
            };
            let who = format!("{} request {id} ({})", sent.grant, sent.method);
            let found = by_id
                .remove(&(sent.grant.as_str(), id.to_string()))
                .unwrap_or_default();
            match found.as_slice() {
                [row] => {
                    if row.method != sent.method {
                        self.differences
                            .push(format!("{who} is recorded as {}", row.method));
                    }
                    if (row.verdict == "deny") != sent.told.is_refused() {
                        self.differences.push(format!(
                            "{who} is recorded as {}, and was told {:?}",
                            row.verdict, sent.told
                        ));
                    }
                    if row.arguments != sent.arguments.clone().unwrap_or_default() {
                        self.differences.push(format!(
                            "{who} is recorded with the arguments {}",
                            row.arguments
                        ));
                    }
                }
                rows => self
                    .differences
                    .push(format!("{who} has {} rows", rows.len())),
            }
        }
        for ((grant, id), rows) in by_id {
            self.differences.push(format!(
                "the record has {} rows of {grant} with id {id} that nobody sent",
                rows.len()
            ));
        }
        for (grant, surplus) in malformed.into_iter().filter(|(_, surplus)| *surplus != 0) {
            self.differences.push(format!(
                "{grant}: {surplus:+} rows of malformed messages than were sent"
            ));
        }
    }

    /// What was let through is what arrived: server, name and arguments, byte for byte, as often.
    fn servers(&mut self, folder: &Folder, rows: &[&Row]) -> anyhow::Result<()> {
        let mut balance: BTreeMap<(String, String, String, String), i64> = BTreeMap::new();
        let forwarded = |row: &&&Row| {
            row.verdict == "allow" && matches!(row.method.as_str(), "tools/call" | "resources/read")
        };
        for row in rows.iter().filter(forwarded) {
            let name = row
                .wire_tool
                .strip_prefix("resource:")
                .unwrap_or(&row.wire_tool);
            let key = (
                row.server.clone(),
                row.method.clone(),
                name.to_owned(),
                row.arguments.clone(),
            );
            *balance.entry(key).or_default() += 1;
            self.let_through += 1;
        }
        for grant in folder.grants() {
            let path = folder.nas_log(grant.server);
            for entry in log::read(&path)
                .with_context(|| format!("cannot read the NAS's log `{}`", path.display()))?
            {
                let key = (
                    grant.server.to_owned(),
                    entry.method,
                    entry.name,
                    entry.arguments.unwrap_or_default(),
                );
                *balance.entry(key).or_default() -= 1;
                self.arrived += 1;
            }
        }
        for ((server, method, name, arguments), surplus) in
            balance.into_iter().filter(|(_, surplus)| *surplus != 0)
        {
            self.differences.push(format!(
                "{server}: {method} {name} {arguments}: {surplus:+} in the record against the NAS"
            ));
        }
        Ok(())
    }
}

fn rows(folder: &Folder) -> anyhow::Result<Vec<Row>> {
    const COLUMNS: [&str; 10] = [
        "grant",
        "server",
        "method",
        "wire_tool",
        "tool",
        "request_id",
        "arguments",
        "verdict",
        "rule",
        "outcome",
    ];
    let mut rows = Vec::new();
    for batch in RecordReader::open(folder.record())?.calls(&COLUMNS)? {
        let batch = batch?;
        let [
            grant,
            server,
            method,
            wire_tool,
            tool,
            request_id,
            arguments,
            verdict,
            rule,
            outcome,
        ] = columns(&batch, COLUMNS)?;
        for index in 0..batch.num_rows() {
            let text = |column: &StringArray| {
                if column.is_null(index) {
                    String::new()
                } else {
                    column.value(index).to_owned()
                }
            };
            rows.push(Row {
                grant: text(&grant),
                server: text(&server),
                method: text(&method),
                wire_tool: text(&wire_tool),
                tool: text(&tool),
                request_id: text(&request_id),
                arguments: text(&arguments),
                verdict: text(&verdict),
                rule: text(&rule),
                outcome: text(&outcome),
            });
        }
    }
    Ok(rows)
}

fn columns<const N: usize>(
    batch: &RecordBatch,
    names: [&str; N],
) -> anyhow::Result<[StringArray; N]> {
    let mut columns = Vec::new();
    for name in names {
        let column = batch
            .column_by_name(name)
            .ok_or_else(|| anyhow!("the record has no column `{name}`"))?;
        columns.push(cast(column, &DataType::Utf8)?.as_string::<i32>().clone());
    }
    columns
        .try_into()
        .map_err(|_| anyhow!("the record's columns are not text"))
}

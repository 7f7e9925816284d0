//! What was known of a server's tools before.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context as _;
use arrow::array::{Array as _, AsArray};
use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};
use weir_recorder::RecordReader;

use super::visit::Tool;
use crate::failure::Fix as _;

/// The last digest of each tool's definition, by server and tool.
#[derive(Debug, Default)]
pub(super) struct Past(BTreeMap<String, BTreeMap<String, String>>);

/// What happened to a tool since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Since {
    New,
    Changed,
}

#[derive(Deserialize)]
struct Scanned {
    server: String,
    tools: Vec<Known>,
}

#[derive(Deserialize)]
struct Known {
    tool: String,
    digest: Option<String>,
}

impl Past {
    /// What an earlier scan saw.
    pub(super) fn of_scan(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let text = std::fs::read(path).with_context(|| format!("cannot read the scan `{name}`"))?;
        let scans: Vec<Scanned> = serde_json::from_slice(&text)
            .with_context(|| format!("`{name}` is no scan"))
            .fix(|| "make one with `weir scan --format json`".into())?;
        let mut past = Self::default();
        for scan in scans {
            let known = past.0.entry(scan.server).or_default();
            let tools = scan.tools.into_iter();
            known.extend(tools.filter_map(|known| Some((known.tool, known.digest?))));
        }
        Ok(past)
    }

    /// What passed through the proxy, as the record tells it.
    pub(super) fn of_record(record: &Path) -> anyhow::Result<Self> {
        let mut past = Self::default();
        let events = RecordReader::open(record).and_then(|reader| reader.events());
        let Ok(events) = events else {
            // Nothing was recorded yet.
            return Ok(past);
        };
        let text = |name: &str| {
            let column = events
                .column_by_name(name)
                .context("events have such a column")?;
            anyhow::Ok(arrow::compute::cast(column, &DataType::Utf8)?)
        };
        let (kinds, servers, tools, digests) = (
            text("kind")?,
            text("server")?,
            text("tool")?,
            text("digest")?,
        );
        let [kinds, servers, tools, digests] =
            [&kinds, &servers, &tools, &digests].map(AsArray::as_string::<i32>);
        for row in 0..events.num_rows() {
            let whole = [servers, tools, digests]
                .iter()
                .all(|column| column.is_valid(row));
            if kinds.value(row) == "tool_definition" && whole {
                let known = past.0.entry(servers.value(row).to_owned()).or_default();
                known.insert(tools.value(row).to_owned(), digests.value(row).to_owned());
            }
        }
        Ok(past)
    }

    /// What happened to a tool; nothing if nothing was known of its server.
    pub(super) fn since(&self, server: &str, tool: &str, digest: &str) -> Option<Since> {
        match self.0.get(server)?.get(tool) {
            None => Some(Since::New),
            Some(known) if known != digest => Some(Since::Changed),
            Some(_) => None,
        }
    }

    /// Tools that are there no more.
    pub(super) fn gone(&self, server: &str, tools: &[Tool]) -> Vec<String> {
        let known = self.0.get(server).into_iter().flat_map(BTreeMap::keys);
        known
            .filter(|known| !tools.iter().any(|tool| tool.name == **known))
            .cloned()
            .collect()
    }
}

//! The NAS's own account of what reached it: one JSON line for each message, written before the answer leaves.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An append-only file of [`Entry`] lines, or nothing.
pub struct Log {
    file: Option<File>,
}

/// One message that reached the NAS and was carried out, refused or answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it arrived.
    pub at: Timestamp,
    /// `tools/call`, `resources/read`.
    pub method: String,
    /// The tool's name or the resource's URI, as received.
    pub name: String,
    /// The arguments' text exactly as received.
    pub arguments: Option<String>,
    /// The operation that was carried out, if any.
    pub operation: Option<String>,
    /// The requests it made to the API.
    pub requests: Vec<Request>,
}

/// One request to the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// HTTP method.
    pub method: String,
    /// Path and query as they arrived at the API.
    pub path: String,
    /// JSON body.
    pub body: Option<Value>,
    /// HTTP status of the answer.
    pub status: u16,
}

impl Log {
    /// Appends to the file at `path`, made if need be.
    pub fn append(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: Some(OpenOptions::new().create(true).append(true).open(path)?),
        })
    }

    /// Keeps nothing.
    pub fn none() -> Self {
        Self { file: None }
    }

    /// Writes one line in one write, so that a kill leaves whole lines.
    pub fn write(&mut self, entry: &Entry) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        file.write_all(&line)
    }
}

/// Reads a log back.
pub fn read(path: &Path) -> io::Result<Vec<Entry>> {
    std::fs::read_to_string(path)?
        .lines()
        .map(|line| serde_json::from_str(line).map_err(io::Error::from))
        .collect()
}

//! `weir status`: what a running proxy serves, records and refuses.

mod page;

use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use jiff::Timestamp;

use crate::admin::AdminArguments;
use crate::failure::advised;
use crate::terminal;

/// Show what a running proxy serves, records and refuses
///
/// Asks its admin address: whether it is ready, how its servers answer, what became of the
/// calls of each grant, which policies are in force since when, what waits for a person, how
/// the record fares, and how much of each limit is in use. Counts are since the start.
///
/// Examples:
///   weir status                                 the proxy of ./weir.toml
///   weir status --url http://127.0.0.1:9443
///   weir status --format json
///
/// Exit codes: 0 ready, 1 not ready, 2 it cannot be asked.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Status {
    #[command(flatten)]
    admin: AdminArguments,

    /// How to show it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The proxy answers, and is not ready.
const NOT_READY: u8 = 1;

impl Status {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let admin = self.admin.open()?;
        let request = Request::get("/status")
            .body(Full::new(Bytes::new()))
            .context("cannot make a request")?;
        let (status, answer) = admin.ask(request)?;
        let ready = answer.get("ready").and_then(serde_json::Value::as_bool);
        let Some(ready) = ready.filter(|_| status == StatusCode::OK) else {
            return Err(advised(
                anyhow!("`http://{}` is no proxy of this version", admin.authority),
                "give the address that `weir serve` told as `admin`".into(),
            ));
        };
        terminal::print(&match self.format {
            Format::Json => format!("{answer}\n"),
            Format::Text => page::whole(&answer, Timestamp::now()),
        })?;
        Ok(if ready {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(NOT_READY)
        })
    }
}

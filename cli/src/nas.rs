//! An embedded NAS that answers MCP as the TrueNAS server of the catalogue does, for the demo and the tests.
//!
//! Operations take effect on a machine in memory, through a router over the same REST paths, and the
//! paths are built as carelessly as the real server builds them: `vm_start {id: "7/stop#"}` really
//! stops VM 7 here. The wording is ours, the structure is theirs. What reached it stands in its own log,
//! which the demo holds against the record.
//!
//! `weir nas --stdio --shape dispatcher --log nas.jsonl`

mod catalogue;
mod http;
pub mod log;
mod model;
mod protocol;
mod resources;
mod schemas;
mod stdio;
mod tools;
mod url;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::terminal;

pub use http::Server;
pub use protocol::Nas;

/// How the server registers its operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// One tool, `truenas`, that takes category, action and params.
    Dispatcher,
    /// One tool for each operation.
    Flat,
}

/// Answer MCP as a TrueNAS server does, from memory.
#[derive(Debug, Args)]
pub struct NasArgs {
    /// One tool over everything, or one tool for each operation
    #[arg(long, value_enum, default_value_t = Shape::Dispatcher)]
    shape: Shape,
    /// Answer on stdin and stdout
    #[arg(long, conflicts_with = "http", required_unless_present = "http")]
    stdio: bool,
    /// Answer on this address, at /mcp; the address is printed to stderr
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Append what arrives to this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

impl NasArgs {
    /// Answers until the input ends or an interrupt comes.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let log = match &self.log {
            Some(path) => log::Log::append(path)
                .with_context(|| format!("cannot open `{}`", path.display()))?,
            None => log::Log::none(),
        };
        let nas = Nas::new(self.shape, log)?;
        match self.http {
            None => stdio::serve(&nas).context("the pipe broke")?,
            Some(address) => tokio::runtime::Runtime::new()?.block_on(async {
                let server = Server::bind(nas, address)
                    .await
                    .with_context(|| format!("cannot listen on `{address}`"))?;
                terminal::note(&format!("http://{}/mcp\n", server.address()?));
                let stop = async { drop(tokio::signal::ctrl_c().await) };
                server.serve(stop).await.context("the listener broke")
            })?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

//! What a user can ask of the binary: one module per command.

mod approvals;
mod certificate;
mod compact;
mod completions;
mod config;
mod connect;
mod init;
mod key;
mod policy;
mod query;
mod replay;
mod scan;
mod seal;
mod serve;
#[cfg(feature = "object-storage")]
mod ship;
mod status;
mod test;
pub mod token;
pub mod verify;
mod wrap;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::{demo, generate, nas, terminal};

/// Judge, record and replay what agents do through MCP servers.
///
/// Weir stands between agents and their MCP servers. It ends the TLS connection, judges every tool call by a
/// policy, writes the call and the decision down before anything is forwarded, and can later run the whole record
/// again under another policy to show what would have changed.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    styles = terminal::HELP,
    after_help = "Start here:\n  weir demo                     see the whole loop on an embedded NAS, in under 20 s\n  \
                  weir init my-weir             make a configuration that serves at once\n  \
                  weir help replay              what a candidate policy would have changed\n\n\
                  Exit codes: 0 done, 2 bad usage, configuration or policy; `weir replay` and `weir verify` have more."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Init(init::Init),
    Connect(connect::Connect),
    Serve(serve::Serve),
    Status(status::Status),
    Scan(scan::Scan),
    Approvals(approvals::Approvals),
    Wrap(wrap::Wrap),
    Seal(seal::Seal),
    Compact(compact::Compact),
    #[cfg(feature = "object-storage")]
    Ship(ship::Ship),
    Replay(replay::Replay),
    Query(query::Query),
    Verify(verify::Verify),
    #[command(subcommand)]
    Policy(policy::Policy),
    Test(test::Test),
    #[command(subcommand)]
    Config(config::Config),
    #[command(subcommand)]
    Key(key::Key),
    #[command(subcommand)]
    Token(token::Token),
    #[command(subcommand)]
    Certificate(certificate::Certificate),
    Generate(generate::Generate),
    Completions(completions::Completions),
    #[command(hide = true)]
    Nas(nas::NasArgs),
}

impl Cli {
    /// Does what was asked; without a command, shows what can be asked.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            None => {
                terminal::print(&Self::command().render_long_help().ansi().to_string())?;
                Ok(ExitCode::SUCCESS)
            }
            Some(Command::Demo(command)) => command.run(),
            Some(Command::Init(command)) => command.run(),
            Some(Command::Connect(command)) => command.run(),
            Some(Command::Serve(command)) => command.run(),
            Some(Command::Status(command)) => command.run(),
            Some(Command::Scan(command)) => command.run(),
            Some(Command::Approvals(command)) => command.run(),
            Some(Command::Wrap(command)) => command.run(),
            Some(Command::Seal(command)) => command.run(),
            Some(Command::Compact(command)) => command.run(),
            #[cfg(feature = "object-storage")]
            Some(Command::Ship(command)) => command.run(),
            Some(Command::Replay(command)) => command.run(),
            Some(Command::Query(command)) => command.run(),
            Some(Command::Verify(command)) => command.run(),
            Some(Command::Policy(command)) => command.run(),
            Some(Command::Test(command)) => command.run(),
            Some(Command::Config(command)) => command.run(),
            Some(Command::Key(command)) => command.run(),
            Some(Command::Token(command)) => command.run(),
            Some(Command::Certificate(command)) => command.run(),
            Some(Command::Generate(command)) => command.run(),
            Some(Command::Completions(command)) => command.run(),
            Some(Command::Nas(command)) => command.run(),
        }
    }
}

//! `weir policy`: what is wrong with a policy, and what it says of a call.

mod check;
mod explain;

use std::process::ExitCode;

/// Check policies, and ask what they say of a call.
#[derive(Debug, clap::Subcommand)]
pub enum Policy {
    Check(check::Check),
    Explain(explain::Explain),
}

impl Policy {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(command) => command.run(),
            Self::Explain(command) => command.run(),
        }
    }
}

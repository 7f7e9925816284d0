//! `weir policy`: what is wrong with a policy, what it says of a call, and how it differs from another.

mod check;
mod diff;
mod explain;
mod learn;

use std::path::Path;
use std::process::ExitCode;

use crate::failure::Rendered;

pub use check::profile;

/// Check policies, compare them, learn them, and ask what they say of a call.
#[derive(Debug, clap::Subcommand)]
pub enum Policy {
    Check(check::Check),
    Diff(diff::Diff),
    Explain(explain::Explain),
    Learn(learn::Learn),
}

impl Policy {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check(command) => command.run(),
            Self::Diff(command) => command.run(),
            Self::Explain(command) => command.run(),
            Self::Learn(command) => command.run(),
        }
    }
}

/// Reads a policy, or shows everything that is wrong with it.
pub fn load(path: &Path) -> anyhow::Result<weir_policy::Policy> {
    let name = path.display().to_string();
    weir_policy::Policy::load(&check::read(path)?, &name)
        .map_err(|problems| Rendered::bad(problems.styled()))
}

//! `weir completions`: the shell learns the commands.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{command::Cli, terminal};

/// Write a completion script for a shell to stdout
///
/// Examples:
///   weir completions bash > ~/.local/share/bash-completion/completions/weir
///   weir completions zsh  > "${fpath[1]}/_weir"
///   weir completions fish > ~/.config/fish/completions/weir.fish
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Completions {
    /// The shell to write for.
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "weir", &mut script);
        terminal::print(&String::from_utf8(script)?)?;
        Ok(ExitCode::SUCCESS)
    }
}

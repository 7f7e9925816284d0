//! `weir token`: the secret of a grant, and the hash that stands in the configuration.

use std::process::ExitCode;

use anyhow::anyhow;
use sha2::{Digest as _, Sha256};

use crate::terminal;

/// Make the token of a grant.
#[derive(Debug, clap::Subcommand)]
pub enum Token {
    /// Make a new token and print it with the hash that weir.toml takes
    ///
    /// The token goes to the agent and is shown this once; weir.toml keeps only its SHA-256, so
    /// a stolen configuration opens nothing.
    ///
    /// Examples:
    ///   weir token new
    ///   weir token new --quiet > ops-agent.token      the token alone; the hash goes to stderr
    #[command(verbatim_doc_comment)]
    New {
        /// Print the token alone on stdout, and the line for weir.toml on stderr.
        #[arg(short, long)]
        quiet: bool,
    },
}

impl Token {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self::New { quiet } = self;
        let secret = Secret::draw()?;
        let (accent, reset) = (terminal::ACCENT, terminal::RESET);
        let line = format!("token = {{ sha256 = \"{}\" }}", secret.sha256());
        if quiet {
            terminal::print(&format!("{}\n", secret.text))?;
            terminal::note(&format!("{line}\n"));
        } else {
            terminal::print(&format!(
                "{}\n\nGive that to the agent, it is not shown again. In weir.toml, under its [[grant]]:\n\n  {accent}{line}{reset}\n",
                secret.text
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A token as the agent holds it: 256 bits of the system's randomness. It has no `Debug`, so that no log can show it.
pub struct Secret {
    /// `weir_` and 64 hexadecimal digits.
    pub text: String,
}

impl Secret {
    /// A new one.
    pub fn draw() -> anyhow::Result<Self> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| anyhow!("the system gives no randomness: {error}"))?;
        Ok(Self {
            text: format!("weir_{}", hex::encode(bytes)),
        })
    }

    /// What the configuration keeps instead of it.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(self.text.as_bytes()))
    }
}

//! `weir config`: what can stand in weir.toml, and whether what stands there is right.

use std::path::PathBuf;
use std::process::ExitCode;

use weir_proxy::config::reference;

use crate::{configuration, terminal};

/// Check a configuration, and show what can stand in one
#[derive(Debug, clap::Subcommand)]
pub enum Config {
    /// Tell everything that is wrong with a configuration, and with the policies that it names
    ///
    /// Nothing is started, made or asked. What only a start can find (an address that is taken,
    /// a certificate that does not fit its key) is not looked at.
    ///
    /// Examples:
    ///   weir config check
    ///   weir config check /etc/weir/weir.toml
    ///
    /// Exit codes: 0 nothing is wrong, 2 something is.
    #[command(verbatim_doc_comment)]
    Check {
        /// The configuration.
        #[arg(value_name = "FILE", default_value = "weir.toml")]
        file: PathBuf,
    },
    /// Print every key with its bounds and what holds if it is left out, as Markdown
    ///
    /// Examples:
    ///   weir config reference | less
    #[command(verbatim_doc_comment)]
    Reference,
    /// Print a JSON Schema of weir.toml, for editors
    ///
    /// Editors that know TOML check a file against it while it is written.
    ///
    /// Examples:
    ///   weir config schema > weir.schema.json
    ///   (and in weir.toml, on top:  #:schema ./weir.schema.json)
    #[command(verbatim_doc_comment)]
    Schema,
}

impl Config {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Check { file } => {
                let config = configuration::load_with_policies(&file)?;
                let (servers, grants) = (config.servers.len(), config.grants.len());
                terminal::print(&format!(
                    "{}: nothing is wrong; {servers} servers, {grants} grants\n",
                    file.display()
                ))?;
            }
            Self::Reference => terminal::print(&reference::page())?,
            Self::Schema => terminal::print(&format!("{:#}\n", reference::schema()))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

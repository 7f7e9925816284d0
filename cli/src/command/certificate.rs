//! `weir certificate`: a client certificate of the local CA, for a grant that asks for one.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};

use crate::failure::Fix as _;
use crate::{configuration, terminal};

/// Make the client certificate of a grant.
#[derive(Debug, clap::Subcommand)]
pub enum Certificate {
    /// Make a client certificate with the local CA, which is made too if it is not there
    ///
    /// NAME.pem and NAME-key.pem go to the agent; the key is readable by its owner only, and
    /// Weir keeps no copy. Give few days and make a new one in time: a grant that names the
    /// subject takes the new one without a change. A CA of your own does the same, with
    /// `openssl` and a revocation list (docs/callers.md).
    ///
    /// Examples:
    ///   weir certificate new ops-agent
    ///   weir certificate new ops-agent --days 7 --out /etc/ops-agent
    ///   curl --cert ops-agent.pem --key ops-agent-key.pem --cacert state/ca.pem …
    #[command(verbatim_doc_comment)]
    New {
        /// Its subject becomes `CN=NAME`: letters, digits, `-`, `_` and `.`.
        name: String,

        /// The configuration that `weir serve` runs from; its `state` has the local CA.
        #[arg(long, value_name = "FILE", default_value = "weir.toml")]
        config: PathBuf,

        /// How many days it is valid.
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=825))]
        days: u32,

        /// Where the two files go.
        #[arg(long, value_name = "DIR", default_value = ".")]
        out: PathBuf,
    },
}

impl Certificate {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let Self::New {
            name,
            config,
            days,
            out,
        } = self;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 64 || !name.chars().all(fits) || name.starts_with('.') {
            return Err(anyhow!("`{name}` cannot name a certificate"))
                .fix(|| "use up to 64 letters, digits, `-`, `_` and `.`".into());
        }
        let config = configuration::load(&config)?;
        let (certificate, key) = (
            out.join(format!("{name}.pem")),
            out.join(format!("{name}-key.pem")),
        );
        for file in [&certificate, &key] {
            if file.exists() {
                return Err(anyhow!("`{}` is there already", file.display())).fix(|| {
                    "move it away first, or give another --out: nothing is overwritten".into()
                });
            }
        }
        let made = weir_proxy::client_identity(&config, &name, days)?;
        write_new(&key, &made.key_pem, 0o600)?;
        write_new(&certificate, &made.certificate_pem, 0o644)?;
        let (accent, reset) = (terminal::ACCENT, terminal::RESET);
        terminal::print(&format!(
            "{}\n{}\n\nGive both to the agent. In weir.toml, under [listen] and under its [[grant]]:\n\n  {accent}client_ca = \"{}\"\n  certificate = \"CN={name}\"{reset}\n",
            certificate.display(),
            key.display(),
            shown(&made.ca_pem_path, &config.path).display(),
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// A path as the configuration would name it.
fn shown<'p>(path: &'p Path, config: &Path) -> &'p Path {
    let folder = config.parent().unwrap_or(Path::new(""));
    path.strip_prefix(folder).unwrap_or(path)
}

fn write_new(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let mut options = fs::OpenOptions::new();
    let written = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
    written.with_context(|| format!("cannot write `{}`", path.display()))
}

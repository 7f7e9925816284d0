//! `weir connect`: what a client needs to hear, ready to paste.

mod snippet;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use weir_proxy::Config;
use weir_proxy::config::GrantConfig;

use crate::failure::Fix as _;
use crate::{configuration, terminal};

use self::snippet::Connection;

/// Print what a client needs to connect: address, token and CA
///
/// The snippet goes to stdout, ready for a file or a pipe; what to do with it goes to
/// stderr. Tokens are never printed: snippets read them from the variable WEIR_TOKEN or
/// from the token's file.
///
/// Examples:
///   weir connect claude                              the command for Claude Code, and .mcp.json
///   weir connect vscode > .vscode/mcp.json
///   weir connect python > client.py && python client.py
///   weir connect cursor --grant ops-agent            where weir.toml has several
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Connect {
    /// Which client.
    #[arg(value_enum)]
    client: Client,

    /// The configuration that `weir serve` runs from.
    #[arg(long, value_name = "FILE", default_value = "weir.toml")]
    config: PathBuf,

    /// The server to connect to, if there are several.
    #[arg(long, value_name = "NAME")]
    server: Option<String>,

    /// The grant to connect as, if there are several.
    #[arg(long, value_name = "NAME")]
    grant: Option<String>,

    /// The CA that signed the certificate, if weir.toml names a certificate of your own that the system does not trust.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Client {
    /// Claude Code, and Claude Desktop through mcp-remote.
    Claude,
    /// Cursor: .cursor/mcp.json
    Cursor,
    /// Visual Studio Code: .vscode/mcp.json
    Vscode,
    /// The `mcp` package of PyPI.
    Python,
    /// The `@modelcontextprotocol/client` package of npm.
    Node,
}

impl Connect {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = configuration::load(&self.config)?;
        let grant = self.grant(&config)?;
        if grant.credential.token_sha256.is_none() {
            let url = format!("https://{}/{}/mcp", authority(&config)?, grant.server);
            return Err(anyhow!("grant `{}` is not opened by a token of Weir's", grant.name)).fix(|| {
                format!("give the client {url} and what docs/callers.md says of certificates and access tokens")
            });
        }
        let token_file = self.token_file(grant);
        let connection = Connection {
            server: grant.server.clone(),
            url: format!("https://{}/{}/mcp", authority(&config)?, grant.server),
            ca: self.ca(&config)?,
            token_file: token_file
                .exists()
                .then(|| configuration::absolute(&token_file)),
            wrap: self.wrap(grant),
        };
        let (text, notes) = match self.client {
            Client::Claude => connection.claude()?,
            Client::Cursor => connection.cursor()?,
            Client::Vscode => connection.vscode()?,
            Client::Python => connection.python(),
            Client::Node => connection.node(),
        };
        terminal::note(&notes);
        terminal::print(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The one grant that fits what was asked.
    fn grant<'c>(&self, config: &'c Config) -> anyhow::Result<&'c GrantConfig> {
        let fits = |grant: &&GrantConfig| {
            self.grant.as_ref().is_none_or(|name| *name == grant.name)
                && self
                    .server
                    .as_ref()
                    .is_none_or(|name| *name == grant.server)
        };
        let names = |grants: &[&GrantConfig]| {
            let names: Vec<_> = grants
                .iter()
                .map(|grant| format!("`{}` (server `{}`)", grant.name, grant.server))
                .collect();
            names.join(", ")
        };
        let fitting: Vec<&GrantConfig> = config.grants.iter().filter(fits).collect();
        match fitting.as_slice() {
            [one] => Ok(one),
            [] if config.grants.is_empty() => Err(anyhow!(
                "`{}` has no [[grant]], so nobody may connect",
                self.config.display()
            ))
            .fix(|| "add one: `weir token new` makes its token".into()),
            [] => Err(anyhow!("no grant in `{}` fits", self.config.display())).fix(|| {
                format!(
                    "there are: {}",
                    names(&config.grants.iter().collect::<Vec<_>>())
                )
            }),
            several => Err(anyhow!("`{}` has several grants", self.config.display()))
                .fix(|| format!("choose one with --grant or --server: {}", names(several))),
        }
    }

    fn wrap(&self, grant: &GrantConfig) -> Vec<String> {
        let config = configuration::absolute(&self.config);
        let record = config.with_file_name(format!("record-{}", grant.name));
        vec![
            "wrap".to_owned(),
            "--config".to_owned(),
            config.display().to_string(),
            "--grant".to_owned(),
            grant.name.clone(),
            "--record".to_owned(),
            record.display().to_string(),
        ]
    }

    /// Where `weir init` leaves the token of a grant.
    fn token_file(&self, grant: &GrantConfig) -> PathBuf {
        self.config.with_file_name(format!("{}.token", grant.name))
    }

    fn ca(&self, config: &Config) -> anyhow::Result<Option<PathBuf>> {
        if let Some(ca) = &self.ca {
            let found = std::fs::canonicalize(ca)
                .with_context(|| format!("cannot find the CA `{}`", ca.display()))?;
            return Ok(Some(found));
        }
        Ok(weir_proxy::local_ca(config)?.map(|ca| configuration::absolute(&ca)))
    }
}

/// Where clients on this host, or on any if it has a name, reach the proxy.
fn authority(config: &Config) -> anyhow::Result<String> {
    let address = config.listen.address;
    if address.port() == 0 {
        return Err(anyhow!(
            "`{}` lets the system choose a port, so nobody can know it before",
            config.path.display()
        ))
        .fix(|| "give `address` under [listen] a port".into());
    }
    match config.listen.hosts.first() {
        Some(host) => Ok(format!("{host}:{}", address.port())),
        None if address.ip().is_unspecified() => Ok(format!("localhost:{}", address.port())),
        None => Ok(address.to_string()),
    }
}

//! `weir init`: a folder from which `weir serve` runs at once.

mod files;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};

use crate::command::token::Secret;
use crate::failure::Fix as _;
use crate::{configuration, terminal};

use self::files::{Files, GITIGNORE, Upstream};

/// Make a configuration that serves at once
///
/// Writes weir.toml, a starter policy, the token of a first grant, and a local CA with a
/// certificate for this host. Nothing that exists is ever overwritten.
///
/// Without an upstream it fronts the practice NAS that is built into this binary, so that
/// everything can be tried before a real server is touched.
///
/// Examples:
///   weir init my-weir                                  try it on the practice NAS
///   weir init my-weir --url https://nas.local/mcp      an upstream that speaks streamable HTTP
///   weir init my-weir --profile truenas -- node dist/cli.js     an upstream that speaks stdio
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Init {
    /// Where to write; made if it is missing.
    #[arg(default_value = ".")]
    dir: PathBuf,

    /// The upstream's address, if it speaks streamable HTTP.
    #[arg(long, value_name = "URL", conflicts_with = "command")]
    url: Option<String>,

    /// What the server is called here: it is served at https://…/NAME/mcp [default: truenas for the practice NAS and
    /// its profile, else upstream].
    #[arg(long, value_name = "NAME")]
    server: Option<String>,

    /// What the first caller is called in the record.
    #[arg(long, value_name = "NAME", default_value = "ops-agent")]
    grant: String,

    /// How the server's calls are read and checked, if Weir knows its kind.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,

    /// The upstream's command line, if it speaks stdio.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Init {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let upstream = self.upstream()?;
        let profile = self
            .profile
            .as_deref()
            .or(upstream.is_practice().then_some("truenas"));
        let server = self.server.as_deref().or(profile).unwrap_or("upstream");
        for name in [server, &self.grant] {
            check_name(name)?;
        }
        let secret = Secret::draw()?;
        let files = Files {
            server,
            grant: &self.grant,
            profile,
            upstream: &upstream,
            token_sha256: &secret.sha256(),
        };
        let documents = [
            (PathBuf::from("weir.toml"), files.config(), Mode::Plain),
            (files.policy_path(), files.policy()?, Mode::Plain),
            (
                files.token_path(),
                format!("{}\n", secret.text),
                Mode::Secret,
            ),
            (
                PathBuf::from(".gitignore"),
                GITIGNORE.to_owned(),
                Mode::Plain,
            ),
        ];
        self.refuse_to_overwrite(documents.iter().map(|(path, ..)| path.as_path()))?;
        for (path, text, mode) in &documents {
            write_new(&self.dir.join(path), text, *mode)?;
        }
        let config = configuration::load(&self.dir.join("weir.toml"))?;
        let ca =
            weir_proxy::local_ca(&config)?.context("the new weir.toml asks for no local CA")?;
        self.tell(&files, &secret, &ca)?;
        Ok(ExitCode::SUCCESS)
    }

    fn upstream(&self) -> anyhow::Result<Upstream> {
        if let Some(url) = &self.url {
            if !(url.starts_with("https://") || url.starts_with("http://")) {
                return Err(anyhow!("`{url}` is not an http or https address"))
                    .fix(|| "write it whole: --url https://nas.local/mcp".into());
            }
            return Ok(Upstream::Http(url.clone()));
        }
        if !self.command.is_empty() {
            return Ok(Upstream::Stdio(self.command.clone()));
        }
        let program = std::env::current_exe().context("cannot find this binary's own path")?;
        let program = program.into_os_string().into_string();
        Ok(Upstream::Practice(
            program.unwrap_or_else(|_| "weir".into()),
        ))
    }

    fn refuse_to_overwrite<'p>(&self, paths: impl Iterator<Item = &'p Path>) -> anyhow::Result<()> {
        let state = ["state/ca.pem", "state/ca-key.pem"].map(Path::new);
        let existing: Vec<String> = paths
            .filter(|path| !path.ends_with(".gitignore"))
            .chain(state)
            .map(|path| self.dir.join(path))
            .filter(|path| path.exists())
            .map(|path| format!("`{}`", path.display()))
            .collect();
        if existing.is_empty() {
            return Ok(());
        }
        Err(anyhow!(
            "{} already there, and init never overwrites",
            there(&existing)
        ))
        .fix(|| "choose another folder, or move these away first".into())
    }

    fn tell(&self, files: &Files<'_>, secret: &Secret, ca: &Path) -> anyhow::Result<()> {
        let (strong, accent, dim, reset) = (
            terminal::STRONG,
            terminal::ACCENT,
            terminal::DIM,
            terminal::RESET,
        );
        let at = |path: &Path| self.dir.join(path).display().to_string();
        let config = at(Path::new("weir.toml"));
        let upstream = match files.upstream {
            Upstream::Practice(_) => {
                "the practice NAS in this binary; put your own server there when you like"
            }
            Upstream::Http(_) | Upstream::Stdio(_) => "what is served, to whom, under which policy",
        };
        terminal::print(&format!(
            "{strong}Made{reset}\n  \
             {config}  {dim}{upstream}{reset}\n  \
             {}  {dim}a first policy: read freely, change a little, remove nothing{reset}\n  \
             {}  {dim}the local CA that clients are to trust{reset}\n  \
             {}  {dim}the token of `{}`; weir.toml keeps only its hash{reset}\n\n\
             {strong}Token of {}{reset}, shown this once:\n  {}\n\n\
             {strong}Next{reset}\n  \
             {accent}weir serve --config {config}{reset}\n  \
             {accent}weir connect claude --config {config}{reset}    {dim}or cursor, vscode, python, node{reset}\n",
            at(&files.policy_path()),
            ca.display(),
            at(&files.token_path()),
            files.grant,
            files.grant,
            secret.text,
        ))
    }
}

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Plain,
    Secret,
}

/// Writes a file that must not exist yet, with its folder; leaves an existing `.gitignore` alone.
fn write_new(path: &Path, text: &str, mode: Mode) -> anyhow::Result<()> {
    use std::io::Write as _;

    if path.ends_with(".gitignore") && path.exists() {
        return Ok(());
    }
    let cannot = || format!("cannot write `{}`", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(cannot)?;
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(if mode == Mode::Secret { 0o600 } else { 0o644 });
    }
    let mut file = options.open(path).with_context(cannot)?;
    file.write_all(text.as_bytes()).with_context(cannot)
}

/// Names stand in paths, file names and the record, so they are kept simple; weir.toml asks the same.
fn check_name(name: &str) -> anyhow::Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.len() > 64
        || !name.starts_with(|c: char| c.is_ascii_alphanumeric())
        || !name.chars().all(fits)
    {
        bail!(
            "`{name}` cannot be a name: use up to 64 letters, digits, `-`, `_` and `.`, beginning with a letter or digit"
        );
    }
    Ok(())
}

/// `a is`, `a and b are`, `a, b and c are`.
fn there(items: &[String]) -> String {
    match items {
        [one] => format!("{one} is"),
        [first @ .., last] => format!("{} and {last} are", first.join(", ")),
        [] => String::new(),
    }
}

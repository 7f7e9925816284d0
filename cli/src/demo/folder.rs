//! The folder that the demo leaves behind.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use weir_corpus::{Morning, Shape};

use crate::command::token::Secret;
use crate::failure::Fix as _;

/// Marks a folder as ours to replace.
const MARKER: &str = ".weir-demo";

/// The policies that are copied into the folder.
const POLICIES: [(&str, &str); 5] = [
    ("demo/in-force", "in-force.json"),
    ("demo/published-stops", "published-stops.json"),
    ("demo/careful-stops", "careful-stops.json"),
    ("published/vm_stop", "published/vm_stop.json"),
    ("published/service_stop", "published/service_stop.json"),
];

/// A folder with everything the demo makes.
pub struct Folder {
    path: PathBuf,
    grants: Vec<Grant>,
}

/// One agent's leave, and the token that proves it.
pub struct Grant {
    /// Its name.
    pub name: String,
    /// The server it opens.
    pub server: &'static str,
    /// What the agent sends.
    pub token: Secret,
}

impl Folder {
    /// Makes the folder, replacing one that an earlier demo made and no other.
    pub fn make(path: &Path, morning: &Morning) -> anyhow::Result<Self> {
        clear(path)?;
        let cannot = || format!("cannot make `{}`", path.display());
        for folder in ["policies/published", "tokens", "nas"] {
            fs::create_dir_all(path.join(folder)).with_context(cannot)?;
        }
        fs::write(
            path.join(MARKER),
            "Made by `weir demo`, which may replace this folder.\n",
        )
        .with_context(cannot)?;
        let path = path.canonicalize().with_context(cannot)?;
        let mut grants = Vec::new();
        for agent in &morning.agents {
            let server = match agent.server {
                Shape::Dispatcher => "nas",
                Shape::Flat => "nas-flat",
            };
            grants.push(Grant {
                name: agent.name.clone(),
                server,
                token: Secret::draw()?,
            });
        }
        let folder = Self { path, grants };
        for (name, file) in POLICIES {
            let policy = weir_corpus::policy(name)
                .ok_or_else(|| anyhow!("the corpus has no policy `{name}`"))?;
            fs::write(folder.policy(file), policy.text)
                .with_context(|| format!("cannot write the policy `{file}`"))?;
        }
        for grant in &folder.grants {
            let path = folder.path.join("tokens").join(&grant.name);
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            writeln!(file, "{}", grant.token.text)
                .with_context(|| format!("cannot write `{}`", path.display()))?;
        }
        Ok(folder)
    }

    /// Writes `weir.toml`; the flat NAS listens on `flat`.
    pub fn configure(&self, flat: SocketAddr) -> anyhow::Result<PathBuf> {
        let weir = std::env::current_exe().context("cannot find out where this binary is")?;
        let child = [
            weir.display().to_string(),
            "nas".to_owned(),
            "--stdio".to_owned(),
            "--shape".to_owned(),
            "dispatcher".to_owned(),
            "--log".to_owned(),
            self.nas_log("nas").display().to_string(),
        ];
        let command: Vec<String> = child.iter().map(|word| quoted(word)).collect();
        let mut sections = vec![format!(
            "# Written by `weir demo`. The embedded NAS `nas-flat` was stopped with it; to serve again, first run\n\
             #   weir nas --shape flat --http {flat}\n\n\
             [listen]\naddress = \"127.0.0.1:0\"\n\n\
             [record]\npath = \"record\"\n\n\
             [[server]]\nname = \"nas\"\nprofile = \"truenas\"\ncommand = [{}]\n\n\
             [[server]]\nname = \"nas-flat\"\nprofile = \"truenas\"\nurl = \"http://{flat}/mcp\"\n",
            command.join(", ")
        )];
        sections.extend(self.grants.iter().map(|grant| {
            format!(
                "[[grant]]\nname = {}\nserver = \"{}\"\ntoken = {{ sha256 = \"{}\" }}\npolicy = \"policies/in-force.json\"\n",
                quoted(&grant.name),
                grant.server,
                grant.token.sha256()
            )
        }));
        let path = self.path.join("weir.toml");
        fs::write(&path, sections.join("\n"))
            .with_context(|| format!("cannot write `{}`", path.display()))?;
        Ok(path)
    }

    /// Where the record is.
    pub fn record(&self) -> PathBuf {
        self.path.join("record")
    }

    /// Where a policy is.
    pub fn policy(&self, file: &str) -> PathBuf {
        self.path.join("policies").join(file)
    }

    /// Where a NAS keeps its own log.
    pub fn nas_log(&self, server: &str) -> PathBuf {
        self.path.join("nas").join(format!("{server}.jsonl"))
    }

    /// Where what the agents sent and were told is kept.
    pub fn transcript(&self) -> PathBuf {
        self.path.join("agents.jsonl")
    }

    /// The grants, in the order of the morning's agents.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// The folder as a command line would name it from here.
    pub fn shown(&self) -> String {
        let here = std::env::current_dir().ok();
        let path = here
            .and_then(|here| self.path.strip_prefix(here).ok())
            .unwrap_or(&self.path);
        path.display().to_string()
    }
}

/// Makes way for a new folder.
fn clear(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot look into `{shown}`")),
        Ok(true) => Ok(()),
        Ok(false) if path.join(MARKER).is_file() => fs::remove_dir_all(path)
            .with_context(|| format!("cannot remove the earlier demo in `{shown}`")),
        Ok(false) => Err(anyhow!("`{shown}` is not empty, and no demo made it"))
            .fix(|| "give another folder: `weir demo --dir DIR`".to_owned()),
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]

    use super::*;

    #[test]
    fn a_folder_of_somebody_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
        let morning = weir_corpus::morning("monday").unwrap();
        assert!(Folder::make(folder.path(), &morning).is_err());
        assert!(folder.path().join("thesis.txt").exists());
    }

    #[test]
    fn an_earlier_demo_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weir-demo");
        let morning = weir_corpus::morning("monday").unwrap();
        Folder::make(&path, &morning).unwrap();
        fs::write(path.join("left-over"), "").unwrap();
        Folder::make(&path, &morning).unwrap();
        assert!(!path.join("left-over").exists());
    }
}

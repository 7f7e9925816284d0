//! `weir verify`: whether a record is what was signed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use weir_recorder::{RecordReader, VerifyOptions, VerifyingKey, prove, verify};

use crate::failure::Fix as _;
use crate::terminal;

/// Check that a record is what was signed, and that nothing is missing
///
/// Needs the record, or a copy of it, and the public key; nothing else, and no network.
/// Also works on the record of a running proxy.
///
/// Exit codes:
///   0  valid, and the anchor has the newest checkpoint
///   1  altered
///   2  bad usage
///   3  something that was signed is missing
///   4  truncated: the anchor has seen more
///   5  sealed rows that no checkpoint covers
///   6  valid, but not anchored: later removal cannot be excluded
///
/// Examples:
///   weir verify --record record
///   weir verify --record copy --key record.pub --anchor /mnt/other/checkpoints
///   weir verify --record record --call 0199a7c4-5f3e-7d7b-8a33-2a1c5e0f9b21 --proof > call.json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Verify {
    /// The record's folder.
    #[arg(long, value_name = "DIR")]
    record: PathBuf,

    /// A file with the public key; `<record>.pub` beside the folder if left out.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,

    /// The folder where checkpoints are kept outside of the record.
    #[arg(long, value_name = "DIR")]
    anchor: Option<PathBuf>,

    /// Judge the rows only: for a record whose files other tools have rewritten.
    #[arg(long)]
    rows_only: bool,

    /// One call, by its id.
    #[arg(long, value_name = "ID", requires = "proof", value_parser = call_id)]
    call: Option<[u8; 16]>,

    /// Write a proof that the call is in the record, which a stranger can check (docs/record.md).
    #[arg(long, requires = "call")]
    proof: bool,

    /// How to write the answer.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Verify {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        RecordReader::open(&self.record)
            .fix(|| "give the folder that weir.toml names under [record]".into())?;
        let bar = terminal::watched().then(bar);
        let progress = |done, all| {
            if let Some(bar) = &bar {
                bar.set_length(all);
                bar.set_position(done);
            }
        };
        let options = VerifyOptions {
            keys: self.keys()?,
            anchor: self.anchor.clone(),
            rows_only: self.rows_only,
            progress: Some(&progress),
        };
        if let Some(anchor) = &self.anchor
            && !anchor.is_dir()
        {
            return Err(anyhow!("the anchor `{}` is no folder", anchor.display()));
        }
        if let Some(call) = self.call {
            let proof = prove(&self.record, call, &options);
            if let Some(bar) = &bar {
                bar.finish_and_clear();
            }
            terminal::print(&(serde_json::to_string_pretty(&proof?)? + "\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        let verified = verify(&self.record, &options);
        if let Some(bar) = &bar {
            bar.finish_and_clear();
        }
        let verified = verified?;
        match self.format {
            Format::Text => terminal::print(&format!("{verified}\n"))?,
            Format::Json => terminal::print(&(serde_json::to_string_pretty(&verified)? + "\n"))?,
        }
        Ok(ExitCode::from(verified.state.exit_code()))
    }

    fn keys(&self) -> anyhow::Result<Vec<VerifyingKey>> {
        if !self.key.is_empty() {
            return self.key.iter().map(|path| key(path)).collect();
        }
        let beside = beside(&self.record)?;
        let key = key(&beside).fix(|| {
            "give the public key with --key FILE: it lies beside the record that was signed, and ends in `.pub`".into()
        })?;
        Ok(vec![key])
    }
}

/// The file beside a record's folder where its public key is, unless the configuration says otherwise.
fn beside(record: &Path) -> anyhow::Result<PathBuf> {
    let record = std::path::absolute(record)?;
    let mut name = record
        .file_name()
        .ok_or_else(|| anyhow!("`{}` has no name: give --key", record.display()))?
        .to_owned();
    name.push(".pub");
    Ok(record.with_file_name(name))
}

fn key(path: &Path) -> anyhow::Result<VerifyingKey> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the public key `{}`", path.display()))?;
    VerifyingKey::parse(text.trim()).with_context(|| format!("`{}`", path.display()))
}

fn call_id(text: &str) -> Result<[u8; 16], String> {
    uuid::Uuid::parse_str(text)
        .map(uuid::Uuid::into_bytes)
        .map_err(|_| {
            "write the id as it stands in the column `call_id`: a UUID, or 32 hex digits".to_owned()
        })
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("verifying {wide_bar} {bytes}/{total_bytes}, {eta}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn an_id_reads_with_and_without_dashes() {
        let dashed = call_id("0199a7c4-5f3e-7d7b-8a33-2a1c5e0f9b21");
        assert_eq!(dashed, call_id("0199a7c45f3e7d7b8a332a1c5e0f9b21"));
        assert!(dashed.is_ok() && call_id("7").is_err());
    }

    #[test]
    fn the_key_is_looked_for_beside_the_folder() {
        assert_eq!(
            beside(Path::new("/a/record/")).unwrap(),
            Path::new("/a/record.pub")
        );
    }
}

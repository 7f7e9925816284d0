//! `weir verify`: whether a record is what was signed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use weir_recorder::{RecordKeys, RecordReader, VerifyOptions, VerifyingKey, prove, verify};

use crate::failure::Fix as _;
use crate::record_keys::KeysArgument;
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
///   7  what could be checked is as it was signed, but encrypted calls were not held against
///      the signed roots, since the record keys named are missing: give them with --record-keys
///
/// Examples:
///   weir verify --record record
///   weir verify --record copy --key record.pub --anchor /mnt/other/checkpoints
///   weir verify --record s3://records/nas --key record.pub
///   weir verify --record s3://records/nas --list 41
///   weir verify --record record --call 0199a7c4-5f3e-7d7b-8a33-2a1c5e0f9b21 --proof > call.json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Verify {
    /// The record's folder, or the address of its copy: `s3://BUCKET/FOLDER`.
    #[arg(long, value_name = "DIR")]
    record: PathBuf,

    /// A file with the public key; `<record>.first.pub` beside the folder if left out, else `<record>.pub`.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,

    #[command(flatten)]
    record_keys: KeysArgument,

    /// The folder, or the address of a copy, where checkpoints are kept outside of the record.
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

    /// Of a copy: as it was when its list of this number was shipped, days included that retention removed since.
    #[cfg(feature = "object-storage")]
    #[arg(long, value_name = "N")]
    list: Option<u64>,

    #[cfg(feature = "object-storage")]
    #[command(flatten)]
    reach: crate::shipping::Reach,

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

#[cfg(feature = "object-storage")]
mod copy;

/// Where checkpoints are kept outside of the record; those of a bucket are here while this is.
enum Anchor {
    None,
    Folder(PathBuf),
    #[cfg(feature = "object-storage")]
    Bucket(weir_object_storage::FetchedAnchor),
}

impl Anchor {
    fn path(&self) -> Option<PathBuf> {
        match self {
            Self::None => None,
            Self::Folder(folder) => Some(folder.clone()),
            #[cfg(feature = "object-storage")]
            Self::Bucket(fetched) => Some(fetched.path().to_owned()),
        }
    }
}

impl Verify {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        #[cfg(feature = "object-storage")]
        if let Some(url) = crate::shipping::is_address(&self.record) {
            return self.run_on_copy(url);
        }
        #[cfg(feature = "object-storage")]
        if self.list.is_some() {
            return Err(anyhow!("--list is for a copy: --record s3://BUCKET/FOLDER"));
        }
        RecordReader::open(&self.record)
            .fix(|| "give the folder that weir.toml names under [record]".into())?;
        let keys = (
            believed(&self.record, &self.key)?,
            self.record_keys.read(&self.record)?,
        );
        let anchor = self.anchor()?;
        if let Some(call) = self.call {
            let proof = with_bar(|progress| {
                let options = self.options(keys, &anchor, progress);
                Ok(prove(&self.record, call, &options)?)
            })?;
            terminal::print(&(serde_json::to_string_pretty(&proof)? + "\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        let verified = with_bar(|progress| {
            let options = self.options(keys, &anchor, progress);
            Ok(verify(&self.record, &options)?)
        })?;
        match self.format {
            Format::Text => terminal::print(&format!("{verified}\n"))?,
            Format::Json => terminal::print(&(serde_json::to_string_pretty(&verified)? + "\n"))?,
        }
        Ok(ExitCode::from(verified.state.exit_code()))
    }

    fn options<'p>(
        &self,
        (keys, record_keys): (Vec<VerifyingKey>, RecordKeys),
        anchor: &Anchor,
        progress: &'p dyn Fn(u64, u64),
    ) -> VerifyOptions<'p> {
        VerifyOptions {
            keys,
            record_keys,
            anchor: anchor.path(),
            rows_only: self.rows_only,
            progress: Some(progress),
            ..VerifyOptions::default()
        }
    }

    fn anchor(&self) -> anyhow::Result<Anchor> {
        let Some(anchor) = &self.anchor else {
            return Ok(Anchor::None);
        };
        #[cfg(feature = "object-storage")]
        if let Some(url) = crate::shipping::is_address(anchor) {
            return Ok(Anchor::Bucket(crate::shipping::check_anchor(
                &self.reach,
                url,
            )?));
        }
        if anchor.is_dir() {
            return Ok(Anchor::Folder(anchor.clone()));
        }
        Err(anyhow!("the anchor `{}` is no folder", anchor.display()))
    }
}

/// The public keys in these files; without any, the one beside the record that its log begins with.
pub fn believed(record: &Path, given: &[PathBuf]) -> anyhow::Result<Vec<VerifyingKey>> {
    if !given.is_empty() {
        return given.iter().map(|path| key(path)).collect();
    }
    let first = beside(record, ".first.pub")?;
    let own = if first.exists() {
        first
    } else {
        beside(record, ".pub")?
    };
    let key = key(&own).fix(|| {
        "give the public key with --key FILE: it lies beside the record that was signed, and ends in `.pub`".into()
    })?;
    Ok(vec![key])
}

/// A file beside a record's folder: `.pub` is its public key, unless the configuration says otherwise, and `.first.pub` the one
/// that it began with, where `weir key rotate` replaced that.
pub(super) fn beside(record: &Path, ending: &str) -> anyhow::Result<PathBuf> {
    let record = std::path::absolute(record)?;
    let mut name = record
        .file_name()
        .ok_or_else(|| anyhow!("`{}` has no name: give --key", record.display()))?
        .to_owned();
    name.push(ending);
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

/// Work whose progress is drawn where a person is watching.
fn with_bar<T>(work: impl FnOnce(&dyn Fn(u64, u64)) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let bar = terminal::watched().then(bar);
    let done = work(&|done, all| {
        if let Some(bar) = &bar {
            bar.set_length(all);
            bar.set_position(done);
        }
    });
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    done
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
            beside(Path::new("/a/record/"), ".pub").unwrap(),
            Path::new("/a/record.pub")
        );
    }
}

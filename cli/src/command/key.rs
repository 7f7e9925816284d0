//! `weir key`: the key that signs a record's checkpoints, and those that encrypt what calls carry.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use weir_recorder::{Disk, RecordError, RecordKeys, RecordOptions, RecordReader, Recorder};

use crate::failure::Fix as _;
use crate::record_keys::{KeysArgument, advised};
use crate::terminal;

/// Replace the key that signs a record, make keys that encrypt it.
#[derive(Debug, clap::Subcommand)]
pub enum Key {
    /// Make a new signing key and hand over to it
    ///
    /// The last checkpoint of the old key names the new one and is signed by both, and an event
    /// `key_rotation` is written. Who believes the old public key believes the new one from
    /// there on: `weir verify --key OLD.pub` still holds. Keep the old public key; the old
    /// private key is gone, and so is what a thief of it could sign from now on.
    ///
    /// The proxy must be stopped: it holds the key.
    ///
    /// Examples:
    ///   weir key rotate --record record
    ///   weir verify --record record --key record.first.pub
    #[command(verbatim_doc_comment)]
    Rotate {
        /// The record's folder.
        #[arg(long, value_name = "DIR")]
        record: PathBuf,

        /// The private key, as `signing_key` under [record] names it; `<record>.key` beside the folder if left out.
        #[arg(long, value_name = "FILE")]
        signing_key: Option<PathBuf>,

        /// The folder where checkpoints also go, as `anchor` under [record] names it.
        #[arg(long, value_name = "DIR")]
        anchor: Option<PathBuf>,

        #[command(flatten)]
        keys: KeysArgument,
    },
    /// Make a record key: it encrypts arguments and results in sealed files
    ///
    /// The key is added to the file as its last line, and so is the one in use from the next
    /// start of the proxy on; the lines before it are what older files are read with. To
    /// rotate is to run this again. The file is readable by its owner only, and weir.toml
    /// names it: `encryption = { keys = "record.keys" }` under [record].
    ///
    /// Keep a copy of the file apart from the record: what a lost key encrypted, nobody reads.
    ///
    /// Examples:
    ///   weir key new --record-keys record.keys
    ///   weir key new --record-keys record.keys --id nas-2027
    #[command(verbatim_doc_comment)]
    New {
        /// The file, made if it does not exist.
        #[arg(long, value_name = "FILE")]
        record_keys: PathBuf,

        /// What to call the key: letters, digits, `.`, `_` and `-`; the day of today if left out. It is no secret.
        #[arg(long, value_name = "ID")]
        id: Option<String>,
    },
}

impl Key {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Rotate {
                record,
                signing_key,
                anchor,
                keys,
            } => {
                let options = RecordOptions {
                    signing_key,
                    anchor,
                    keys: keys.read(&record)?,
                    compact_segments: 0,
                    ..RecordOptions::new(&record)
                };
                rotate(options)
            }
            Self::New { record_keys, id } => new(&record_keys, id),
        }
    }
}

fn rotate(options: RecordOptions) -> anyhow::Result<ExitCode> {
    let record = options.path.clone();
    RecordReader::open(&record)
        .fix(|| "give the folder that weir.toml names under [record]".into())?;
    let recorder = match Recorder::open(options, Arc::new(Disk)) {
        Ok((recorder, _log, _)) => recorder,
        Err(error @ RecordError::Locked { .. }) => {
            return Err(error).fix(|| {
                "stop its proxy first: it holds the key, and would go on signing with the old one"
                    .into()
            });
        }
        Err(error) => return advised(Err(error)),
    };
    let old = recorder.public_key();
    // What `weir verify` begins with: from there the records themselves lead to every later key.
    let first = super::verify::beside(&record, ".first.pub")?;
    if !first.exists() {
        fs::write(&first, format!("{old}\n"))
            .with_context(|| format!("cannot write `{}`", first.display()))?;
    }
    let new = recorder.rotate_key().context("the key stays the old one")?;
    recorder.close().context("cannot close the record")?;
    terminal::print(&format!(
        "old {old}\nnew {new}\n\nThe new public key is in the file `.pub` beside the private one. Whoever has the old one needs no new one; the first\nlies in `{}`, where `weir verify` looks for it.\n",
        first.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn new(path: &Path, id: Option<String>) -> anyhow::Result<ExitCode> {
    let (mut text, before) = if path.exists() {
        let keys = RecordKeys::read(&Disk, path)?;
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        (text, keys)
    } else {
        (String::new(), RecordKeys::default())
    };
    let id = id.unwrap_or_else(|| today(&before));
    if before.ids().any(|known| known == id) {
        return Err(anyhow!("`{}` has a key `{id}` already", path.display())).fix(|| {
            "give another --id: a key is never replaced, since files were written with it".into()
        });
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text += &RecordKeys::new_line(&id)?;
    write_private(path, &text).with_context(|| format!("cannot write `{}`", path.display()))?;
    let older: Vec<&str> = before.ids().collect();
    let older = match older.as_slice() {
        [] => String::new(),
        ids => format!("Files of before are read with {}.\n", ids.join(", ")),
    };
    let shown = path.display();
    terminal::print(&format!(
        "key `{id}` is in `{shown}`, and in use from the next start on. {older}In weir.toml, under [record]:\n\n  encryption = {{ keys = \"{shown}\" }}\n\nKeep a copy of that file apart from the record: what a lost key encrypted, nobody reads.\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The day, and a number behind it if that is taken.
fn today(keys: &RecordKeys) -> String {
    let day = jiff::Zoned::now().date().to_string();
    let numbered = (2..).map(|n| format!("{day}.{n}"));
    std::iter::once(day.clone())
        .chain(numbered)
        .find(|id| keys.ids().all(|known| known != id))
        .unwrap_or(day)
}

/// Puts a file, readable by its owner only, in the place of the one that is there, in one step.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut aside = path.to_owned().into_os_string();
    aside.push(".new");
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&aside, path)
}

//! `weir compact`: the small files of a day become one.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use weir_recorder::{
    CompactedDay, Compaction, Disk, RecordError, RecordOptions, RecordReader, Recorder,
};

use crate::failure::Fix as _;
use crate::record_keys::{KeysArgument, advised};
use crate::terminal;

/// Join the small files of each day into one
///
/// A running proxy does this by itself: with a day that is over, and with a day that lasts
/// once it has many small files (`compact` under [record]). This is for a record whose proxy
/// is gone, before a copy is handed over, or after a day of many restarts.
///
/// The days' projection `changes` (docs/record.md) is made too, where it is not up to date.
///
/// No row is changed, and `weir verify` says of the record what it said before. A day's new
/// files take the place of the old ones in one step: who globs the folder at that moment finds
/// each row once; who had listed the old files and opens one after gets an error.
///
/// Examples:
///   weir compact --record record
///   weir compact --record record --format json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Compact {
    /// The record's folder.
    #[arg(long, value_name = "DIR")]
    record: PathBuf,

    #[command(flatten)]
    keys: KeysArgument,

    /// The private key that signs checkpoints; `<record>.key` beside the folder if left out.
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,

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

impl Compact {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        RecordReader::open(&self.record)
            .fix(|| "give the folder that weir.toml names under [record]".into())?;
        let options = RecordOptions {
            signing_key: self.signing_key.clone(),
            keys: self.keys.read(&self.record)?,
            compact_segments: 0,
            ..RecordOptions::new(&self.record)
        };
        let recorder = match Recorder::open(options, Arc::new(Disk)) {
            Ok((recorder, _log, _)) => recorder,
            Err(error @ RecordError::Locked { .. }) => {
                return Err(error).fix(|| {
                    "a running proxy joins its files by itself; see `compact` under [record]".into()
                });
            }
            Err(error) => return advised(Err(error)),
        };
        let bar = terminal::watched().then(spinner);
        let done = recorder.compact(|day| {
            if let Some(bar) = &bar {
                bar.set_message(format!("{} of {}", day.table, day.date));
                bar.tick();
            }
        });
        if let Some(bar) = &bar {
            bar.finish_and_clear();
        }
        let done = advised(done)?;
        recorder.close().context("cannot close the record")?;
        match self.format {
            Format::Text => terminal::print(&text(&done))?,
            Format::Json => terminal::print(&(serde_json::to_string_pretty(&done)? + "\n"))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn text(done: &Compaction) -> String {
    let mut text: String = done.days.iter().map(line).collect();
    let left = done.left.iter();
    text.extend(left.map(|why| format!("left as it is: {why}\n")));
    if text.is_empty() {
        text.push_str("nothing to join: every day has one file\n");
    }
    if done.projected > 0 {
        let projected = done.projected;
        text.extend([format!("the changes of {projected} days are projected\n")]);
    }
    text
}

fn line(day: &CompactedDay) -> String {
    let CompactedDay {
        table,
        date,
        files,
        rows,
        bytes_before,
        bytes,
    } = day;
    format!(
        "{table} {date}: {files} files are one now, {rows} rows, {bytes_before} → {bytes} bytes\n"
    )
}

fn spinner() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} joined {msg}");
    ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

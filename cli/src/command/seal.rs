//! `weir seal`: what is open becomes Parquet.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use weir_recorder::{Disk, RecordError, RecordOptions, RecordReader, Recorder};

use crate::failure::Fix as _;
use crate::record_keys::{KeysArgument, advised};
use crate::terminal;

/// Seal what is open, so that plain Parquet readers see every call
///
/// A running proxy seals by itself, by rows and by age, and when it stops; `weir query`
/// sees calls that are not sealed yet as well. This is for a record whose proxy is gone:
/// after a crash, or before a copy is handed over.
///
/// Examples:
///   weir seal --record record
///   duckdb -c "SELECT tool, count(*) FROM 'record/calls/*/*.parquet' GROUP BY ALL"
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Seal {
    /// The record's folder.
    #[arg(long, value_name = "DIR")]
    record: PathBuf,

    #[command(flatten)]
    keys: KeysArgument,
}

impl Seal {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let reader = RecordReader::open(&self.record)
            .fix(|| "give the folder that weir.toml names under [record]".into())?;
        let before = reader.segments()?.len();
        let options = RecordOptions {
            keys: self.keys.read(&self.record)?,
            ..RecordOptions::new(&self.record)
        };
        match Recorder::open(options, Arc::new(Disk)) {
            Ok((recorder, _log, _)) => {
                recorder.close().context("cannot seal the record")?;
            }
            Err(error @ RecordError::Locked { .. }) => {
                return Err(error).fix(|| {
                    "a running proxy seals by itself, by rows and by age, and when it stops; `weir query` sees what is not sealed yet".into()
                });
            }
            Err(error) => return advised(Err(error)),
        }
        let after = reader.segments()?.len();
        let path = self.record.display();
        terminal::print(&match after.saturating_sub(before) {
            0 => format!(
                "nothing was open: `{path}` has {} of Parquet\n",
                segments(after)
            ),
            new => format!("sealed {} more: `{path}` has {after}\n", segments(new)),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn segments(count: usize) -> String {
    if count == 1 {
        "1 segment".into()
    } else {
        format!("{count} segments")
    }
}

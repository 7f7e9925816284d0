//! `weir ship`: a record's copy in object storage.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use weir_object_storage::{Behind, ObjectStorageError, Replica, Round, runtime};
use weir_recorder::{Disk, RecordError, RecordOptions, RecordReader, Recorder};

use crate::failure::Fix as _;
use crate::record_keys::{KeysArgument, advised};
use crate::shipping::Reach;
use crate::terminal;

/// Ship a record to S3-compatible storage, once
///
/// Seals what is open, and copies what the bucket does not have yet: policies and resolvers,
/// sealed files, checkpoints. Every object is written once and never again; a copy that was
/// cut short is gone on with. A running proxy ships by itself, see [object_storage] in
/// weir.toml; this is for a record whose proxy is gone. `weir verify --record s3://…` checks
/// the copy where it is. The access key is AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
///
/// Examples:
///   weir ship --record record --to s3://records/nas
///   weir ship --record record --to s3://records/nas --endpoint https://minio.local:9000 --format json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Ship {
    /// The record's folder.
    #[arg(long, value_name = "DIR")]
    record: PathBuf,

    #[command(flatten)]
    keys: KeysArgument,

    /// Where to: `s3://BUCKET/FOLDER`. Each record has a folder of its own.
    #[arg(long, value_name = "URL")]
    to: String,

    /// The key that signs the record, if it is not beside its folder.
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,

    #[command(flatten)]
    reach: Reach,

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

/// Attempts before a failure that waiting may mend is told.
const ATTEMPTS: u32 = 4;

impl Ship {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let bucket = self.reach.bucket(&self.to)?;
        RecordReader::open(&self.record)
            .fix(|| "give the folder that weir.toml names under [record]".into())?;
        let options = RecordOptions {
            signing_key: self.signing_key.clone(),
            keys: self.keys.read(&self.record)?,
            ..RecordOptions::new(&self.record)
        };
        let recorder = match Recorder::open(options, Arc::new(Disk)) {
            Ok((recorder, _log, _)) => recorder,
            Err(error @ RecordError::Locked { .. }) => {
                return Err(error).fix(|| {
                    "a running proxy ships by itself: write [object_storage] into its weir.toml"
                        .into()
                });
            }
            Err(error) => return advised(Err(error)),
        };
        recorder.close().context("cannot seal the record")?;
        let bar = terminal::watched().then(bar);
        let shipped = ship(&mut Replica::new(bucket), &recorder, bar.as_ref());
        if let Some(bar) = &bar {
            bar.finish_and_clear();
        }
        let round = shipped?;
        let Round {
            files,
            bytes,
            entries,
            ..
        } = round;
        let to = self.to.as_str();
        terminal::print(&match self.format {
            Format::Json => serde_json::to_string_pretty(&round)? + "\n",
            Format::Text if round.list == 0 => format!(
                "nothing to ship: `{}` has no calls yet\n",
                self.record.display()
            ),
            Format::Text if files == 0 => {
                format!("nothing new: {to} covers all {entries} entries\n")
            }
            Format::Text => {
                format!("shipped {files} files, {bytes} bytes: {to} covers {entries} entries\n")
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

fn ship(
    replica: &mut Replica,
    recorder: &Recorder,
    bar: Option<&ProgressBar>,
) -> anyhow::Result<Round> {
    let runtime = runtime().context("cannot start what waits for the network")?;
    let progress = |behind: Behind| {
        if let Some(bar) = bar {
            bar.set_length(behind.bytes.max(bar.length().unwrap_or(0)));
            bar.set_position(bar.length().unwrap_or(0) - behind.bytes);
        }
    };
    let mut attempt = 0;
    loop {
        attempt += 1;
        match runtime.block_on(replica.round(recorder, &progress)) {
            Ok(round) => return Ok(round),
            Err(error) if error.is_lasting() || attempt == ATTEMPTS => {
                return Err(error)
                    .fix(|| "what was shipped counts; run the same command again to go on".into());
            }
            Err(error) => {
                tell(&error);
                let pause = Duration::from_secs(1 << attempt);
                runtime.block_on(tokio::time::sleep(pause));
            }
        }
    }
}

fn tell(error: &ObjectStorageError) {
    terminal::note(&format!("{error}; trying again\n"));
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("shipping {wide_bar} {bytes}/{total_bytes}, {eta}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

//! How the commands that judge a record again check its evidence first.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use weir_replay::{ReplayOptions, Verify};

use crate::command::verify::believed;
use crate::failure::Fix as _;
use crate::record_keys::KeysArgument;

/// The keys of a record, and how much of its evidence is checked before anything is judged.
#[derive(Debug, clap::Args)]
pub struct EvidenceArgument {
    #[command(flatten)]
    pub keys: KeysArgument,

    /// How much of the evidence is checked before anything is judged.
    #[arg(long, value_enum, default_value_t = Depth::Files)]
    verify: Depth,

    /// Check none of it. The result says so.
    #[arg(long, conflicts_with = "verify")]
    no_verify: bool,

    /// A file with the public key, as for `weir verify`: the one beside the record if left out.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,

    /// The folder where checkpoints are kept outside of the record.
    #[arg(long, value_name = "DIR")]
    anchor: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Depth {
    /// Signatures, and that every sealed file is there as it was signed.
    Files,
    /// Besides, that the rows are those of the signed tree, as `weir verify` does.
    Full,
}

impl EvidenceArgument {
    /// A replay of this record, with its keys and with as much of its evidence checked as was asked for.
    pub fn replay(&self, record: &Path) -> anyhow::Result<ReplayOptions> {
        let verify = match self.verify {
            _ if self.no_verify => Verify::Nothing,
            Depth::Files => Verify::Files,
            Depth::Full => Verify::Rows,
        };
        let keys = if self.no_verify {
            Vec::new()
        } else {
            believed(record, &self.key)
                .fix(|| "give the public key with --key FILE, or leave the evidence unchecked with --no-verify".into())?
        };
        if let Some(anchor) = self.anchor.as_deref().filter(|anchor| !anchor.is_dir()) {
            return Err(anyhow!("the anchor `{}` is no folder", anchor.display()));
        }
        Ok(ReplayOptions {
            record: record.to_owned(),
            record_keys: self.keys.read(record)?,
            verify,
            keys,
            anchor: self.anchor.clone(),
            ..ReplayOptions::default()
        })
    }
}

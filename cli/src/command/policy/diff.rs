//! `weir policy diff`: what one policy says otherwise than another, and whether it lets more through.

mod json;
mod page;
mod record;

use std::path::PathBuf;
use std::process::ExitCode;

use weir_policy::{Comparison, Diff as Changes, Policy, SampleCall, compare};

use crate::evidence::EvidenceArgument;
use crate::terminal;

use super::load;

/// B lets something through that A does not.
const WIDER: u8 = 1;
/// Neither that nor its contrary is proved.
const UNKNOWN: u8 = 3;

/// Show what policy B says otherwise than policy A, rule by rule, and whether it lets
/// anything through that A does not
///
/// The second question is answered from the documents alone, for all calls there can be:
/// "nowhere wider" is proved; "wider" comes with calls that B lets through and A does not,
/// judged by the engine; and where neither was found, the rules in the way are named. Limits
/// count: whatever passes under B one call after the other must pass under A.
///
/// Examples:
///   weir policy diff policies/ops.json candidate.json
///   weir policy diff --format markdown main/ops.json ops.json        for a pull request
///   weir policy diff --record record ops.json candidate.json         also: on what happened
///
/// Exit codes: 0 B is nowhere wider than A, 1 it is wider, 2 bad usage or policy, 3 unknown,
/// 4 the record is damaged or not what was signed.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Diff {
    /// The policy to compare with, such as the one in force.
    #[arg(value_name = "A")]
    old: PathBuf,

    /// The policy that is looked at.
    #[arg(value_name = "B")]
    new: PathBuf,

    /// Also judge the calls of this record by either, and list those they judge differently.
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,

    /// Of the record, only this grant's calls.
    #[arg(long, value_name = "NAME", requires = "record")]
    grant: Option<String>,

    #[command(flatten)]
    evidence: EvidenceArgument,

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
    /// For a comment on a pull request.
    Markdown,
}

/// Everything there is to say of two policies.
struct Answer {
    /// What the first is called.
    old_name: String,
    new_name: String,
    old: Policy,
    new: Policy,
    changes: Changes,
    /// Whether the second is nowhere wider than the first.
    wider: Comparison,
    /// Whether the first is nowhere wider than the second.
    narrower: Comparison,
    record: Option<record::Compared>,
}

impl Diff {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let (old, new) = (load(&self.old)?, load(&self.new)?);
        let record = match &self.record {
            Some(folder) => {
                let of_record = || self.evidence.replay(folder);
                Some(record::compared(
                    &of_record,
                    self.grant.as_deref(),
                    &old,
                    &new,
                )?)
            }
            None => None,
        };
        let answer = Answer {
            old_name: self.old.display().to_string(),
            new_name: self.new.display().to_string(),
            changes: Changes::of(&old, &new),
            wider: compare(&old, &new),
            narrower: compare(&new, &old),
            old,
            new,
            record,
        };
        terminal::print(&match self.format {
            Format::Text => page::text(&answer),
            Format::Json => json::json(&answer)?,
            Format::Markdown => page::markdown(&answer),
        })?;
        Ok(ExitCode::from(match answer.wider {
            Comparison::NowhereWider => 0,
            Comparison::Wider(_) => WIDER,
            Comparison::Unknown(_) => UNKNOWN,
        }))
    }
}

/// Calls as a list of how often each comes: most sequences repeat one.
fn runs(calls: &[SampleCall]) -> Vec<(usize, &SampleCall)> {
    let mut runs: Vec<(usize, &SampleCall)> = Vec::new();
    for call in calls {
        match runs.last_mut() {
            Some((times, last)) if *last == call => *times += 1,
            _ => runs.push((1, call)),
        }
    }
    runs
}

/// A moment in UTC.
fn moment(call: &SampleCall) -> String {
    let moment = jiff::Timestamp::from_microsecond(call.at.0);
    moment.map_or_else(|_| call.at.0.to_string(), |moment| moment.to_string())
}

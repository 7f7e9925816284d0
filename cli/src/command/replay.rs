//! `weir replay`: what a candidate policy would have changed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use weir_recorder::RecordError;
use weir_replay::{
    Budget, COUNTERS_PER_GRANT, Flips, PolicyFile, Progress, ReplayError, ReplayOptions, State,
    parse_time, replay,
};

use crate::failure::{BAD, Rendered};
use crate::terminal;

/// The record fails verification.
const UNVERIFIED: u8 = 4;

/// Judge recorded calls again by a candidate policy, and show what would have changed
///
/// Every call is judged twice: by the policy that was in force, which must give what is on
/// record, and by the candidate. Limits meet every call in the state in which they would
/// have met it live. Nothing is touched: replay has no network, and the record is only
/// read. Without a policy every grant keeps its own, which must change nothing.
///
/// Examples:
///   weir replay --record record --policy candidate.json
///   weir replay --record record --policy candidate.json --grant ops-agent --from 2026-11-01
///   weir replay --record record --assign ops-agent=strict.json --assign ci=loose.json
///   weir replay --record record --policy candidate.json --max-newly-denied 0     in CI
///
/// Exit codes: 0 within budget, 1 over budget, 2 bad usage or policy, 3 coverage below
/// --min-coverage, 4 the record is damaged, 5 the policies in force no longer give what is
/// on record (a bug in Weir).
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Replay {
    /// The record's folder.
    #[arg(long, value_name = "DIR")]
    record: PathBuf,

    /// The candidate, for the grants that --server and --grant select; for all of them if neither is given.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// A candidate for one grant; may be given for several.
    #[arg(long, value_name = "GRANT=FILE", value_parser = pair)]
    assign: Vec<(String, String)>,

    /// Only this server's calls.
    #[arg(long, value_name = "NAME")]
    server: Option<String>,

    /// Only this grant's calls.
    #[arg(long, value_name = "NAME")]
    grant: Option<String>,

    /// Report calls decided at this time or later: `2026-11-22T06:00:00Z`, or a day. Earlier calls still count towards limits.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<i64>,

    /// Report calls decided before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<i64>,

    /// Which calls use up the candidate's limits.
    #[arg(long, value_enum, default_value_t = Consumed::Counterfactual)]
    state: Consumed,

    /// How to write the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// The counters a grant could hold when the record was made, if weir.toml set it.
    #[arg(long, value_name = "N", default_value_t = COUNTERS_PER_GRANT)]
    counters_per_grant: usize,

    /// How many changed calls to list: a number, or `all`.
    #[arg(long, value_name = "N|all", default_value = "100", value_parser = flips)]
    flips: Flips,

    /// Write the class of every reported call to this Parquet file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Fail (1) if more calls than this would be newly denied or held.
    #[arg(long, value_name = "N")]
    max_newly_denied: Option<u64>,

    /// Fail (1) if more calls than this would be newly allowed.
    #[arg(long, value_name = "N")]
    max_newly_allowed: Option<u64>,

    /// Fail (3) if a smaller share of the calls than this gets a certain answer: `0.95`, or `95%`.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    min_coverage: Option<f64>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Consumed {
    /// Those that the candidate allows: what would have happened.
    Counterfactual,
    /// Those that were allowed then: each call in the history as it was.
    Recorded,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For machines: stable keys, sorted.
    Json,
}

impl Replay {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let candidate = self.policy.as_deref().map(policy_file).transpose()?;
        let mut assign = BTreeMap::new();
        for (grant, file) in &self.assign {
            if assign
                .insert(grant.clone(), policy_file(Path::new(file))?)
                .is_some()
            {
                return Err(anyhow!("--assign gives grant `{grant}` two policies"));
            }
        }
        let bar = terminal::watched().then(bar);
        let options = ReplayOptions {
            record: self.record,
            candidate,
            assign,
            server: self.server,
            grant: self.grant,
            from: self.from,
            to: self.to,
            state: match self.state {
                Consumed::Counterfactual => State::Counterfactual,
                Consumed::Recorded => State::Recorded,
            },
            flips: self.flips,
            counters_per_grant: self.counters_per_grant,
            out: self.out,
            progress: bar.clone().map(|bar| -> Progress {
                Box::new(move |done, all| {
                    bar.set_length(all);
                    bar.set_position(done);
                })
            }),
        };
        let report = replay(&options);
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let report = report.map_err(|error| told(&error))?;
        match self.format {
            Format::Text => terminal::print(&report.text())?,
            Format::Json => terminal::print(&report.to_json())?,
        }
        let budget = Budget {
            max_newly_denied: self.max_newly_denied,
            max_newly_allowed: self.max_newly_allowed,
            min_coverage: self.min_coverage,
        };
        Ok(ExitCode::from(report.exit_code(&budget)))
    }
}

/// A replay's failure with its exit code and its carets.
fn told(error: &ReplayError) -> anyhow::Error {
    if let ReplayError::Policy(problems) = error {
        return Rendered::bad(problems.styled());
    }
    let damaged = matches!(error, ReplayError::Record { cause, .. }
        if matches!(cause.downcast_ref(), Some(RecordError::Damaged { .. } | RecordError::Parquet(_))));
    let (red, reset) = (terminal::ERROR, terminal::RESET);
    Rendered {
        text: format!("{red}error{reset}: {error}"),
        code: if damaged { UNVERIFIED } else { BAD },
    }
    .into()
}

fn policy_file(path: &Path) -> anyhow::Result<PolicyFile> {
    let bytes =
        fs::read(path).with_context(|| format!("cannot read the policy `{}`", path.display()))?;
    Ok(PolicyFile {
        path: path.display().to_string(),
        bytes,
    })
}

fn bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("replaying {wide_bar} {human_pos}/{human_len} calls, {eta}");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// `NAME=VALUE`
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

fn time(text: &str) -> Result<i64, String> {
    parse_time(text).map_err(|error| error.to_string())
}

fn flips(text: &str) -> Result<Flips, String> {
    if text == "all" {
        return Ok(Flips::All);
    }
    text.parse()
        .map(Flips::First)
        .map_err(|_| "write a number, or `all`".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = text
        .strip_suffix('%')
        .map_or((text, 1.0), |number| (number, 100.0));
    match number.parse::<f64>().map(|number| number / unit) {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a share from 0 to 1, or a percentage".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_reads_as_a_fraction_or_a_percentage() {
        assert_eq!(share("0.95"), Ok(0.95));
        assert_eq!(share("95%"), Ok(0.95));
        assert!(share("95").is_err() && share("NaN").is_err() && share("-1%").is_err());
    }

    #[test]
    fn a_pair_keeps_further_equals_signs_in_its_value() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("=b").is_err() && pair("a=").is_err() && pair("a").is_err());
    }
}

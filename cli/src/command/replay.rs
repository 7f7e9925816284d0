//! `weir replay`: what a candidate policy would have changed.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use weir_recorder::RecordError;
use weir_replay::{
    Budget, COUNTERS_PER_GRANT, Flips, PolicyFile, Progress, ReplayError, ReplayOptions, Stage,
    State, parse_time, replay,
};

use crate::evidence::EvidenceArgument;
use crate::failure::{BAD, Rendered, advised};
use crate::record_keys::GIVE_KEYS;
use crate::terminal;

/// The record fails verification.
const UNVERIFIED: u8 = 4;

/// Judge recorded calls again by a candidate policy, and show what would have changed
///
/// Every call is judged twice: by the policy that was in force, which must give what is on
/// record, and by the candidate. Limits meet every call in the state in which they would
/// have met it live. Nothing is touched: replay has no network, and the record is only
/// read. Without a policy every grant keeps its own, which must change nothing. Before
/// anything is judged the record's evidence is checked: signatures, and that every sealed
/// file is there as it was signed.
///
/// Examples:
///   weir replay --record record --policy candidate.json
///   weir replay --record record --policy candidate.json --grant ops-agent --from 2026-11-01
///   weir replay --record record --assign ops-agent=strict.json --assign ci=loose.json
///   weir replay --record record --policy candidate.json --max-newly-denied 0     in CI
///   weir replay --record record --policy candidate.json --format html --out replay.html
///
/// Exit codes: 0 within budget, 1 over budget, 2 bad usage or policy, 3 coverage below
/// --min-coverage, 4 the record is damaged or not what was signed, 5 the policies in force
/// no longer give what is on record (a bug in Weir).
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Replay {
    /// The record's folder.
    #[arg(long, value_name = "DIR")]
    record: PathBuf,

    #[command(flatten)]
    evidence: EvidenceArgument,

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

    /// Write the report to this file instead of showing it; a file that ends in `.parquet` gets the class of every reported call, and
    /// the report is shown too. May be given for both.
    #[arg(long, value_name = "FILE")]
    out: Vec<PathBuf>,

    /// How many threads work at it; all cores if left out.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,

    /// Into how many parts calls are divided that share no limit. The answer is the same for every number.
    #[arg(long, value_name = "N")]
    partitions: Option<NonZeroUsize>,

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
    /// For a comment on a pull request.
    Markdown,
    /// For CI servers that draw test results: what fails is what the exit code tells of.
    Junit,
    /// For code scanning: a result for each rule, at its place in the candidate's file.
    Sarif,
    /// One page with charts, flips and the policies' difference, for a browser and for paper.
    Html,
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
        let of_record = self.evidence.replay(&self.record)?;
        let (rows, reports): (Vec<_>, Vec<_>) = self.out.into_iter().partition(is_rows);
        let (rows, report_file) = (only("rows", rows)?, only("report", reports)?);
        let bar = terminal::watched().then(bar);
        let options = ReplayOptions {
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
            threads: self.threads,
            partitions: self.partitions,
            out: rows,
            progress: bar.clone().map(|bar| -> Progress {
                Box::new(move |stage, done, all| draw(&bar, stage, done, all))
            }),
            ..of_record
        };
        let report = replay(&options);
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let report = report.map_err(|error| told(&error))?;
        let budget = Budget {
            max_newly_denied: self.max_newly_denied,
            max_newly_allowed: self.max_newly_allowed,
            min_coverage: self.min_coverage,
        };
        let written = match self.format {
            Format::Text => report.text(),
            Format::Json => report.to_json(),
            Format::Markdown => report.markdown(),
            Format::Junit => report.junit(&budget),
            Format::Sarif => report.sarif(),
            Format::Html => report.html(),
        };
        match report_file {
            None => terminal::print(&written)?,
            Some(file) => fs::write(&file, written)
                .with_context(|| format!("cannot write the report `{}`", file.display()))?,
        }
        let (red, reset) = (terminal::ERROR, terminal::RESET);
        for failure in report.failures(&budget).into_iter().flatten() {
            terminal::note(&format!("{red}failed{reset}: {failure}\n"));
        }
        Ok(ExitCode::from(report.exit_code(&budget)))
    }
}

/// Whether a file for `--out` is one of rows.
#[expect(clippy::ptr_arg, reason = "as it stands in the list")]
fn is_rows(file: &PathBuf) -> bool {
    file.extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"))
}

/// The one file that was given, if one was.
fn only(what: &str, mut files: Vec<PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    let file = files.pop();
    if files.is_empty() {
        Ok(file)
    } else {
        Err(anyhow!("--out gives the {what} two files"))
    }
}

/// A replay's failure with its exit code and its carets.
pub(super) fn told(error: &ReplayError) -> anyhow::Error {
    if let ReplayError::Policy(problems) = error {
        return Rendered::bad(problems.styled());
    }
    if let ReplayError::Record { cause, .. } = error
        && matches!(cause.downcast_ref(), Some(cause) if RecordError::lacks_keys(cause))
    {
        let how = format!("{GIVE_KEYS}; where no policy reads arguments, `--flips 0` needs none");
        return advised(anyhow!("{error}"), how);
    }
    let unsound = matches!(error, ReplayError::Unverified { .. })
        || matches!(error, ReplayError::Record { cause, .. }
            if matches!(cause.downcast_ref(), Some(RecordError::Damaged { .. } | RecordError::Parquet(_))));
    let (red, reset) = (terminal::ERROR, terminal::RESET);
    Rendered {
        text: format!("{red}error{reset}: {error}"),
        code: if unsound { UNVERIFIED } else { BAD },
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
    ProgressBar::new(0).with_message("starting")
}

/// Shows how far a replay is. Each stage has a rate and a time left of its own.
fn draw(bar: &ProgressBar, stage: Stage, done: u64, all: u64) {
    let (name, template) = match stage {
        Stage::Verifying => (
            "verifying",
            "verifying {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
        ),
        Stage::Judging => (
            "replaying",
            "replaying {wide_bar} {human_pos}/{human_len} calls, {per_sec}, {eta} left",
        ),
    };
    if bar.message() != name {
        let style = ProgressStyle::with_template(template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(name);
        bar.reset();
    }
    bar.set_length(all);
    bar.set_position(done);
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

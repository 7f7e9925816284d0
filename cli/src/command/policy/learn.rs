//! `weir policy learn`: the tightest policy that would have let a grant's calls through.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use weir_policy::{Ask, Learned, Learning, Margin, Micros, Resolver, Value, recorded_arguments};
use weir_recorder::{CallRow, CallRows, RecordReader, Verdict};
use weir_replay::{Class, Flips, PolicyFile, ReplayOptions, Report, parse_time, replay, shown};

use crate::command::replay::told;
use crate::evidence::EvidenceArgument;
use crate::failure::Fix as _;
use crate::terminal::{self, ACCENT, DIM, GOOD, RESET, STRONG, WARNING};

/// The policy denies calls that it was learned from.
const DENIES: u8 = 1;

/// How many calls are learned from in the trial; the others are held out.
const TRIAL: (usize, usize) = (4, 5);

/// Write the tightest policy that would have let a grant's recorded calls through: its tools,
/// the types, values and ranges of their arguments, and limits from the busiest minute and
/// hour, with a margin
///
/// Learned from are the calls that were allowed. The policy goes to stdout or to --out; what
/// each rule was learned from goes to stderr, and into the policy's descriptions. Then it is
/// replayed on the record. How it would have fared on calls it has not seen is tried too: a
/// policy learned from the first four fifths is replayed on the last.
///
/// Examples:
///   weir policy learn --record record --grant ops-agent > learned.json
///   weir policy learn --record record --grant ops-agent --from 2026-11-01 --margin 50% --out learned.json
///   weir policy diff ops.json learned.json        what it says otherwise than yours
///
/// Exit codes: 0 done, 1 the policy would deny some of the calls it was learned from, 2 bad
/// usage, or the record cannot be read, 4 it is damaged or not what was signed.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Learn {
    /// The record's folder.
    #[arg(long, value_name = "DIR")]
    record: PathBuf,

    #[command(flatten)]
    evidence: EvidenceArgument,

    /// The grant.
    #[arg(long, value_name = "NAME")]
    grant: String,

    /// Learn from calls decided at this time or later: `2026-11-22T06:00:00Z`, or a day.
    #[arg(long, value_name = "TIME", value_parser = time)]
    from: Option<i64>,

    /// Learn from calls decided before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    to: Option<i64>,

    /// How far ranges and limits go beyond what was seen: `0.2`, or `20%`.
    #[arg(long, value_name = "SHARE", default_value = "20%", value_parser = margin)]
    margin: Margin,

    /// Write the policy to this file, which must not exist.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Learn {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let times = self.allowed()?;
        let (Some(first), Some(last)) = (times.first(), times.last()) else {
            return Err(anyhow!(
                "grant `{}` has no allowed call there",
                shown(&self.grant)
            ))
            .fix(|| "`weir query --record DIR --named grants` lists the grants".into());
        };
        let learned = self.learned(i64::MAX)?;
        let whole = self.replay(&learned, Some(*first), last.checked_add(1))?;
        self.write(&learned.document)?;
        let denied = whole.classes.of(Class::NewlyDenied) + whole.classes.of(Class::NewlyHeld);
        let mut page = evidence(&learned)?;
        let count = times.len();
        writeln!(
            page,
            "\n{STRONG}what it was learned from{RESET}     {}\n{STRONG}on what it was learned from{RESET}  {}; {} that were refused would pass",
            whole.record.verified.told(),
            passed(count as u64, denied),
            whole.classes.of(Class::NewlyAllowed)
        )?;
        match times.get(count * TRIAL.0 / TRIAL.1) {
            Some(split) if *split > *first => self.trial(*split, *last, &times, &mut page)?,
            _ => writeln!(
                page,
                "{STRONG}on what it had not seen{RESET}      too few calls to hold any out"
            )?,
        }
        terminal::note(&page);
        Ok(if denied == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(DENIES)
        })
    }

    /// When each call was decided that is learned from, in order.
    fn allowed(&self) -> anyhow::Result<Vec<i64>> {
        let mut times = Vec::new();
        self.each(&mut |row| {
            times.push(row.decided_at);
            Ok(())
        })?;
        times.sort_unstable();
        Ok(times)
    }

    /// What is learned from the calls decided before `until`.
    fn learned(&self, until: i64) -> anyhow::Result<Learned> {
        let reader = self.reader()?;
        let mut resolvers: HashMap<String, Resolver> = HashMap::new();
        let mut learning = Learning::new(self.margin);
        let mut calls = 0_u64;
        self.each(&mut |row| {
            if row.decided_at >= until {
                return Ok(());
            }
            let digest = row.resolver_digest.unwrap_or_default();
            let resolver = match resolvers.entry(digest.to_owned()) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(Resolver::load(&reader.resolver(digest)?)?),
            };
            calls += 1;
            observe(&mut learning, row, resolver)
                .with_context(|| format!("call {} of the record cannot be read again", row.seq))
        })?;
        let about = format!(
            "Learned from {calls} calls of grant {} with `weir policy learn`. Each tool says what its rules were learned from.",
            self.grant
        );
        Ok(learning.learned(&about))
    }

    /// Shows every allowed call of the grant, in the order of the log.
    fn each(&self, then: &mut dyn FnMut(&CallRow<'_>) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let calls = self
            .reader()?
            .calls_between(CallRows::COLUMNS, self.from, self.to)?;
        for batch in calls {
            let batch = batch?;
            for row in CallRows::new(&batch)?.iter() {
                let is_judged = row.policy_digest.is_some() && row.verdict == Verdict::Allow;
                if is_judged && row.grant == Some(self.grant.as_str()) {
                    then(&row)?;
                }
            }
        }
        Ok(())
    }

    fn reader(&self) -> anyhow::Result<RecordReader> {
        let reader = RecordReader::open(&self.record)
            .with_context(|| format!("cannot read the record `{}`", self.record.display()))?;
        Ok(reader.with_keys(self.evidence.keys.read(&self.record)?))
    }

    fn replay(
        &self,
        learned: &Learned,
        from: Option<i64>,
        to: Option<i64>,
    ) -> anyhow::Result<Report> {
        replay(&ReplayOptions {
            candidate: Some(PolicyFile {
                path: "learned".to_owned(),
                bytes: learned.document.clone().into_bytes(),
            }),
            grant: Some(self.grant.clone()),
            from,
            to,
            flips: Flips::First(0),
            ..self.evidence.replay(&self.record)?
        })
        .map_err(|error| told(&error))
    }

    /// How a policy learned from what came before `split` fares with what came after.
    fn trial(&self, split: i64, last: i64, times: &[i64], page: &mut String) -> anyhow::Result<()> {
        let learned = self.learned(split)?;
        let report = self.replay(&learned, Some(split), last.checked_add(1))?;
        let held_out = times.iter().filter(|time| **time >= split).count() as u64;
        let denied = report.classes.of(Class::NewlyDenied) + report.classes.of(Class::NewlyHeld);
        writeln!(
            page,
            "{STRONG}on what it had not seen{RESET}      {}: learned before {}, tried from there on",
            passed(held_out, denied),
            moment(split)
        )?;
        for (rule, changes) in report
            .by_rule
            .iter()
            .filter(|(_, changes)| changes.newly_denied > 0)
        {
            writeln!(
                page,
                "  {ACCENT}{}{RESET} would have denied {}",
                shown(rule),
                changes.newly_denied
            )?;
        }
        Ok(())
    }

    fn write(&self, document: &str) -> anyhow::Result<()> {
        let Some(path) = &self.out else {
            return terminal::print(document);
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .with_context(|| format!("cannot write `{}`", path.display()))
            .fix(|| "give --out a file that does not exist yet".into())?;
        file.write_all(document.as_bytes())
            .with_context(|| format!("cannot write `{}`", Path::new(path).display()))
    }
}

fn observe(learning: &mut Learning, row: &CallRow<'_>, resolver: &Resolver) -> anyhow::Result<()> {
    let wire_tool = row.wire_tool.unwrap_or_default();
    let arguments = Value::parse(recorded_arguments(wire_tool, row.arguments))
        .map_err(|malformed| anyhow!("{malformed}"))?;
    let at = Micros(row.decided_at);
    if row.redacted.is_empty() {
        let ask = Ask::recorded(wire_tool, &arguments);
        let resolution = resolver
            .resolve(&ask)
            .map_err(|denied| anyhow!("{}", denied.message))?;
        learning.observe(&resolution, resolver.profile(), at);
        return Ok(());
    }
    let left = (!row.redacted.contains(&"")).then_some(&arguments);
    let resolution = resolver
        .from_redacted(wire_tool, &row.via, row.tool.unwrap_or_default(), left)
        .ok_or_else(|| anyhow!("its names do not fit what is left of its arguments"))?;
    learning.observe(&resolution, resolver.profile(), at);
    Ok(())
}

/// Why each rule is there.
fn evidence(learned: &Learned) -> anyhow::Result<String> {
    let mut page = String::new();
    for (rule, why) in &learned.evidence {
        writeln!(
            page,
            "{ACCENT}{}{RESET}\n  {DIM}{}{RESET}",
            shown(rule),
            shown(why)
        )?;
    }
    Ok(page)
}

fn passed(calls: u64, denied: u64) -> String {
    let style = if denied == 0 { GOOD } else { WARNING };
    format!(
        "{style}{} of {calls} calls pass{RESET}",
        calls.saturating_sub(denied)
    )
}

fn moment(micros: i64) -> String {
    let moment = jiff::Timestamp::from_microsecond(micros);
    moment.map_or_else(|_| micros.to_string(), |moment| moment.to_string())
}

fn time(text: &str) -> Result<i64, String> {
    parse_time(text).map_err(|error| error.to_string())
}

fn margin(text: &str) -> Result<Margin, String> {
    let (number, unit) = text
        .strip_suffix('%')
        .map_or((text, 1.0), |number| (number, 100.0));
    let share = number.parse::<f64>().map(|number| number / unit);
    let margin = share.ok().and_then(Margin::of);
    margin.ok_or_else(|| "write a share from 0 to 10, or a percentage".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_margin_reads_as_a_fraction_or_a_percentage() {
        assert_eq!(margin("20%"), margin("0.2"));
        assert_eq!(margin("0").unwrap(), Margin::of(0.0).unwrap());
        assert!(margin("-1%").is_err() && margin("NaN").is_err() && margin("a lot").is_err());
    }
}

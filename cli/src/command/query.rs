//! `weir query`: SQL over the record.

mod desk;
mod prompt;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use weir_replay::query::{named, named_all, questions_page, session_within};

use crate::command::replay::pair;
use crate::failure::Fix as _;
use crate::record_keys::KeysArgument;
use crate::terminal;

use desk::Desk;

/// Ask the record questions in SQL
///
/// Three tables: `calls`, one row per call with its decision and its outcome, `changes`, a few
/// columns of those that change something, and `events`. All hold sealed and live rows, so a
/// call can be asked about within a second of its decision. Beside them the views `sessions`,
/// `grants`, `policies` and `ocsf`, and what_if('candidate.json'): each call, and what a
/// candidate policy would have said of it. Only questions are answered: nothing can be
/// changed. Ctrl-C ends a question.
///
/// Examples:
///   weir query --record record "SELECT tool, verdict, count(*) FROM calls GROUP BY ALL"
///   weir query --record record --list                   the questions that have names
///   weir query --record record --named burst --param seconds=10
///   weir query --record record --named blocked --param policy=candidate.json
///   weir query --record record --format csv "SELECT * FROM calls" > calls.csv
///   weir query --record record                          a prompt; \h helps, Tab completes
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Query {
    /// The record's folder.
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    record: Option<PathBuf>,

    /// The question; without one, a prompt.
    #[arg(value_name = "SQL", conflicts_with = "named")]
    sql: Option<String>,

    /// A question that has a name.
    #[arg(long, value_name = "NAME")]
    named: Option<String>,

    /// A parameter of the named question; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair, requires = "named")]
    param: Vec<(String, String)>,

    /// List the named questions with their parameters, and stop. With --named, show that one with its SQL.
    #[arg(long)]
    list: bool,

    #[command(flatten)]
    keys: KeysArgument,

    /// How to write the answer, and with --list the page of the questions (markdown).
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,

    /// How much memory sorts, joins and groups hold before they spill to the temporary folder.
    #[arg(long, value_name = "SIZE", default_value = "1GB", value_parser = size)]
    memory: usize,

    /// Give up on an answer after this long: `30s`, `5m`.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people: cut to the terminal's width, whole in a pipe.
    Table,
    /// One array of objects.
    Json,
    /// RFC 4180, with a header.
    Csv,
    /// A table of Markdown.
    Markdown,
}

impl Query {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.list {
            terminal::print(&self.questions()?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let record = self.record.clone().unwrap_or_default(); // clap asks for it wherever it is needed
        let context = session_within(&record, &self.keys.read(&record)?, self.memory)
            .fix(|| "give the folder that weir.toml names under [record]".into())?;
        let statement = self.statement()?;
        let mut desk = Desk::open(context, self.format, self.timeout)?;
        let ended = match statement {
            Some(sql) => desk
                .ask(&sql)
                .and_then(|text| terminal::print(&text))
                .map(|()| ExitCode::SUCCESS),
            None => prompt::run(&mut desk),
        };
        desk.close();
        ended
    }

    fn statement(&self) -> anyhow::Result<Option<String>> {
        let Some(name) = &self.named else {
            return Ok(self.sql.clone());
        };
        let set: Vec<(&str, &str)> = self
            .param
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let sql = named(name)
            .and_then(|question| question.sql(&set))
            .fix(|| "`weir query --list` shows them all".into())?;
        Ok(Some(sql))
    }

    fn questions(&self) -> anyhow::Result<String> {
        if let Some(name) = &self.named {
            return Ok(named(name)?.help());
        }
        if self.format == Format::Markdown {
            return Ok(questions_page());
        }
        let (dim, reset) = (terminal::DIM, terminal::RESET);
        Ok([
            listed(),
            format!("\n{dim}weir query --record DIR --named NAME --param NAME=VALUE; --list --named NAME shows its SQL{reset}\n"),
        ]
        .concat())
    }
}

/// The named questions with their parameters.
fn listed() -> String {
    let (accent, dim, reset) = (terminal::ACCENT, terminal::DIM, terminal::RESET);
    let mut lines = Vec::new();
    for question in named_all() {
        let parameters = question
            .parameters
            .iter()
            .map(|parameter| match parameter.default {
                "" => parameter.name.to_owned(),
                default => format!("{}={default}", parameter.name),
            });
        let parameters = parameters.collect::<Vec<_>>().join("  ");
        lines.push(format!(
            "{accent}{}{reset}  {}\n    {dim}{parameters}{reset}\n",
            question.name, question.question
        ));
    }
    lines.concat()
}

/// A size with its unit, as weir.toml has it.
fn size(text: &str) -> Result<usize, String> {
    let units = [("MB", 1_000_000), ("GB", 1_000_000_000)];
    let read = units.iter().find_map(|(unit, bytes)| {
        let number: usize = text.strip_suffix(unit)?.trim_end().parse().ok()?;
        number.checked_mul(*bytes).filter(|bytes| *bytes > 0)
    });
    read.ok_or_else(|| format!("`{text}` is not a size: write `500MB` or `2GB`"))
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| format!("`{text}` is not a duration: write `30s` or `5m`"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{duration, size};

    #[test]
    fn sizes_and_durations_have_a_unit() {
        assert_eq!(size("500MB"), Ok(500_000_000));
        assert_eq!(size("2 GB"), Ok(2_000_000_000));
        assert_eq!(duration("5m"), Ok(Duration::from_mins(5)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        for wrong in ["", "5", "0MB", "-1GB", "1TB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "5", "0s", "-1s", "1y"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}

//! `weir query`: SQL over the record.

mod prompt;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use comfy_table::Table;
use weir_replay::query::{Answer, SessionContext, answer, named, named_all, session};

use crate::command::replay::pair;
use crate::failure::Fix as _;
use crate::terminal;

/// Ask the record questions in SQL
///
/// Two tables: `calls`, one row per call with its decision and its outcome, and `events`.
/// Both hold sealed and live rows, so a call can be asked about within a second of its
/// decision. Only questions are answered: nothing can be changed.
///
/// Examples:
///   weir query --record record "SELECT tool, verdict, count(*) FROM calls GROUP BY ALL"
///   weir query --record record --list                   the questions that have names
///   weir query --record record --named burst --param seconds=10
///   weir query --record record --format csv "SELECT * FROM calls" > calls.csv
///   weir query --record record                          a prompt; \q leaves, \d describes
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

    /// How to write the answer.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people: cut to the terminal's width, whole in a pipe.
    Table,
    /// One array of objects.
    Json,
    /// RFC 4180, with a header.
    Csv,
}

impl Query {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if self.list {
            terminal::print(&self.questions()?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let record = self.record.clone().unwrap_or_default(); // clap asks for it wherever it is needed
        let context = session(&record)
            .fix(|| "give the folder that weir.toml names under [record]".into())?;
        let runtime =
            tokio::runtime::Runtime::new().context("cannot start the threads that run queries")?;
        let desk = Desk {
            context,
            format: self.format,
        };
        match self.statement()? {
            Some(sql) => {
                let text = runtime.block_on(desk.ask(&sql))?;
                terminal::print(&text)?;
                Ok(ExitCode::SUCCESS)
            }
            None => prompt::run(&desk, &runtime),
        }
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
        lines.push(format!(
            "\n{dim}weir query --record DIR --named NAME --param NAME=VALUE; --list --named NAME shows its SQL{reset}\n"
        ));
        Ok(lines.concat())
    }
}

/// A session that answers in one format.
struct Desk {
    context: SessionContext,
    format: Format,
}

impl Desk {
    async fn ask(&self, sql: &str) -> anyhow::Result<String> {
        let answer = answer(&self.context, sql)
            .await
            .map_err(|error| anyhow!("{error}"))?;
        Ok(self.write(&answer))
    }

    fn write(&self, answer: &Answer) -> String {
        match self.format {
            Format::Table => answer.table(columns()),
            Format::Json => answer.json(),
            Format::Csv => answer.csv(),
        }
    }
}

/// The terminal's width; in a pipe nothing is cut.
fn columns() -> usize {
    Table::new().width().map_or(usize::MAX, usize::from)
}

//! The prompt: statements end with `;`, commands begin with `\`.

mod completion;
mod statement;
mod typing;

use std::io::{self, BufRead as _, IsTerminal as _};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use weir_replay::query::named;

use crate::failure::BAD;
use crate::terminal;

use super::{Desk, Format, listed};
use statement::{Command, Input, Statement};
use typing::{Typed, Typing};

const HELP: &str = "\
  SELECT …;               ask; a statement may take several lines and ends with ;
  \\d                      the tables
  \\d TABLE                the columns of a table
  \\named                  the questions that have names
  \\named NAME [P=VALUE …] ask one of them; \\sql NAME shows what it stands for
  \\format NAME            table, json, csv or markdown from here on
  \\q                      leave, as Ctrl-D does
  Tab completes tables, columns, functions and questions; Ctrl-R searches what was asked before;
  Ctrl-C ends a question, or clears the line. A line that begins with a space is not remembered.
";

/// Reads statements and answers them, until `\q` or the end of the input. In a pipe the first failure ends it.
pub(super) fn run(desk: &mut Desk) -> anyhow::Result<ExitCode> {
    if io::stdin().is_terminal() {
        typed(desk)
    } else {
        piped(desk)
    }
}

/// A person types.
fn typed(desk: &mut Desk) -> anyhow::Result<ExitCode> {
    terminal::note(
        "SQL over `calls`, `changes` and `events`; \\h helps, Tab completes, \\q leaves.\n",
    );
    let mut typing = Typing::open(desk.words()?)?;
    loop {
        match typing.read()? {
            Typed::Line(line) => {
                let mut statement = Statement::default();
                let input = statement.take(&line);
                if input == Input::Command(Command::Quit) {
                    return Ok(ExitCode::SUCCESS);
                }
                let begun = Instant::now();
                if answer(desk, input)? == Answered::Query {
                    let (dim, reset) = (terminal::DIM, terminal::RESET);
                    let seconds = begun.elapsed().as_secs_f64();
                    terminal::note(&format!("{dim}{seconds:.2} s{reset}\n"));
                }
            }
            Typed::Cleared => {}
            Typed::End => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// A pipe gives lines; the last statement needs no `;`.
fn piped(desk: &mut Desk) -> anyhow::Result<ExitCode> {
    let mut statement = Statement::default();
    for line in io::stdin().lock().lines() {
        let input = statement.take(&line.context("cannot read the statement")?);
        if input == Input::Command(Command::Quit) {
            return Ok(ExitCode::SUCCESS);
        }
        if answer(desk, input)? == Answered::Failure {
            return Ok(ExitCode::from(BAD));
        }
    }
    let last = statement.rest().map_or(Input::More, Input::Sql);
    Ok(match answer(desk, last)? {
        Answered::Failure => ExitCode::from(BAD),
        Answered::Query | Answered::Told => ExitCode::SUCCESS,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    /// A query ran.
    Query,
    /// There was nothing to run.
    Told,
    /// An error was told.
    Failure,
}

fn answer(desk: &mut Desk, input: Input) -> anyhow::Result<Answered> {
    let asked = match input {
        Input::More | Input::Command(Command::Quit) => return Ok(Answered::Told),
        Input::Sql(sql) => Ok(sql),
        Input::Command(Command::Help) => return tell(HELP),
        Input::Command(Command::Questions) => return tell(&listed()),
        Input::Command(Command::Format(name)) => {
            return match <Format as clap::ValueEnum>::from_str(&name, true) {
                Ok(format) => {
                    desk.format = format;
                    Ok(Answered::Told)
                }
                Err(_) => Ok(failure("there are `table`, `json`, `csv` and `markdown`")),
            };
        }
        Input::Command(Command::Describe(None)) => Ok(TABLES.to_owned()),
        Input::Command(Command::Describe(Some(table))) => Ok(columns_of(&table)),
        Input::Command(Command::Sql(name)) => {
            return match named(&name) {
                Ok(question) => tell(&question.help()),
                Err(unknown) => Ok(failure(&format!("{unknown}; \\named lists them"))),
            };
        }
        Input::Command(Command::Named { name, set }) => named(&name).and_then(|question| {
            let set: Vec<_> = set.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            question.sql(&set)
        }),
        Input::Command(Command::Unknown(what)) => return Ok(failure(&what)),
    };
    let answered = match asked {
        Ok(sql) => desk.ask(&sql),
        Err(unknown) => return Ok(failure(&format!("{unknown}; \\named lists them"))),
    };
    match answered {
        Ok(text) => terminal::print(&text).map(|()| Answered::Query),
        Err(error) => Ok(failure(&format!("{error:#}"))),
    }
}

fn tell(text: &str) -> anyhow::Result<Answered> {
    terminal::print(text).map(|()| Answered::Told)
}

fn failure(text: &str) -> Answered {
    let (red, reset) = (terminal::ERROR, terminal::RESET);
    terminal::note(&format!("{red}error{reset}: {text}\n"));
    Answered::Failure
}

const TABLES: &str = "SELECT table_name AS \"table\", CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END AS kind \
    FROM information_schema.tables WHERE table_schema = 'record' ORDER BY 1";

fn columns_of(table: &str) -> String {
    let table = table.replace('\'', "''");
    format!(
        "SELECT column_name AS \"column\", data_type AS type FROM information_schema.columns \
         WHERE table_name = '{table}' ORDER BY ordinal_position"
    )
}

//! The prompt: statements end with `;`, commands begin with `\`.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::runtime::Runtime;

use crate::failure::BAD;
use crate::terminal;

use super::Desk;

const HELP: &str = "\
  SELECT …;     ask; a statement may take several lines and ends with ;
  \\d            the tables
  \\d TABLE      the columns of a table
  \\q            leave
";

/// Reads statements and answers them, until `\q` or the end of the input. In a pipe the first failure ends it.
pub(super) fn run(desk: &Desk, runtime: &Runtime) -> anyhow::Result<ExitCode> {
    let person = io::stdin().is_terminal();
    if person {
        terminal::note("SQL over `calls` and `events`; \\h helps, \\q leaves.\n");
    }
    let mut statement = Statement::default();
    ask_for_more(person, &statement);
    for line in io::stdin().lock().lines() {
        match statement.take(&line.context("cannot read the statement")?) {
            Input::Quit => return Ok(ExitCode::SUCCESS),
            Input::Help => terminal::print(HELP)?,
            Input::Sql(sql) if !tell(desk, runtime, &sql)? && !person => {
                return Ok(ExitCode::from(BAD));
            }
            Input::Sql(_) | Input::More => {}
        }
        ask_for_more(person, &statement);
    }
    match statement.rest() {
        Some(sql) if !tell(desk, runtime, &sql)? => Ok(ExitCode::from(BAD)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Answers one statement and tells whether there was an answer.
fn tell(desk: &Desk, runtime: &Runtime, sql: &str) -> anyhow::Result<bool> {
    match runtime.block_on(desk.ask(sql)) {
        Ok(text) => terminal::print(&text).map(|()| true),
        Err(error) => {
            let (red, reset) = (terminal::ERROR, terminal::RESET);
            terminal::note(&format!("{red}error{reset}: {error:#}\n"));
            Ok(false)
        }
    }
}

fn ask_for_more(person: bool, statement: &Statement) {
    if person {
        terminal::note(if statement.0.is_empty() {
            "weir> "
        } else {
            " ...> "
        });
    }
}

/// A statement under way.
#[derive(Debug, Default)]
struct Statement(String);

#[derive(Debug, PartialEq, Eq)]
enum Input {
    More,
    Sql(String),
    Help,
    Quit,
}

impl Statement {
    /// Adds a line, and gives what is to be done now.
    fn take(&mut self, line: &str) -> Input {
        let line = line.trim_end();
        if self.0.is_empty()
            && let Some(command) = line.trim_start().strip_prefix('\\')
        {
            return Self::command(command);
        }
        if self.0.is_empty() && line.trim().is_empty() {
            return Input::More;
        }
        self.0.push_str(line);
        self.0.push('\n');
        match self.0.trim_end().strip_suffix(';') {
            Some(sql) => {
                let sql = sql.to_owned();
                self.0.clear();
                if sql.trim().is_empty() {
                    Input::More
                } else {
                    Input::Sql(sql)
                }
            }
            None => Input::More,
        }
    }

    /// What the input ended on, without its `;`.
    fn rest(self) -> Option<String> {
        Some(self.0).filter(|sql| !sql.trim().is_empty())
    }

    fn command(command: &str) -> Input {
        let (name, argument) = command.split_once(' ').unwrap_or((command, ""));
        let tables = "SELECT table_name AS \"table\" FROM information_schema.tables WHERE table_schema = 'record'";
        match (name, argument.trim()) {
            ("q", _) => Input::Quit,
            ("d", "") => Input::Sql(format!("{tables} ORDER BY 1")),
            ("d", table) => Input::Sql(format!(
                "SELECT column_name AS \"column\", data_type AS type FROM information_schema.columns \
                 WHERE table_name = '{}' ORDER BY ordinal_position",
                table.replace('\'', "''")
            )),
            _ => Input::Help,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_with_a_semicolon_on_whatever_line() {
        let mut statement = Statement::default();
        assert_eq!(statement.take("SELECT 1"), Input::More);
        assert_eq!(
            statement.take("  AS one;  "),
            Input::Sql("SELECT 1\n  AS one".into())
        );
        assert_eq!(statement.take(";"), Input::More);
        assert_eq!(statement.rest(), None);
    }

    #[test]
    fn the_last_statement_of_a_pipe_needs_no_semicolon() {
        let mut statement = Statement::default();
        assert_eq!(statement.take("SELECT 1"), Input::More);
        assert_eq!(statement.rest(), Some("SELECT 1\n".into()));
    }

    #[test]
    fn commands_begin_with_a_backslash_and_a_table_name_stays_a_string() {
        let mut statement = Statement::default();
        assert_eq!(statement.take("\\q"), Input::Quit);
        assert_eq!(statement.take("\\what"), Input::Help);
        let Input::Sql(sql) = statement.take("\\d x' OR '1'='1") else {
            unreachable!("a question")
        };
        assert!(sql.contains("'x'' OR ''1''=''1'"), "{sql}");
    }
}

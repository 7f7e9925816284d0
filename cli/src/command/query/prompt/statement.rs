//! What was typed: statements over several lines, and commands.

/// A statement under way.
#[derive(Debug, Default)]
pub(super) struct Statement(String);

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Read on.
    More,
    /// Ask this.
    Sql(String),
    Command(Command),
}

/// What begins with `\`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Quit,
    Help,
    /// The tables, or the columns of one.
    Describe(Option<String>),
    /// The questions that have names.
    Questions,
    /// One of them.
    Named {
        name: String,
        set: Vec<(String, String)>,
    },
    /// What one of them stands for.
    Sql(String),
    Format(String),
    /// None of these, with what is wrong with it.
    Unknown(String),
}

impl Statement {
    /// Adds a line, or several, and gives what is to be done now.
    pub(super) fn take(&mut self, line: &str) -> Input {
        let line = line.trim_end();
        if self.0.is_empty()
            && let Some(command) = line.trim_start().strip_prefix('\\')
        {
            return Input::Command(Command::read(command));
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
    pub(super) fn rest(self) -> Option<String> {
        Some(self.0).filter(|sql| !sql.trim().is_empty())
    }
}

impl Command {
    fn read(text: &str) -> Self {
        let text = text.trim_end_matches([';', ' ']);
        let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
        let mut words = rest.split_whitespace();
        let first = words.next().map(str::to_owned);
        match (name, first) {
            ("q" | "quit", _) => Self::Quit,
            ("h" | "help" | "?", _) => Self::Help,
            ("d", table) => Self::Describe(table),
            ("named", None) => Self::Questions,
            ("named", Some(name)) => match words.map(pair).collect() {
                Ok(set) => Self::Named { name, set },
                Err(what) => Self::Unknown(what),
            },
            ("sql", Some(name)) => Self::Sql(name),
            ("format", Some(name)) => Self::Format(name),
            ("sql" | "format", None) => Self::Unknown(format!("\\{name} wants a name: \\h helps")),
            _ => Self::Unknown(format!("there is no \\{name}: \\h lists what there is")),
        }
    }
}

fn pair(word: &str) -> Result<(String, String), String> {
    word.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("`{word}` sets nothing: write NAME=VALUE"))
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
    fn commands_begin_with_a_backslash() {
        let read = |line: &str| match Statement::default().take(line) {
            Input::Command(command) => Some(command),
            Input::More | Input::Sql(_) => None,
        };
        assert_eq!(read("\\q"), Some(Command::Quit));
        assert_eq!(
            read(" \\d calls;"),
            Some(Command::Describe(Some("calls".into())))
        );
        assert_eq!(read("\\named"), Some(Command::Questions));
        let burst = Command::Named {
            name: "burst".into(),
            set: vec![
                ("seconds".into(), "10".into()),
                ("tool".into(), "a=b".into()),
            ],
        };
        assert_eq!(read("\\named burst seconds=10  tool=a=b"), Some(burst));
        assert!(matches!(
            read("\\named burst ten"),
            Some(Command::Unknown(_))
        ));
        assert!(matches!(read("\\what"), Some(Command::Unknown(_))));
        assert!(matches!(read("\\format"), Some(Command::Unknown(_))));
    }
}

//! What is wrong with a configuration, each with its place.

use std::fmt;
use std::path::PathBuf;

/// Everything that is wrong with one configuration file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblems {
    /// The file.
    pub path: PathBuf,
    /// Never empty.
    pub problems: Vec<ConfigProblem>,
    /// The policies that it names and that are there: something may be wrong with these too.
    pub policies: Vec<PathBuf>,
}

/// One fault of a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblem {
    /// From 1; 0 where the fault has no line (the file cannot be read).
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, lower case, user input in back-ticks.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}", self.path.display())?;
            if problem.line > 0 {
                write!(f, ":{}:{}", problem.line, problem.column)?;
            }
            write!(f, ": {}", problem.message)?;
            if let Some(hint) = &problem.hint {
                write!(f, ": {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigProblems {}

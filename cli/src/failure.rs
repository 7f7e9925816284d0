//! How a failure is told: one clear text on stderr, what to do about it, and an exit code.

use std::fmt;
use std::process::ExitCode;

use crate::terminal;

/// The exit code of bad usage, a bad configuration or a bad policy, and of whatever could not be done.
pub const BAD: u8 = 2;

/// A failure together with the way out of it.
#[derive(Debug)]
struct Advised {
    source: anyhow::Error,
    fix: String,
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&chain(&self.source))
    }
}

impl std::error::Error for Advised {}

/// A failure whose text is already laid out (carets, several problems at once): shown as it stands.
#[derive(Debug)]
pub struct Rendered {
    /// What is shown.
    pub text: String,
    /// With which code the process ends.
    pub code: u8,
}

impl Rendered {
    /// Problems in what the user wrote.
    pub fn bad(text: impl fmt::Display) -> anyhow::Error {
        Self {
            text: text.to_string(),
            code: BAD,
        }
        .into()
    }
}

impl fmt::Display for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.trim_end())
    }
}

impl std::error::Error for Rendered {}

/// A failure with the way out of it.
pub fn advised(source: anyhow::Error, fix: String) -> anyhow::Error {
    Advised { source, fix }.into()
}

/// Adds the way out to a failure.
pub trait Fix<T> {
    /// Says what the user can do about it.
    fn fix(self, how: impl FnOnce() -> String) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Fix<T> for Result<T, E> {
    fn fix(self, how: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|error| advised(error.into(), how()))
    }
}

/// A failure and its causes on one line, each said once: many errors quote their cause themselves.
fn chain(error: &anyhow::Error) -> String {
    error
        .chain()
        .map(ToString::to_string)
        .fold(String::new(), |told, cause| {
            if told.is_empty() {
                cause
            } else if told.contains(&cause) {
                told
            } else {
                format!("{told}: {cause}")
            }
        })
}

/// Shows a failure and gives the code the process ends with.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if error.is::<terminal::Closed>() {
        return ExitCode::SUCCESS; // whoever read our output (`head`, a pager) has seen enough
    }
    if let Some(rendered) = error.downcast_ref::<Rendered>() {
        terminal::note(&format!("{rendered}\n"));
        return ExitCode::from(rendered.code);
    }
    let (red, cyan, reset) = (terminal::ERROR, terminal::ACCENT, terminal::RESET);
    terminal::note(&format!("{red}error{reset}: {}\n", chain(error)));
    if let Some(advised) = error.downcast_ref::<Advised>() {
        terminal::note(&format!("  {cyan}fix{reset}: {}\n", advised.fix));
    }
    ExitCode::from(BAD)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_fix_keeps_the_whole_chain_of_causes() {
        let read: Result<(), _> = Err(std::io::Error::other("it is gone"));
        let error = read
            .context("cannot read `weir.toml`")
            .fix(|| "run `weir init`".into())
            .unwrap_err();
        assert_eq!(error.to_string(), "cannot read `weir.toml`: it is gone");
    }

    #[test]
    fn a_cause_that_is_quoted_already_is_not_said_again() {
        let error = anyhow::anyhow!("corrupt footer")
            .context("parquet: corrupt footer")
            .context("cannot count");
        assert_eq!(chain(&error), "cannot count: parquet: corrupt footer");
    }

    #[test]
    fn a_laid_out_failure_survives_as_itself() {
        let error = Rendered::bad("two\nlines\n");
        assert_eq!(
            error.downcast_ref::<Rendered>().unwrap().to_string(),
            "two\nlines"
        );
    }
}

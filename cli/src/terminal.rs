//! What the binary says: answers on stdout, everything else on stderr, colours only where a terminal shows them.
//!
//! `anstream` strips the styles in a pipe, under `NO_COLOR` and on a dumb terminal, so callers always write them.

use std::io::{self, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Reset, Style};
use clap::builder::Styles;

/// For the word `error` and for a denied call.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
/// For the word `warning`.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// For an allowed call and for what went well.
pub const GOOD: Style = AnsiColor::Green.on_default().bold();
/// For what the eye should find: commands to run, rule ids.
pub const ACCENT: Style = AnsiColor::Cyan.on_default();
/// For headings.
pub const STRONG: Style = Style::new().bold();
/// For what may be skipped.
pub const DIM: Style = Style::new().dimmed();
/// Back to plain.
pub const RESET: Reset = Reset;

/// The colours of `--help`.
pub const HELP: Styles = Styles::styled()
    .header(STRONG)
    .usage(STRONG)
    .literal(ACCENT)
    .placeholder(DIM)
    .error(ERROR)
    .valid(GOOD)
    .invalid(WARNING);

/// Stdout went away while we were writing, as `| head` does.
#[derive(Debug)]
pub struct Closed(io::Error);

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot write to stdout: {}", self.0)
    }
}

impl std::error::Error for Closed {}

/// Writes an answer to stdout, as it stands.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| {
        if error.kind() == io::ErrorKind::BrokenPipe {
            anyhow::Error::new(Closed(error))
        } else {
            anyhow::Error::new(error).context("cannot write to stdout")
        }
    })
}

/// Tells the user something on stderr, as it stands. That nobody may be listening there is no failure.
pub fn note(text: &str) {
    let mut err = anstream::stderr().lock();
    drop(err.write_all(text.as_bytes()).and_then(|()| err.flush()));
}

/// Whether a person is watching stderr, so that progress may be drawn there.
pub fn watched() -> bool {
    io::stderr().is_terminal()
}

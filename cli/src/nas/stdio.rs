//! The NAS as a child process: one message a line, in on stdin, out on stdout.

use std::io::{self, BufRead as _, Write as _};

use super::protocol::Nas;

/// Answers until stdin ends.
pub fn serve(nas: &Nas) -> io::Result<()> {
    let mut input = io::stdin().lock();
    let mut output = io::stdout().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if let Some(answer) = nas.answer(&line)? {
            output.write_all(&answer)?;
            output.write_all(b"\n")?;
            output.flush()?;
        }
    }
}

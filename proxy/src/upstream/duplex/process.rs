//! One child process: a line in per message, a line out per message, and an end that is asked for before it is forced.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::desk::Lost;
use super::peer::{Outgoing, Peer};
use crate::upstream::Cause;

/// How much of a line of stderr is kept.
const STDERR_LINE_MAX: u64 = 4096;
/// A shorter value of the environment is no secret, and would be found in every other word.
const SECRET_BYTES_MIN: usize = 4;
/// How long what a child wrote before it ended may take to be read: a grandchild may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How a child is started: exactly this, nothing inherited.
#[derive(Debug, Clone)]
pub(super) struct Start<'a> {
    pub(super) server: &'a Arc<str>,
    pub(super) command: &'a [String],
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) directory: &'a Path,
    pub(super) line_bytes_max: usize,
    /// Its stderr is ours, instead of going to the log.
    pub(super) shares_stderr: bool,
}

/// Starts the process and what reads from it and writes to it.
pub(super) fn start(start: &Start<'_>, tasks: &TaskTracker) -> Result<Arc<Peer>, String> {
    let (program, arguments) = start.command.split_first().ok_or("`command` is empty")?;
    let mut process = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(start.environment)
        .current_dir(start.directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(if start.shares_stderr {
            Stdio::inherit()
        } else {
            Stdio::piped()
        })
        .process_group(0) // so that a wrapper's own children end with it
        .kill_on_drop(true)
        .spawn()
        .map_err(|fault| not_started(program, start, &fault))?;
    let (Some(stdin), Some(stdout)) = (process.stdin.take(), process.stdout.take()) else {
        return Err(format!("`{program}` has no pipes"));
    };
    let (child, queue) = Peer::new(start.server);
    tracing::debug!(server = %start.server, pid = process.id(), "child started");
    tasks.spawn(write(stdin, queue, child.ending.clone()));
    if let Some(stderr) = process.stderr.take() {
        let secrets = start.environment.values();
        let secrets = secrets.filter(|value| value.len() >= SECRET_BYTES_MIN);
        tasks.spawn(tell(stderr, Arc::clone(&child), secrets.cloned().collect()));
    }
    let reading = tokio::spawn(read(stdout, Arc::clone(&child), start.line_bytes_max));
    tasks.spawn(watch(process, Arc::clone(&child), reading));
    Ok(child)
}

fn not_started(program: &str, start: &Start<'_>, fault: &std::io::Error) -> String {
    let hint = if fault.kind() == std::io::ErrorKind::NotFound
        && !program.contains('/')
        && !start.environment.contains_key("PATH")
    {
        " (its environment is exactly `environment`: give `PATH` there, or the program's full path)"
    } else {
        ""
    };
    format!("`{program}` does not start: {fault}{hint}")
}

/// Writes line by line; closes stdin when the child is to end and what was queued is written.
async fn write(
    mut stdin: ChildStdin,
    mut queue: mpsc::Receiver<Outgoing>,
    ending: CancellationToken,
) {
    loop {
        let next = tokio::select! {
            biased;
            next = queue.recv() => next,
            () = ending.cancelled(), if !queue.is_closed() => {
                queue.close();
                continue;
            }
        };
        let Some(next) = next else { return };
        let written = async {
            stdin.write_all(&next.line).await?;
            stdin.flush().await
        };
        if written.await.is_err() {
            return; // stdout or the exit status say why
        }
    }
}

/// Reads line by line, split on `\n` only, and takes each line to whom it concerns.
async fn read(stdout: ChildStdout, child: Arc<Peer>, line_bytes_max: usize) {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    loop {
        line.clear();
        match read_line(&mut stdout, &mut line, line_bytes_max).await {
            Ok(Read::Line) => {
                let text = line.strip_suffix(b"\r").unwrap_or(&line);
                if !text.is_empty() && !child.desk().take(Bytes::copy_from_slice(text)) {
                    tracing::debug!(server = %child.server, bytes = text.len(), "a line of stdout is no message");
                }
            }
            Ok(Read::TooLong) => {
                let detail = format!("a line of more than {line_bytes_max} bytes");
                return child.lose(Lost::maybe(Cause::BadAnswer, detail));
            }
            Ok(Read::End) => return child.ending.cancel(),
            Err(fault) => {
                let detail = format!("its stdout cannot be read: {fault}");
                return child.lose(Lost::maybe(Cause::Broken, detail));
            }
        }
    }
}

enum Read {
    Line,
    TooLong,
    End,
}

/// One line without its `\n`. What stands after the last one is no message.
async fn read_line(
    from: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
    bytes_max: usize,
) -> std::io::Result<Read> {
    let mut bounded = from.take(bytes_max as u64 + 1);
    bounded.read_until(b'\n', line).await?;
    Ok(match line.pop() {
        Some(b'\n') => Read::Line,
        Some(_) if line.len() >= bytes_max => Read::TooLong,
        Some(_) | None => Read::End,
    })
}

/// Passes stderr on to the log. It is free text, and may repeat whatever the child knows: what it says while it starts is shown
/// without the values of its environment, and of what it says once it has got a message only the length.
async fn tell(stderr: ChildStderr, child: Arc<Peer>, secrets: Vec<String>) {
    let server = &child.server;
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut stderr).take(STDERR_LINE_MAX);
        match bounded.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                if child.is_spoken_to() {
                    tracing::debug!(%server, bytes = line.len(), "stderr");
                    continue;
                }
                let mut text = String::from_utf8_lossy(&line).into_owned();
                for secret in &secrets {
                    text = text.replace(secret.as_str(), "***");
                }
                tracing::debug!(%server, text = %text.trim_end().escape_debug(), "stderr");
            }
        }
    }
}

/// Sees the process through to its end and then tells everyone who waits.
async fn watch(
    mut process: tokio::process::Child,
    child: Arc<Peer>,
    reading: tokio::task::JoinHandle<()>,
) {
    let group = process
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    let ended = loop {
        tokio::select! {
            status = process.wait() => break status,
            () = child.ending.cancelled() => break end(&mut process, group, child.grace()).await,
            () = child.is_forgotten() => child.end(None),
        }
    };
    signal(group, Signal::KILL); // whatever of its group is left
    let detail = match ended {
        Ok(status) => format!("the child ended: {status}"),
        Err(fault) => format!("the child cannot be waited for: {fault}"),
    };
    tracing::debug!(server = %child.server, "{detail}");
    drop(tokio::time::timeout(LAST_WORDS, reading).await);
    child.lose(Lost::maybe(Cause::Broken, detail));
    child.has_ended();
}

async fn end(
    process: &mut tokio::process::Child,
    group: Option<Pid>,
    grace: Duration,
) -> std::io::Result<std::process::ExitStatus> {
    // `write` closes stdin.
    for next in [Signal::TERM, Signal::KILL] {
        if let Ok(status) = tokio::time::timeout(grace, process.wait()).await {
            return status;
        }
        signal(group, next);
    }
    process.wait().await
}

/// A group that is gone already is as it should be.
fn signal(group: Option<Pid>, signal: Signal) {
    if group.is_some_and(|group| kill_process_group(group, signal).is_ok()) {
        tracing::debug!(?signal, "sent to a child's group");
    }
}

//! One child process: a line in per message, a line out per message, and an end that is asked for before it is forced.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::desk::{Desk, Lost};
use crate::upstream::Cause;

/// Lines on their way into a child that does not read; further ones are refused.
const LINES_MAX: usize = 64;
/// How much of a line of stderr is kept.
const STDERR_LINE_MAX: u64 = 4096;
/// How long a child may take to act on each of: stdin closed, TERM.
const GRACE: Duration = Duration::from_secs(2);
/// How long what a child wrote before it ended may take to be read: a grandchild may hold the pipe open.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A child nobody has used for this long is ended; DESIGN lets a session end after the same silence.
const IDLE_MAX: Duration = Duration::from_mins(30);
const IDLE_LOOK: Duration = Duration::from_mins(1);

/// How a child is started: exactly this, nothing inherited.
#[derive(Debug, Clone)]
pub(super) struct Start<'a> {
    pub(super) server: &'a Arc<str>,
    pub(super) command: &'a [String],
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) directory: &'a Path,
    pub(super) line_bytes_max: usize,
}

/// A child that runs, or did.
#[derive(Debug)]
pub(super) struct Child {
    server: Arc<str>,
    desk: Mutex<Desk>,
    lines: mpsc::Sender<Bytes>,
    used: Mutex<Instant>,
    grace: OnceLock<Duration>,
    ending: CancellationToken,
}

impl Child {
    /// Starts the process and what reads from it and writes to it.
    pub(super) fn start(start: &Start<'_>, tasks: &TaskTracker) -> Result<Arc<Self>, String> {
        let (program, arguments) = start.command.split_first().ok_or("`command` is empty")?;
        let mut process = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(start.environment)
            .current_dir(start.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0) // so that a wrapper's own children end with it
            .kill_on_drop(true)
            .spawn()
            .map_err(|fault| not_started(program, start, &fault))?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (
            process.stdin.take(),
            process.stdout.take(),
            process.stderr.take(),
        ) else {
            return Err(format!("`{program}` has no pipes"));
        };
        let (lines, queue) = mpsc::channel(LINES_MAX);
        let child = Arc::new(Self {
            server: Arc::clone(start.server),
            desk: Mutex::default(),
            lines,
            used: Mutex::new(Instant::now()),
            grace: OnceLock::new(),
            ending: CancellationToken::new(),
        });
        tracing::debug!(server = %start.server, pid = process.id(), "child started");
        tasks.spawn(write(stdin, queue, child.ending.clone()));
        tasks.spawn(tell(stderr, Arc::clone(start.server)));
        let reading = tokio::spawn(read(stdout, Arc::clone(&child), start.line_bytes_max));
        tasks.spawn(watch(process, Arc::clone(&child), reading));
        Ok(child)
    }

    /// Who waits for what. Held only to look something up, never across an await.
    pub(super) fn desk(&self) -> MutexGuard<'_, Desk> {
        // A panic while it was held left at worst a request without its answer, which its timeout ends.
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues one line; an error means that the child will never see it.
    pub(super) fn write(&self, line: Bytes) -> Result<(), Lost> {
        self.touch();
        self.lines.try_send(line).map_err(|fault| match fault {
            mpsc::error::TrySendError::Full(_) => Lost {
                cause: Cause::Busy,
                detail: "the child does not read".into(),
            },
            mpsc::error::TrySendError::Closed(_) => Lost {
                cause: Cause::Unreachable,
                detail: "the child has ended".into(),
            },
        })
    }

    /// Marks the child as in use.
    pub(super) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// For how long nobody has used the child; `None` while somebody waits for it.
    pub(super) fn idle(&self) -> Option<Duration> {
        let quiet = self.desk().is_quiet();
        quiet.then(|| {
            self.used
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .elapsed()
        })
    }

    /// Asks the child to end: stdin closed, after `grace` TERM, after as much again KILL.
    pub(super) fn end(&self, grace: Option<Duration>) {
        if let Some(grace) = grace {
            self.grace.get_or_init(|| grace.min(GRACE));
        }
        self.ending.cancel();
    }

    /// The child has ended or been asked to.
    pub(super) fn is_over(&self) -> bool {
        self.ending.is_cancelled()
    }

    /// Ends the child because of what it did.
    fn give_up(&self, cause: Cause, detail: String) {
        self.desk().lose(Lost { cause, detail });
        self.end(None);
    }
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
async fn write(mut stdin: ChildStdin, mut queue: mpsc::Receiver<Bytes>, ending: CancellationToken) {
    loop {
        let line = tokio::select! {
            biased;
            line = queue.recv() => line,
            () = ending.cancelled(), if !queue.is_closed() => {
                queue.close();
                continue;
            }
        };
        let Some(line) = line else { return };
        let written = async {
            stdin.write_all(&line).await?;
            stdin.flush().await
        };
        if written.await.is_err() {
            return; // stdout or the exit status say why
        }
    }
}

/// Reads line by line, split on `\n` only, and takes each line to whom it concerns.
async fn read(stdout: ChildStdout, child: Arc<Child>, line_bytes_max: usize) {
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
                return child.give_up(
                    Cause::BadAnswer,
                    format!("a line of more than {line_bytes_max} bytes"),
                );
            }
            Ok(Read::End) => return child.end(None),
            Err(fault) => {
                return child.give_up(Cause::Broken, format!("its stdout cannot be read: {fault}"));
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

/// Passes stderr, which is free text, on to the log.
async fn tell(stderr: ChildStderr, server: Arc<str>) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut stderr).take(STDERR_LINE_MAX);
        match bounded.read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                tracing::debug!(%server, text = %text.trim_end().escape_debug(), "stderr");
            }
        }
    }
}

/// Sees the process through to its end and then tells everyone who waits.
async fn watch(
    mut process: tokio::process::Child,
    child: Arc<Child>,
    reading: tokio::task::JoinHandle<()>,
) {
    let group = process
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    let ended = loop {
        tokio::select! {
            status = process.wait() => break status,
            () = child.ending.cancelled() => break end(&mut process, group, *child.grace.get_or_init(|| GRACE)).await,
            () = tokio::time::sleep(IDLE_LOOK) => {
                if child.idle().is_some_and(|idle| idle > IDLE_MAX) {
                    child.end(None);
                }
            }
        }
    };
    signal(group, Signal::KILL); // whatever of its group is left
    let detail = match ended {
        Ok(status) => format!("the child ended: {status}"),
        Err(fault) => format!("the child cannot be waited for: {fault}"),
    };
    tracing::debug!(server = %child.server, "{detail}");
    drop(tokio::time::timeout(LAST_WORDS, reading).await);
    child.give_up(Cause::Broken, detail);
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

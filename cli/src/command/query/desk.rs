//! Where questions are asked: one session, one format, and an end to each question.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use comfy_table::Table;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use weir_replay::query::{Answer, QueryError, SessionContext, Words, answer, words};

use super::Format;
use crate::failure::{Fix as _, Rendered};
use crate::record_keys::GIVE_KEYS;
use crate::terminal;

/// The exit code of what Ctrl-C ended, as shells have it.
const INTERRUPTED: u8 = 130;

/// How long threads may take to notice that nobody wants their answer any more.
const CLOSING_MAX: Duration = Duration::from_secs(2);

/// A session that answers in one format.
pub(super) struct Desk {
    context: SessionContext,
    runtime: Runtime,
    pub(super) format: Format,
    timeout: Option<Duration>,
}

impl Desk {
    pub(super) fn open(
        context: SessionContext,
        format: Format,
        timeout: Option<Duration>,
    ) -> anyhow::Result<Self> {
        let runtime = Runtime::new().context("cannot start the threads that run queries")?;
        Ok(Self {
            context,
            runtime,
            format,
            timeout,
        })
    }

    /// Answers one statement. Ctrl-C and the timeout end it, and nothing else.
    pub(super) fn ask(&self, sql: &str) -> anyhow::Result<String> {
        let (context, sql) = (self.context.clone(), sql.to_owned());
        let mut task = self
            .runtime
            .spawn(async move { answer(&context, &sql).await });
        self.runtime.block_on(async {
            let answered = tokio::select! {
                answered = &mut task => answered.context("a query stopped: a bug in weir")?,
                pressed = tokio::signal::ctrl_c() => {
                    end(task).await;
                    pressed.context("cannot listen for Ctrl-C")?;
                    return Err(interrupted());
                }
                limit = too_long(self.timeout) => {
                    end(task).await;
                    return Err(anyhow!("no answer within {limit:?}"))
                        .fix(|| "ask about less, with `from` and `to` say, or raise --timeout".into());
                }
            };
            match answered {
                Ok(answer) => Ok(self.write(&answer)),
                Err(QueryError::Policy(problems)) => Err(Rendered::bad(problems)),
                Err(error @ QueryError::Memory { .. }) => {
                    Err(error).fix(|| "ask about less, or raise --memory".into())
                }
                Err(error @ QueryError::Encrypted(_)) => Err(error).fix(|| {
                    format!("{GIVE_KEYS}; every other column is there without: \\d calls lists them")
                }),
                Err(error) => Err(anyhow!("{error}")),
            }
        })
    }

    /// What a statement may be made of.
    pub(super) fn words(&self) -> anyhow::Result<Words> {
        let words = self.runtime.block_on(words(&self.context));
        words.context("cannot list the tables")
    }

    /// Ends the threads, so that what they spilled is removed.
    pub(super) fn close(self) {
        self.runtime.shutdown_timeout(CLOSING_MAX);
    }

    fn write(&self, answer: &Answer) -> String {
        match self.format {
            Format::Table => answer.table(columns()),
            Format::Json => answer.json(),
            Format::Csv => answer.csv(),
            Format::Markdown => answer.markdown(),
        }
    }
}

fn interrupted() -> anyhow::Error {
    Rendered {
        text: format!("{}interrupted{}", terminal::ERROR, terminal::RESET),
        code: INTERRUPTED,
    }
    .into()
}

/// Ends a query. What does not notice in time is left to itself, and to the end of the process.
async fn end<T>(task: JoinHandle<T>) {
    task.abort();
    drop(tokio::time::timeout(CLOSING_MAX, task).await);
}

async fn too_long(timeout: Option<Duration>) -> Duration {
    match timeout {
        Some(timeout) => {
            tokio::time::sleep(timeout).await;
            timeout
        }
        None => std::future::pending().await,
    }
}

/// The terminal's width; in a pipe, or where the terminal does not say, nothing is cut.
fn columns() -> usize {
    let told = Table::new().width().filter(|width| *width > 0);
    told.map_or(usize::MAX, usize::from)
}

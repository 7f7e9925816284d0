//! Shipping beside a proxy: on a thread of its own, so that storage that is slow or away holds up nobody.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use weir_recorder::Recorder;

use crate::replica::Behind;
use crate::{Bucket, ObjectStorageError, Replica, runtime};

/// Ships a record until it is told to stop.
#[derive(Debug)]
pub struct Shipper {
    status: Arc<Mutex<State>>,
    stop: watch::Sender<Option<Instant>>,
    thread: JoinHandle<()>,
}

/// How shipping fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Files that the record has and the copy does not.
    pub behind_files: usize,
    /// Their size.
    pub behind_bytes: u64,
    /// Entries that a checkpoint of the record covers and none of the copy.
    pub behind_entries: u64,
    /// How long ago the copy was last known to be up to the record.
    pub behind: Duration,
    /// Entries that the copy covers.
    pub entries: u64,
    /// What goes wrong.
    pub fault: Option<String>,
}

#[derive(Debug)]
struct State {
    behind: Behind,
    entries: u64,
    level_at: Instant,
    fault: Option<String>,
}

/// Pause after the first failure; it doubles with each, up to the longest.
const RETRY: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_mins(1);

impl Shipper {
    /// Begins, with a round every so often.
    pub fn start(
        bucket: Bucket,
        recorder: Recorder,
        every: Duration,
    ) -> Result<Self, ObjectStorageError> {
        let status = Arc::new(Mutex::new(State {
            behind: Behind::default(),
            entries: 0,
            level_at: Instant::now(),
            fault: None,
        }));
        let (stop, stopped) = watch::channel(None);
        let started = |e| ObjectStorageError::file("start", "the thread that ships")(e);
        let runtime = runtime().map_err(started)?;
        let task = Task {
            replica: Replica::new(bucket),
            recorder,
            every,
            status: Arc::clone(&status),
        };
        let run = move || runtime.block_on(task.run(stopped));
        let thread = thread::Builder::new()
            .name("weir-ship".into())
            .spawn(run)
            .map_err(started)?;
        Ok(Self {
            status,
            stop,
            thread,
        })
    }

    /// A handle that tells how shipping fares.
    pub fn watch(&self) -> impl Fn() -> Status + Send + Sync + use<> {
        let state = Arc::clone(&self.status);
        move || {
            let state = lock(&state);
            Status {
                behind_files: state.behind.files,
                behind_bytes: state.behind.bytes,
                behind_entries: state.behind.entries,
                behind: state.level_at.elapsed(),
                entries: state.entries,
                fault: state.fault.clone(),
            }
        }
    }

    /// Ships what is left, for so long at most, and stops. What is not shipped then is shipped after the next start.
    pub fn finish(self, wait_max: Duration) {
        self.stop.send_replace(Some(Instant::now() + wait_max));
        if self.thread.join().is_err() {
            tracing::error!("the thread that ships to object storage had stopped");
        }
    }
}

struct Task {
    replica: Replica,
    recorder: Recorder,
    every: Duration,
    status: Arc<Mutex<State>>,
}

impl Task {
    async fn run(mut self, stopped: watch::Receiver<Option<Instant>>) {
        let status = Arc::clone(&self.status);
        tokio::select! {
            () = self.ship(stopped.clone()) => {}
            () = time_is_up(stopped) => {
                let state = lock(&status);
                let fault = state.fault.as_deref().unwrap_or_default();
                tracing::warn!(
                    files = state.behind.files,
                    bytes = state.behind.bytes,
                    fault,
                    "stopped before everything was shipped; the next start goes on"
                );
            }
        }
    }

    async fn ship(&mut self, mut stopped: watch::Receiver<Option<Instant>>) {
        let mut retry = RETRY;
        loop {
            // Taken before the round: what is sealed after it is for another one.
            let last = stopped.borrow().is_some();
            let result = {
                let status = Arc::clone(&self.status);
                let progress = move |behind| lock(&status).behind = behind;
                self.replica.round(&self.recorder, &progress).await
            };
            let pause = match &result {
                Ok(_) if last => return self.told(&result),
                Ok(_) => {
                    retry = RETRY;
                    self.every
                }
                Err(error) if error.is_lasting() => RETRY_MAX,
                Err(_) => {
                    let pause = retry;
                    retry = (retry * 2).min(RETRY_MAX);
                    pause
                }
            };
            self.told(&result);
            if last {
                tokio::time::sleep(pause.min(RETRY)).await;
            } else {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    _ = stopped.changed() => {}
                }
            }
        }
    }

    /// Says what a round came to; what stays as it is, is said once.
    fn told(&self, result: &Result<crate::Round, ObjectStorageError>) {
        let mut state = lock(&self.status);
        match result {
            Ok(round) => {
                if round.files > 0 {
                    tracing::debug!(
                        files = round.files,
                        bytes = round.bytes,
                        entries = round.entries,
                        "shipped to object storage"
                    );
                }
                if state.fault.take().is_some() {
                    tracing::info!(
                        entries = round.entries,
                        "shipping to object storage goes on"
                    );
                }
                state.behind = Behind::default();
                state.entries = round.entries;
                state.level_at = Instant::now();
            }
            Err(error) => {
                let text = error.to_string();
                let lasting = error.is_lasting();
                let known = state.fault.is_some();
                let same = state.fault.as_ref() == Some(&text);
                if lasting && !same {
                    tracing::error!(
                        fault = text,
                        "nothing is shipped to object storage until somebody acts"
                    );
                } else if !known {
                    tracing::warn!(
                        fault = text,
                        "object storage cannot be reached; shipping goes on when it can"
                    );
                }
                state.fault = Some(text);
            }
        }
    }
}

/// Waits until the time that was given at the stop is over.
async fn time_is_up(mut stopped: watch::Receiver<Option<Instant>>) {
    loop {
        let until = *stopped.borrow();
        match until {
            Some(until) => return tokio::time::sleep_until(until.into()).await,
            None if stopped.changed().await.is_err() => return,
            None => {}
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

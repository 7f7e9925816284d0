//! Telling the service manager how the proxy fares: sd_notify(3). Where nobody asked for it, nothing is told.

use std::time::Duration;

use sd_notify::NotifyState;
use weir_recorder::{Health, Recorder};

/// How often the status line is told where there is no watchdog.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Everything serves: clients may come. From here on the watchdog is told too, for as long as the record gets anywhere.
pub fn ready(recorder: &Recorder) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let status = status(&recorder.health());
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
    tokio::spawn(watch(recorder.clone(), sd_notify::watchdog_enabled()));
}

/// Another configuration is read; [`reloaded`] says that this is over, however it went.
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// What is in force is in force.
pub fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// The stop has begun.
pub fn stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("stopping: calls under way may end"),
    ]);
}

/// A manager that does not listen is its own trouble.
fn tell(states: &[NotifyState<'_>]) {
    drop(sd_notify::notify(states));
}

async fn watch(recorder: Recorder, watchdog: Option<Duration>) {
    let every = watchdog.map_or(TELL_EVERY, |within| within / 2);
    let mut committer = Committer::default();
    loop {
        tokio::time::sleep(every).await;
        let health = recorder.health();
        let status = status(&health);
        let gets_on = committer.gets_on(&health);
        if watchdog.is_some() && gets_on {
            tell(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
        } else {
            tell(&[NotifyState::Status(&status)]);
        }
    }
}

/// The thread that makes decisions durable, as seen from outside.
#[derive(Debug, Default)]
struct Committer {
    durable: u64,
}

impl Committer {
    /// Whether nothing waits for it, or more is durable than when this was last asked. A broken disk refuses what waits, and is no
    /// reason to start again; a thread that is stuck is.
    fn gets_on(&mut self, health: &Health) -> bool {
        let before = std::mem::replace(&mut self.durable, health.durable);
        health.waiting == 0 || health.durable > before
    }
}

fn status(health: &Health) -> String {
    let last = health.last_seq.map_or_else(
        || "no entry yet".to_owned(),
        |seq| format!("last entry {seq}"),
    );
    match &health.fault {
        None => format!("serving; {last}"),
        Some(fault) if health.recording => format!("serving; {last}; {fault}"),
        Some(fault) => format!("refusing calls, since they cannot be recorded: {fault}"),
    }
}

#[cfg(test)]
mod tests {
    use weir_recorder::Room;

    use super::*;

    fn health(waiting: usize, durable: u64) -> Health {
        Health {
            recording: true,
            fault: None,
            waiting,
            unsealed: 0,
            last_seq: Some(7),
            sealed: 0,
            durable,
            syncs: 0,
            room: Room::default(),
        }
    }

    #[test]
    fn the_watchdog_hears_nothing_of_a_committer_that_is_stuck() {
        let mut committer = Committer::default();
        assert!(committer.gets_on(&health(0, 0)), "nothing to do");
        assert!(committer.gets_on(&health(3, 5)), "under load");
        assert!(!committer.gets_on(&health(3, 5)), "stuck");
        assert!(!committer.gets_on(&health(4, 5)), "still");
        assert!(committer.gets_on(&health(4, 6)), "and on");
        assert!(committer.gets_on(&health(0, 6)));
    }

    #[test]
    fn the_status_line_says_when_calls_are_refused() {
        let mut health = health(0, 0);
        assert_eq!(status(&health), "serving; last entry 7");
        health.fault = Some("the disk is full".to_owned());
        health.recording = false;
        assert_eq!(
            status(&health),
            "refusing calls, since they cannot be recorded: the disk is full"
        );
    }
}

//! The pulse: notices what is overdue, seals what is old, and tells of what was turned away.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::committer::Committer;
use crate::entry::{Entry, EntryWrite, append_entry};
use crate::queue::Entering;
use crate::{Event, EventKind, RecordOptions};

/// How often the pulse looks: what is overdue is noticed within `commit_wait_max`.
pub(crate) fn tick(options: &RecordOptions) -> Duration {
    let shortest = (options.commit_wait_max / 8).min(options.seal_age / 8);
    shortest.clamp(Duration::from_millis(1), Duration::from_millis(250))
}

/// Looks until the other side of `stopped` is dropped.
pub(crate) fn run(committer: &Arc<Committer>, tick: Duration, stopped: &Receiver<()>) {
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(tick) {
        if let Some(generation) = committer.queue.fault_if_overdue(tick) {
            tracing::error!("the disk does not answer; calls are refused until it does");
            if let Err(error) = committer.start_healing(generation) {
                tracing::error!(%error, "no thread can be started; the record stays closed");
            }
        }
        committer.queue.turn_if_old();
        if let Some(count) = committer.queue.take_overflowed() {
            tell_overflow(committer, count);
        }
    }
}

fn tell_overflow(committer: &Committer, count: u64) {
    let text = "decisions refused because too much was waiting for the disk";
    let count = Some(i64::try_from(count).unwrap_or(i64::MAX));
    let event = Event {
        count,
        text: Some(text),
        ..Event::of(EventKind::Suppressed)
    };
    let told = committer
        .queue
        .tell(i64::MIN, Entering::Event, |seq, at, bytes| {
            let entry: EntryWrite<'_, &str> = Entry::Event {
                seq,
                at,
                event: &event,
            };
            append_entry(&entry, bytes)
        });
    if let (_, _, Err(why)) = told {
        tracing::warn!(%why, "refused decisions were not told");
    }
}

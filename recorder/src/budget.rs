//! The disk budget: how much a record may take, and what is kept in hand for what has to be written even then.
//!
//! A file of a fixed size, the reserve, is allocated while a record is open. Where the disk is full it is given up, so that what must
//! still be written can be: what became void and why, how calls ended that had gone out, a clean stop. From then on, and where
//! the record has used up its bytes, decisions are refused; they are taken again by themselves once there is room and, where
//! it was given up, the reserve is back. A thread of its own does this: nobody else waits for a disk that hangs.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::layout::Layout;
use crate::queue::Queue;
use crate::recorder::spawn;
use crate::storage::Metered;
use crate::{Event, EventKind, Log, RecordError, RecordOptions, Storage, Unrecorded};

/// How much room a record has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Bytes of all files of the record, what is made ahead and the reserve among them.
    pub used: u64,
    /// Bytes that it may have; none where nobody set them and the system does not tell how large the disk is.
    pub bytes_max: Option<u64>,
    /// Bytes until decisions are refused: of the budget or of the disk, whichever is less; the reserve is not among them. None
    /// where neither is known.
    pub left: Option<u64>,
    /// Bytes of the reserve; 0 while it is given up.
    pub reserve: u64,
}

/// The budget of a record that is open for writing.
#[derive(Debug)]
pub(crate) struct Budget {
    storage: Arc<Metered>,
    layout: Layout,
    path: PathBuf,
    bytes_max: Option<u64>,
    reserve: u64,
    /// Never held across I/O.
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and they come in any combination"
)]
struct State {
    /// The reserve is allocated; only the thread changes it.
    held: bool,
    /// The disk was full, and the reserve has not been taken since.
    full: bool,
    /// Why the reserve could not be taken, if not for want of room.
    fault: Option<Unrecorded>,
    /// Why decisions are refused.
    short: Option<Unrecorded>,
    /// As it was found last.
    room: Room,
    closing: bool,
    /// Much has changed since it was looked at.
    stale: bool,
    /// When every file was looked at.
    measured: Option<Instant>,
}

/// How often it is looked at.
const TICK: Duration = Duration::from_millis(250);

/// How often every file is looked at, for what others removed or put there.
const MEASURE_EVERY: Duration = Duration::from_hours(1);

impl Budget {
    /// Measures the record.
    pub(crate) fn open(
        storage: &Arc<Metered>,
        layout: &Layout,
        options: &RecordOptions,
    ) -> Result<Self, RecordError> {
        storage.measure(layout)?;
        let space = storage
            .space(layout.root())
            .map_err(RecordError::io("look at the disk of", layout.root()))?;
        let path = layout.reserve();
        // A process that was killed leaves it there.
        let kept = storage.length(&path);
        let state = State {
            held: kept.is_ok_and(|bytes| bytes == options.reserve_bytes),
            measured: Some(Instant::now()),
            ..State::default()
        };
        Ok(Self {
            storage: Arc::clone(storage),
            layout: layout.clone(),
            path,
            // A tenth is left for others.
            bytes_max: options
                .bytes_max
                .or(space.map(|space| space.total / 10 * 9)),
            reserve: options.reserve_bytes,
            state: Mutex::new(state),
            wake: Condvar::new(),
        })
    }

    /// How much room there is.
    pub(crate) fn room(&self) -> Room {
        Room {
            used: self.storage.bytes(),
            ..self.state().room
        }
    }

    /// Whether so many bytes fit beside the reserve, as far as anybody knows.
    pub(crate) fn fits(&self, bytes: u64) -> bool {
        let state = self.state();
        state.short.is_none() && state.room.left.is_none_or(|left| left > bytes)
    }

    /// Takes up an error: if it says that the disk is full, decisions are refused from here on, and the reserve is given up in a moment.
    pub(crate) fn take_up(&self, error: &io::Error, queue: &Arc<Queue>) {
        if is_full(error) {
            let mut state = self.state();
            state.full = true;
            state.short = Some(Unrecorded::DiskFull);
            drop(state);
            announce(queue, Some(&Unrecorded::DiskFull));
            self.wake.notify_all();
        }
    }

    /// Gives the reserve up at once if this error says that the disk is full, before there is a thread; false where there is none.
    pub(crate) fn gives_way(&self, error: &io::Error) -> bool {
        if !is_full(error) || !self.state().held {
            return false;
        }
        {
            let mut state = self.state();
            (state.full, state.short) = (true, Some(Unrecorded::DiskFull));
        }
        self.give_up();
        !self.state().held
    }

    /// Has it looked at soon: much was written or removed.
    pub(crate) fn changed(&self) {
        self.state().stale = true;
        self.wake.notify_all();
    }

    /// Looks at every file again: now and then, and each time while there is no room.
    pub(crate) fn measure_if_due(&self) -> Result<(), RecordError> {
        let due = {
            let mut state = self.state();
            let lately = state
                .measured
                .is_some_and(|at| at.elapsed() < MEASURE_EVERY);
            let due = !lately || state.short.is_some();
            if due {
                state.measured = Some(Instant::now());
            }
            due
        };
        if due {
            self.storage.measure(&self.layout)?;
        }
        Ok(())
    }

    /// Looks how much room there is, gives the reserve up or takes it, and has decisions refused or taken accordingly.
    pub(crate) fn look(&self, queue: &Arc<Queue>) {
        let (held, full, was_short) = {
            let state = self.state();
            (state.held, state.full, state.short.is_some())
        };
        if held && full {
            self.give_up();
        } else if !held {
            self.take(was_short);
        }
        let space = self.storage.space(self.layout.root()).unwrap_or_default();
        let used = self.storage.bytes();
        let mut state = self.state();
        // While it is given up, its bytes are for what must be written. As many again are kept free within the budget: for that, where
        // it is the budget that is used up, and for what is written between two looks.
        let missing = if state.held { 0 } else { self.reserve };
        let of_budget = self.bytes_max.map(|max| {
            max.saturating_sub(used.saturating_add(missing).saturating_add(self.reserve))
        });
        let of_disk = space.map(|space| space.free.saturating_sub(missing));
        state.room = Room {
            used,
            bytes_max: self.bytes_max,
            left: of_budget.into_iter().chain(of_disk).min(),
            reserve: self.reserve - missing,
        };
        // Once used up, a little has to be free: else each file that is sealed would let in a few calls.
        let wanted = if was_short { self.reserve } else { 0 };
        state.short = match self.bytes_max.zip(of_budget) {
            _ if state.full || !state.held => {
                Some(state.fault.clone().unwrap_or(Unrecorded::DiskFull))
            }
            Some((bytes_max, left)) if left <= wanted => {
                Some(Unrecorded::BudgetUsedUp { bytes_max })
            }
            _ => None,
        };
        let short = state.short.clone();
        drop(state);
        announce(queue, short.as_ref());
    }

    /// Allocates the reserve. After the disk was full only where there is room for that and as much again, so that the next call does
    /// not cost it.
    fn take(&self, again: bool) {
        let space = self.storage.space(self.layout.root()).unwrap_or_default();
        let wanted = self.reserve.saturating_mul(if again { 2 } else { 1 });
        if space.is_some_and(|space| space.free < wanted) {
            self.state().fault = None;
            return;
        }
        let taken = self.allocate();
        let mut state = self.state();
        match taken {
            Ok(()) => (state.held, state.full, state.fault) = (true, false, None),
            Err(error) => {
                tracing::debug!(%error, "the reserve cannot be taken");
                let fault = Unrecorded::Storage(error.to_string());
                state.fault = Some(fault).filter(|_| !is_full(&error));
            }
        }
    }

    fn allocate(&self) -> io::Result<()> {
        if self.reserve == 0 {
            return Ok(());
        }
        // One of another size, or one that was half made.
        drop(self.storage.remove(&self.path));
        let taken = self.storage.reserve(&self.path, self.reserve);
        if taken.is_err() {
            drop(self.storage.remove(&self.path));
        }
        taken
    }

    fn give_up(&self) {
        match self.storage.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the reserve cannot be given up");
            }
            _ => self.state().held = false,
        }
    }

    fn run(&self, queue: &Arc<Queue>) {
        loop {
            let state = self.state();
            let is_idle =
                |state: &mut State| !(state.closing || state.stale || (state.full && state.held));
            let (mut state, _) = self
                .wake
                .wait_timeout_while(state, TICK, is_idle)
                .unwrap_or_else(PoisonError::into_inner);
            state.stale = false;
            let closing = state.closing;
            drop(state);
            if closing {
                // What is written from here on is the end.
                return self.give_up();
            }
            self.look(queue);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that looks after the budget.
pub(crate) struct Watch {
    budget: Arc<Budget>,
    ended: Receiver<()>,
}

impl Watch {
    /// Starts it; the lock is held for as long as it runs.
    pub(crate) fn start(
        budget: &Arc<Budget>,
        queue: &Arc<Queue>,
        lock: Arc<dyn Send + Sync>,
    ) -> Result<Self, RecordError> {
        let (end, ended) = mpsc::channel();
        let (watched, queue) = (Arc::clone(budget), Arc::clone(queue));
        spawn("weir-budget", move || {
            watched.run(&queue);
            drop((end, lock));
        })?;
        Ok(Self {
            budget: Arc::clone(budget),
            ended,
        })
    }

    /// Ends it, and gives the reserve up for what is still to be written. A disk that hangs is waited for this long.
    pub(crate) fn stop(self, wait_max: Duration) {
        self.budget.state().closing = true;
        self.budget.wake.notify_all();
        if self.ended.recv_timeout(wait_max) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the disk does not answer; the reserve stays");
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Has decisions refused, or taken again; if that is new, the log and the log file tell of it.
fn announce(queue: &Arc<Queue>, short: Option<&Unrecorded>) {
    let Some((refused, before)) = queue.set_short(short.cloned()) else {
        return;
    };
    let text = match (short, before) {
        (Some(why), _) => {
            tracing::error!(%why, "calls are refused until there is room");
            format!("{why}: calls are refused until there is room")
        }
        (None, before) => {
            tracing::info!(refused, "there is room for the record again");
            let before = before.map(|why| format!(" ({why})")).unwrap_or_default();
            format!("there is room again{before}")
        }
    };
    let event = Event {
        count: Some(i64::try_from(refused).unwrap_or(i64::MAX)).filter(|count| *count > 0),
        text: Some(text.as_str()),
        ..Event::of(EventKind::StorageFault)
    };
    // The log is the writer's; this only queues beside it, as the pulse does. It waits out a fault.
    let told = Log::new(Arc::clone(queue)).event(i64::MIN, &event);
    if let Some(why) = told.refused() {
        tracing::warn!(%why, "the log does not tell of it");
    }
}

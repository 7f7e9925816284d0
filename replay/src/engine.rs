//! A replay on all cores: threads look at row groups side by side, and judge partitions, each of them in the order of the log.
//!
//! ```text
//! row groups ──look (any order)──▶ chunks ──order (by seq)──▶ spans of one partition ──judge (in order)──▶ partial results ──merge──▶
//! ```
//!
//! Every thread takes what is to be done next: spans of a partition that nobody is at work on before a group that nobody looked at, so
//! that little waits. While much does, no group is begun. Which thread does what, and when, changes nothing in the result.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use weir_recorder::CallGroup;

use crate::chunk::{Chunk, Looking};
use crate::error::Failed;
use crate::notable::Notables;
use crate::order::{Order, Span};
use crate::partial::Partial;
use crate::partition::Partition;
use crate::{ReplayError, Stage};

/// Bytes of rows waiting to be judged above which no further group is begun.
const LOAD_MAX: usize = 192 << 20;

/// What a replay found.
pub(crate) struct Found {
    pub(crate) partial: Partial,
    pub(crate) notables: Vec<Notables>,
}

/// Runs all groups through so many partitions on so many threads.
pub(crate) fn run(
    groups: &[CallGroup],
    nodes: &[u32],
    looking: &Looking<'_>,
    partitions: usize,
    threads: usize,
) -> Result<Found, Failed> {
    let options = looking.options;
    let everything = looking.everything;
    let engine = Engine {
        groups,
        nodes,
        looking,
        threads,
        rows: groups.iter().map(|group| group.rows as u64).sum(),
        load: Arc::clone(&looking.load),
        board: Mutex::new(Board {
            next: 0,
            looked: 0,
            rows_done: 0,
            order: Order::of(groups, partitions),
            partitions: (0..partitions)
                .map(|_| Queue {
                    spans: VecDeque::new(),
                    idle: Some(Box::new(Partition::one_of(partitions, options, everything))),
                })
                .collect(),
            ready: VecDeque::new(),
            failed: None,
        }),
        changed: Condvar::new(),
    };
    let mut all = Partial::new(options.flips);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|_| scope.spawn(|| engine.work()))
            .collect();
        all.merge(engine.work());
        for other in others {
            match other.join() {
                Ok(partial) => all.merge(partial),
                Err(_) => engine.fail(ReplayError::Stopped.into()),
            }
        }
    });
    let board = engine
        .board
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    if let Some(failed) = board.failed {
        return Err(failed);
    }
    let mut notables = Vec::new();
    for queue in board.partitions {
        let partition = queue.idle.ok_or(ReplayError::Stopped)?;
        all.merge(partition.partial);
        notables.push(partition.notables);
    }
    Ok(Found {
        partial: all,
        notables,
    })
}

struct Engine<'a> {
    groups: &'a [CallGroup],
    /// For each group the place of its node among the nodes.
    nodes: &'a [u32],
    looking: &'a Looking<'a>,
    threads: usize,
    rows: u64,
    load: Arc<AtomicUsize>,
    board: Mutex<Board<'a>>,
    changed: Condvar,
}

/// What is done and what is to be done.
struct Board<'a> {
    /// The first group that nobody took.
    next: usize,
    /// How many were looked at.
    looked: usize,
    rows_done: u64,
    order: Order,
    partitions: Vec<Queue<'a>>,
    /// Partitions with spans that nobody is at work on.
    ready: VecDeque<usize>,
    failed: Option<Failed>,
}

struct Queue<'a> {
    spans: VecDeque<Span>,
    /// The partition, while nobody is at work on it.
    idle: Option<Box<Partition<'a>>>,
}

enum Task<'a> {
    Look(usize),
    Judge(usize, Box<Partition<'a>>, Vec<Span>),
}

impl<'a> Engine<'a> {
    /// Works until there is nothing left to do; what this thread counted.
    fn work(&self) -> Partial {
        let mut partial = Partial::new(self.looking.options.flips);
        let stopped = Stopped(self);
        while let Some(task) = self.next() {
            if !(self.looking.is_wanted)() {
                self.fail(Failed::Unwanted);
                break;
            }
            match task {
                Task::Look(which) => {
                    let (Some(group), Some(node)) = (self.groups.get(which), self.nodes.get(which))
                    else {
                        continue;
                    };
                    match self.looking.at((which, group), *node, &mut partial) {
                        Ok(chunk) => self.looked(which, group, chunk),
                        Err(failed) => self.fail(failed),
                    }
                }
                Task::Judge(which, mut partition, spans) => {
                    for span in spans {
                        if let Err(error) = partition.judge(&span) {
                            self.fail(error.into());
                        }
                    }
                    self.judged(which, partition);
                }
            }
        }
        std::mem::forget(stopped);
        partial
    }

    fn board(&self) -> MutexGuard<'_, Board<'a>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to do next; waits for it where others are still at work on what comes before.
    fn next(&self) -> Option<Task<'a>> {
        let mut board = self.board();
        loop {
            if board.failed.is_some() {
                return None;
            }
            if let Some(which) = board.ready.pop_front()
                && let Some(queue) = board.partitions.get_mut(which)
                && let Some(partition) = queue.idle.take()
            {
                let spans = std::mem::take(&mut queue.spans).into();
                return Some(Task::Judge(which, partition, spans));
            }
            let is_idle = |queue: &Queue<'_>| queue.idle.is_some() && queue.spans.is_empty();
            if board.next < self.groups.len() {
                // What waits for its turn, and is loaded, is soon judged; if nothing is, somebody has to go on.
                let is_full = self.load.load(Ordering::Relaxed) > LOAD_MAX
                    || board.order.waiting() > self.threads;
                let in_work = board.next - board.looked;
                let stalled = in_work == 0 && board.partitions.iter().all(is_idle);
                if !is_full || stalled {
                    board.next += 1;
                    return Some(Task::Look(board.next - 1));
                }
            } else if board.looked == self.groups.len() && board.partitions.iter().all(is_idle) {
                return None;
            }
            board = self
                .changed
                .wait(board)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn looked(&self, which: usize, group: &CallGroup, chunk: Chunk) {
        let mut board = self.board();
        board.looked += 1;
        board.rows_done += group.rows as u64;
        let done = board.rows_done;
        for (partition, span) in board.order.take(which, Arc::new(chunk)) {
            let Some(queue) = board.partitions.get_mut(partition) else {
                continue;
            };
            queue.spans.push_back(span);
            if queue.idle.is_some() && !board.ready.contains(&partition) {
                board.ready.push_back(partition);
            }
        }
        if let Some(progress) = &self.looking.options.progress {
            // One after the other, so that it never goes back.
            progress(Stage::Judging, done, self.rows);
        }
        drop(board);
        self.changed.notify_all();
    }

    fn judged(&self, which: usize, partition: Box<Partition<'a>>) {
        let mut board = self.board();
        if let Some(queue) = board.partitions.get_mut(which) {
            queue.idle = Some(partition);
            if !queue.spans.is_empty() {
                board.ready.push_back(which);
            }
        }
        drop(board);
        self.changed.notify_all();
    }

    fn fail(&self, failed: Failed) {
        let mut board = self.board();
        if board.failed.is_none() {
            board.failed = Some(failed);
        }
        drop(board);
        self.changed.notify_all();
    }
}

/// Lets the other threads go where this one panicked, since they would wait for it for ever.
struct Stopped<'e, 'a>(&'e Engine<'a>);

impl Drop for Stopped<'_, '_> {
    fn drop(&mut self) {
        self.0.fail(ReplayError::Stopped.into());
    }
}

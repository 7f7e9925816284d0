//! Rows put in the order of the log, from chunks that are done in any order.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_recorder::CallGroup;

use crate::chunk::Chunk;

/// Rows of a chunk for one partition, in order.
#[derive(Debug)]
pub(crate) struct Span {
    pub(crate) chunk: Arc<Chunk>,
    /// Their places among the rows of the chunk.
    pub(crate) rows: Vec<u32>,
}

/// Takes chunks as they come, and gives out the rows behind which none can come any more.
///
/// Files of one node overlap by the few calls that were open when one was sealed, so rows are merged by `seq`; a row that is in two
/// files counts once.
#[derive(Debug)]
pub(crate) struct Order {
    /// For each group, the least `seq` of all groups of its node behind it.
    bounds: Vec<i64>,
    early: BTreeMap<usize, Arc<Chunk>>,
    next: usize,
    /// Chunks that have rows left, and the next row of each.
    open: Vec<(Arc<Chunk>, usize)>,
    last: Option<(u32, i64)>,
    partitions: usize,
}

impl Order {
    pub(crate) fn of(groups: &[CallGroup], partitions: usize) -> Self {
        let mut bounds = vec![i64::MAX; groups.len()];
        let mut behind: Option<(&str, i64)> = None;
        for (bound, group) in bounds.iter_mut().zip(groups).rev() {
            let least = behind
                .filter(|(node, _)| *node == group.node)
                .map_or(i64::MAX, |(_, least)| least);
            *bound = least;
            behind = Some((&group.node, least.min(group.first_seq)));
        }
        Self {
            bounds,
            early: BTreeMap::new(),
            next: 0,
            open: Vec::new(),
            last: None,
            partitions,
        }
    }

    /// How many groups were taken that wait for an earlier one.
    pub(crate) fn waiting(&self) -> usize {
        self.early.len()
    }

    /// Takes the chunk of a group; the rows that can be judged now, by partition.
    pub(crate) fn take(&mut self, group: usize, chunk: Arc<Chunk>) -> Vec<(usize, Span)> {
        self.early.insert(group, chunk);
        let mut spans = Vec::new();
        while let Some(chunk) = self.early.remove(&self.next) {
            let bound = self.bounds.get(self.next).copied().unwrap_or(i64::MAX);
            self.next += 1;
            if !chunk.rows.is_empty() {
                self.open.push((chunk, 0));
            }
            self.release(bound, &mut spans);
        }
        spans
    }

    /// Gives out the rows before this place of the log.
    fn release(&mut self, bound: i64, spans: &mut Vec<(usize, Span)>) {
        let head = |(chunk, next): &(Arc<Chunk>, usize)| chunk.rows.get(*next).map(|row| row.seq);
        loop {
            let heads = self.open.iter().filter_map(head);
            let first = self.open.iter().enumerate();
            let first = first.min_by_key(|(_, open)| head(open).unwrap_or(i64::MAX));
            let Some((which, least)) = first.and_then(|(which, open)| Some((which, head(open)?)))
            else {
                return;
            };
            if least >= bound {
                return;
            }
            // A run ends where any other chunk goes on; the first row always goes.
            let mut others = heads.collect::<Vec<_>>();
            others.swap_remove(which);
            let until = others.into_iter().fold(bound, i64::min).max(least + 1);
            let Some((chunk, next)) = self.open.get_mut(which) else {
                return;
            };
            let rest = chunk.rows.get(*next..).unwrap_or_default();
            let end = *next + rest.partition_point(|row| row.seq < until);
            let run = *next..end;
            *next = end;
            let (chunk, is_done) = (Arc::clone(chunk), end >= chunk.rows.len());
            if is_done {
                drop(self.open.swap_remove(which));
            }
            self.divide(&chunk, run, spans);
        }
    }

    fn divide(
        &mut self,
        chunk: &Arc<Chunk>,
        run: std::ops::Range<usize>,
        spans: &mut Vec<(usize, Span)>,
    ) {
        let mut by_partition: Vec<Vec<u32>> = vec![Vec::new(); self.partitions];
        for place in run {
            let Some(row) = chunk.rows.get(place) else {
                continue;
            };
            if self.last == Some((chunk.node, row.seq)) {
                continue;
            }
            self.last = Some((chunk.node, row.seq));
            let kind = chunk.kinds.get(row.kind as usize);
            let partition = kind.map_or(0, |kind| kind.partition);
            if let Some(rows) = by_partition.get_mut(partition) {
                rows.push(place as u32);
            }
        }
        let filled = by_partition.into_iter().enumerate();
        spans.extend(
            filled
                .filter(|(_, rows)| !rows.is_empty())
                .map(|(partition, rows)| {
                    let chunk = Arc::clone(chunk);
                    (partition, Span { chunk, rows })
                }),
        );
    }
}

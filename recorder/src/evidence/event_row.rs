//! Leaves from rows of `events`.

use arrow::array::{AsArray, Int64Array, RecordBatch};

use super::row::{Times, Untrue};
use crate::reader::row::{Word, number, typed};
use crate::{Event, EventKind, RecordError};

/// What a row of `events` says.
#[derive(Debug)]
pub(crate) struct EventFacts<'a> {
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) node: &'a str,
    pub(crate) event: Event<&'a str>,
}

/// Every column of a batch of `events`.
#[derive(Debug)]
pub(crate) struct EventColumns<'a> {
    seq: &'a Int64Array,
    node: Word<'a>,
    at: Times<'a>,
    kind: Word<'a>,
    digest: Word<'a>,
    server: Word<'a>,
    grant: Word<'a>,
    tool: Word<'a>,
    address: Word<'a>,
    count: &'a Int64Array,
    text: Word<'a>,
    detail: Word<'a>,
}

impl<'a> EventColumns<'a> {
    /// Looks at a batch, which has every column.
    pub(crate) fn new(batch: &'a RecordBatch) -> Result<Self, RecordError> {
        let word = |name| typed(batch, name, Word::of);
        Ok(Self {
            seq: typed(batch, "seq", |a| a.as_primitive_opt())?,
            node: word("node")?,
            at: typed(batch, "at", |a| a.as_primitive_opt())?,
            kind: word("kind")?,
            digest: word("digest")?,
            server: word("server")?,
            grant: word("grant")?,
            tool: word("tool")?,
            address: word("address")?,
            count: typed(batch, "count", |a| a.as_primitive_opt())?,
            text: word("text")?,
            detail: word("detail")?,
        })
    }

    /// Reads a row.
    pub(crate) fn read(&self, i: usize) -> Result<EventFacts<'a>, Untrue> {
        let kind = self.kind.at(i).and_then(EventKind::parse);
        Ok(EventFacts {
            seq: number(self.seq, i).ok_or("it has no `seq`")?,
            at: number(self.at, i).ok_or("it has no `at`")?,
            node: self.node.at(i).ok_or("it has no `node`")?,
            event: Event {
                kind: kind.ok_or("its `kind` is none")?,
                digest: self.digest.at(i),
                server: self.server.at(i),
                grant: self.grant.at(i),
                tool: self.tool.at(i),
                address: self.address.at(i),
                count: number(self.count, i),
                text: self.text.at(i),
                detail: self.detail.at(i),
            },
        })
    }
}

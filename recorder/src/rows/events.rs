//! The table `events`.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};

use super::wire::Unreadable;
use super::{Word, times};
use crate::Event;
use crate::schema::events_schema;

/// Columns of `events` in the making.
pub(crate) struct EventsBuilder {
    node: Arc<str>,
    seq: Int64Builder,
    nodes: Word,
    at: TimestampMicrosecondBuilder,
    kind: Word,
    digest: Word,
    server: Word,
    grant: Word,
    tool: Word,
    address: Word,
    count: Int64Builder,
    text: StringBuilder,
    detail: StringBuilder,
}

impl EventsBuilder {
    pub(crate) fn new(node: &Arc<str>) -> Self {
        Self {
            node: Arc::clone(node),
            seq: Int64Builder::new(),
            nodes: Word::default(),
            at: times(),
            kind: Word::default(),
            digest: Word::default(),
            server: Word::default(),
            grant: Word::default(),
            tool: Word::default(),
            address: Word::default(),
            count: Int64Builder::new(),
            text: StringBuilder::new(),
            detail: StringBuilder::new(),
        }
    }

    /// Adds a row.
    pub(crate) fn push(
        &mut self,
        seq: i64,
        at: i64,
        event: &Event<&str>,
    ) -> Result<(), Unreadable> {
        self.seq.append_value(seq);
        self.nodes.append(self.node.as_bytes())?;
        self.at.append_value(at);
        self.kind.append(event.kind.as_str().as_bytes())?;
        self.digest.append_option(event.digest.map(str::as_bytes))?;
        self.server.append_option(event.server.map(str::as_bytes))?;
        self.grant.append_option(event.grant.map(str::as_bytes))?;
        self.tool.append_option(event.tool.map(str::as_bytes))?;
        self.address
            .append_option(event.address.map(str::as_bytes))?;
        self.count.append_option(event.count);
        self.text.append_option(event.text);
        self.detail.append_option(event.detail);
        Ok(())
    }

    /// How many rows there are since the last batch.
    pub(crate) fn len(&self) -> usize {
        self.seq.len()
    }

    /// The rows pushed since the last batch.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, Unreadable> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.seq.finish()),
            self.nodes.finish()?,
            Arc::new(self.at.finish()),
            self.kind.finish()?,
            self.digest.finish()?,
            self.server.finish()?,
            self.grant.finish()?,
            self.tool.finish()?,
            self.address.finish()?,
            Arc::new(self.count.finish()),
            Arc::new(self.text.finish()),
            Arc::new(self.detail.finish()),
        ];
        Ok(RecordBatch::try_new(events_schema(), columns)?)
    }
}

//! The table `events`.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
};

use super::{Word, times, word};
use crate::schema::events_schema;
use crate::{Event, RecordError};

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
            nodes: Word::new(),
            at: times(),
            kind: Word::new(),
            digest: Word::new(),
            server: Word::new(),
            grant: Word::new(),
            tool: Word::new(),
            address: Word::new(),
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
    ) -> Result<(), RecordError> {
        self.seq.append_value(seq);
        self.nodes.append(&self.node)?;
        self.at.append_value(at);
        self.kind.append(event.kind.as_str())?;
        word(&mut self.digest, event.digest)?;
        word(&mut self.server, event.server)?;
        word(&mut self.grant, event.grant)?;
        word(&mut self.tool, event.tool)?;
        word(&mut self.address, event.address)?;
        self.count.append_option(event.count);
        self.text.append_option(event.text);
        self.detail.append_option(event.detail);
        Ok(())
    }

    /// The rows pushed since the last batch.
    pub(crate) fn finish(&mut self) -> Result<RecordBatch, RecordError> {
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

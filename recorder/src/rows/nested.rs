//! The columns that hold lists and structs.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Builder, ListArray, NullBufferBuilder, StringBuilder, StructArray,
    TimestampMicrosecondBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Fields};

use super::{Word, times, word};
use crate::schema::{approval_fields, element, limit_count_fields, shadow_fields};
use crate::{Call, RecordError};

/// Where the lists of a column begin and end; an empty list is null.
#[derive(Debug)]
pub(super) struct Offsets {
    ends: Vec<i32>,
    present: NullBufferBuilder,
}

impl Default for Offsets {
    fn default() -> Self {
        Self {
            ends: vec![0],
            present: NullBufferBuilder::new(0),
        }
    }
}

impl Offsets {
    pub(super) fn push(&mut self, length: usize) {
        let end = self.ends.last().copied().unwrap_or(0) + length as i32;
        self.ends.push(end);
        self.present.append(length > 0);
    }

    pub(super) fn list(
        &mut self,
        data_type: DataType,
        values: ArrayRef,
    ) -> Result<ArrayRef, RecordError> {
        let ends = OffsetBuffer::new(std::mem::replace(&mut self.ends, vec![0]).into());
        let field = Arc::new(element(data_type));
        Ok(Arc::new(ListArray::try_new(
            field,
            ends,
            values,
            self.present.finish(),
        )?))
    }
}

#[derive(Default)]
pub(super) struct ShadowBuilder {
    offsets: Offsets,
    verdict: Word,
    rule: Word,
    policy_digest: Word,
}

impl ShadowBuilder {
    pub(super) fn push(&mut self, call: &Call<&str>) -> Result<(), RecordError> {
        for shadow in &call.shadow {
            self.verdict.append(shadow.verdict.as_str())?;
            self.rule.append(shadow.rule)?;
            self.policy_digest.append(shadow.policy_digest)?;
        }
        self.offsets.push(call.shadow.len());
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, RecordError> {
        let columns: Vec<ArrayRef> = vec![
            self.verdict.finish()?,
            self.rule.finish()?,
            self.policy_digest.finish()?,
        ];
        structs(&mut self.offsets, shadow_fields(), columns)
    }
}

#[derive(Default)]
pub(super) struct LimitCountsBuilder {
    offsets: Offsets,
    counter: StringBuilder,
    value: Int64Builder,
}

impl LimitCountsBuilder {
    pub(super) fn push(&mut self, call: &Call<&str>) {
        for count in &call.limit_counts {
            self.counter.append_value(count.counter);
            self.value.append_value(count.value);
        }
        self.offsets.push(call.limit_counts.len());
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, RecordError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.counter.finish()),
            Arc::new(self.value.finish()),
        ];
        structs(&mut self.offsets, limit_count_fields(), columns)
    }
}

fn structs(
    offsets: &mut Offsets,
    fields: Fields,
    columns: Vec<ArrayRef>,
) -> Result<ArrayRef, RecordError> {
    let values = StructArray::try_new(fields.clone(), columns, None)?;
    offsets.list(DataType::Struct(fields), Arc::new(values))
}

pub(super) struct ApprovalBuilder {
    present: NullBufferBuilder,
    asked_at: TimestampMicrosecondBuilder,
    answered_at: TimestampMicrosecondBuilder,
    answer_seq: Int64Builder,
    by: Word,
    answer: Word,
}

impl Default for ApprovalBuilder {
    fn default() -> Self {
        Self {
            present: NullBufferBuilder::new(0),
            asked_at: times(),
            answered_at: times(),
            answer_seq: Int64Builder::new(),
            by: Word::new(),
            answer: Word::new(),
        }
    }
}

impl ApprovalBuilder {
    pub(super) fn push(&mut self, call: &Call<&str>) -> Result<(), RecordError> {
        let approval = call.approval.as_ref();
        self.present.append(approval.is_some());
        // Where the whole is null its parts must still have a slot.
        self.asked_at
            .append_value(approval.map_or(0, |a| a.asked_at));
        self.answered_at
            .append_option(approval.and_then(|a| a.answered_at));
        self.answer_seq
            .append_option(approval.and_then(|a| a.answer_seq));
        word(&mut self.by, approval.and_then(|a| a.by))?;
        word(&mut self.answer, approval.and_then(|a| a.answer))
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, RecordError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.asked_at.finish()),
            Arc::new(self.answered_at.finish()),
            Arc::new(self.answer_seq.finish()),
            self.by.finish()?,
            self.answer.finish()?,
        ];
        Ok(Arc::new(StructArray::try_new(
            approval_fields(),
            columns,
            self.present.finish(),
        )?))
    }
}

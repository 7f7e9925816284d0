//! The columns that hold lists and structs.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Builder, ListArray, NullBufferBuilder, StringBuilder, StructArray,
    TimestampMicrosecondBuilder,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Fields};

use super::wire::{Read, Unreadable, Wire};
use super::{Answered, Word, text, times};
use crate::Verdict;
use crate::schema::{approval_fields, element, limit_count_fields, shadow_fields};

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
    ) -> Result<ArrayRef, Unreadable> {
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
    pub(super) fn push(&mut self, call: &mut Wire<'_>) -> Read<()> {
        let count = call.each(|call| {
            let verdict = call.variant(Verdict::ALL)?;
            self.verdict.append(verdict.as_str().as_bytes())?;
            self.rule.append(call.text()?)?;
            self.policy_digest.append(call.text()?)
        })?;
        self.offsets.push(count);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, Unreadable> {
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
    pub(super) fn push(&mut self, call: &mut Wire<'_>) -> Read<()> {
        let count = call.each(|call| {
            text(&mut self.counter, Some(call.text()?))?;
            self.value.append_value(call.int()?);
            Ok(())
        })?;
        self.offsets.push(count);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, Unreadable> {
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
) -> Result<ArrayRef, Unreadable> {
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
            by: Word::default(),
            answer: Word::default(),
        }
    }
}

impl ApprovalBuilder {
    pub(super) fn push(
        &mut self,
        call: &mut Wire<'_>,
        answered: Option<&Answered<'_>>,
    ) -> Read<()> {
        let approval = call.maybe(|call| {
            let times = (call.int()?, call.maybe(Wire::int)?);
            let seq = call.maybe(Wire::int)?;
            Ok((times, seq, call.maybe_text()?, call.maybe_text()?))
        })?;
        self.present.append(approval.is_some());
        // Where the whole is null its parts must still have a slot.
        let ((asked_at, answered_at), seq, by, answer) = approval.unwrap_or_default();
        self.asked_at.append_value(asked_at);
        if let Some(Answered { seq, at, answer }) = answered {
            self.answered_at.append_value(*at);
            self.answer_seq.append_value(*seq);
            self.by.append_option(answer.by.map(str::as_bytes))?;
            return self.answer.append_option(answer.answer.map(str::as_bytes));
        }
        self.answered_at.append_option(answered_at);
        self.answer_seq.append_option(seq);
        self.by.append_option(by)?;
        self.answer.append_option(answer)
    }

    pub(super) fn finish(&mut self) -> Result<ArrayRef, Unreadable> {
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

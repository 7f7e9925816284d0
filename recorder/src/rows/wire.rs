//! An entry of the journal read field by field, as columns are made of it: no value of the whole is built in between.
//!
//! The bytes are those that `serde` and postcard write for [`crate::Call`], field after field: numbers as varints (signed ones
//! zigzag), text and lists behind their length, options behind a byte, enums as the number of their variant.

use std::num::TryFromIntError;
use std::str::Utf8Error;

use arrow::error::ArrowError;

use crate::call::Standing;
use crate::{Finish, Outcome, PENDING, Verdict};

/// Bytes that are no entry, or one that no column can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl From<ArrowError> for Unreadable {
    fn from(_: ArrowError) -> Self {
        Self
    }
}

impl From<TryFromIntError> for Unreadable {
    fn from(_: TryFromIntError) -> Self {
        Self
    }
}

impl From<Utf8Error> for Unreadable {
    fn from(_: Utf8Error) -> Self {
        Self
    }
}

/// The bytes of an entry that are still to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wire<'a>(&'a [u8]);

/// A field as its reader gives it.
pub(super) type Read<T> = Result<T, Unreadable>;

impl<'a> Wire<'a> {
    #[cfg(test)]
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The fields of an entry that decided a call; its kind, place and time are known already.
    pub(super) fn of_call(payload: &'a [u8]) -> Read<Self> {
        let mut wire = Self(payload);
        if wire.number()? != 0 {
            return Err(Unreadable);
        }
        wire.int()?;
        wire.int()?;
        Ok(wire)
    }

    /// What begins here, up to where another reader of the same bytes has come.
    pub(super) fn until(self, other: &Self) -> &'a [u8] {
        let read = self.0.len().saturating_sub(other.0.len());
        self.0.get(..read).unwrap_or_default()
    }

    /// Passes over these bytes, if these come next.
    #[inline]
    pub(super) fn pass(&mut self, bytes: &[u8]) -> bool {
        let rest = self.0.strip_prefix(bytes);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Whether the reason that comes next is that of a call which waits for a person.
    pub(super) fn goes_on_held(mut self, said: Verdict) -> Read<bool> {
        Ok(said == Verdict::Deny && self.maybe_text()? == Some(PENDING.as_bytes()))
    }

    /// Nothing is left.
    pub(super) fn end(self) -> Read<()> {
        self.0.is_empty().then_some(()).ok_or(Unreadable)
    }

    #[inline]
    fn byte(&mut self) -> Read<u8> {
        let (first, rest) = self.0.split_first().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(*first)
    }

    #[inline]
    pub(super) fn number(&mut self) -> Read<u64> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        self.long_number(first)
    }

    fn long_number(&mut self, first: u8) -> Read<u64> {
        let mut number = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Unreadable);
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Unreadable)
    }

    #[inline]
    pub(super) fn int(&mut self) -> Read<i64> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(super) fn short(&mut self) -> Read<i32> {
        Ok(self.int()?.try_into()?)
    }

    #[inline]
    fn bytes(&mut self, count: usize) -> Read<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(bytes)
    }

    #[inline]
    pub(super) fn digest(&mut self) -> Read<[u8; 16]> {
        self.bytes(16)?.try_into().map_err(|_| Unreadable)
    }

    /// The bytes of a text: whoever keeps them sees to it that they are UTF-8.
    #[inline]
    pub(super) fn text(&mut self) -> Read<&'a [u8]> {
        let length = self.number()?.try_into()?;
        self.bytes(length)
    }

    #[inline]
    fn flag(&mut self) -> Read<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Unreadable),
        }
    }

    #[inline]
    pub(super) fn maybe<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        self.flag()?.then(|| read(self)).transpose()
    }

    #[inline]
    pub(super) fn maybe_text(&mut self) -> Read<Option<&'a [u8]>> {
        self.maybe(Self::text)
    }

    /// Reads each element of a list; how many there were.
    #[inline]
    pub(super) fn each(&mut self, mut read: impl FnMut(&mut Self) -> Read<()>) -> Read<usize> {
        let count = self.number()? as usize;
        for _ in 0..count {
            read(self)?;
        }
        Ok(count)
    }

    #[inline]
    pub(super) fn variant<T: Copy>(&mut self, all: &[T]) -> Read<T> {
        let number = self.number()? as usize;
        all.get(number).copied().ok_or(Unreadable)
    }
}

/// How a call ended, with the entry's place and time; none if the entry tells of no end.
pub(crate) fn finish(payload: &[u8]) -> Read<Option<(i64, i64, Finish<&str>)>> {
    let mut wire = Wire(payload);
    if wire.number()? != 1 {
        return Ok(None);
    }
    let (seq, at) = (wire.int()?, wire.int()?);
    wire.int()?; // call_seq
    let finish = Finish {
        outcome: wire.variant(Outcome::ALL)?,
        status: wire.maybe(Wire::short)?.map(i16::try_from).transpose()?,
        result_bytes: wire.maybe(Wire::int)?,
        result_digest: wire.maybe(Wire::digest)?,
        result: wire.maybe_text()?.map(std::str::from_utf8).transpose()?,
        given_back: wire.flag()?,
        commit_us: wire.maybe(Wire::short)?,
        upstream_us: wire.maybe(Wire::int)?,
    };
    wire.end()?;
    Ok(Some((seq, at, finish)))
}

/// What was decided of a call, read from its entry; what stands before it is passed over.
pub(crate) fn standing(payload: &[u8]) -> Read<Standing> {
    let mut wire = Wire::of_call(payload)?;
    wire.number()?; // direction
    wire.digest()?; // call_id
    wire.int()?; // received_at
    for _ in 0..8 {
        wire.maybe_text()?; // server to protocol
    }
    wire.maybe(Wire::digest)?; // trace_id
    for _ in 0..5 {
        wire.maybe_text()?; // method to request_id
    }
    wire.maybe(Wire::int)?; // request_bytes
    wire.maybe_text()?; // arguments
    wire.maybe_text()?; // effective_arguments
    wire.maybe(Wire::digest)?; // arguments_digest
    wire.each(|wire| wire.text().map(drop))?; // redacted
    match wire.variant(Verdict::ALL)? {
        Verdict::Allow => Ok(Standing::Admitted),
        said @ Verdict::Deny if wire.goes_on_held(said)? => Ok(Standing::Held),
        Verdict::Deny => Ok(Standing::Refused),
    }
}

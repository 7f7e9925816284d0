//! The entries of the log and their bytes in the journal.
//!
//! One file is: the eight bytes `weirjrnl`, the format version as u32, and frames. A frame is the payload's length (u32),
//! the CRC-32C of length and payload (u32), and the payload; all little-endian. The first payload is a [`Header`], every
//! other an [`Entry`], in the postcard format. Files are zeroed ahead, so a length of zero is the end; so is any frame whose
//! checksum is wrong, because entries become durable by prefix and nothing behind such a frame was ever acknowledged.

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use crate::{Answer, Call, Event, Finish};

/// Format version of journal files.
pub(crate) const JOURNAL_VERSION: u32 = 1;

/// Largest payload. A request is bounded far below this; it keeps a damaged length from being believed.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 << 20;

const MAGIC: &[u8; 8] = b"weirjrnl";
/// Bytes of a frame in front of its payload.
pub(crate) const FRAME_HEAD: usize = 8;

/// What a journal file begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The node that writes.
    pub(crate) node: String,
    /// The file's number.
    pub(crate) number: u64,
    /// The next place in the log when the file was begun.
    pub(crate) next_seq: i64,
    /// The time of the last entry before.
    pub(crate) last_at: i64,
}

/// One entry: generic over what it carries, so that it is written by reference and read back borrowed.
///
/// The order of the variants is part of the format; new ones go to the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Entry<C, F, E, A> {
    /// A call was decided.
    Decided { seq: i64, at: i64, call: C },
    /// A call ended.
    Finished {
        seq: i64,
        at: i64,
        call_seq: i64,
        finish: F,
    },
    /// These decisions were refused because they could not be made durable.
    Void { seq: i64, at: i64, seqs: Vec<i64> },
    /// Something else happened.
    Event { seq: i64, at: i64, event: E },
    /// Whether a held call may pass was answered.
    Answered {
        seq: i64,
        at: i64,
        call_seq: i64,
        answer: A,
    },
}

/// An entry read from a journal.
pub(crate) type EntryRead<'a> =
    Entry<Call<&'a str>, Finish<&'a str>, Event<&'a str>, Answer<&'a str>>;

/// An entry about to be written.
pub(crate) type EntryWrite<'a, S> = Entry<&'a Call<S>, &'a Finish<S>, &'a Event<S>, &'a Answer<S>>;

/// Kind, place and time of an entry, read without the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) seq: i64,
    pub(crate) at: i64,
}

/// What an entry is, and of which call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Decided,
    Finished { call_seq: i64 },
    Void,
    Event,
    Answered { call_seq: i64 },
}

impl Head {
    /// Reads the head of a payload: the variant's number, then the fields in their order.
    pub(crate) fn of(payload: &[u8]) -> Option<Self> {
        let ((variant, seq, at), rest) =
            postcard::take_from_bytes::<(u32, i64, i64)>(payload).ok()?;
        let kind = match variant {
            0 => Kind::Decided,
            1 => Kind::Finished {
                call_seq: postcard::take_from_bytes::<i64>(rest).ok()?.0,
            },
            2 => Kind::Void,
            3 => Kind::Event,
            4 => Kind::Answered {
                call_seq: postcard::take_from_bytes::<i64>(rest).ok()?.0,
            },
            _ => return None,
        };
        Some(Self { kind, seq, at })
    }
}

/// Reads a whole entry.
pub(crate) fn read_entry(payload: &[u8]) -> Option<EntryRead<'_>> {
    postcard::from_bytes(payload).ok()
}

/// Appends the frame of an entry. False if it is too large: then the bytes are as they were.
#[must_use]
pub(crate) fn append_entry<S: Serialize>(entry: &EntryWrite<'_, S>, bytes: &mut Vec<u8>) -> bool {
    append_frame(entry, bytes)
}

/// Appends the frame of an entry that was read from another file.
pub(crate) fn append_payload(payload: &[u8], bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.resize(start + FRAME_HEAD, 0);
    bytes.extend_from_slice(payload);
    seal_frame(bytes, start);
}

/// The first bytes of a file.
pub(crate) fn file_head(header: &Header) -> Option<Vec<u8>> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(JOURNAL_VERSION.to_le_bytes());
    append_frame(header, &mut bytes).then_some(bytes)
}

fn append_frame(value: &impl Serialize, bytes: &mut Vec<u8>) -> bool {
    let start = bytes.len();
    bytes.resize(start + FRAME_HEAD, 0);
    let end = bytes.len() + PAYLOAD_BYTES_MAX;
    let fits = postcard::serialize_with_flavor(value, Tail { bytes, end }).is_ok();
    if fits {
        seal_frame(bytes, start);
    } else {
        bytes.truncate(start);
    }
    fits
}

/// The end of a buffer, where a value is written, up to a bound.
struct Tail<'b> {
    bytes: &'b mut Vec<u8>,
    end: usize,
}

impl Flavor for Tail<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if self.bytes.len() + bytes.len() > self.end {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Fills in length and checksum in front of the payload of the frame that begins here.
fn seal_frame(bytes: &mut [u8], start: usize) {
    let Some((head, payload)) = bytes
        .get_mut(start..)
        .and_then(|frame| frame.split_at_mut_checked(FRAME_HEAD))
    else {
        return;
    };
    let (size, sum) = head.split_at_mut(4);
    size.copy_from_slice(&(payload.len() as u32).to_le_bytes());
    sum.copy_from_slice(&checksum(size, payload).to_le_bytes());
}

fn checksum(size: &[u8], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(size), payload)
}

/// What the first bytes of a file say.
#[derive(Debug)]
pub(crate) enum Opening<'a> {
    /// A journal, and its frames.
    Journal(Header, Frames<'a>),
    /// Nothing was ever made durable in it: it was only prepared, or torn within its head.
    Blank,
    /// A journal of a later version.
    Later(u32),
}

/// Reads the first bytes of a file.
pub(crate) fn open_file(bytes: &[u8]) -> Opening<'_> {
    let Some((magic, rest)) = bytes.split_first_chunk::<8>() else {
        return Opening::Blank;
    };
    let Some((version, rest)) = rest.split_first_chunk::<4>() else {
        return Opening::Blank;
    };
    if magic != MAGIC {
        return Opening::Blank;
    }
    match u32::from_le_bytes(*version) {
        JOURNAL_VERSION => {}
        0 => return Opening::Blank,
        later => return Opening::Later(later),
    }
    let mut frames = Frames { rest };
    match frames
        .next()
        .and_then(|payload| postcard::from_bytes(payload).ok())
    {
        Some(header) => Opening::Journal(header, frames),
        None => Opening::Blank,
    }
}

/// The payloads of a file, up to the first that is not whole.
#[derive(Debug, Clone)]
pub(crate) struct Frames<'a> {
    rest: &'a [u8],
}

impl Frames<'_> {
    /// Whether anything but zeros is left: the tail was torn.
    pub(crate) fn is_torn(&self) -> bool {
        // By the block: a loop that may stop at every byte takes one byte at a time, and the room that is left is megabytes.
        let is_used = |block: &[u8]| block.iter().fold(0_u8, |used, byte| used | byte) != 0;
        self.rest.chunks(4096).any(is_used)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (size, rest) = self.rest.split_first_chunk::<4>()?;
        let (sum, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*size) as usize;
        if length == 0 || length > PAYLOAD_BYTES_MAX {
            return None;
        }
        let (payload, rest) = rest.split_at_checked(length)?;
        if checksum(size, payload) != u32::from_le_bytes(*sum) {
            return None;
        }
        self.rest = rest;
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )]

    use super::*;
    use crate::{EventKind, Outcome, Verdict};

    fn file() -> (Vec<u8>, Vec<usize>) {
        let header = Header {
            node: "n".into(),
            number: 3,
            next_seq: 7,
            last_at: 99,
        };
        let mut bytes = file_head(&header).unwrap();
        let mut ends = vec![bytes.len()];
        let call = Call {
            tool: Some("vm_stop"),
            verdict: Verdict::Allow,
            ..Call::default()
        };
        let finish = Finish {
            outcome: Outcome::Ok,
            ..Finish::default()
        };
        let event = Event {
            text: Some("hello"),
            ..Event::of(EventKind::Start)
        };
        let answer = Answer {
            verdict: Verdict::Allow,
            by: Some("anna"),
            ..Answer::default()
        };
        for entry in [
            Entry::Decided {
                seq: 7,
                at: 100,
                call: &call,
            },
            Entry::Finished {
                seq: 8,
                at: 101,
                call_seq: 7,
                finish: &finish,
            },
            Entry::Void {
                seq: 9,
                at: 102,
                seqs: vec![1, 2],
            },
            Entry::Event {
                seq: 10,
                at: 103,
                event: &event,
            },
            Entry::Answered {
                seq: 11,
                at: 104,
                call_seq: 7,
                answer: &answer,
            },
        ] {
            assert!(append_entry(&entry, &mut bytes));
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn seqs(bytes: &[u8]) -> Option<Vec<i64>> {
        match open_file(bytes) {
            Opening::Journal(_, frames) => Some(frames.map(|p| Head::of(p).unwrap().seq).collect()),
            Opening::Blank | Opening::Later(_) => None,
        }
    }

    #[test]
    fn entries_are_read_back_as_written() {
        let (bytes, _) = file();
        let Opening::Journal(header, frames) = open_file(&bytes) else {
            panic!("no journal")
        };
        assert_eq!((header.number, header.next_seq, header.last_at), (3, 7, 99));
        let entries: Vec<_> = frames.map(|p| read_entry(p).unwrap()).collect();
        assert!(
            matches!(&entries[0], Entry::Decided { seq: 7, at: 100, call } if call.tool == Some("vm_stop"))
        );
        assert!(matches!(
            &entries[1],
            Entry::Finished {
                seq: 8,
                at: 101,
                call_seq: 7,
                ..
            }
        ));
        assert!(matches!(&entries[2], Entry::Void { seq: 9, seqs, .. } if seqs == &[1, 2]));
        assert!(
            matches!(&entries[3], Entry::Event { seq: 10, event, .. } if event.text == Some("hello"))
        );
        assert!(
            matches!(&entries[4], Entry::Answered { seq: 11, call_seq: 7, answer, .. } if answer.by == Some("anna"))
        );
    }

    #[test]
    fn heads_agree_with_whole_entries() {
        let (bytes, _) = file();
        let Opening::Journal(_, frames) = open_file(&bytes) else {
            panic!("no journal")
        };
        let heads: Vec<_> = frames.map(|p| Head::of(p).unwrap()).collect();
        let kinds: Vec<_> = heads.iter().map(|h| h.kind).collect();
        assert_eq!(
            kinds,
            [
                Kind::Decided,
                Kind::Finished { call_seq: 7 },
                Kind::Void,
                Kind::Event,
                Kind::Answered { call_seq: 7 },
            ]
        );
        assert_eq!(
            heads.iter().map(|h| h.at).collect::<Vec<_>>(),
            [100, 101, 102, 103, 104]
        );
    }

    #[test]
    fn a_tail_cut_at_any_byte_leaves_exactly_the_whole_entries_before_it() {
        let (bytes, ends) = file();
        for cut in 0..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count();
            let expected = (whole > 0).then(|| (7..7 + whole as i64 - 1).collect::<Vec<_>>());
            assert_eq!(seqs(&bytes[..cut]), expected, "cut at {cut}");
            let mut zeroed = bytes.clone();
            zeroed[cut..].fill(0);
            // A byte that was zero anyway may make the zeroed file whole for longer than the cut one.
            let got = seqs(&zeroed).unwrap_or_default().len();
            assert!(
                got >= expected.unwrap_or_default().len(),
                "zeroed from {cut}"
            );
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_ends_the_journal_there() {
        let (bytes, ends) = file();
        for at in ends[0]..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                let whole = ends.iter().filter(|end| **end <= at).count() - 1;
                assert_eq!(seqs(&bad).unwrap().len(), whole, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_zeroed_file_is_blank_and_a_later_version_is_said_so() {
        assert!(matches!(open_file(&[0; 4096]), Opening::Blank));
        let (mut bytes, _) = file();
        bytes[8] = 2;
        assert!(matches!(open_file(&bytes), Opening::Later(2)));
    }
}

//! Server-sent events as they stand on the wire: split where a client would split, passed on byte for byte.
//!
//! [`Splitter`] takes chunks as they arrive, however they were cut, and gives back whole events with the bytes they
//! came in; concatenated, the events are the stream. [`Event::message`] writes one. Lines end with CRLF, LF or CR, and a client
//! sees the same events whichever it was (WHATWG HTML, "Server-sent events").

use bytes::{Bytes, BytesMut};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// One event, comment or empty line of a stream, with the very bytes it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// As it came, comments, `id:` and `retry:` lines and line ends included.
    pub raw: Bytes,
}

impl Event {
    /// An event of type `message` that carries one JSON text.
    pub fn message(json: &[u8]) -> Self {
        Self::written(&[b"event: message"], json)
    }

    /// What a client is given as data: the `data` lines joined by a newline; `None` if the event has none.
    ///
    /// Copies nothing where there is one line, which is how every MCP server writes.
    pub fn data(&self) -> Option<Bytes> {
        let mut lines = self.values(b"data");
        let first = lines.next()?;
        let Some(second) = lines.next() else {
            return Some(self.raw.slice_ref(first));
        };
        let mut joined = first.to_vec();
        for line in std::iter::once(second).chain(lines) {
            joined.push(b'\n');
            joined.extend_from_slice(line);
        }
        Some(joined.into())
    }

    /// The last `event` line of the event, if it has one: its type.
    pub fn name(&self) -> Option<&[u8]> {
        self.values(b"event").last()
    }

    /// The last `id` line of the event, if it has one.
    pub fn id(&self) -> Option<&[u8]> {
        self.values(b"id").last()
    }

    /// The same event with other data: its `event`, `id` and `retry` lines and comments stay. A line that begins with a byte order
    /// mark means nothing where it is, and would be read if it came to stand first in the stream.
    #[must_use]
    pub fn with_data(&self, json: &[u8]) -> Self {
        let kept: Vec<&[u8]> = self
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with(BOM) && field(line).0 != b"data")
            .collect();
        Self::written(&kept, json)
    }

    /// JSON holds raw CR and LF only as white space, so either may become a line break of the data.
    fn written(lines: &[&[u8]], json: &[u8]) -> Self {
        let mut raw = BytesMut::with_capacity(json.len() + 64);
        for line in lines {
            raw.extend_from_slice(line);
            raw.extend_from_slice(b"\n");
        }
        for line in json.split(|&byte| matches!(byte, b'\n' | b'\r')) {
            raw.extend_from_slice(b"data: ");
            raw.extend_from_slice(line);
            raw.extend_from_slice(b"\n");
        }
        raw.extend_from_slice(b"\n");
        Self { raw: raw.freeze() }
    }

    fn values<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.lines()
            .map(field)
            .filter_map(move |(key, value)| (key == name).then_some(value))
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        // Clients drop the mark at the start of a stream; a line that begins with it anywhere else is no `data` line
        // to them, and being read as one here at worst filters an event that nobody would have seen.
        let mut rest = self.raw.strip_prefix(BOM).unwrap_or(&self.raw);
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let end = rest
                .iter()
                .position(|&byte| matches!(byte, b'\r' | b'\n'))
                .unwrap_or(rest.len());
            let (line, tail) = rest.split_at_checked(end)?;
            rest = tail
                .strip_prefix(b"\r\n")
                .or_else(|| tail.strip_prefix(b"\r"))
                .or_else(|| tail.strip_prefix(b"\n"))
                .unwrap_or_default();
            Some(line)
        })
    }
}

/// Splits a stream into events, holding back no complete one and no more than `event_bytes_max` of an open one.
#[derive(Debug)]
pub struct Splitter {
    open: BytesMut,
    /// How much of `open` has been looked at.
    seen: usize,
    /// Where the line being read began.
    line: usize,
    /// The last byte was a CR: an LF that follows belongs to it.
    after_cr: bool,
    /// The open event has a line that is neither empty nor a comment.
    has_field: bool,
    first: bool,
    event_bytes_max: usize,
}

/// An event larger than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {event_bytes_max} bytes")]
pub struct EventTooLarge {
    /// The limit it broke.
    pub event_bytes_max: usize,
}

impl Splitter {
    /// A splitter at the start of a stream.
    pub fn new(event_bytes_max: usize) -> Self {
        Self {
            open: BytesMut::new(),
            seen: 0,
            line: 0,
            after_cr: false,
            has_field: false,
            first: true,
            event_bytes_max,
        }
    }

    /// Takes the next bytes of the stream; read [`Splitter::next_event`] until it is dry before pushing more.
    pub fn push(&mut self, chunk: &[u8]) {
        self.open.extend_from_slice(chunk);
    }

    /// The next complete event.
    ///
    /// A comment outside an event is complete at its line end, so that a keep-alive is not held back and cannot add up.
    pub fn next_event(&mut self) -> Result<Option<Event>, EventTooLarge> {
        while let Some(&byte) = self.open.get(self.seen) {
            let at = self.seen;
            self.seen += 1;
            if byte == b'\n' && std::mem::take(&mut self.after_cr) {
                self.line = self.seen; // the second half of a CRLF
                continue;
            }
            self.after_cr = byte == b'\r';
            if matches!(byte, b'\r' | b'\n') && self.ends_event(at) {
                return self.cut().map(Some);
            }
        }
        if self.open.len() > self.event_bytes_max {
            Err(self.too_large())
        } else {
            Ok(None)
        }
    }

    /// What was left when the stream ended: an event that was never completed, which a client drops.
    pub fn finish(self) -> Bytes {
        self.open.freeze()
    }

    /// Whether the line that ends before `end` completes what is open.
    fn ends_event(&mut self, end: usize) -> bool {
        let line = self.open.get(self.line..end).unwrap_or_default();
        let line = if self.first && self.line == 0 {
            line.strip_prefix(BOM).unwrap_or(line)
        } else {
            line
        };
        self.line = self.seen;
        match line.first() {
            None => true,
            Some(b':') => !self.has_field,
            Some(_) => {
                self.has_field = true;
                false
            }
        }
    }

    fn cut(&mut self) -> Result<Event, EventTooLarge> {
        // The LF of a CRLF that is already here goes with its CR; one that comes later leads the next event.
        if self.after_cr && self.open.get(self.seen) == Some(&b'\n') {
            self.seen += 1;
            self.after_cr = false;
        }
        let raw = self.open.split_to(self.seen).freeze();
        (self.seen, self.line, self.has_field) = (0, 0, false);
        self.first = false;
        if raw.len() > self.event_bytes_max {
            Err(self.too_large())
        } else {
            Ok(Event { raw })
        }
    }

    fn too_large(&self) -> EventTooLarge {
        EventTooLarge {
            event_bytes_max: self.event_bytes_max,
        }
    }
}

/// A line's field name and value; a comment has an empty name.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = line.splitn(2, |&byte| byte == b':');
    let name = parts.next().unwrap_or_default();
    let value = parts.next().unwrap_or_default();
    (name, value.strip_prefix(b" ").unwrap_or(value))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;

    const STREAM: &[u8] =
        b"\xef\xbb\xbfid: 1\ndata: {\"a\":1}\n\n: ping\n\nretry: 5\r\nevent: message\r\n\
        data:{\"b\":\r\ndata: 2}\r\n\r\ndata: c\r\r\n:tick\rdata\n\n\ndata: d\n: inside\nid: 9\n\n";

    /// Everything a client would be given, and the bytes.
    fn read(chunks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut splitter = Splitter::new(1 << 16);
        let (mut data, mut raw) = (Vec::new(), Vec::new());
        for chunk in chunks {
            splitter.push(chunk.as_ref());
            while let Some(event) = splitter.next_event().unwrap() {
                data.extend(event.data().map(Vec::from));
                raw.extend_from_slice(&event.raw);
            }
        }
        raw.extend_from_slice(&splitter.finish());
        (data, raw)
    }

    fn expected() -> Vec<Vec<u8>> {
        [b"{\"a\":1}".as_slice(), b"{\"b\":\n2}", b"c", b"", b"d"]
            .map(<[u8]>::to_vec)
            .to_vec()
    }

    #[test]
    fn a_stream_cut_at_any_two_places_reads_the_same_and_passes_unchanged() {
        for first in 0..=STREAM.len() {
            for second in first..=STREAM.len() {
                let (data, raw) =
                    read([&STREAM[..first], &STREAM[first..second], &STREAM[second..]]);
                assert_eq!(data, expected(), "cut at {first} and {second}");
                assert_eq!(raw, STREAM);
            }
        }
    }

    #[test]
    fn a_stream_that_arrives_byte_by_byte_reads_the_same() {
        let (data, raw) = read(STREAM.iter().map(|byte| [*byte]));
        assert_eq!(data, expected());
        assert_eq!(raw, STREAM);
    }

    #[test]
    fn an_event_is_complete_with_its_blank_line_whichever_way_lines_end() {
        for end in ["\n", "\r\n", "\r"] {
            let mut splitter = Splitter::new(100);
            splitter.push(format!("data: x{end}").as_bytes());
            assert_eq!(splitter.next_event(), Ok(None), "{end:?}");
            splitter.push(end.as_bytes());
            let event = splitter.next_event().unwrap().unwrap();
            assert_eq!(event.data().unwrap().as_ref(), b"x");
        }
    }

    #[test]
    fn a_comment_between_events_is_not_held_back() {
        let mut splitter = Splitter::new(16);
        for _ in 0..100 {
            splitter.push(b": keep-alive\n");
            assert_eq!(splitter.next_event().unwrap().unwrap().data(), None);
        }
    }

    #[test]
    fn an_event_larger_than_the_limit_is_an_error_whole_or_in_parts() {
        let event = [b"data: ".as_slice(), &[b'x'; 100], b"\n\n"].concat();
        let mut whole = Splitter::new(64);
        whole.push(&event);
        assert_eq!(
            whole.next_event(),
            Err(EventTooLarge {
                event_bytes_max: 64
            })
        );

        let mut parts = Splitter::new(64);
        let refused = event.iter().position(|byte| {
            parts.push(&[*byte]);
            parts.next_event().is_err()
        });
        assert_eq!(refused, Some(64));
    }

    #[test]
    fn an_unfinished_event_is_not_given_out() {
        let (data, raw) = read([b"data: a\n\ndata: b\n"]);
        assert_eq!(data, [b"a"]);
        assert_eq!(raw, b"data: a\n\ndata: b\n");
    }

    #[test]
    fn other_data_keeps_id_event_and_retry() {
        let mut splitter = Splitter::new(100);
        splitter
            .push(b"\xef\xbb\xbfid: 7\r\nevent: message\r\ndata: {\r\ndata: }\r\nretry: 3\r\n\r\n");
        let event = splitter.next_event().unwrap().unwrap();
        assert_eq!(event.id(), Some(b"7".as_slice()));
        assert_eq!(
            event.with_data(b"{\"n\":1}").raw,
            b"id: 7\nevent: message\nretry: 3\ndata: {\"n\":1}\n\n".as_slice()
        );
    }

    /// Found by `fuzz/run events`.
    #[test]
    fn a_mark_inside_an_event_does_not_come_to_stand_first() {
        let mut splitter = Splitter::new(100);
        splitter.push(b"data: 1\n\xef\xbb\xbfdata: 2\nid: 7\n\n");
        let event = splitter.next_event().unwrap().unwrap();
        let (data, _) = read([&event.with_data(b"{}").raw]);
        assert_eq!(data, [b"{}"]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for data in [b"{}".as_slice(), b"{\n\"a\":1}", b"", b": x"] {
            let written = Event::message(data).raw;
            let (read, raw) = read([&written]);
            assert_eq!(read, [data]);
            assert_eq!(raw, written);
        }
    }
}

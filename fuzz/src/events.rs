//! The reader of event streams: it does not matter how the stream was cut, its bytes pass unchanged, and a browser would see the same.

use crate::sse::{Event, Splitter};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The first byte says how the rest is cut.
pub fn check(bytes: &[u8]) {
    let Some((&step, stream)) = bytes.split_first() else {
        return;
    };
    let (events, rest) = read(std::iter::once(stream));
    let (cut, cut_rest) = read(stream.chunks(usize::from(step % 7) + 1));
    assert_eq!(
        passed(&events, &rest),
        stream,
        "bytes that changed on their way"
    );
    assert_eq!(
        passed(&cut, &cut_rest),
        stream,
        "bytes that changed on their way in pieces"
    );
    if !has_stray_mark(stream) {
        let told = told(&events);
        assert_eq!(told, self::told(&cut), "cut otherwise, it reads otherwise");
        assert_eq!(told, dispatched(stream), "a client is told something else");
    }
    for event in &events {
        let json = b"{\"n\":\r\n1}";
        let (again, rest) = read(std::iter::once(&*event.with_data(json).raw));
        assert!(rest.is_empty(), "{event:?}");
        let data: Vec<_> = again.iter().filter_map(Event::data).collect();
        assert_eq!(
            data.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>(),
            [b"{\"n\":\n\n1}"],
            "{event:?}"
        );
        assert_eq!(
            again
                .iter()
                .find_map(|event| event.id().map(<[u8]>::to_vec)),
            event.id().map(<[u8]>::to_vec)
        );
    }
}

fn read<'c>(chunks: impl Iterator<Item = &'c [u8]>) -> (Vec<Event>, Vec<u8>) {
    let mut splitter = Splitter::new(1 << 20);
    let mut events = Vec::new();
    for chunk in chunks {
        splitter.push(chunk);
        while let Some(event) = splitter
            .next_event()
            .expect("no event is larger than the stream")
        {
            events.push(event);
        }
    }
    (events, splitter.finish().to_vec())
}

/// A line that begins with a mark, anywhere but at the start, is no field for a client; Weir may read it as one where it begins an
/// event, so as to filter rather too much.
fn has_stray_mark(stream: &[u8]) -> bool {
    let doubled = stream
        .strip_prefix(BOM)
        .is_some_and(|rest| rest.starts_with(BOM));
    let after_line = |four: &[u8]| matches!(four[0], b'\r' | b'\n') && &four[1..] == BOM;
    doubled || stream.windows(4).any(after_line)
}

/// What a client is told.
fn told(events: &[Event]) -> Vec<Vec<u8>> {
    events
        .iter()
        .filter_map(|event| event.data().map(|data| data.to_vec()))
        .collect()
}

/// What goes on, byte for byte.
fn passed(events: &[Event], rest: &[u8]) -> Vec<u8> {
    events
        .iter()
        .flat_map(|event| event.raw.to_vec())
        .chain(rest.iter().copied())
        .collect()
}

/// What a client dispatches, line by line as WHATWG HTML has it (9.2.6).
fn dispatched(stream: &[u8]) -> Vec<Vec<u8>> {
    let text = stream.strip_prefix(BOM).unwrap_or(stream);
    let (mut all, mut data, mut line) = (Vec::new(), None::<Vec<u8>>, Vec::new());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if !matches!(byte, b'\r' | b'\n') {
            line.push(byte);
            continue;
        }
        if byte == b'\r' && bytes.peek() == Some(&b'\n') {
            bytes.next();
        }
        let ended = std::mem::take(&mut line);
        if ended.is_empty() {
            all.extend(data.take());
            continue;
        }
        let (name, value) = match ended.iter().position(|byte| *byte == b':') {
            Some(at) => (
                &ended[..at],
                ended[at + 1..]
                    .strip_prefix(b" ")
                    .unwrap_or(&ended[at + 1..]),
            ),
            None => (&ended[..], &b""[..]),
        };
        if name == b"data" {
            match &mut data {
                Some(data) => data.extend([b"\n", value].concat()),
                None => data = Some(value.to_vec()),
            }
        }
    }
    all
}

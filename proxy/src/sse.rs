//! Server-sent events, passed on byte for byte and looked at from the side.

use bytes::Bytes;

/// One event: the very bytes up to and including the blank line that ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// As it came, comments, `id:` and `retry:` lines included.
    pub raw: Bytes,
}

impl Event {
    /// The event's `data`, its lines joined by `\n`; `None` for an event without any (a comment, a keep-alive).
    pub fn data(&self) -> Option<Bytes> {
        let mut joined: Option<Vec<u8>> = None;
        for line in self.raw.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Some(rest) = line.strip_prefix(b"data") else {
                continue;
            };
            let value = match rest {
                [] => rest,
                [b':', b' ', value @ ..] | [b':', value @ ..] => value,
                _ => continue,
            };
            match &mut joined {
                None => joined = Some(value.to_vec()),
                Some(lines) => {
                    lines.push(b'\n');
                    lines.extend_from_slice(value);
                }
            }
        }
        joined.map(Bytes::from)
    }

    /// An event of type `message` that carries one JSON text.
    pub fn message(json: &[u8]) -> Self {
        let mut raw = Vec::with_capacity(json.len() + 24);
        raw.extend_from_slice(b"event: message\n");
        for line in json.split(|byte| *byte == b'\n') {
            raw.extend_from_slice(b"data: ");
            raw.extend_from_slice(line);
            raw.push(b'\n');
        }
        raw.push(b'\n');
        Self { raw: raw.into() }
    }

    /// The same event with other data: its `event:`, `id:`, `retry:` lines and comments stay.
    #[must_use]
    pub fn with_data(&self, json: &[u8]) -> Self {
        let mut raw = Vec::with_capacity(self.raw.len() + json.len());
        for line in self.raw.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() || line == b"data" || line.starts_with(b"data:") {
                continue;
            }
            raw.extend_from_slice(line);
            raw.push(b'\n');
        }
        for line in json.split(|byte| *byte == b'\n') {
            raw.extend_from_slice(b"data: ");
            raw.extend_from_slice(line);
            raw.push(b'\n');
        }
        raw.push(b'\n');
        Self { raw: raw.into() }
    }
}

//! A pipe as lines, split on `\n` only and none longer than a message may be.

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// What the next line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A line that is not empty, without its end.
    Whole(Bytes),
    /// A line that is longer than a message may be; it was passed over.
    TooLong { length: u64 },
    /// The pipe was closed in the middle of a line.
    Cut(Bytes),
    /// The pipe was closed.
    End,
}

pub(super) struct Lines<R> {
    from: BufReader<R>,
    bytes_max: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: R, bytes_max: usize) -> Self {
        Self {
            from: BufReader::with_capacity(64 << 10, from),
            bytes_max,
        }
    }

    /// The next line. A pipe that cannot be read is closed.
    pub(super) async fn next(&mut self) -> Line {
        let mut line = Vec::new();
        let mut length: u64 = 0;
        loop {
            let Ok(filled) = self.from.fill_buf().await else {
                return Line::End;
            };
            if filled.is_empty() {
                return match length {
                    0 => Line::End,
                    _ => Line::Cut(line.into()),
                };
            }
            let end = filled.iter().position(|&byte| byte == b'\n');
            let part = filled
                .get(..end.unwrap_or(filled.len()))
                .unwrap_or_default();
            let taken = part.len() + usize::from(end.is_some());
            length += part.len() as u64;
            if length <= self.bytes_max as u64 {
                line.extend_from_slice(part);
            } else {
                line = Vec::new();
            }
            self.from.consume(taken);
            if end.is_none() {
                continue;
            }
            if length > self.bytes_max as u64 {
                return Line::TooLong { length };
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Line::Whole(line.into());
            }
            line.clear();
            length = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_end_at_line_feeds_only_and_none_is_kept_beyond_its_limit() {
        let text = "a\r\n\n  \n\u{2028}b\rc\n0123456789\n012345678901234567890\nlast\nhalf";
        let mut lines = Lines::new(text.as_bytes(), 10);
        let whole = |text: &'static str| Line::Whole(Bytes::from_static(text.as_bytes()));
        assert_eq!(lines.next().await, whole("a\r"));
        assert_eq!(lines.next().await, whole("\u{2028}b\rc"));
        assert_eq!(lines.next().await, whole("0123456789"));
        assert_eq!(lines.next().await, Line::TooLong { length: 21 });
        assert_eq!(lines.next().await, whole("last"));
        assert_eq!(lines.next().await, Line::Cut(Bytes::from_static(b"half")));
        assert_eq!(lines.next().await, Line::End);
    }
}

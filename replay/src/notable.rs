//! Rows that the digest, the chart and `--out` speak of, in bounded memory: what is too much for it goes to a file that has no name.
//!
//! Each partition notes its rows in the order of the log, so all that is left to do at the end is to merge sorted runs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use crate::Class;
use crate::symbols::{Symbol, Symbols};

/// Rows of all partitions together that are kept in memory; 72 bytes each.
const IN_MEMORY: usize = 1 << 20;

/// A row as it enters the digest and `--out`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Notable {
    /// Which of the nodes, in the order of their names.
    pub(crate) node: u32,
    pub(crate) seq: i64,
    pub(crate) decided_at: i64,
    pub(crate) call_id: [u8; 16],
    pub(crate) class: Class,
    pub(crate) after_divergence: bool,
    /// In the words of its partition.
    pub(crate) words: Said,
}

/// What would have been said of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) reason: Symbol,
    pub(crate) would_verdict: Symbol,
    pub(crate) would_rule: Symbol,
    pub(crate) would_message: Symbol,
}

const BYTES: usize = 4 + 8 + 8 + 16 + 2 + 4 * 4;

impl Notable {
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let Said {
            reason,
            would_verdict,
            would_rule,
            would_message,
        } = self.words;
        to.write_all(&self.node.to_le_bytes())?;
        to.write_all(&self.seq.to_le_bytes())?;
        to.write_all(&self.decided_at.to_le_bytes())?;
        to.write_all(&self.call_id)?;
        to.write_all(&[self.class as u8, u8::from(self.after_divergence)])?;
        for word in [reason, would_verdict, would_rule, would_message] {
            to.write_all(&word.number().to_le_bytes())?;
        }
        Ok(())
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut bytes = [0; BYTES];
        from.read_exact(&mut bytes)?;
        let mut rest = bytes.as_slice();
        let node = u32::from_le_bytes(part(&mut rest)?);
        let seq = i64::from_le_bytes(part(&mut rest)?);
        let decided_at = i64::from_le_bytes(part(&mut rest)?);
        let call_id = part(&mut rest)?;
        let [class, after_divergence] = part(&mut rest)?;
        let mut word =
            || Ok::<_, io::Error>(Symbol::numbered(u32::from_le_bytes(part(&mut rest)?)));
        let words = Said {
            reason: word()?,
            would_verdict: word()?,
            would_rule: word()?,
            would_message: word()?,
        };
        Ok(Self {
            node,
            seq,
            decided_at,
            call_id,
            class: *Class::ALL
                .get(usize::from(class))
                .ok_or(io::ErrorKind::InvalidData)?,
            after_divergence: after_divergence != 0,
            words,
        })
    }
}

fn part<const N: usize>(rest: &mut &[u8]) -> io::Result<[u8; N]> {
    let (part, behind) = rest
        .split_first_chunk()
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    *rest = behind;
    Ok(*part)
}

/// The rows that one partition noted, in the order of the log.
#[derive(Debug)]
pub(crate) struct Notables {
    pub(crate) symbols: Symbols,
    most: usize,
    waiting: Vec<Notable>,
    spilled: Option<BufWriter<File>>,
    in_file: u64,
}

impl Notables {
    /// Room for the rows of one of so many partitions.
    pub(crate) fn one_of(partitions: usize) -> Self {
        Self::holding((IN_MEMORY / partitions.max(1)).max(1024))
    }

    fn holding(most: usize) -> Self {
        Self {
            symbols: Symbols::default(),
            most,
            waiting: Vec::new(),
            spilled: None,
            in_file: 0,
        }
    }

    pub(crate) fn push(&mut self, row: Notable) -> io::Result<()> {
        self.waiting.push(row);
        if self.waiting.len() < self.most {
            return Ok(());
        }
        let file = match &mut self.spilled {
            Some(file) => file,
            none => none.insert(BufWriter::with_capacity(1 << 18, tempfile::tempfile()?)),
        };
        for row in self.waiting.drain(..) {
            row.write(file)?;
            self.in_file += 1;
        }
        Ok(())
    }

    fn read(self) -> io::Result<Run> {
        let spilled = match self.spilled {
            None => None,
            Some(file) => {
                let mut file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.rewind()?;
                Some(BufReader::with_capacity(1 << 18, file))
            }
        };
        Ok(Run {
            symbols: self.symbols,
            spilled,
            in_file: self.in_file,
            waiting: self.waiting.into_iter(),
        })
    }
}

/// One partition's rows, being read.
struct Run {
    symbols: Symbols,
    spilled: Option<BufReader<File>>,
    in_file: u64,
    waiting: std::vec::IntoIter<Notable>,
}

impl Run {
    fn next(&mut self) -> io::Result<Option<Notable>> {
        match &mut self.spilled {
            Some(file) if self.in_file > 0 => {
                self.in_file -= 1;
                Notable::read(file).map(Some)
            }
            Some(_) | None => Ok(self.waiting.next()),
        }
    }
}

/// Visits the rows of all partitions in (node, `seq`) order.
pub(crate) fn in_order<E: From<io::Error>>(
    all: impl IntoIterator<Item = Notables>,
    mut visit: impl FnMut(&Notable, &Symbols) -> Result<(), E>,
) -> Result<(), E> {
    let mut runs = Vec::new();
    for notables in all {
        runs.push(notables.read()?);
    }
    let mut heads = BinaryHeap::new();
    let mut next: Vec<Option<Notable>> = Vec::new();
    for (which, run) in runs.iter_mut().enumerate() {
        let head = run.next()?;
        heads.extend(head.map(|row| Reverse((row.node, row.seq, which))));
        next.push(head);
    }
    while let Some(Reverse((_, _, which))) = heads.pop() {
        let (Some(run), Some(head)) = (runs.get_mut(which), next.get_mut(which)) else {
            continue;
        };
        if let Some(row) = head.take() {
            visit(&row, &run.symbols)?;
        }
        *head = run.next()?;
        heads.extend(head.map(|row| Reverse((row.node, row.seq, which))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn row(seq: i64, words: &mut Symbols) -> Notable {
        let mut word = |text: &str| words.of(&format!("{text}{seq}"));
        Notable {
            node: (seq / 500) as u32,
            seq,
            decided_at: seq * 7,
            call_id: seq.pow(2).to_le_bytes().repeat(2).try_into().unwrap(),
            class: *Class::ALL.get(seq as usize % 10).unwrap(),
            after_divergence: seq % 3 == 0,
            words: Said {
                reason: word("reason"),
                would_verdict: word("verdict"),
                would_rule: word("rule"),
                would_message: word("message"),
            },
        }
    }

    #[test]
    fn rows_come_back_in_order_from_memory_and_from_files() {
        for most in [7, 10_000] {
            let mut runs: Vec<Notables> = (0..3).map(|_| Notables::holding(most)).collect();
            for seq in 0..1000 {
                let run = runs.get_mut(seq as usize * 7 % 3).unwrap();
                let row = row(seq, &mut run.symbols);
                run.push(row).unwrap();
            }
            let mut read = Vec::new();
            in_order::<io::Error>(runs, |found, words| {
                let said = words.word(found.words.would_rule).to_string();
                let expected = row(found.seq, &mut Symbols::default());
                assert_eq!(
                    (found.class, found.call_id),
                    (expected.class, expected.call_id)
                );
                assert_eq!(
                    (found.node, found.decided_at),
                    (expected.node, expected.decided_at)
                );
                assert_eq!(found.after_divergence, expected.after_divergence);
                read.push((found.seq, said));
                Ok(())
            })
            .unwrap();
            let expected: Vec<_> = (0..1000).map(|seq| (seq, format!("rule{seq}"))).collect();
            assert_eq!(read, expected, "{most} in memory");
        }
    }
}

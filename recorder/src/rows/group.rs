//! Words that stand beside each other in an entry and mostly say together what they said in the row before.

use arrow::array::ArrayRef;

use super::Word;
use super::wire::{Read, Wire};

/// Dictionary columns in the making whose words follow one another in the entry. The same bytes are the same words: where an
/// entry goes on with the bytes of the one before, one comparison stands for parsing and comparing each of them.
pub(super) struct Group<const N: usize> {
    words: [Word; N],
    /// The bytes of the last row; none while there was no row, or one that was not taken as it stood.
    last: Vec<u8>,
    /// Rows that said the same since, and are in none of the words yet.
    repeated: usize,
}

impl<const N: usize> Default for Group<N> {
    fn default() -> Self {
        Self {
            words: std::array::from_fn(|_| Word::default()),
            last: Vec::new(),
            repeated: 0,
        }
    }
}

impl<const N: usize> Group<N> {
    /// Adds the words that the entry goes on with.
    #[inline]
    pub(super) fn push(&mut self, call: &mut Wire<'_>) -> Read<()> {
        if !self.last.is_empty() && call.pass(&self.last) {
            self.repeated += 1;
            return Ok(());
        }
        self.push_others(call)
    }

    fn push_others(&mut self, call: &mut Wire<'_>) -> Read<()> {
        self.settle();
        let begun = *call;
        for word in &mut self.words {
            word.append_option(call.maybe_text()?)?;
        }
        self.last.clear();
        self.last.extend_from_slice(begun.until(call));
        Ok(())
    }

    /// Adds these words, where there are any, in the place of those that the entry goes on with.
    pub(super) fn push_instead(
        &mut self,
        call: &mut Wire<'_>,
        instead: [Option<&str>; N],
    ) -> Read<()> {
        self.settle();
        self.last.clear();
        for (word, instead) in self.words.iter_mut().zip(instead) {
            let said = call.maybe_text()?;
            word.append_option(instead.map(str::as_bytes).or(said))?;
        }
        Ok(())
    }

    /// The columns since the last batch.
    pub(super) fn finish(&mut self) -> Read<Vec<ArrayRef>> {
        self.settle();
        self.words.iter_mut().map(Word::finish).collect()
    }

    fn settle(&mut self) {
        for word in &mut self.words {
            word.repeat(self.repeated);
        }
        self.repeated = 0;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use arrow::array::{Array, AsArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn wire(row: [Option<&str>; 2]) -> Vec<u8> {
        postcard::to_stdvec(&row).unwrap()
    }

    fn words(columns: &[ArrayRef]) -> Vec<[Option<&str>; 2]> {
        let word = |column: usize, row: usize| {
            let column = columns.get(column).unwrap().as_dictionary::<Int32Type>();
            let values = column.values().as_string::<i32>();
            column.key(row).map(|key| values.value(key))
        };
        let rows = columns.first().unwrap().len();
        (0..rows).map(|row| [word(0, row), word(1, row)]).collect()
    }

    #[test]
    fn rows_come_out_as_they_went_in_also_across_batches() {
        let mut group = Group::<2>::default();
        let (a, b, c) = (
            [Some("truenas"), None],
            [Some("truenas"), Some("ops")],
            [None, Some("")],
        );
        for rows in [&[a, a, b, b, b, c][..], &[c, c, a], &[a], &[b, c]] {
            for row in rows {
                let bytes = wire(*row);
                let mut wire = Wire::new(&bytes);
                group.push(&mut wire).unwrap();
                wire.end().unwrap();
            }
            assert_eq!(words(&group.finish().unwrap()), rows);
        }
    }

    #[test]
    fn words_given_instead_are_not_repeated_for_a_row_that_was_taken_as_it_stood() {
        let mut group = Group::<2>::default();
        let bytes = wire([Some("allowed"), None]);
        group.push(&mut Wire::new(&bytes)).unwrap();
        let mut voided = Wire::new(&bytes);
        group
            .push_instead(&mut voided, [Some("unrecorded"), None])
            .unwrap();
        voided.end().unwrap();
        group.push(&mut Wire::new(&bytes)).unwrap();
        let said = |word| [Some(word), None];
        assert_eq!(
            words(&group.finish().unwrap()),
            [said("allowed"), said("unrecorded"), said("allowed")]
        );
    }

    #[test]
    fn an_entry_that_ends_within_a_word_is_unreadable() {
        let mut group = Group::<2>::default();
        let bytes = wire([Some("truenas"), Some("ops")]);
        group.push(&mut Wire::new(&bytes)).unwrap();
        let (cut, _) = bytes.split_at(bytes.len() - 1);
        assert!(group.push(&mut Wire::new(cut)).is_err());
    }
}

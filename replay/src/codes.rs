//! One number for everything that tells kinds of rows apart.
//!
//! The words of a column are numbered by its dictionary, so a row's words are the digits of one number in a mixed radix. It is made
//! column by column, without a branch or a look-up a row; equal numbers are rows of one kind, which is then looked up once a batch.

use arrow::array::{Array as _, RecordBatch};
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::ReplayError;
use crate::columns::{Steps, Words};

/// The columns of words that tell kinds apart, in the order of [`Batch::word`].
pub(crate) const TELLING: [&str; 10] = [
    "direction",
    "server",
    "grant",
    "wire_tool",
    "tool",
    "verdict",
    "reason",
    "rule",
    "policy_digest",
    "resolver_digest",
];

/// The columns of a batch that tell kinds of rows apart.
pub(crate) struct Telling {
    words: Vec<Words>,
    engine: Words,
    via: Steps,
    /// For each row, the number of its kind within the batch.
    pub(crate) codes: Vec<u64>,
}

impl Telling {
    pub(crate) fn of(batch: &RecordBatch) -> Result<Self, ReplayError> {
        let words = TELLING.map(|name| Words::of(batch, name));
        let mut telling = Self {
            words: words.into_iter().collect::<Result<_, _>>()?,
            engine: Words::of(batch, "engine")?,
            via: Steps::of(batch)?,
            codes: Vec::new(),
        };
        let mut mixed = Mixed {
            codes: vec![0; batch.num_rows()],
            reach: 1,
        };
        for words in telling.words.iter().chain([&telling.engine]) {
            mixed.words(words);
        }
        mixed.steps(&telling.via);
        telling.codes = mixed.codes;
        Ok(telling)
    }

    /// The words of a row, in the order of [`TELLING`], its engine and its steps.
    pub(crate) fn row(&self, row: usize) -> ([&str; TELLING.len()], &str, Vec<&str>) {
        let mut all = [""; TELLING.len()];
        for (word, words) in all.iter_mut().zip(&self.words) {
            *word = words.at(row);
        }
        (all, self.engine.at(row), self.via.at(row).collect())
    }
}

/// Numbers being made.
struct Mixed {
    codes: Vec<u64>,
    /// All of them are less than this.
    reach: u64,
}

impl Mixed {
    /// Makes room for a digit below `radix`; what it counts by.
    fn stride(&mut self, radix: usize) -> u64 {
        let radix = radix as u64;
        if self.reach.checked_mul(radix).is_none() {
            // Numbered anew there are no more of them than rows.
            let mut numbers: HashMap<u64, u64> = HashMap::new();
            for code in &mut self.codes {
                let next = numbers.len() as u64;
                *code = *numbers.entry(*code).or_insert(next);
            }
            self.reach = numbers.len().max(1) as u64;
        }
        let stride = self.reach;
        self.reach = self.reach.saturating_mul(radix);
        stride
    }

    fn words(&mut self, words: &Words) {
        let Words { keys, values } = words;
        let nulls = keys.nulls().filter(|nulls| nulls.null_count() > 0);
        if values.len() <= 1 && nulls.is_none() {
            return; // the same word in every row
        }
        // Null is 0.
        let stride = self.stride(values.len() + 1);
        let rows = self.codes.iter_mut().zip(keys.values().iter());
        match nulls {
            None => rows.for_each(|(code, key)| {
                *code =
                    code.wrapping_add((u64::from(key.cast_unsigned()) + 1).wrapping_mul(stride));
            }),
            Some(nulls) => rows.zip(nulls.iter()).for_each(|((code, key), is_there)| {
                let digit = (u64::from(key.cast_unsigned()) + 1) * u64::from(is_there);
                *code = code.wrapping_add(digit.wrapping_mul(stride));
            }),
        }
    }

    /// Mostly there is one step or none; longer chains are numbered as they come.
    fn steps(&mut self, via: &Steps) {
        let Words { keys, values } = &via.words;
        let offsets = via.lists.value_offsets();
        if keys.is_empty() || offsets.first() == offsets.last() {
            return;
        }
        let singles = values.len() as u64;
        let mut chains: HashMap<SmallVec<[i32; 4]>, u64> = HashMap::new();
        let has_nulls = keys.null_count() > 0 || via.lists.null_count() > 0;
        let mut digits = Vec::with_capacity(self.codes.len());
        for (row, ends) in offsets.windows(2).enumerate() {
            let &[start, end] = ends else { continue };
            let digit = match end - start {
                0 => 0,
                1 if !has_nulls => {
                    let key = keys.values().get(start as usize).copied();
                    u64::from(key.unwrap_or_default().cast_unsigned()) + 1
                }
                _ => {
                    let steps = via.range(row);
                    let key = |step| keys.is_valid(step).then(|| keys.value(step));
                    let chain = steps.map(|step| key(step).unwrap_or(-1)).collect();
                    let next = singles + chains.len() as u64 + 1;
                    *chains.entry(chain).or_insert(next)
                }
            };
            digits.push(digit);
        }
        let stride = self.stride(values.len() + chains.len() + 1);
        for (code, digit) in self.codes.iter_mut().zip(digits) {
            *code = code.wrapping_add(digit.wrapping_mul(stride));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Int32Array, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn words(of: &[Option<&str>]) -> Words {
        let array: DictionaryArray<Int32Type> = of.iter().copied().collect();
        let array: arrow::array::ArrayRef = Arc::new(array);
        Words::of_array(&array, "tool").unwrap()
    }

    #[test]
    fn rows_have_one_code_exactly_where_all_their_words_are_equal() {
        let columns = [
            words(&[Some("a"), Some("a"), None, Some("b"), Some("a"), None]),
            words(&[
                Some("x"),
                Some("y"),
                Some("x"),
                Some("x"),
                Some("x"),
                Some("x"),
            ]),
            words(&[Some("same"); 6]),
        ];
        let mut mixed = Mixed {
            codes: vec![0; 6],
            reach: 1,
        };
        for column in &columns {
            mixed.words(column);
        }
        let code = |row: usize| mixed.codes[row];
        assert_eq!(code(0), code(4));
        assert_eq!(code(2), code(5));
        let mut all = mixed.codes.clone();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn more_words_than_a_number_can_hold_are_numbered_anew() {
        let rows = 3000_usize;
        let column = |step: usize| Words {
            keys: Int32Array::from_iter_values((0..rows).map(|row| (row * step % 2003) as i32)),
            values: StringArray::from_iter_values((0..2003).map(|word| word.to_string())),
        };
        let columns: Vec<Words> = (1..12).map(column).collect();
        let mut mixed = Mixed {
            codes: vec![0; rows],
            reach: 1,
        };
        for column in &columns {
            mixed.words(column);
        }
        let mut by_words: BTreeMap<Vec<i32>, u64> = BTreeMap::new();
        let mut codes = std::collections::BTreeSet::new();
        for row in 0..rows {
            let words = columns.iter().map(|c| c.keys.value(row)).collect();
            assert_eq!(
                *by_words.entry(words).or_insert(mixed.codes[row]),
                mixed.codes[row]
            );
            codes.insert(mixed.codes[row]);
        }
        assert_eq!(codes.len(), by_words.len());
    }
}

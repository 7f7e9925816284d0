//! Words of the record as numbers: a column's few different values are compared and looked up as
//! `u32`, whatever dictionary the file happened to write them with.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::ReplayError;

/// A word of the record. Equal words have equal symbols for the whole of one replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Symbol(u32);

impl Symbol {
    /// The empty word, which also stands for null.
    pub(crate) const EMPTY: Self = Self(0);
    const UNSEEN: Self = Self(u32::MAX);

    /// A small number: symbols count up from 0.
    pub(crate) fn place(self) -> usize {
        self.0 as usize
    }

    /// The symbol at a place.
    pub(crate) fn at(place: usize) -> Self {
        Self(place as u32)
    }
}

/// All words seen so far.
pub(crate) struct Symbols {
    words: Vec<Arc<str>>,
    by_word: HashMap<Arc<str>, Symbol>,
}

impl Default for Symbols {
    fn default() -> Self {
        let empty: Arc<str> = "".into();
        let mut by_word = HashMap::new();
        by_word.insert(Arc::clone(&empty), Symbol::EMPTY);
        Self {
            words: vec![empty],
            by_word,
        }
    }
}

impl Symbols {
    /// The symbol of `word`.
    pub(crate) fn of(&mut self, word: &str) -> Symbol {
        if let Some(symbol) = self.by_word.get(word) {
            return *symbol;
        }
        let symbol = Symbol(self.words.len() as u32);
        let word: Arc<str> = word.into();
        self.words.push(Arc::clone(&word));
        self.by_word.insert(word, symbol);
        symbol
    }

    /// The symbol of `word`, if the word was seen.
    pub(crate) fn known(&self, word: &str) -> Option<Symbol> {
        self.by_word.get(word).copied()
    }

    /// The word of `symbol`.
    pub(crate) fn word(&self, symbol: Symbol) -> &str {
        self.words.get(symbol.0 as usize).map_or("", |word| word)
    }
}

/// One dictionary column of the batch at hand, its dictionary translated once and as needed.
pub(crate) struct Words {
    name: &'static str,
    keys: Int32Array,
    values: StringArray,
    dictionary: Option<ArrayRef>,
    symbols: Vec<Symbol>,
    /// The one word of all rows, where there is only one.
    uniform: Option<Symbol>,
}

impl Words {
    pub(crate) fn of(name: &'static str) -> Self {
        Self {
            name,
            keys: Int32Array::from(Vec::<i32>::new()),
            values: StringArray::from(Vec::<&str>::new()),
            dictionary: None,
            symbols: Vec::new(),
            uniform: None,
        }
    }

    /// Turns to the next batch.
    pub(crate) fn load(
        &mut self,
        batch: &RecordBatch,
        symbols: &mut Symbols,
    ) -> Result<(), ReplayError> {
        let Some(column) = batch.column_by_name(self.name) else {
            // Not read, since nobody asks for it.
            self.uniform = Some(Symbol::EMPTY);
            return Ok(());
        };
        self.load_array(column, symbols)
    }

    fn load_array(&mut self, column: &ArrayRef, symbols: &mut Symbols) -> Result<(), ReplayError> {
        let wrong = ReplayError::Column {
            column: self.name,
            problem: "not a dictionary of words",
        };
        let Some(dictionary) = column.as_dictionary_opt::<Int32Type>() else {
            return Err(wrong);
        };
        let Some(values) = dictionary.values().as_string_opt::<i32>() else {
            return Err(wrong);
        };
        self.keys = dictionary.keys().clone();
        // The batches of one row group share their dictionary, and so its translation.
        let known = self
            .dictionary
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, dictionary.values()));
        if !known {
            self.values = values.clone();
            self.dictionary = Some(Arc::clone(dictionary.values()));
            self.symbols.clear();
            self.symbols.resize(self.values.len(), Symbol::UNSEEN);
        }
        self.uniform = None;
        if self.keys.null_count() == self.keys.len() {
            self.uniform = Some(Symbol::EMPTY);
        } else if self.keys.null_count() == 0 && self.values.len() == 1 {
            self.uniform = Some(self.at(0, symbols));
        }
        Ok(())
    }

    /// The word in `row`; null is the empty word.
    #[inline]
    pub(crate) fn at(&mut self, row: usize, symbols: &mut Symbols) -> Symbol {
        if let Some(word) = self.uniform {
            return word;
        }
        if row >= self.keys.len() || self.keys.is_null(row) {
            return Symbol::EMPTY;
        }
        let key = self.keys.value(row) as usize;
        let Some(slot) = self.symbols.get_mut(key) else {
            return Symbol::EMPTY;
        };
        if *slot == Symbol::UNSEEN {
            *slot = if self.values.is_null(key) {
                Symbol::EMPTY
            } else {
                symbols.of(self.values.value(key))
            };
        }
        *slot
    }
}

/// The column `via`: a short list of words, as one number.
pub(crate) struct Vias {
    offsets: Vec<i32>,
    steps: Words,
    chains: Vec<SmallVec<[Symbol; 4]>>,
    by_chain: HashMap<SmallVec<[Symbol; 4]>, Via>,
}

/// One chain of resolution steps; equal chains are equal numbers for the whole of one replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Via(u32);

impl Vias {
    pub(crate) fn new() -> Self {
        let mut by_chain = HashMap::new();
        by_chain.insert(SmallVec::new(), Via(0));
        Self {
            offsets: Vec::new(),
            steps: Words::of("via"),
            chains: vec![SmallVec::new()],
            by_chain,
        }
    }

    /// Turns to the next batch.
    pub(crate) fn load(
        &mut self,
        batch: &RecordBatch,
        symbols: &mut Symbols,
    ) -> Result<(), ReplayError> {
        let wrong = ReplayError::Column {
            column: "via",
            problem: "not a list of words",
        };
        let Some(list) = column(batch, "via")?.as_list_opt::<i32>() else {
            return Err(wrong);
        };
        self.offsets.clear();
        self.offsets.extend_from_slice(list.value_offsets());
        self.steps.load_array(list.values(), symbols)
    }

    /// The chain in `row`.
    pub(crate) fn at(&mut self, row: usize, symbols: &mut Symbols) -> Via {
        let (Some(&start), Some(&end)) = (self.offsets.get(row), self.offsets.get(row + 1)) else {
            return Via(0);
        };
        if start == end {
            return Via(0);
        }
        let chain: SmallVec<[Symbol; 4]> = (start..end)
            .map(|step| self.steps.at(step as usize, symbols))
            .collect();
        if let Some(via) = self.by_chain.get(&chain) {
            return *via;
        }
        let via = Via(self.chains.len() as u32);
        self.chains.push(chain.clone());
        self.by_chain.insert(chain, via);
        via
    }

    /// The steps of a chain.
    pub(crate) fn steps(&self, via: Via) -> &[Symbol] {
        self.chains.get(via.0 as usize).map_or(&[], |chain| chain)
    }
}

/// A column of a batch by its name.
pub(crate) fn column<'b>(
    batch: &'b RecordBatch,
    name: &'static str,
) -> Result<&'b ArrayRef, ReplayError> {
    batch.column_by_name(name).ok_or(ReplayError::Column {
        column: name,
        problem: "missing",
    })
}

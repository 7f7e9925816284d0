//! Words as numbers: what a replay compares and counts by is a `u32`, whatever dictionary a file happened to write it with.

use std::sync::Arc;

use hashbrown::HashMap;

/// A word. Equal words have equal symbols wherever the same [`Symbols`] gave them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Symbol(u32);

impl Symbol {
    /// The empty word, which also stands for null.
    pub(crate) const EMPTY: Self = Self(0);

    /// As a number that counts up from 0.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// The symbol with this number.
    pub(crate) fn numbered(number: u32) -> Self {
        Self(number)
    }
}

/// All words seen so far.
#[derive(Debug)]
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

    /// The word of `symbol`.
    pub(crate) fn word(&self, symbol: Symbol) -> &Arc<str> {
        // Symbols come from here; the empty word is always there.
        static NONE: std::sync::LazyLock<Arc<str>> = std::sync::LazyLock::new(|| "".into());
        self.words.get(symbol.0 as usize).unwrap_or(&NONE)
    }
}

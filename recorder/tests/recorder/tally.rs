//! Counts that CI shows: how often a record was tampered with, and what was said of it.

use std::collections::BTreeMap;
use std::io::Write;

use weir_recorder::State;

/// What was said of so many attempts; told when it goes out of scope.
pub struct Tally {
    what: &'static str,
    said: BTreeMap<String, usize>,
}

impl Tally {
    pub fn of(what: &'static str) -> Self {
        Self {
            what,
            said: BTreeMap::new(),
        }
    }

    pub fn count(&mut self, said: State) {
        self.count_as(&said.to_string());
    }

    pub fn count_as(&mut self, said: &str) {
        *self.said.entry(said.to_owned()).or_default() += 1;
    }

    /// Counts what was said, which must be that something is wrong.
    #[track_caller]
    pub fn noticed(&mut self, state: State, how: &str) {
        assert!(is_noticed(state), "{how}: {state}");
        self.count(state);
    }

    pub fn total(&self) -> usize {
        self.said.values().sum()
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let said: Vec<_> = self
            .said
            .iter()
            .map(|(said, n)| format!("{n} {said}"))
            .collect();
        // Straight to the stream: what is printed by macro is only shown of tests that fail.
        let line = format!(
            "tamper: {} x {}: {}\n",
            self.total(),
            self.what,
            said.join(", ")
        );
        drop(std::io::stdout().write_all(line.as_bytes()));
    }
}

pub fn is_noticed(state: State) -> bool {
    !matches!(state, State::Valid | State::NotAnchored)
}

//! What a word that was begun may become.

use rustyline::completion::Pair;
use weir_replay::query::Words;

const COMMANDS: [&str; 6] = ["d", "format", "h", "named", "q", "sql"];

const FORMATS: [&str; 4] = ["csv", "json", "markdown", "table"];

const KEYWORDS: [&str; 38] = [
    "ALL",
    "AND",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "DESC",
    "DISTINCT",
    "ELSE",
    "END",
    "EXISTS",
    "EXPLAIN",
    "FROM",
    "GROUP",
    "HAVING",
    "IN",
    "INTERVAL",
    "IS",
    "JOIN",
    "LEFT",
    "LIKE",
    "LIMIT",
    "NOT",
    "NULL",
    "ON",
    "OR",
    "ORDER",
    "OVER",
    "PARTITION",
    "SELECT",
    "THEN",
    "TIMESTAMP",
    "UNION",
    "USING",
    "WHEN",
    "WHERE",
    "WITH",
];

/// Completes words of statements and commands.
pub(super) struct Completion(Words);

impl Completion {
    pub(super) fn new(words: Words) -> Self {
        Self(words)
    }

    /// Where the word before the end of `typed` begins, and what it may become.
    pub(super) fn of(&self, typed: &str) -> (usize, Vec<Pair>) {
        let begins = typed
            .rfind(|c: char| !(c.is_alphanumeric() || c == '_'))
            .map_or(0, |at| {
                at + typed
                    .get(at..)
                    .and_then(|s| s.chars().next())
                    .map_or(1, char::len_utf8)
            });
        let (before, word) = typed.split_at_checked(begins).unwrap_or((typed, ""));
        let found = match typed.trim_start().strip_prefix('\\') {
            Some(command) => self.of_command(command, before),
            None => self.of_statement(before, word),
        };
        let mut found: Vec<Pair> = found
            .into_iter()
            .filter(|pair| starts_with(&pair.replacement, word))
            .collect();
        found.sort_by(|a, b| a.display.cmp(&b.display));
        found.dedup_by(|a, b| a.display == b.display);
        (begins, found)
    }

    fn of_command(&self, command: &str, before: &str) -> Vec<Pair> {
        let Some((name, _)) = command.split_once(' ') else {
            return COMMANDS.iter().map(|name| plain(name)).collect();
        };
        if before.ends_with('=') {
            return Vec::new();
        }
        let nth = before.split_whitespace().count();
        match (name, nth) {
            ("d", 1) => self
                .0
                .tables
                .iter()
                .map(|(table, _)| plain(table))
                .collect(),
            ("format", 1) => FORMATS.iter().map(|name| plain(name)).collect(),
            ("named" | "sql", 1) => self
                .0
                .questions
                .iter()
                .map(|(name, _)| plain(name))
                .collect(),
            ("named", _) => {
                let asked = before.split_whitespace().nth(1).unwrap_or_default();
                let question = self.0.questions.iter().find(|(name, _)| *name == asked);
                let parameters = question.into_iter().flat_map(|(_, parameters)| parameters);
                parameters.map(|name| with(name, "=")).collect()
            }
            _ => Vec::new(),
        }
    }

    fn of_statement(&self, before: &str, word: &str) -> Vec<Pair> {
        if is_in_text(before) {
            return Vec::new();
        }
        let words = &self.0;
        if let Some(before) = before.strip_suffix('.') {
            let table = before
                .rsplit(|c: char| !(c.is_alphanumeric() || c == '_'))
                .next()
                .unwrap_or_default();
            let known = words.tables.iter().find(|(name, _)| name == table);
            // An alias stands for a table; which one is not looked for, so every column there is may be meant.
            return match known {
                Some((_, columns)) => columns.iter().map(|column| plain(column)).collect(),
                None => self.columns().map(plain).collect(),
            };
        }
        let tables = words.tables.iter().map(|(table, _)| plain(table));
        let functions = words.functions.iter().map(|name| with(name, "("));
        let last = before.split_whitespace().next_back().unwrap_or_default();
        if ["from", "join"]
            .iter()
            .any(|w| last.eq_ignore_ascii_case(w))
        {
            return tables.chain([with("what_if", "('")]).collect();
        }
        let keywords = KEYWORDS
            .iter()
            .filter(|_| !word.is_empty())
            .map(|keyword| plain(&as_begun(keyword, word)));
        tables
            .chain(self.columns().map(plain))
            .chain(functions)
            .chain(keywords)
            .collect()
    }

    fn columns(&self) -> impl Iterator<Item = &str> {
        let tables = self.0.tables.iter();
        tables.flat_map(|(_, columns)| columns.iter().map(String::as_str))
    }
}

/// Whether a text in quotes is open at the end.
fn is_in_text(before: &str) -> bool {
    before.matches('\'').count() % 2 == 1
}

fn starts_with(candidate: &str, word: &str) -> bool {
    candidate
        .get(..word.len())
        .is_some_and(|begin| begin.eq_ignore_ascii_case(word))
}

/// A keyword in the case in which it was begun.
fn as_begun(keyword: &str, word: &str) -> String {
    if word.chars().all(char::is_lowercase) {
        keyword.to_lowercase()
    } else {
        keyword.to_owned()
    }
}

fn plain(name: &str) -> Pair {
    with(name, "")
}

fn with(name: &str, after: &str) -> Pair {
    Pair {
        display: name.to_owned(),
        replacement: [name, after].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(typed: &str) -> Vec<String> {
        let words = Words {
            tables: vec![
                ("calls".into(), vec!["tool".into(), "decided_at".into()]),
                ("events".into(), vec!["kind".into()]),
            ],
            functions: vec!["count".into(), "json".into()],
            questions: vec![
                ("blocked", vec!["policy"]),
                ("burst", vec!["seconds", "tool"]),
            ],
        };
        let (begins, found) = Completion::new(words).of(typed);
        let before = typed.get(..begins).unwrap_or_default();
        found
            .iter()
            .map(|pair| [before, &pair.replacement].concat())
            .collect()
    }

    #[test]
    fn a_word_of_a_statement_becomes_a_table_a_column_a_function_or_a_keyword() {
        assert_eq!(completed("SELECT to"), ["SELECT tool"]);
        assert_eq!(completed("SELECT cou"), ["SELECT count("]);
        assert_eq!(completed("select * fro"), ["select * from"]);
        assert_eq!(completed("SELECT * FROM c"), ["SELECT * FROM calls"]);
        assert_eq!(completed("SELECT * FROM wh"), ["SELECT * FROM what_if('"]);
        assert_eq!(completed("SELECT events."), ["SELECT events.kind"]);
        assert_eq!(completed("SELECT c.de"), ["SELECT c.decided_at"]);
        assert_eq!(completed("SELECT DECI"), ["SELECT decided_at"]);
    }

    #[test]
    fn nothing_is_completed_within_a_text() {
        assert!(completed("SELECT * FROM calls WHERE tool = 'to").is_empty());
        assert!(completed("SELECT 'it''s', to").contains(&"SELECT 'it''s', tool".to_owned()));
    }

    #[test]
    fn commands_complete_what_they_want() {
        assert_eq!(completed("\\na"), ["\\named"]);
        assert_eq!(completed("\\d ev"), ["\\d events"]);
        assert_eq!(completed("\\named b"), ["\\named blocked", "\\named burst"]);
        assert_eq!(completed("\\named burst se"), ["\\named burst seconds="]);
        assert!(completed("\\named burst seconds=1").is_empty());
        assert_eq!(completed("\\format j"), ["\\format json"]);
    }
}

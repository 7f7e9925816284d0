//! Reading one TOML table key by key, collecting every problem instead of stopping at the first.
//!
//! A key that is asked for is known; what is left at [`Section::finish`] is unknown, and the keys that were asked for are
//! what it could have meant.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::ConfigProblem;

/// The file under reading and what was wrong with it so far.
pub(super) struct Source<'s> {
    text: &'s str,
    folder: &'s Path,
    problems: RefCell<Vec<(usize, ConfigProblem)>>,
}

impl<'s> Source<'s> {
    pub(super) fn new(text: &'s str, folder: &'s Path) -> Self {
        Self {
            text,
            folder,
            problems: RefCell::default(),
        }
    }

    pub(super) fn problem(
        &self,
        span: &Range<usize>,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        let problem = ConfigProblem {
            line,
            column,
            message: message.into(),
            hint,
        };
        self.problems.borrow_mut().push((span.start, problem));
    }

    /// A path as written, relative to the configuration file.
    pub(super) fn resolve(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    pub(super) fn into_problems(self) -> Vec<ConfigProblem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|(start, _)| *start);
        problems.into_iter().map(|(_, problem)| problem).collect()
    }
}

/// One table of the file.
pub(super) struct Section<'t, 's> {
    pub(super) source: &'t Source<'s>,
    name: String,
    span: Range<usize>,
    table: &'t DeTable<'t>,
    asked: RefCell<Vec<&'static str>>,
}

/// A value and where it stands.
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

impl<'t, 's> Section<'t, 's> {
    pub(super) fn new(
        source: &'t Source<'s>,
        name: &str,
        span: Range<usize>,
        table: &'t DeTable<'t>,
    ) -> Self {
        Self {
            source,
            name: name.to_owned(),
            span,
            table,
            asked: RefCell::default(),
        }
    }

    pub(super) fn raw(&self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        drop(asked);
        self.table.get(key)
    }

    /// Reports a problem at the head of this section.
    pub(super) fn problem(&self, message: impl Into<String>, hint: Option<&str>) {
        self.source
            .problem(&self.span, message, hint.map(str::to_owned));
    }

    fn typed<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl Fn(&'t DeValue<'t>) -> Option<T>,
    ) -> Option<Found<T>> {
        let found = self.raw(key)?;
        let value = read(found.get_ref());
        if value.is_none() {
            let message = format!(
                "`{key}` in {} must be {wanted}, not {}",
                self.name,
                found.get_ref().type_str()
            );
            self.source.problem(&found.span(), message, None);
        }
        Some(Found {
            value: value?,
            span: found.span(),
        })
    }

    pub(super) fn string(&self, key: &'static str) -> Option<Found<&'t str>> {
        self.typed(key, "a string", |value| value.as_str())
    }

    /// A string that must be there; an absent one is a problem and reads as empty.
    pub(super) fn needed_string(&self, key: &'static str, hint: &str) -> Found<&'t str> {
        match self.string(key) {
            Some(found) if !found.value.is_empty() => found,
            Some(found) => {
                self.source.problem(
                    &found.span,
                    format!("`{key}` in {} is empty", self.name),
                    Some(hint.to_owned()),
                );
                found
            }
            None => {
                if !self.table.contains_key(key) {
                    self.problem(format!("{} has no `{key}`", self.name), Some(hint));
                }
                Found {
                    value: "",
                    span: self.span.clone(),
                }
            }
        }
    }

    /// A whole number within bounds.
    pub(super) fn number(&self, key: &'static str, bounds: Range<u64>, default: u64) -> u64 {
        let wanted = format!("a whole number from {} to {}", bounds.start, bounds.end);
        let read = |value: &'t DeValue<'t>| {
            let integer = value.as_integer()?;
            let number =
                u64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()?;
            (bounds.start <= number && number <= bounds.end).then_some(number)
        };
        self.typed(key, &wanted, read)
            .map_or(default, |found| found.value)
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", DeValue::as_bool)
            .map(|found| found.value)
    }

    /// A span of time such as `"60s"`, longer than nothing.
    pub(super) fn duration(&self, key: &'static str, default: Duration) -> Duration {
        let read = |value: &'t DeValue<'t>| {
            let span: jiff::SignedDuration = value.as_str()?.parse().ok()?;
            Duration::try_from(span).ok().filter(|span| !span.is_zero())
        };
        self.typed(key, "a span of time such as \"60s\"", read)
            .map_or(default, |found| found.value)
    }

    pub(super) fn strings(&self, key: &'static str) -> Vec<Found<&'t str>> {
        let read = |value: &'t DeValue<'t>| {
            let items = value.as_array()?;
            items
                .iter()
                .map(|item| {
                    Some(Found {
                        value: item.get_ref().as_str()?,
                        span: item.span(),
                    })
                })
                .collect()
        };
        self.typed(key, "an array of strings", read)
            .map_or_else(Vec::new, |found| found.value)
    }

    /// A path to a file that is there, resolved against the configuration's folder.
    pub(super) fn file(&self, key: &'static str) -> Option<PathBuf> {
        Some(self.there(&self.string(key)?))
    }

    /// Paths to files that are there, each as written and resolved; each of them once.
    pub(super) fn files(&self, key: &'static str) -> Vec<(String, PathBuf)> {
        let mut files: Vec<(String, PathBuf)> = Vec::new();
        for found in self.strings(key) {
            let path = self.there(&found);
            if files.iter().any(|(_, other)| *other == path) {
                let message = format!("`{key}` in {} lists `{}` twice", self.name, found.value);
                self.source.problem(&found.span, message, None);
            }
            files.push((found.value.to_owned(), path));
        }
        files
    }

    fn there(&self, found: &Found<&str>) -> PathBuf {
        let path = self.source.resolve(found.value);
        match std::fs::metadata(&path) {
            Ok(there) if there.is_file() => {}
            Ok(_) => self.source.problem(
                &found.span,
                format!("`{}` is not a file", found.value),
                None,
            ),
            Err(error) => {
                self.source.problem(
                    &found.span,
                    format!("cannot read `{}`: {}", found.value, io_words(&error)),
                    None,
                );
            }
        }
        path
    }

    pub(super) fn table(&self, key: &'static str) -> Option<Section<'t, 's>> {
        let found = self.typed(key, "a table", |value| value.as_table())?;
        let name = if self.name.is_empty() {
            format!("`[{key}]`")
        } else {
            format!("`{key}` of {}", self.name)
        };
        Some(Section::new(self.source, &name, found.span, found.value))
    }

    /// The sections of an array of tables, `[[key]]`.
    pub(super) fn tables(&self, key: &'static str) -> Vec<Section<'t, 's>> {
        let read = |value: &'t DeValue<'t>| {
            let items = value.as_array()?;
            items
                .iter()
                .map(|item| Some((item.span(), item.get_ref().as_table()?)))
                .collect::<Option<Vec<_>>>()
        };
        let found = self
            .typed(key, "an array of tables", read)
            .map_or_else(Vec::new, |found| found.value);
        let name = format!("`[[{key}]]`");
        found
            .into_iter()
            .map(|(span, table)| Section::new(self.source, &name, span, table))
            .collect()
    }

    /// Every member of the table, for those whose keys are the user's own.
    pub(super) fn members(
        &self,
    ) -> impl Iterator<Item = (Found<&'t str>, &'t Spanned<DeValue<'t>>)> {
        self.table.iter().map(|(key, value)| {
            (
                Found {
                    value: key.get_ref().as_ref(),
                    span: key.span(),
                },
                value,
            )
        })
    }

    /// A key of the design that this version does not have yet: never ignored in silence.
    pub(super) fn not_yet(&self, key: &'static str, instead: &str) {
        if let Some(found) = self.raw(key) {
            let message = format!("`{key}` in {} is not available yet", self.name);
            self.source
                .problem(&found.span(), message, Some(instead.to_owned()));
        }
    }

    /// Reports every key nobody asked for.
    pub(super) fn finish(&self) {
        let asked = self.asked.borrow();
        #[cfg(test)]
        ASKED.with_borrow_mut(|tables| {
            tables
                .entry(self.name.clone())
                .or_default()
                .extend(asked.iter());
        });
        for key in self
            .table
            .keys()
            .filter(|key| !asked.contains(&key.get_ref().as_ref()))
        {
            let place = if self.name.is_empty() {
                "the top level"
            } else {
                &self.name
            };
            let hint = match nearest(key.get_ref(), &asked) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", asked.join(", ")),
            };
            self.source.problem(
                &key.span(),
                format!("unknown key `{}` in {place}", key.get_ref()),
                Some(hint),
            );
        }
    }
}

#[cfg(test)]
thread_local! {
    /// The keys that this thread's readers asked for, by the table's name.
    static ASKED: RefCell<std::collections::BTreeMap<String, std::collections::BTreeSet<&'static str>>> = RefCell::default();
}

/// Every key that was asked for on this thread so far.
#[cfg(test)]
pub(super) fn asked_here()
-> std::collections::BTreeMap<String, std::collections::BTreeSet<&'static str>> {
    ASKED.with_borrow(Clone::clone)
}

/// An I/O error in plain words, without the code.
pub(super) fn io_words(error: &std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::NotFound {
        "no such file".to_owned()
    } else {
        error.kind().to_string()
    }
}

/// The known key that `key` was probably meant to be.
pub(super) fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|near| (distance(key, near), *near))
        .filter(|(far, _)| *far <= 1 + key.len() / 4)
        .min()
        .map(|(_, near)| near)
}

/// Edits between two words.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut next = vec![i + 1];
        for (b, cells) in to.iter().zip(row.windows(2)) {
            let [diagonal, above] = cells else { continue };
            let left = next.last().copied().unwrap_or(0);
            next.push(
                (diagonal + usize::from(a != *b))
                    .min(above + 1)
                    .min(left + 1),
            );
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn nearest_is_silent_about_strangers() {
        assert_eq!(nearest("adress", &["address", "tls"]), Some("address"));
        assert_eq!(nearest("colour", &["address", "tls"]), None);
    }
}

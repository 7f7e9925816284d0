//! The line a person types: edited, completed, and remembered.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use rustyline::completion::{Completer, Pair};
use rustyline::config::Config;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Context, Editor, Helper};
use weir_replay::query::Words;

use super::completion::Completion;
use super::statement::{Input, Statement};

const PROMPT: &str = "weir> ";

/// How many statements are remembered.
const REMEMBERED_MAX: usize = 2_000;

/// The editor, and where what was typed is kept.
pub(super) struct Typing {
    editor: Editor<Assistant, DefaultHistory>,
    history: Option<PathBuf>,
}

/// What came of one reading.
pub(super) enum Typed {
    /// A whole statement, or a command.
    Line(String),
    /// Ctrl-C: nothing.
    Cleared,
    /// Ctrl-D.
    End,
}

impl Typing {
    pub(super) fn open(words: Words) -> anyhow::Result<Self> {
        let config = Config::builder()
            .max_history_size(REMEMBERED_MAX)
            .context("cannot keep a history")?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .build();
        let mut editor =
            Editor::with_config(config).context("cannot edit lines on this terminal")?;
        editor.set_helper(Some(Assistant {
            completion: Completion::new(words),
        }));
        let history = history();
        if let Some(path) = &history {
            // The first time there is none.
            drop(editor.load_history(path));
        }
        Ok(Self { editor, history })
    }

    pub(super) fn read(&mut self) -> anyhow::Result<Typed> {
        let line = match self.editor.readline(PROMPT) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => return Ok(Typed::Cleared),
            Err(ReadlineError::Eof) => return Ok(Typed::End),
            Err(error) => return Err(error).context("cannot read the statement"),
        };
        self.remember(&line);
        Ok(Typed::Line(line))
    }

    /// Each statement is on the disk before it is asked, and beside those of other prompts. A history that cannot be written is no
    /// reason to stop.
    fn remember(&mut self, line: &str) {
        let new = self.editor.add_history_entry(line).unwrap_or(false);
        if let Some(path) = self.history.as_ref().filter(|_| new) {
            drop(self.editor.append_history(path));
        }
    }
}

/// Where statements are remembered; the folder is made. None where nobody has a home.
fn history() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    let folder = state.join("weir");
    fs::create_dir_all(&folder).ok()?;
    Some(folder.join("query-history"))
}

/// What helps to type: completion, and that Enter within a statement begins a line.
struct Assistant {
    completion: Completion,
}

impl Helper for Assistant {}

impl Highlighter for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        Ok(self.completion.of(line.get(..at).unwrap_or(line)))
    }
}

impl Validator for Assistant {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        let typed = context.input();
        let is_whole = typed.trim().is_empty()
            || matches!(
                Statement::default().take(typed),
                Input::Sql(_) | Input::Command(_)
            );
        Ok(if is_whole || typed.trim() == ";" {
            ValidationResult::Valid(None)
        } else {
            ValidationResult::Incomplete
        })
    }
}

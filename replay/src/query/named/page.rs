//! The named questions as pages: what `--list --named NAME` shows, and `docs/questions.md`.

use super::{Named, QUESTIONS};

const HEAD: &str = "\
# Questions that have names

This page is made by `weir query --list --format markdown`; do not edit it.

What analysts ask again and again, each with parameters that have defaults: `weir query --record record --named burst --param
seconds=10`. A value goes in as a number or a quoted text, never as SQL; where `%` is named, it stands for any run of characters, and
nothing else is special. The SQL stands here to be read, and changed: each of these is a question that could have been asked without its
name ([query.md](query.md) has the tables and functions). `:within` stands for the conditions that `grant`, `tool`, `from` and `to`
set, `:among` for those of `grant` and `tool`.

";

/// `docs/questions.md`: every named question with its parameters and its SQL.
pub fn questions_page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("| Name | Question |\n|---|---|\n");
    for question in &QUESTIONS {
        let line = format!(
            "| [`{0}`](#{0}) | {1} |\n",
            question.name, question.question
        );
        page.push_str(&line);
    }
    for question in &QUESTIONS {
        page.push_str(&question.section());
    }
    page
}

impl Named {
    /// What `weir query --list --named NAME` shows: the question, its parameters, its SQL.
    pub fn help(&self) -> String {
        let mut page = format!("{}: {}\n", self.name, self.question);
        if !self.note.is_empty() {
            page.push_str(self.note);
            page.push('\n');
        }
        page.push('\n');
        for parameter in self.parameters {
            let line = format!(
                "  {:<9} {} [{}]\n",
                parameter.name,
                parameter.what,
                parameter.default_shown()
            );
            page.push_str(&line);
        }
        page.push('\n');
        page.push_str(self.sql);
        page
    }

    fn section(&self) -> String {
        let mut page = format!("\n## {}\n\n{}", self.name, self.question);
        if !self.note.is_empty() {
            page.push(' ');
            page.push_str(self.note);
        }
        page.push_str("\n\n| `--param` | Default | |\n|---|---|---|\n");
        for parameter in self.parameters {
            let default = if parameter.default.is_empty() {
                parameter.default_shown().to_owned()
            } else {
                format!("`{}`", parameter.default)
            };
            let line = format!(
                "| `{}` | {default} | {} |\n",
                parameter.name, parameter.what
            );
            page.push_str(&line);
        }
        page.push_str("\n```sql\n");
        page.push_str(self.sql);
        page.push_str("```\n");
        page
    }
}

//! `weir policy check`: everything that is wrong with policies, at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::{Value, json};
use weir_policy::{Catalogue, Operation, Policy, Problem, Problems, Profile, Severity};

use crate::failure::{BAD, Fix as _};
use crate::terminal;

/// Warnings, where they count as failures.
const WARNED: u8 = 1;

/// Read policies as `weir serve` does, and say everything that is wrong with them
///
/// Every problem comes with its line, its column and a caret. A policy that loads is then
/// looked at for what its author may not mean: a rule that never fires, a comparison that a
/// missing value slips past, a limit that a new session evades. These are warnings. Files
/// called *.test.json are left out: these are for `weir test`.
///
/// Examples:
///   weir policy check policies/*.json
///   weir policy check --profile truenas policies/ops.json      also: unknown tools
///   weir policy check --deny-warnings --format json policies/*.json
///
/// Exit codes: 0 every policy loads, 1 there are warnings and --deny-warnings was given, 2
/// a policy does not load.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Check {
    /// The policies.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Compare the tools with those of this kind of server.
    #[arg(long, value_name = "NAME", value_parser = profile)]
    profile: Option<Arc<Profile>>,

    /// Exit with 1 if there are warnings.
    #[arg(long)]
    deny_warnings: bool,

    /// How to write what was found.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people: on stderr, with carets.
    Text,
    /// For machines: one object per file, on stdout.
    Json,
}

impl Check {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut worst = None;
        let mut answers = Vec::new();
        // what `policies/*.json` names besides policies: their expectations
        let is_test = |path: &&PathBuf| path.to_string_lossy().ends_with(".test.json");
        for path in self.files.iter().filter(|path| !is_test(path)) {
            let (digest, problems) = self.check(path)?;
            worst = worst.max(problems.iter().map(|problem| problem.severity).max());
            match self.format {
                Format::Text => tell(path, &problems)?,
                Format::Json => answers.push(json(path, digest.as_deref(), &problems)),
            }
        }
        if self.format == Format::Json {
            terminal::print(&(serde_json::to_string_pretty(&answers)? + "\n"))?;
        }
        Ok(match worst {
            Some(Severity::Error) => ExitCode::from(BAD),
            Some(Severity::Warning) if self.deny_warnings => ExitCode::from(WARNED),
            Some(Severity::Warning) | None => ExitCode::SUCCESS,
        })
    }

    /// The digest of a policy that loads, and what is to be said of it.
    fn check(&self, path: &Path) -> anyhow::Result<(Option<String>, Problems)> {
        let bytes = read(path)?;
        Ok(match Policy::load(&bytes, &path.display().to_string()) {
            Ok(policy) => (Some(policy.digest().to_string()), self.lint(&policy)),
            Err(problems) => (None, problems),
        })
    }

    fn lint(&self, policy: &Policy) -> Problems {
        let Some(profile) = &self.profile else {
            return policy.lint(None);
        };
        let operations = profile.operations().map(Operation::name);
        let dispatchers: Vec<&str> = profile.dispatcher().into_iter().collect();
        let tools: Vec<&str> = operations.chain(dispatchers.iter().copied()).collect();
        policy.lint(Some(&Catalogue {
            tools: &tools,
            dispatchers: &dispatchers,
        }))
    }
}

/// Reads a policy document.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path)
        .with_context(|| format!("cannot read the policy `{}`", path.display()))
        .fix(|| "give the path of a policy document; `weir init` writes one to begin with".into())
}

/// The profile of this name.
pub fn profile(name: &str) -> Result<Arc<Profile>, String> {
    Profile::named(name).ok_or_else(|| "no profile has this name; there is `truenas`".to_owned())
}

fn tell(path: &Path, problems: &Problems) -> anyhow::Result<()> {
    let (good, warning, error, reset) = (
        terminal::GOOD,
        terminal::WARNING,
        terminal::ERROR,
        terminal::RESET,
    );
    let count = |severity| {
        problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
    };
    let path = path.display();
    if !problems.is_empty() {
        terminal::note(&format!("{}\n\n", problems.styled().trim_end()));
    }
    match (count(Severity::Error), count(Severity::Warning)) {
        (0, 0) => terminal::print(&format!("{path}: {good}ok{reset}\n")),
        (0, warnings) => terminal::print(&format!(
            "{path}: {good}ok{reset}, {warning}{}{reset}\n",
            plural(warnings, "warning")
        )),
        (errors, _) => terminal::print(&format!(
            "{path}: {error}{}{reset}\n",
            plural(errors, "error")
        )),
    }
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

fn json(path: &Path, digest: Option<&str>, problems: &Problems) -> Value {
    let problem = |problem: &Problem| {
        json!({
            "severity": match problem.severity { Severity::Error => "error", Severity::Warning => "warning" },
            "line": problem.line,
            "column": problem.column,
            "message": problem.message,
            "hint": problem.hint,
        })
    };
    json!({
        "file": path.display().to_string(),
        "loads": digest.is_some(),
        "digest": digest,
        "problems": problems.iter().map(problem).collect::<Vec<_>>(),
    })
}

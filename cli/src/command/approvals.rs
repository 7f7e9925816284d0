//! `weir approvals`: the calls that wait for a person, and what the person says.

mod office;
mod page;

use std::collections::HashSet;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::failure::advised;
use crate::terminal;
use office::{Office, OfficeArguments};

/// See and answer the calls that wait for a person
///
/// A policy sends calls to a person with `approve_if`. Each waits in the proxy until somebody
/// whom weir.toml names under [admin] `approvers` says yes or no, or its time runs out, which
/// is a no. Who answered, when and what about is in the record, with the call.
///
/// Examples:
///   weir approvals list                                   what waits, the oldest first
///   weir approvals list --watch                           and what comes to wait
///   weir approvals show 3f2a                              everything about one, whole
///   weir approvals approve 3f2a                           shows it, asks, and lets it pass
///   weir approvals approve 3f2a --digest 9c01… --reason "ticket 4711"
///   weir approvals deny 3f2a --reason "not during the backup"
///
/// The token of the approver is read from WEIR_APPROVER_TOKEN, or as `--token-file` or
/// `--token-env` say; `weir token new` makes one.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Approvals {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show what waits
    List {
        /// Stay, and show each call as it comes to wait.
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        office: OfficeArguments,
    },
    /// Show one call whole, or what became of it
    Show {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        office: OfficeArguments,
    },
    /// Let a call pass: the very one that was shown
    Approve {
        #[command(flatten)]
        which: Which,
        /// The digest of its arguments, as `show` gives it. Without one, the call is shown and you are asked.
        #[arg(long)]
        digest: Option<String>,
        /// Why; stands in the record.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        office: OfficeArguments,
    },
    /// Refuse a call
    Deny {
        #[command(flatten)]
        which: Which,
        /// Why; stands in the record, and the agent is told.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        office: OfficeArguments,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The question, or how its name begins.
    id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// How often `--watch` looks.
const LOOK: Duration = Duration::from_secs(1);

impl Approvals {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::List { watch, office } => {
                let office = office.open()?;
                if watch {
                    return keep_watch(&office);
                }
                let held = office.held()?;
                terminal::print(&match office.format {
                    Format::Json => format!("{}\n", json!({ "held": held })),
                    Format::Text => page::list(&held),
                })?;
            }
            Action::Show { which, office } => {
                let office = office.open()?;
                let question = office.question(&which.id)?;
                terminal::print(&match office.format {
                    Format::Json => format!("{question}\n"),
                    Format::Text => page::whole(&question),
                })?;
            }
            Action::Approve {
                which,
                digest,
                reason,
                office,
            } => {
                let office = office.open()?;
                let question = office.question(&which.id)?;
                let digest = match digest {
                    Some(digest) => digest,
                    None => seen(&question)?,
                };
                let said = json!({ "digest": digest, "reason": reason });
                tell(&office, &question, "approve", &said)?;
            }
            Action::Deny {
                which,
                reason,
                office,
            } => {
                let office = office.open()?;
                let question = office.question(&which.id)?;
                tell(&office, &question, "deny", &json!({ "reason": reason }))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The digest of a call that a person at this terminal has looked at.
fn seen(question: &Value) -> anyhow::Result<String> {
    let digest = page::text(question, "digest").to_owned();
    if !std::io::stdin().is_terminal() {
        return Err(advised(
            anyhow!("an approval names what was seen, and nobody is at this terminal"),
            "give the digest that `weir approvals show` gives: `--digest …`".into(),
        ));
    }
    terminal::note(&page::whole(question));
    terminal::note("\nLet this call pass? Type yes: ");
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    if line.trim() == "yes" {
        Ok(digest)
    } else {
        Err(advised(
            anyhow!("not approved; the call still waits"),
            "type `yes`, or refuse it with `weir approvals deny`".into(),
        ))
    }
}

fn tell(office: &Office, question: &Value, verb: &str, said: &Value) -> anyhow::Result<()> {
    let answered = office.answer(page::text(question, "id"), verb, said)?;
    terminal::print(&match office.format {
        Format::Json => format!("{answered}\n"),
        Format::Text => page::answered(question, page::text(&answered, "state")),
    })
}

/// Shows each call once, until somebody ends it.
fn keep_watch(office: &Office) -> anyhow::Result<ExitCode> {
    let mut shown: HashSet<String> = HashSet::new();
    loop {
        let held = office.held()?;
        let ids: HashSet<String> = held
            .iter()
            .map(|question| page::text(question, "id").to_owned())
            .collect();
        for question in &held {
            if shown.contains(page::text(question, "id")) {
                continue;
            }
            terminal::print(&match office.format {
                Format::Json => format!("{question}\n"),
                Format::Text => format!("{}\n", page::whole(question)),
            })?;
        }
        shown = ids;
        std::thread::park_timeout(LOOK);
    }
}

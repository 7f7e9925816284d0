//! `weir policy explain`: what a policy says of one call, and why.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use weir_policy::{
    Context, Counters, Decision, Explanation, LimitUse, Message, Micros, Outcome, Policy, Profile,
    Resolution, Resolver, ResolverSpec, Step, Verdict, explain,
};

use crate::failure::{Fix as _, Rendered};
use crate::terminal::{self, ACCENT, DIM, ERROR, GOOD, RESET, STRONG};

use super::check;

/// Show what a policy says of one call: how the call is read, every rule it meets, what
/// each rule reads, and the decision
///
/// The call is the `params` of a `tools/call`, or a whole JSON-RPC message. Limits count
/// from nothing, so a rate limit shows what the first call of its window takes.
///
/// Examples:
///   weir policy explain --policy ops.json --call '{"name":"vm_stop","arguments":{"id":7}}'
///   weir policy explain --policy ops.json --profile truenas \
///        --call '{"name":"truenas","arguments":{"action":"vm_stop","params":{"id":7}}}'
///   weir policy explain --policy ops.json --at 2026-11-22T03:00:00Z --call - < message.json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Explain {
    /// The policy.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,

    /// The call: params of a `tools/call`, or a whole message; `-` reads it from stdin.
    #[arg(long, value_name = "JSON")]
    call: String,

    /// How calls of this kind of server are read.
    #[arg(long, visible_alias = "server-profile", value_name = "NAME", value_parser = check::profile)]
    profile: Option<Arc<Profile>>,

    /// What rules see as `grant`.
    #[arg(long, value_name = "NAME", default_value = "ops-agent")]
    grant: String,

    /// What rules see as `server`; the profile's name if left out.
    #[arg(long, value_name = "NAME")]
    server: Option<String>,

    /// What rules see as `client.name`.
    #[arg(long, value_name = "NAME", default_value = "")]
    client: String,

    /// When the call arrives, for `time.hour` and `time.weekday`; now if left out.
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<Micros>,
}

impl Explain {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let name = self.policy.display().to_string();
        let policy = Policy::load(&check::read(&self.policy)?, &name)
            .map_err(|problems| Rendered::bad(problems.styled()))?;
        let bytes = self.message()?;
        let resolver = self.resolver()?;
        let mut page = String::new();
        let message = match Message::parse(&bytes) {
            Ok(message) => message,
            Err(malformed) => return refused(&malformed.decision()),
        };
        let Message::Request(request) = &message else {
            bail!("that is no request: only requests are judged");
        };
        let ask = match request.ask() {
            Ok(ask) => ask,
            Err(malformed) => return refused(&malformed.decision()),
        };
        let arguments = ask.arguments.to_json();
        writeln!(
            page,
            "{STRONG}call{RESET}      {} {DIM}{arguments}{RESET}",
            ask.wire_tool
        )?;
        let decision = match resolver.resolve(&ask) {
            Ok(resolution) => {
                read_as(&mut page, &resolution)?;
                let at = self.at.unwrap_or_else(now);
                let explanation = self.judged(&policy, &resolution, at);
                writeln!(page)?;
                steps(&mut page, &explanation.steps)?;
                writeln!(page)?;
                explanation.judgement.decision
            }
            Err(decision) => decision,
        };
        decided(&mut page, &decision)?;
        terminal::print(&page)?;
        Ok(ExitCode::SUCCESS)
    }

    fn judged(&self, policy: &Policy, resolution: &Resolution<'_>, at: Micros) -> Explanation {
        let profile = self.profile.as_deref().map(Profile::name);
        let context = Context {
            node: "explain",
            server: self.server.as_deref().or(profile).unwrap_or("server"),
            grant: &self.grant,
            session: "explain",
            client_name: &self.client,
            client_version: "",
            received_at: at,
        };
        explain(
            Some(policy),
            resolution,
            &context,
            &mut Counters::new(1000),
            at,
        )
    }

    /// The message's bytes. Params are wrapped as they stand, so that they are read as strictly as the wire is.
    fn message(&self) -> anyhow::Result<Vec<u8>> {
        let mut text = self.call.clone();
        if text == "-" {
            text.clear();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read the call from stdin")?;
        }
        let text = text.trim();
        let value: serde_json::Value =
            serde_json::from_str(text)
                .context("the call is not JSON")
                .fix(|| r#"write it as {"name":"vm_stop","arguments":{"id":7}}"#.into())?;
        if value.get("jsonrpc").is_some() || value.get("method").is_some() {
            return Ok(text.as_bytes().to_vec());
        }
        Ok(
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{text}}}"#)
                .into_bytes(),
        )
    }

    fn resolver(&self) -> anyhow::Result<Resolver> {
        let profile = self
            .profile
            .as_deref()
            .map(|profile| profile.name().to_owned());
        Ok(Resolver::compile(&ResolverSpec {
            profile,
            ..ResolverSpec::default()
        })?)
    }
}

/// The answer to a call that cannot be read.
fn refused(decision: &Decision) -> anyhow::Result<ExitCode> {
    let mut page = String::new();
    decided(&mut page, decision)?;
    terminal::print(&page)?;
    Ok(ExitCode::SUCCESS)
}

fn read_as(page: &mut String, resolution: &Resolution<'_>) -> std::fmt::Result {
    for (place, reading) in resolution.readings.iter().enumerate().skip(1) {
        let via = resolution.via.get(place - 1).map_or("", AsRef::as_ref);
        let arguments = reading.arguments.to_json();
        writeln!(
            page,
            "{STRONG}read as{RESET}   {ACCENT}{}{RESET} {DIM}{arguments}  ({via}){RESET}",
            reading.tool
        )?;
    }
    writeln!(
        page,
        "{STRONG}class{RESET}     {}",
        resolution.risk().as_str()
    )
}

fn steps(page: &mut String, steps: &[Step]) -> std::fmt::Result {
    for step in steps {
        let (style, word) = match step.outcome {
            Outcome::Passed => (GOOD, "passes"),
            Outcome::Denied => (ERROR, "DENIES"),
            Outcome::NotReached => (DIM, "not reached"),
        };
        let stage = step.stage.as_str();
        if step.rule.is_empty() {
            writeln!(page, "{stage:<11} {style}{word}{RESET}")?;
        } else {
            writeln!(page, "{stage:<11} {style}{word:<11}{RESET} {}", step.rule)?;
        }
        for read in &step.conditions {
            let value = read.value.as_deref().unwrap_or("missing");
            writeln!(
                page,
                "{:<24}{DIM}{} {} reads {value}: {}{RESET}",
                "", read.path, read.op, read.truth
            )?;
        }
        if let Some(count) = step.count {
            writeln!(page, "{:<24}{DIM}{}{RESET}", "", used(count))?;
        }
    }
    Ok(())
}

fn used(count: LimitUse) -> String {
    let LimitUse {
        used,
        amount,
        max,
        millionths,
    } = count;
    let shown = |number: u128| {
        if millionths {
            units(number)
        } else {
            number.to_string()
        }
    };
    format!(
        "takes {} of {}, {} used before",
        shown(amount),
        shown(max),
        shown(used)
    )
}

/// Millionths as a decimal number.
fn units(millionths: u128) -> String {
    let text = format!("{}.{:06}", millionths / 1_000_000, millionths % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn decided(page: &mut String, decision: &Decision) -> std::fmt::Result {
    match decision.verdict {
        Verdict::Allow => writeln!(page, "{STRONG}decision{RESET}  {GOOD}allow{RESET}"),
        Verdict::Deny => {
            writeln!(
                page,
                "{STRONG}decision{RESET}  {ERROR}deny{RESET} by {ACCENT}{}{RESET} ({})",
                decision.rule,
                decision.reason.as_str()
            )?;
            writeln!(page, "{STRONG}told{RESET}      {}", decision.message)
        }
    }
}

fn time(text: &str) -> Result<Micros, String> {
    weir_replay::parse_time(text)
        .map(Micros)
        .map_err(|error| error.to_string())
}

fn now() -> Micros {
    Micros(jiff::Timestamp::now().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::units;

    #[test]
    fn millionths_read_as_the_amount_that_was_asked_for() {
        assert_eq!(units(99_500_000), "99.5");
        assert_eq!(units(100_000_000), "100");
        assert_eq!(units(1), "0.000001");
    }
}

//! `weir generate`: any number of realistic calls through the real engine, the real ledger and the real recorder.
//!
//! Agents play the mornings of the corpus again and again, in sessions that overlap, with other machines and at another
//! pace each time. Time is simulated, everything else is what `weir serve` does: the bytes are parsed strictly, resolved,
//! judged under limits, written to the journal in `seq` order, finished later, and sealed. Only the waiting is left out: a
//! decision is not awaited one by one, since nothing is forwarded.

mod dice;
mod script;
mod writer;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use weir_policy::{Micros, Policy};

use crate::failure::{Fix as _, Rendered};
use crate::record_keys::KeysArgument;
use crate::terminal;

use dice::Dice;
use script::{Run, Scripts};
use writer::{Finishing, Sent, Writer};

/// Calls by which the disk may be behind, times two.
const STRIDE: u64 = 4096;

/// Write any number of realistic calls to a new record, through the real engine and recorder
///
/// For benches, tests and trying out queries. The same seed gives the same calls, decisions,
/// times and ids; only the keyed digests differ, since every record draws its own key. The
/// record can be replayed and queried like any other.
///
/// Examples:
///   weir generate --calls 1000000 --seed 1 --out big
///   weir generate --calls 50000 --out month --start 2026-10-01 --rate 0.02
///   weir generate --calls 50000 --out strict --policy my-policy.json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Generate {
    /// How many requests to write.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    calls: u64,

    /// Where chance begins.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,

    /// The record to make; must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// When the first call comes: `2026-11-02T06:00:00Z`, or a day.
    #[arg(long, value_name = "TIME", default_value = "2026-11-02T06:00:00Z", value_parser = time)]
    start: i64,

    /// Calls per second of simulated time, on average.
    #[arg(long, value_name = "R", default_value_t = 5.0)]
    rate: f64,

    /// The policy of every grant, instead of the published limits for vm_stop and service_stop.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    #[command(flatten)]
    keys: KeysArgument,

    /// Judge by a policy that also reads arguments.
    #[arg(long, conflicts_with = "policy")]
    argument_rules: bool,
}

/// Something that is to happen; the earliest comes first, and of two at one time the one that was planned first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: i64,
    order: u64,
    what: What,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The next message of a run.
    Next(Run),
    /// A call's end.
    Finish(Finishing),
}

impl Generate {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        if !(self.rate.is_finite() && self.rate > 0.0) {
            return Err(anyhow!("--rate must be a number above 0"));
        }
        make_way(&self.out)?;
        let began = Instant::now();
        let policy = self.policy()?;
        let writer = Writer::open(
            &self.out,
            self.keys.read(&self.out)?,
            policy,
            Micros(self.start),
        )?;
        let bar = terminal::watched().then(|| bar(self.calls));
        let written = self.write(&writer, bar.as_ref());
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let denied = written?;
        let writing = began.elapsed();
        writer.close().context("cannot seal the record")?;
        let (took, rate) = (
            began.elapsed().as_secs_f64(),
            self.calls as f64 / writing.as_secs_f64(),
        );
        terminal::print(&format!(
            "{} calls in {}, {denied} of them denied; {:.0} calls/s, {took:.1} s until sealed\n",
            self.calls,
            self.out.display(),
            rate
        ))?;
        Ok(ExitCode::SUCCESS)
    }

    fn policy(&self) -> anyhow::Result<Policy> {
        let (name, bytes) = if let Some(path) = &self.policy {
            let bytes = fs::read(path)
                .with_context(|| format!("cannot read the policy `{}`", path.display()))?;
            (path.display().to_string(), bytes)
        } else {
            let name = if self.argument_rules {
                "demo/careful-stops"
            } else {
                "demo/published-stops"
            };
            let policy = weir_corpus::policy(name)
                .ok_or_else(|| anyhow!("the corpus has no policy `{name}`"))?;
            (name.to_owned(), policy.text.as_bytes().to_vec())
        };
        Policy::load(&bytes, &name).map_err(|problems| Rendered::bad(problems.styled()))
    }

    /// Lets simulated time pass until enough was written; how many calls were denied.
    fn write(&self, writer: &Writer, bar: Option<&ProgressBar>) -> anyhow::Result<u64> {
        let scripts = Scripts::of(&weir_corpus::mornings()?)?;
        writer.begin(&scripts.grants());
        let mut dice = Dice::new(self.seed);
        let mut agenda = BinaryHeap::new();
        let mut order = 0;
        let mut plan = |agenda: &mut BinaryHeap<Reverse<Due>>, at, what| {
            order += 1;
            agenda.push(Reverse(Due { at, order, what }));
        };
        // Runs begin at such a pace that together they send `rate` calls a second.
        let gap = scripts.mean_length() / self.rate * 1e6;
        let mut next_run = self.start;
        let (mut sent, mut denied) = (0, 0);
        // The disk may be a stride behind, so that neither waits for the other.
        let mut awaited = None;
        while sent < self.calls {
            while agenda
                .peek()
                .is_none_or(|Reverse(due): &Reverse<Due>| due.at >= next_run)
            {
                plan(&mut agenda, next_run, What::Next(scripts.run(&mut dice)));
                next_run += dice.span(gap).max(1);
            }
            let Some(Reverse(due)) = agenda.pop() else {
                break;
            };
            match due.what {
                What::Next(mut run) => {
                    let Some(call) = scripts.call(&run) else {
                        continue;
                    };
                    let Sent {
                        commit,
                        denied: refused,
                        finishing,
                    } = writer.send(Micros(due.at), &call, &mut dice)?;
                    sent += 1;
                    denied += u64::from(refused);
                    if let Some(finishing) = finishing {
                        plan(&mut agenda, finishing.at, What::Finish(finishing));
                    }
                    if let Some(pause) = scripts.advance(&mut run, &mut dice) {
                        plan(&mut agenda, due.at + pause, What::Next(run));
                    }
                    if sent % STRIDE == 0 {
                        if let Some(commit) = awaited.replace(commit) {
                            commit.wait_blocking().context("cannot write the record")?;
                        }
                        writer.keep_pace();
                        if let Some(bar) = bar {
                            bar.set_position(sent);
                        }
                    }
                }
                What::Finish(finishing) => writer.finish(&finishing),
            }
        }
        // What is under way still ends; nobody begins anything new.
        while let Some(Reverse(due)) = agenda.pop() {
            if let What::Finish(finishing) = due.what {
                writer.finish(&finishing);
            }
        }
        Ok(denied)
    }
}

fn make_way(out: &Path) -> anyhow::Result<()> {
    match fs::read_dir(out).map(|mut entries| entries.next().is_none()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot look into `{}`", out.display())),
        Ok(true) => Ok(()),
        Ok(false) => Err(anyhow!("`{}` is not empty", out.display()))
            .fix(|| "give a folder that does not exist yet".to_owned()),
    }
}

fn bar(calls: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "writing {wide_bar} {human_pos}/{human_len} calls, {per_sec}, {eta}",
    );
    ProgressBar::new(calls).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn time(text: &str) -> Result<i64, String> {
    weir_replay::parse_time(text).map_err(|error| error.to_string())
}

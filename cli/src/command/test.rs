//! `weir test`: expectations of policies, kept in files beside them.

mod files;
mod junit;
mod page;
mod record;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use weir_policy::{Case, CasePolicy, Miss, Policy, RecordCase};

use crate::failure::BAD;
use crate::terminal;

use self::files::TestFile;

/// An expectation was not met.
const FAILED: u8 = 1;

/// Judge calls and records by policies, and compare with what is expected
///
/// Expectations are JSON files beside the policies, called `NAME.test.json`: calls with the
/// verdict and the rule they must get, and records with budgets and with the labels whose
/// calls must be denied or allowed. docs/testing-policies.md shows the form.
///
/// Examples:
///   weir test policies                        every *.test.json below
///   weir test policies/ops.test.json
///   weir test --format junit policies > weir.xml
///
/// Exit codes: 0 everything is as expected, 1 something is not, 2 bad usage, or a file, a
/// policy or a record cannot be read.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Test {
    /// Files of expectations, or folders that hold some.
    #[arg(required = true, value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,

    /// How to write what came out.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// How many tests run at once; as many as there are cores, if left out.
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For machines.
    Json,
    /// For CI.
    Junit,
}

/// What came of one test.
struct Tested {
    file: String,
    name: String,
    end: End,
    took: Duration,
}

enum End {
    Passed,
    /// Where it was not as expected.
    Failed(Vec<Difference>),
    /// Why there is no answer.
    Broken(String),
}

/// One thing that is not as expected.
struct Difference {
    /// What: a call, a budget, a label.
    of: String,
    expected: String,
    found: String,
    /// What else helps, line by line.
    more: Vec<String>,
}

impl Test {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let files = files::read(&self.paths)?;
        let tests: Vec<(&TestFile, Job<'_>)> = files
            .iter()
            .flat_map(|file| file.jobs().into_iter().map(move |job| (file, job)))
            .collect();
        let tested = self.run_all(&tests);
        terminal::print(&match self.format {
            Format::Text => page::text(&tested),
            Format::Json => page::json(&tested)?,
            Format::Junit => junit::junit(&tested),
        })?;
        let is_broken = |tested: &Tested| matches!(tested.end, End::Broken(_));
        let has_failed = |tested: &Tested| matches!(tested.end, End::Failed(_));
        Ok(if tested.iter().any(is_broken) {
            ExitCode::from(BAD)
        } else if tested.iter().any(has_failed) {
            ExitCode::from(FAILED)
        } else {
            ExitCode::SUCCESS
        })
    }

    /// Runs the tests side by side; what came of them is in their order.
    fn run_all(&self, tests: &[(&TestFile, Job<'_>)]) -> Vec<Tested> {
        let cores = std::thread::available_parallelism().ok();
        let jobs = self.jobs.or(cores).map_or(1, NonZeroUsize::get);
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..jobs.min(tests.len()) {
                scope.spawn(|| {
                    while let Some((file, job)) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let place = file.place_of(job);
                        let tested = run(file, job);
                        if let Ok(mut done) = done.lock() {
                            done.push((place, tested));
                        }
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_default();
        done.sort_by_key(|(place, _)| *place);
        done.into_iter().map(|(_, tested)| tested).collect()
    }
}

/// One test of a file.
enum Job<'f> {
    /// The file says nothing.
    Broken(&'f str),
    Case(&'f Case),
    Record(&'f RecordCase),
}

fn run(file: &TestFile, job: &Job<'_>) -> Tested {
    let began = Instant::now();
    let (name, end) = match job {
        Job::Broken(why) => (String::new(), End::Broken((*why).to_owned())),
        Job::Case(case) => (case.name.clone(), ended(run_case(file, case))),
        Job::Record(case) => (case.name.clone(), ended(record::run(file, case))),
    };
    Tested {
        file: file.name.clone(),
        name,
        end,
        took: began.elapsed(),
    }
}

fn ended(differences: Result<Vec<Difference>, String>) -> End {
    match differences {
        Ok(differences) if differences.is_empty() => End::Passed,
        Ok(differences) => End::Failed(differences),
        Err(why) => End::Broken(why),
    }
}

fn run_case(file: &TestFile, case: &Case) -> Result<Vec<Difference>, String> {
    let of_case: Option<Policy>;
    let policy = match &case.policy {
        Some(CasePolicy::Path(path)) => {
            of_case = Some(file.load(path)?);
            of_case.as_ref()
        }
        Some(CasePolicy::Document(_) | CasePolicy::None) => None,
        None => Some(file.policy()?),
    };
    let misses = case
        .run(policy, file.resolver()?)
        .map_err(|problem| problem.to_string())?;
    let difference = |miss: Miss| Difference {
        of: format!("call {}: {}", miss.call, weir_replay::shown(&miss.asked)),
        expected: miss.expected,
        found: miss.found,
        more: Vec::new(),
    };
    Ok(misses.into_iter().map(difference).collect())
}

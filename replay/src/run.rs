//! A replay from beginning to end: decode on one thread, judge on another, in the order of the log.

use std::sync::mpsc::sync_channel;

use arrow::array::AsArray as _;
use hashbrown::HashSet;
use weir_policy::Verdict;
use weir_recorder::{RecordError, RecordReader};

use crate::call::Call;
use crate::kept::Kept;
use crate::kind::{Kind, Marks};
use crate::out::Out;
use crate::plan::Plans;
use crate::recall::recall_arguments;
use crate::report::Report;
use crate::rows::{Columns, Row, Rows};
use crate::ruled::Ruled;
use crate::selection::{Selection, named};
use crate::symbols::{Symbol, Symbols, Words};
use crate::tally::{Outcome, Tally};
use crate::twin::Twin;
use crate::{Class, Flips, ReplayError, ReplayOptions};

/// Batches that may wait between the thread that decodes and the one that judges.
const BATCHES_WAITING: usize = 4;

/// Runs the record again under the candidate and says what would have changed.
///
/// ```no_run
/// use weir_replay::{Budget, PolicyFile, ReplayOptions, replay};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let candidate = PolicyFile { path: "candidate.json".into(), bytes: std::fs::read("candidate.json")? };
/// let options = ReplayOptions { record: "record".into(), candidate: Some(candidate), ..Default::default() };
/// let report = replay(&options)?;
/// let page = report.text();
/// let code = report.exit_code(&Budget { max_newly_denied: Some(0), ..Default::default() });
/// # Ok(()) }
/// ```
pub fn replay(options: &ReplayOptions) -> Result<Report, ReplayError> {
    let failed = |cause: RecordError| ReplayError::Record {
        path: options.record.clone(),
        cause: Box::new(cause),
    };
    let selection = Selection::of(options)?;
    let reader = RecordReader::open(&options.record).map_err(failed)?;

    let mut symbols = Symbols::default();
    let mut kept = Kept::of(reader.clone());
    let ahead = look_ahead(&reader, &mut kept, &mut symbols).map_err(|error| match error {
        Ahead::Record(cause) => failed(cause),
        Ahead::Replay(error) => error,
    })?;
    let total = ahead.rows;
    let mut columns = Columns {
        needs: kept.needs().or(selection.needs()),
        returns: ahead.returns,
    };
    columns.needs.arguments |= options.flips == Flips::All;
    let batches = reader.calls(&columns.names()).map_err(failed)?;
    let mut run = Run::of(options, Plans::of(kept, selection, columns), symbols)?;
    std::thread::scope(|scope| {
        let (decoded, waiting) = sync_channel(BATCHES_WAITING);
        scope.spawn(move || {
            for batch in batches {
                if decoded.send(batch).is_err() {
                    return;
                }
            }
        });
        let mut rows = Rows::new();
        let mut done = 0;
        for batch in waiting {
            rows.load(&batch.map_err(failed)?, &mut run.symbols)?;
            run.batch(&mut rows)?;
            done += rows.len() as u64;
            if let Some(progress) = &options.progress {
                progress(done.min(total), total);
            }
        }
        Ok(())
    })?;
    if !columns.needs.arguments {
        recall_arguments(&reader, run.tally.flips_mut()).map_err(failed)?;
    }
    run.report(options)
}

enum Ahead {
    Record(RecordError),
    Replay(ReplayError),
}

/// What a replay must know of a record before it reads it.
struct Extent {
    rows: u64,
    /// Whether any reservation was returned.
    returns: bool,
}

/// Loads every policy that judged a call of the record, so that it is known what must be read at all; and counts the rows.
fn look_ahead(
    reader: &RecordReader,
    kept: &mut Kept,
    symbols: &mut Symbols,
) -> Result<Extent, Ahead> {
    let mut policies = Words::of("policy_digest");
    let mut extent = Extent {
        rows: 0,
        returns: false,
    };
    let mut last = Symbol::EMPTY;
    let batches = reader.calls(&["policy_digest", "given_back"]);
    for batch in batches.map_err(Ahead::Record)? {
        let batch = batch.map_err(Ahead::Record)?;
        policies.load(&batch, symbols).map_err(Ahead::Replay)?;
        extent.rows += batch.num_rows() as u64;
        extent.returns |= batch
            .column_by_name("given_back")
            .and_then(|column| column.as_boolean_opt())
            .is_none_or(|given_back| given_back.true_count() > 0);
        for row in 0..batch.num_rows() {
            let digest = policies.at(row, symbols);
            if digest != last && digest != Symbol::EMPTY {
                // Loaded once. Whether it loads is said row by row, by those that need it.
                drop(kept.policy(digest, symbols));
            }
            last = digest;
        }
    }
    Ok(extent)
}

/// Everything that a replay carries from row to row.
struct Run<'o> {
    options: &'o ReplayOptions,
    plans: Plans,
    symbols: Symbols,
    marks: Marks,
    twin: Twin,
    node: Option<Symbol>,
    diverged: HashSet<(Symbol, Symbol, Symbol)>,
    tally: Tally,
    out: Option<Out>,
}

impl<'o> Run<'o> {
    fn of(
        options: &'o ReplayOptions,
        plans: Plans,
        mut symbols: Symbols,
    ) -> Result<Self, ReplayError> {
        let marks = Marks::of(&mut symbols);
        Ok(Self {
            options,
            plans,
            symbols,
            marks,
            twin: Twin::new(options.state, options.counters_per_grant),
            node: None,
            diverged: HashSet::new(),
            tally: Tally::new(options.flips),
            out: options.out.as_deref().map(Out::create).transpose()?,
        })
    }

    fn batch(&mut self, rows: &mut Rows) -> Result<(), ReplayError> {
        for place in 0..rows.len() {
            let row = rows.at(place, &mut self.symbols);
            if self.node != Some(row.node) {
                // Counters are per node, and so is everything that follows from them.
                self.node = Some(row.node);
                self.twin = Twin::new(self.options.state, self.options.counters_per_grant);
                self.diverged.clear();
            }
            self.twin.catch_up(row.seq);
            self.row(&row, place, rows)?;
        }
        Ok(())
    }

    fn row(&mut self, row: &Row, place: usize, rows: &Rows) -> Result<(), ReplayError> {
        let (ruled, taken) = match self.marks.kind(row) {
            Kind::Unseen => return Ok(()),
            Kind::Settled => {
                self.plans.meet(row);
                let (server, grant) = (self.symbols.word(row.server), self.symbols.word(row.grant));
                (Ruled::Settled, self.plans.selection().takes(server, grant))
            }
            Kind::Judged => {
                let plan = self.plans.of_row(row, &rows.vias, &mut self.symbols)?;
                let ruled = if let Some(foregone) = &plan.foregone {
                    foregone.rule(row, &self.marks)
                } else {
                    let call = Call::of(row, place, rows, &self.marks, &self.symbols);
                    call.judge(plan, &mut self.twin)
                };
                (ruled, plan.taken)
            }
        };
        let class = ruled.class();
        let session = (row.server, row.grant, row.session);
        let after_divergence = !self.diverged.is_empty() && self.diverged.contains(&session);
        if class.is_flip() {
            self.diverged.insert(session);
        }
        let in_range = self.options.from.is_none_or(|from| row.decided_at >= from)
            && self.options.to.is_none_or(|to| row.decided_at < to);
        if !in_range {
            return Ok(());
        }
        if !taken {
            self.tally.count_outside(class);
            return Ok(());
        }
        let outcome = self.outcome(row, &ruled, after_divergence);
        let now = ruled
            .now()
            .map(|now| (self.verdict(now.verdict), self.symbols.of(&now.rule)));
        if let Some(out) = &mut self.out {
            out.push(row, &rows.call_id(place), &outcome, &self.symbols)?;
        }
        self.tally.count(
            row,
            || rows.call_id(place),
            || rows.arguments(place),
            outcome,
            now,
            &self.symbols,
        );
        Ok(())
    }

    fn verdict(&self, verdict: Verdict) -> Symbol {
        match verdict {
            Verdict::Allow => self.marks.allow,
            Verdict::Deny => self.marks.deny,
        }
    }

    /// The ruling in the words of the report. A call that is `same` keeps the words on record.
    fn outcome(&mut self, row: &Row, ruled: &Ruled, after_divergence: bool) -> Outcome {
        let class = ruled.class();
        match ruled {
            Ruled::Judged(ruling) if class != Class::Same => {
                let would = &ruling.would;
                Outcome {
                    class,
                    reason: self.symbols.of(would.reason.as_str()),
                    would_verdict: if class == Class::NewlyHeld {
                        self.marks.hold
                    } else {
                        self.verdict(would.verdict)
                    },
                    would_rule: self.symbols.of(&would.rule),
                    would_message: self.symbols.of(&would.message),
                    after_divergence,
                }
            }
            Ruled::Unjudged(why) => Outcome {
                class,
                reason: self.symbols.of(why),
                would_verdict: Symbol::EMPTY,
                would_rule: Symbol::EMPTY,
                would_message: Symbol::EMPTY,
                after_divergence,
            },
            Ruled::Judged(_) | Ruled::Settled => Outcome {
                class,
                reason: row.reason,
                would_verdict: row.verdict,
                would_rule: row.rule,
                would_message: Symbol::EMPTY,
                after_divergence,
            },
        }
    }

    fn report(self, options: &ReplayOptions) -> Result<Report, ReplayError> {
        self.plans.check_names(&self.symbols)?;
        if let Some(out) = self.out {
            out.close()?;
        }
        Ok(self.tally.report(
            options.candidate.as_ref().map(named),
            options
                .assign
                .iter()
                .map(|(grant, file)| (grant.clone(), named(file)))
                .collect(),
            &self.symbols,
        ))
    }
}

//! A replay from beginning to end: decode on one thread, judge on another, in the order of the log.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;

use hashbrown::HashSet;
use weir_policy::{Ask, AskKind, Context, Decision, ENGINE, Micros, Resolution, Value, Verdict};
use weir_recorder::{RecordError, RecordReader};

use crate::kept::{Kept, missing};
use crate::out::Out;
use crate::plan::{Plan, Plans, Read};
use crate::report::{Flip, Report};
use crate::rows::{Row, Rows, projection};
use crate::selection::{Selection, named};
use crate::symbols::{Symbol, Symbols, Words};
use crate::tally::{Outcome, Tally};
use crate::twin::{Recorded, Ruling, Twin};
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
    let total = look_ahead(&reader, &mut kept, &mut symbols).map_err(|error| match error {
        Ahead::Record(cause) => failed(cause),
        Ahead::Replay(error) => error,
    })?;
    let needed = kept.any_policy_needs_arguments() || selection.needs_arguments();
    let arguments = needed || options.flips == Flips::All;

    let batches = reader.calls(&projection(arguments)).map_err(failed)?;
    let mut run = Run::of(options, Plans::of(kept, selection), symbols)?;
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
    if !arguments {
        recall_arguments(&reader, run.tally.flips_mut()).map_err(failed)?;
    }
    run.report(options)
}

enum Ahead {
    Record(RecordError),
    Replay(ReplayError),
}

/// Loads every policy that judged a call of the record, so that it is known whether arguments must
/// be read at all; and counts the rows.
fn look_ahead(reader: &RecordReader, kept: &mut Kept, symbols: &mut Symbols) -> Result<u64, Ahead> {
    let mut policies = Words::of("policy_digest");
    let mut total = 0;
    let mut last = Symbol::EMPTY;
    for batch in reader.calls(&["policy_digest"]).map_err(Ahead::Record)? {
        let batch = batch.map_err(Ahead::Record)?;
        policies.load(&batch, symbols).map_err(Ahead::Replay)?;
        total += batch.num_rows() as u64;
        for row in 0..batch.num_rows() {
            let digest = policies.at(row, symbols);
            if digest != last && digest != Symbol::EMPTY {
                // Loaded once. Whether it loads is said row by row, by those that need it.
                drop(kept.policy(digest, symbols));
            }
            last = digest;
        }
    }
    Ok(total)
}

/// Reads the arguments of listed flips, where the replay itself did not need them.
fn recall_arguments(reader: &RecordReader, flips: &mut [Flip]) -> Result<(), RecordError> {
    if flips.is_empty() {
        return Ok(());
    }
    let mut wanted: BTreeMap<(String, i64), &mut Flip> = flips
        .iter_mut()
        .map(|flip| ((flip.node.clone(), flip.seq), flip))
        .collect();
    let columns = ["node", "seq", "arguments"];
    for segment in reader.segments()? {
        let here =
            (segment.node.clone(), segment.first_seq)..=(segment.node.clone(), segment.last_seq);
        if wanted.range(here).next().is_none() {
            continue;
        }
        for batch in reader.segment(&segment, &columns)? {
            recall_from(&batch?, &mut wanted);
        }
    }
    if !wanted.is_empty() {
        recall_from(&reader.live()?, &mut wanted);
    }
    Ok(())
}

fn recall_from(batch: &arrow::array::RecordBatch, wanted: &mut BTreeMap<(String, i64), &mut Flip>) {
    use arrow::array::{Array as _, AsArray as _};
    let (Some(seq), Some(arguments)) = (
        batch
            .column_by_name("seq")
            .and_then(|c| c.as_primitive_opt::<arrow::datatypes::Int64Type>()),
        batch
            .column_by_name("arguments")
            .and_then(|c| c.as_string_opt::<i32>()),
    ) else {
        return;
    };
    let mut symbols = Symbols::default();
    let mut nodes = Words::of("node");
    if nodes.load(batch, &mut symbols).is_err() {
        return;
    }
    for row in 0..batch.num_rows() {
        let node = nodes.at(row, &mut symbols);
        let place = (symbols.word(node).to_owned(), seq.value(row));
        if let Some(flip) = wanted.remove(&place)
            && arguments.is_valid(row)
        {
            flip.arguments = Some(arguments.value(row).to_owned());
        }
    }
}

/// The words that rows are told apart by.
struct Marks {
    client: Symbol,
    allow: Symbol,
    deny: Symbol,
    hold: Symbol,
    engine: Symbol,
    malformed: Symbol,
    arguments: Symbol,
    unrecorded: Symbol,
    no_policy: Symbol,
    approval_unavailable: Symbol,
}

impl Marks {
    fn of(symbols: &mut Symbols) -> Self {
        Self {
            client: symbols.of("client"),
            allow: symbols.of("allow"),
            deny: symbols.of("deny"),
            hold: symbols.of("hold"),
            engine: symbols.of(ENGINE),
            malformed: symbols.of("(malformed)"),
            arguments: symbols.of("(arguments)"),
            unrecorded: symbols.of("(unrecorded)"),
            no_policy: symbols.of("(no policy)"),
            approval_unavailable: symbols.of("approval_unavailable"),
        }
    }

    /// What kind of row this is to a replay.
    fn kind(&self, row: &Row) -> Kind {
        if [self.malformed, self.arguments, self.unrecorded].contains(&row.rule) {
            Kind::Settled
        } else if row.policy != Symbol::EMPTY || row.rule == self.no_policy {
            // A server's request that policy was asked about counts like any other.
            Kind::Judged
        } else if row.verdict == self.allow || row.direction != self.client {
            Kind::Unseen
        } else {
            Kind::Settled
        }
    }
}

/// What a row is to a replay (DESIGN 7.1).
enum Kind {
    /// Policy judged it.
    Judged,
    /// It was refused before policy was asked, or its decision is void: the same under every policy.
    Settled,
    /// Policy never sees such a row: it is not a call of the report.
    Unseen,
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
                let plan = self.plans.of_row(row, &rows.vias, &self.symbols)?;
                let recorded = recorded(row, &self.marks, &self.symbols);
                let call = Call {
                    row,
                    recorded: &recorded,
                    symbols: &self.symbols,
                };
                let ruled = if matches!(plan.reading, Read::Arguments) && !rows.has_arguments() {
                    Ruled::Unjudged(missing::UNREAD)
                } else {
                    let arguments = rows.arguments(place);
                    judge(
                        &mut self.twin,
                        plan,
                        &call,
                        arguments,
                        rows.is_redacted(place),
                    )
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

/// What replay says of a row.
enum Ruled {
    /// Refused before policy was asked.
    Settled,
    /// Both judges spoke.
    Judged(Ruling),
    /// It cannot be judged again.
    Unjudged(&'static str),
}

impl Ruled {
    fn class(&self) -> Class {
        match self {
            Self::Settled => Class::Same,
            Self::Judged(ruling) => ruling.class,
            Self::Unjudged(_) => Class::NotReplayable,
        }
    }

    fn now(&self) -> Option<&Decision> {
        match self {
            Self::Judged(ruling)
                if matches!(ruling.class, Class::EngineDrift | Class::EngineChanged) =>
            {
                Some(&ruling.now)
            }
            Self::Judged(_) | Self::Settled | Self::Unjudged(_) => None,
        }
    }
}

/// A row that policy judged.
struct Call<'a> {
    row: &'a Row,
    recorded: &'a Recorded<'a>,
    symbols: &'a Symbols,
}

impl<'a> Call<'a> {
    fn context(&self) -> Context<'a> {
        let word = |symbol| self.symbols.word(symbol);
        Context {
            node: word(self.row.node),
            server: word(self.row.server),
            grant: word(self.row.grant),
            session: word(self.row.session),
            client_name: word(self.row.client_name),
            client_version: word(self.row.client_version),
            received_at: Micros(self.row.received_at),
        }
    }
}

fn recorded<'a>(row: &Row, marks: &Marks, symbols: &'a Symbols) -> Recorded<'a> {
    Recorded {
        // Anything but the word `allow` is a denial.
        verdict: if row.verdict == marks.allow {
            Verdict::Allow
        } else {
            Verdict::Deny
        },
        rule: symbols.word(row.rule),
        approval_denied: row.reason == marks.approval_unavailable,
        this_engine: row.engine == marks.engine,
        decided_at: Micros(row.decided_at),
        given_back: match (row.given_back, row.finish_seq) {
            (true, Some(seq)) => Some((seq, Micros(row.finished_at.unwrap_or(row.decided_at)))),
            _ => None,
        },
    }
}

/// Judges one call twice: on its names alone where no rule reads arguments, else on the recorded
/// arguments, parsed and resolved as live did.
fn judge(
    twin: &mut Twin,
    plan: &Plan,
    call: &Call<'_>,
    arguments: Option<&str>,
    redacted: bool,
) -> Ruled {
    let context = call.context();
    let policies = (plan.baseline.as_ref(), plan.candidate.as_ref());
    let resolver = match &plan.resolver {
        Ok(resolver) => resolver,
        Err(why) => return Ruled::Unjudged(why),
    };
    match &plan.reading {
        Read::Names(names) => {
            return judge_resolved(twin, policies, names, &context, call.recorded);
        }
        Read::Unfit => return Ruled::Unjudged(missing::NAMES),
        Read::Arguments => {}
    }
    // Live judges what is absent or null, and what is no tool's, on no arguments.
    let wire_tool = call.symbols.word(call.row.wire_tool);
    let kind = asked(wire_tool);
    let text = match kind {
        AskKind::ToolCall | AskKind::Prompt => arguments.filter(|text| *text != "null"),
        AskKind::Resource | AskKind::Method => None,
    };
    let Ok(value) = Value::parse(text.unwrap_or("{}")) else {
        return Ruled::Unjudged(missing::ARGUMENTS);
    };
    let ask = Ask {
        wire_tool: wire_tool.into(),
        kind,
        arguments: &value,
    };
    let Ok(resolution) = resolver.resolve(&ask) else {
        return Ruled::Unjudged(missing::ARGUMENTS);
    };
    if redacted {
        let [baseline, candidate] =
            [policies.0, policies.1].map(|policy| policy.ok().and_then(Option::as_deref));
        twin.consume_unjudged(baseline, candidate, &resolution, &context, call.recorded);
        return Ruled::Unjudged(missing::REDACTED);
    }
    judge_resolved(twin, policies, &resolution, &context, call.recorded)
}

type Known<'a> = Result<&'a Option<std::sync::Arc<weir_policy::Policy>>, &'a &'static str>;

fn judge_resolved(
    twin: &mut Twin,
    policies: (Known<'_>, Known<'_>),
    resolution: &Resolution<'_>,
    context: &Context<'_>,
    recorded: &Recorded<'_>,
) -> Ruled {
    match policies {
        (Ok(baseline), Ok(candidate)) => Ruled::Judged(twin.judge(
            baseline.as_deref(),
            candidate.as_deref(),
            resolution,
            context,
            recorded,
        )),
        (baseline, candidate) => {
            let why = *baseline
                .err()
                .or(candidate.err())
                .unwrap_or(&missing::POLICY);
            let [baseline, candidate] =
                [baseline, candidate].map(|policy| policy.ok().and_then(Option::as_deref));
            twin.consume_unjudged(baseline, candidate, resolution, context, recorded);
            Ruled::Unjudged(why)
        }
    }
}

/// What a name on the wire stands for: no tool may be called like what is not a tool.
fn asked(wire_tool: &str) -> AskKind {
    match wire_tool.split_once(':').map(|(prefix, _)| prefix) {
        Some("resource") => AskKind::Resource,
        Some("prompt") => AskKind::Prompt,
        Some("method") => AskKind::Method,
        Some(_) | None => AskKind::ToolCall,
    }
}

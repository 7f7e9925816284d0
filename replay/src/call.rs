//! One call judged again, from its row.

use weir_policy::{Ask, Context, Micros, Resolution, Value, recorded_arguments};

use crate::kept::missing;
use crate::kind::Marks;
use crate::plan::{Plan, Read};
use crate::rows::{Row, Rows};
use crate::ruled::Ruled;
use crate::symbols::Symbols;
use crate::twin::{Recorded, Twin};

/// A row that policy judged, and must judge by itself again.
pub(crate) struct Call<'a> {
    row: &'a Row,
    place: usize,
    rows: &'a Rows,
    recorded: Recorded<'a>,
    symbols: &'a Symbols,
}

impl<'a> Call<'a> {
    pub(crate) fn of(
        row: &'a Row,
        place: usize,
        rows: &'a Rows,
        marks: &Marks,
        symbols: &'a Symbols,
    ) -> Self {
        let recorded = Recorded {
            verdict: marks.verdict(row),
            rule: symbols.word(row.rule),
            approval_denied: row.reason == marks.approval_unavailable,
            this_engine: row.engine == marks.engine,
            decided_at: Micros(row.decided_at),
            given_back: match (row.given_back, row.finish_seq) {
                (true, Some(seq)) => Some((seq, Micros(row.finished_at.unwrap_or(row.decided_at)))),
                _ => None,
            },
        };
        Self {
            row,
            place,
            rows,
            recorded,
            symbols,
        }
    }

    /// Judges it twice: on its names alone where no rule reads arguments, else on the recorded arguments, parsed and
    /// resolved as live did.
    pub(crate) fn judge(&self, plan: &Plan, twin: &mut Twin) -> Ruled {
        let context = self.context();
        let recorded = &self.recorded;
        let policies = (plan.baseline.as_ref(), plan.candidate.as_ref());
        let resolver = match &plan.resolver {
            Ok(resolver) => resolver,
            Err(why) => return Ruled::Unjudged(why),
        };
        if plan.unread || self.returned_unread() {
            return Ruled::Unjudged(missing::UNREAD);
        }
        match &plan.reading {
            Read::Names(names) => return judge_resolved(twin, policies, names, &context, recorded),
            Read::Unfit => return Ruled::Unjudged(missing::NAMES),
            Read::Arguments => {}
        }
        let wire_tool = self.symbols.word(self.row.wire_tool);
        let text = recorded_arguments(wire_tool, self.rows.arguments(self.place));
        let Ok(value) = Value::parse(text) else {
            return Ruled::Unjudged(missing::ARGUMENTS);
        };
        let ask = Ask::recorded(wire_tool, &value);
        let Ok(resolution) = resolver.resolve(&ask) else {
            return Ruled::Unjudged(missing::ARGUMENTS);
        };
        if self.rows.is_redacted(self.place) {
            let [baseline, candidate] =
                [policies.0, policies.1].map(|policy| policy.ok().and_then(Option::as_deref));
            twin.consume_unjudged(baseline, candidate, &resolution, &context, recorded);
            return Ruled::Unjudged(missing::REDACTED);
        }
        judge_resolved(twin, policies, &resolution, &context, recorded)
    }

    /// Whether its reservation was returned at a place that was left unread.
    fn returned_unread(&self) -> bool {
        self.row.given_back && self.row.finish_seq.is_none()
    }

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

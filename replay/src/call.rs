//! One call judged again, from its row.

use std::borrow::Cow;

use sha2::{Digest as _, Sha256};
use weir_policy::{
    Ask, Asked, Context, Micros, OnRecord, Redacted, Redaction, Resolution, Resolver, Value,
    is_replaced, recorded_arguments,
};

use crate::columns::Details;
use crate::kept::missing;
use crate::kind::Kind;
use crate::plan::{Plan, Read};
use crate::ruled::Ruled;
use crate::twin::{Recorded, Twin};

/// A row that policy judged, and must judge by itself again.
pub(crate) struct Call<'a> {
    kind: &'a Kind,
    details: &'a Details,
    /// Its place in the details.
    place: usize,
    context: Context<'a>,
    recorded: Recorded<'a>,
}

impl<'a> Call<'a> {
    pub(crate) fn of(
        kind: &'a Kind,
        node: &'a str,
        (details, place): (&'a Details, usize),
        decided_at: i64,
    ) -> Self {
        let (client_name, client_version) = details.client(place);
        Self {
            kind,
            details,
            place,
            context: Context {
                node,
                server: &kind.server,
                grant: &kind.grant,
                session: details.session(place),
                client_name,
                client_version,
                received_at: details.received_at(place),
            },
            recorded: Recorded {
                verdict: kind.was(),
                rule: &kind.rule,
                reason: &kind.reason,
                asked: Asked::of(&kind.reason),
                this_engine: kind.this_engine,
                decided_at: Micros(decided_at),
                given_back: details.given_back(place, decided_at),
            },
        }
    }

    /// Judges it twice: on its names alone where no rule reads arguments, else on the recorded arguments, parsed and
    /// resolved as live did.
    pub(crate) fn judge(&self, plan: &Plan, twin: &mut Twin) -> Ruled {
        let Self {
            context, recorded, ..
        } = self;
        let policies = (plan.baseline.as_ref(), plan.candidate.as_ref());
        let names = match &plan.reading {
            Read::Names(names) => return judge_resolved(twin, policies, names, context, recorded),
            Read::RedactedNames(names) => {
                let [baseline, candidate] =
                    [policies.0, policies.1].map(|policy| policy.ok().and_then(Option::as_deref));
                twin.consume_unjudged(baseline, candidate, names, context, recorded);
                return Ruled::Unjudged(missing::REDACTED);
            }
            Read::Arguments(names) => names,
        };
        if self.details.is_redacted(self.place) {
            return self.judge_redacted(&plan.resolver, policies, twin);
        }
        let wire_tool = &*self.kind.wire_tool;
        let text = recorded_arguments(wire_tool, self.details.arguments(self.place));
        let Ok(value) = Value::parse(text) else {
            return Ruled::Unjudged(missing::ARGUMENTS);
        };
        let ask = Ask::recorded(wire_tool, &value);
        let resolution = match plan.resolver.resolve(&ask) {
            // Which limits count a call was worked out by its names on record.
            Ok(resolution) if is_by_names(&resolution, names) => resolution,
            Ok(_) => return Ruled::Unjudged(missing::NAMES),
            Err(_) => return Ruled::Unjudged(missing::ARGUMENTS),
        };
        judge_resolved(twin, policies, &resolution, context, recorded)
    }

    /// Judges it from what redaction and the audit level left on record.
    fn judge_redacted(
        &self,
        resolver: &Resolver,
        policies: (Known<'_>, Known<'_>),
        twin: &mut Twin,
    ) -> Ruled {
        let Kind {
            wire_tool,
            tool,
            via,
            ..
        } = self.kind;
        let via: Vec<&str> = via.iter().map(|step| &**step).collect();
        let arguments = self.details.arguments(self.place);
        let arguments = arguments.map(|text| marked(text, &self.details.redacted(self.place)));
        let (left, kept) = match arguments.as_deref().map(Value::parse) {
            None => (None, OnRecord::Nothing),
            Some(Ok(value)) => (Some(value), OnRecord::Values),
            Some(Err(_)) => return Ruled::Unjudged(missing::ARGUMENTS),
        };
        let read = resolver.from_redacted(wire_tool, &via, tool, left.as_ref());
        let Some(resolution) = read else {
            return Ruled::Unjudged(missing::NAMES);
        };
        match policies {
            (Ok(baseline), Ok(candidate)) => Ruled::Judged(twin.judge_redacted(
                baseline.as_deref(),
                candidate.as_deref(),
                (&resolution, kept),
                &self.context,
                &self.recorded,
            )),
            _ => judge_resolved(twin, policies, &resolution, &self.context, &self.recorded),
        }
    }
}

/// Whether a call resolves to the names that are on record.
fn is_by_names(resolution: &Resolution<'_>, names: &Resolution<'_>) -> bool {
    let tools = resolution.readings.iter().map(|reading| &*reading.tool);
    tools.eq(names.readings.iter().map(|reading| &*reading.tool))
}

/// The arguments with what is redacted in them by its form. Weir writes them so; of another writer's only the pointers tell.
fn marked<'t>(text: &'t str, pointers: &[String]) -> Cow<'t, str> {
    const NO_KEYS: [&str; 0] = [];
    if is_replaced(text) {
        return Cow::Borrowed(text);
    }
    let digest = |bytes: &[u8]| {
        let mut cut = [0; 16];
        let digest = Sha256::digest(bytes);
        cut.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        cut
    };
    let redaction = Redaction::compile(pointers, NO_KEYS).unwrap_or_default();
    match redaction.redact(text, &digest) {
        Redacted::Values { text, .. } => Cow::Owned(text),
        Redacted::Nothing | Redacted::Whole => Cow::Borrowed(text),
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

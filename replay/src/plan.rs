//! What is the same for all calls of one grant, tool and policy: worked out once, looked up by row.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use hashbrown::HashMap;
use weir_policy::{
    Arguments, Context, Micros, Object, Policy, Reading, Resolution, Resolver, Value,
};

use crate::ReplayError;
use crate::foregone::{Foregone, foregone};
use crate::kept::Kept;
use crate::rows::{Columns, Row};
use crate::selection::{Selection, Under};
use crate::symbols::{Symbol, Symbols, Via, Vias};

/// How the calls of one kind are judged.
pub(crate) struct Plan {
    /// Whether `--server` and `--grant` take these calls in.
    pub(crate) taken: bool,
    /// The policy that was in force; none for a call that had none.
    pub(crate) baseline: Result<Option<Arc<Policy>>, &'static str>,
    /// The candidate, or the same policy where the grant is not selected.
    pub(crate) candidate: Result<Option<Arc<Policy>>, &'static str>,
    /// How the calls were read.
    pub(crate) resolver: Result<Arc<Resolver>, &'static str>,
    /// What the calls are judged on.
    pub(crate) reading: Read,
    /// A policy reads what was left unread: it came into force after replay had looked which there are.
    pub(crate) unread: bool,
    /// What both policies say of all these calls, where neither has to look at each.
    pub(crate) foregone: Option<Foregone>,
}

/// What calls of one kind are judged on.
pub(crate) enum Read {
    /// Their names alone: no rule that speaks of them reads arguments.
    Names(Resolution<'static>),
    /// Their recorded arguments, parsed and resolved again, row by row.
    Arguments,
    /// Nothing: the names on record do not fit the resolver on record.
    Unfit,
}

#[derive(PartialEq, Eq, Hash, Clone, Copy)]
struct Kind {
    policy: Symbol,
    resolver: Symbol,
    server: Symbol,
    grant: Symbol,
    wire_tool: Symbol,
    tool: Symbol,
    via: Via,
}

/// The plans made so far.
pub(crate) struct Plans {
    kept: Kept,
    selection: Selection,
    columns: Columns,
    made: Vec<Plan>,
    by_kind: HashMap<Kind, usize>,
    servers: BTreeSet<Symbol>,
    grants: BTreeSet<Symbol>,
}

impl Plans {
    pub(crate) fn of(kept: Kept, selection: Selection, columns: Columns) -> Self {
        Self {
            kept,
            selection,
            columns,
            made: Vec::new(),
            by_kind: HashMap::new(),
            servers: BTreeSet::new(),
            grants: BTreeSet::new(),
        }
    }

    /// The plan for the kind of call in `row`.
    pub(crate) fn of_row(
        &mut self,
        row: &Row,
        vias: &Vias,
        symbols: &mut Symbols,
    ) -> Result<&Plan, ReplayError> {
        let kind = Kind {
            policy: row.policy,
            resolver: row.resolver,
            server: row.server,
            grant: row.grant,
            wire_tool: row.wire_tool,
            tool: row.tool,
            via: row.via,
        };
        let place = if let Some(place) = self.by_kind.get(&kind) {
            *place
        } else {
            self.meet(row);
            let plan = self.make(&kind, vias, symbols);
            self.made.push(plan);
            self.by_kind.insert(kind, self.made.len() - 1);
            self.made.len() - 1
        };
        // The place was just looked up or made.
        self.made.get(place).ok_or(ReplayError::Stopped)
    }

    fn make(&mut self, kind: &Kind, vias: &Vias, symbols: &mut Symbols) -> Plan {
        let (server, grant) = (symbols.word(kind.server), symbols.word(kind.grant));
        let baseline = if kind.policy == Symbol::EMPTY {
            Ok(None)
        } else {
            self.kept.policy(kind.policy, symbols).map(Some)
        };
        let candidate = match self.selection.under(server, grant) {
            Under::Candidate(policy) => Ok(Some(policy)),
            Under::Own => baseline.clone(),
        };
        let resolver = self.kept.resolver(kind.resolver, symbols);
        let reading = resolver.as_ref().map_or(Read::Unfit, |resolver| {
            let via: Vec<&str> = vias
                .steps(kind.via)
                .iter()
                .map(|step| symbols.word(*step))
                .collect();
            let (wire_tool, tool) = (symbols.word(kind.wire_tool), symbols.word(kind.tool));
            let Some(names) = resolver.from_recorded(wire_tool, &via, tool) else {
                return Read::Unfit;
            };
            let policies = [&baseline, &candidate].into_iter().flatten().flatten();
            if policies
                .into_iter()
                .any(|policy| policy.reads_arguments_of(&names))
            {
                Read::Arguments
            } else {
                Read::Names(without_arguments(&names))
            }
        });
        let taken = self.selection.takes(server, grant);
        let unread = [&baseline, &candidate]
            .into_iter()
            .flatten()
            .flatten()
            .any(|policy| !self.columns.serve(policy.needs()));
        let decisions = match (&reading, &baseline, &candidate) {
            (Read::Names(names), Ok(baseline), Ok(candidate)) => {
                let context = Context {
                    node: "",
                    server,
                    grant,
                    session: "",
                    client_name: "",
                    client_version: "",
                    received_at: Micros(0),
                };
                foregone(baseline.as_deref(), candidate.as_deref(), names, &context)
            }
            _ => None,
        };
        Plan {
            foregone: decisions.map(|decisions| Foregone::new(decisions, symbols)),
            taken,
            baseline,
            candidate,
            resolver,
            reading,
            unread,
        }
    }

    /// Notes that a server and a grant have a call.
    pub(crate) fn meet(&mut self, row: &Row) {
        self.servers.insert(row.server);
        self.grants.insert(row.grant);
    }

    /// Whether every server and grant that the options name has a call; a misspelt name would
    /// otherwise look like a candidate that changes nothing.
    pub(crate) fn check_names(&self, symbols: &Symbols) -> Result<(), ReplayError> {
        for (what, name) in self.selection.names() {
            let met = if what == "server" {
                &self.servers
            } else {
                &self.grants
            };
            if !symbols
                .known(name)
                .is_some_and(|symbol| met.contains(&symbol))
            {
                let mut known: Vec<String> = met
                    .iter()
                    .map(|symbol| symbols.word(*symbol).to_owned())
                    .collect();
                known.sort();
                return Err(ReplayError::Unknown {
                    what,
                    name: name.to_owned(),
                    known,
                });
            }
        }
        Ok(())
    }

    /// The candidates and whom they are for.
    pub(crate) fn selection(&self) -> &Selection {
        &self.selection
    }
}

/// The names and roles of a reading, kept.
fn without_arguments(resolution: &Resolution<'_>) -> Resolution<'static> {
    let kept = |text: &str| Cow::Owned(text.to_owned());
    Resolution {
        readings: resolution
            .readings
            .iter()
            .map(|reading| Reading {
                tool: kept(&reading.tool),
                arguments: Arguments::Built(Box::new(Value::Object(Object::default()))),
                role: reading.role,
            })
            .collect(),
        via: resolution.via.iter().map(|step| kept(step)).collect(),
        risk: resolution.risk,
    }
}

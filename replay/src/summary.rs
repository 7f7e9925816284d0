//! From what the parts of a replay counted and noted to its report.

use std::collections::{BTreeMap, BTreeSet};

use weir_recorder::{CallGroup, RecordReader};

use crate::digest::{Line, ResultDigest};
use crate::engine::Found;
use crate::error::Failed;
use crate::kind::Kinds;
use crate::notable::in_order;
use crate::out::Out;
use crate::recall::recall_arguments;
use crate::report::{Changes, Document, Extent, Replaced, Report};
use crate::selection::named;
use crate::timeline::Timeline;
use crate::{Class, Classes, ReplayError, ReplayOptions};

/// What a report is made of besides what was found.
pub(crate) struct Summary<'a> {
    pub(crate) options: &'a ReplayOptions,
    pub(crate) reader: &'a RecordReader,
    pub(crate) groups: &'a [CallGroup],
    /// In the order of their names.
    pub(crate) nodes: &'a [String],
    pub(crate) kinds: &'a Kinds,
}

impl Summary<'_> {
    pub(crate) fn report(self, found: Found) -> Result<Report, Failed> {
        let Found {
            mut partial,
            notables,
        } = found;
        self.check_names()?;
        let options = self.options;
        let candidate = options.candidate.as_ref().map(named);
        let assigned: BTreeMap<_, _> = options
            .assign
            .iter()
            .map(|(grant, file)| (grant.clone(), named(file)))
            .collect();

        let mut classes = Classes::default();
        let (mut by_tool, mut by_grant): (BTreeMap<_, Changes>, BTreeMap<_, Changes>) =
            (BTreeMap::new(), BTreeMap::new());
        let (mut policies, mut replaced) = (BTreeSet::new(), BTreeMap::new());
        for kind in self.kinds.all() {
            for (class, calls) in partial.of_kind(kind) {
                classes.count(class, calls);
                let tool: &mut Changes = by_tool.entry(kind.tool.to_string()).or_default();
                tool.count(class, calls);
                let grant: &mut Changes = by_grant.entry(kind.grant.to_string()).or_default();
                grant.count(class, calls);
                policies.extend(Some(&kind.policy).filter(|digest| !digest.is_empty()));
                if let Some((was, by)) = self.kinds.replaced(kind) {
                    let digests = (was.digest(), by.digest());
                    replaced.entry(digests).or_insert_with(|| Replaced {
                        was: Document::of(was),
                        by: Document::of(by),
                    });
                }
            }
        }

        let mut out = options.out.as_deref().map(Out::create).transpose()?;
        let mut digest = ResultDigest::new(candidate.as_ref(), &assigned, &classes);
        let mut timeline = Timeline::over(partial.extent.from, partial.extent.to);
        in_order::<ReplayError>(notables, |row, symbols| {
            let line = Line::of(row, symbols, self.nodes);
            if let Some(out) = &mut out {
                out.push(&line)?;
            }
            if row.class != Class::Same {
                digest.add(&line);
                timeline.count(row.decided_at, row.class);
            }
            Ok(())
        })?;
        if let Some(out) = out {
            out.close()?;
        }

        recall_arguments(self.groups, &mut partial.flips)?;
        let flips = partial.flips.into_iter().map(|listed| listed.flip);
        let drifts = partial.drifts.into_iter().map(|(_, drift)| drift);
        Ok(Report {
            candidate,
            assigned,
            record: Extent {
                verified: options.verify,
                complete_from: self.reader.complete_from()?,
                ..partial.extent
            },
            policies_in_force: policies.len(),
            classes,
            by_tool,
            by_rule: partial.by_rule,
            by_grant,
            not_replayable: partial.not_replayable,
            in_doubt: partial.in_doubt,
            flips_outside: partial.flips_outside,
            flips: flips.collect(),
            drifts: drifts.collect(),
            replaced: replaced.into_values().collect(),
            timeline: timeline.moments(),
            result_digest: digest.finish(),
        })
    }

    /// Whether every server and grant that the options name has a call; a misspelt name would otherwise look like a candidate that
    /// changes nothing.
    fn check_names(&self) -> Result<(), ReplayError> {
        let calls = || self.kinds.all().iter().filter(|kind| kind.is_call());
        for (what, name) in self.kinds.selection().names() {
            let met: BTreeSet<&str> = if what == "server" {
                calls().map(|kind| &*kind.server).collect()
            } else {
                calls().map(|kind| &*kind.grant).collect()
            };
            if !met.contains(name) {
                return Err(ReplayError::Unknown {
                    what,
                    name: name.to_owned(),
                    known: met.into_iter().map(str::to_owned).collect(),
                });
            }
        }
        Ok(())
    }
}

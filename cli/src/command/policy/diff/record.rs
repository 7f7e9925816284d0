//! Which calls of a record two policies judge differently.

use std::collections::BTreeMap;

use weir_policy::Policy;
use weir_replay::{Flip, Flips, PolicyFile, ReplayOptions, Report, Verify, replay};

use crate::command::replay::told;

/// A record under two policies.
pub(super) struct Compared {
    /// How much of its evidence was checked.
    pub(super) verified: Verify,
    /// How many calls it holds.
    pub(super) calls: u64,
    /// How many of them cannot be judged with certainty by one of the two.
    pub(super) uncertain: u64,
    /// Those that are judged differently, in the order of the log.
    pub(super) calls_apart: Vec<Apart>,
}

/// A call that is judged differently.
pub(super) struct Apart {
    pub(super) call: Flip,
    /// The verdict (`allow`, `deny` or `hold`) and the rule of either.
    pub(super) old: (String, String),
    pub(super) new: (String, String),
}

/// Judges every call by either policy. Each is replayed by itself, so that its limits meet each call as they would have live;
/// a call that flips under one and not under the other, or otherwise, is judged differently.
pub(super) fn compared(
    of_record: &dyn Fn() -> anyhow::Result<ReplayOptions>,
    grant: Option<&str>,
    old: &Policy,
    new: &Policy,
) -> anyhow::Result<Compared> {
    let run = |policy: &Policy| {
        let candidate = PolicyFile {
            path: policy.name().to_owned(),
            bytes: policy.document().to_vec(),
        };
        replay(&ReplayOptions {
            candidate: Some(candidate),
            grant: grant.map(ToOwned::to_owned),
            flips: Flips::All,
            ..of_record()?
        })
        .map_err(|error| told(&error))
    };
    let (old, new) = (run(old)?, run(new)?);
    let uncertain = |report: &Report| {
        let doubt: u64 = report.in_doubt.values().sum();
        doubt + report.not_replayable.values().sum::<u64>()
    };
    Ok(Compared {
        verified: new.record.verified,
        calls: new.record.calls,
        uncertain: uncertain(&old).max(uncertain(&new)),
        calls_apart: apart(&old.flips, &new.flips),
    })
}

fn apart(old: &[Flip], new: &[Flip]) -> Vec<Apart> {
    let mut calls: BTreeMap<(&str, i64), [Option<&Flip>; 2]> = BTreeMap::new();
    for flip in old {
        calls.entry((&flip.node, flip.seq)).or_default()[0] = Some(flip);
    }
    for flip in new {
        calls.entry((&flip.node, flip.seq)).or_default()[1] = Some(flip);
    }
    let would = |flip: &Flip| (flip.would_verdict.clone(), flip.would_rule.clone());
    // what does not flip keeps what is on record
    let was = |flip: &Flip| (flip.was_verdict.clone(), flip.was_rule.clone());
    let differing = calls.into_values().filter_map(|flips| {
        let any = flips.iter().flatten().next()?;
        let [old, new] = flips.map(|flip| flip.map_or_else(|| was(any), would));
        (old.0 != new.0).then(|| Apart {
            call: (*any).clone(),
            old,
            new,
        })
    });
    differing.collect()
}

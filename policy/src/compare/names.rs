//! All names that calls may go by, sorted by where they stand in two policies.

use std::collections::BTreeSet;

use crate::Policy;
use crate::glob::Glob;
use crate::rules::{Rules, ToolRules};

use super::machine::{Machine, Words};
use super::matter::is_bare;
use super::product::{Texts, combinations};

/// Names that stand alike in both policies.
#[derive(Debug)]
pub(super) struct Kin {
    /// One of them.
    pub(super) name: String,
    /// Whether it is the only one.
    pub(super) one: bool,
}

/// Every kind of name there is; `None` if there are too many to tell apart.
pub(super) fn names(old: &Policy, new: &Policy) -> Option<Vec<Kin>> {
    let policies = [old.rules(), new.rules()];
    let mut words = BTreeSet::new();
    let mut globs: Vec<Glob> = Vec::new();
    for rules in policies {
        let tools = rules.tools.iter().map(|tool| &*tool.key);
        for key in tools.chain(rules.hide.iter().map(|hide| &*hide.key)) {
            if !Glob::is_glob(key) {
                words.insert(key);
            } else if let Ok(glob) = Glob::compile(key)
                && !globs.iter().any(|known| known.source() == key)
            {
                globs.push(glob);
            }
        }
    }
    let mut machines = vec![Machine::Words(Words::of(words.iter().copied()))];
    for glob in &globs {
        machines.push(Machine::glob(glob)?);
    }
    for prefix in ["resource:", "prompt:", "method:"] {
        machines.push(Machine::prefix(prefix)?);
    }
    let mut kin: Vec<Kin> = words
        .iter()
        .map(|word| Kin {
            name: (*word).to_owned(),
            one: true,
        })
        .collect();
    let mut seen = Vec::new();
    for (kinds, name) in combinations(&machines, Texts::Names)? {
        if kinds.first().is_some_and(|word| *word > 0) {
            continue;
        }
        let stands = policies.map(|rules| place(rules, &name));
        let place = (stands, is_bare(&name));
        if !seen.contains(&place) {
            seen.push(place);
            kin.push(Kin { name, one: false });
        }
    }
    Some(kin)
}

/// Whether a name is hidden, and which entry speaks of it.
fn place(rules: &Rules, name: &str) -> (bool, Option<*const ToolRules>) {
    let standing = rules.stand(name);
    (standing.hidden, standing.rules.map(std::ptr::from_ref))
}

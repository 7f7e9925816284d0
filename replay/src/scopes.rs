//! Which calls may share a counter, and so must be judged in the order of their log: the partitions of a replay.
//!
//! A counter is found by its server and what its limit's scope names, and how many counters a grant holds counts for the grant alone
//! (`counter_capacity`). So calls of two grants never meet in a counter where no scope is coarser than `grant`; a coarser one joins the
//! grants that a server joins, and `node` joins all. Sessions belong to one grant, but nothing on record says so: that scope counts as
//! `server`.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use weir_policy::{Policy, Scope};
use weir_recorder::CallGroup;

use crate::columns::Words;
use crate::error::Failed;

/// Gives grants to partitions.
#[derive(Debug)]
pub(crate) struct Partitions {
    count: usize,
    by: By,
}

#[derive(Debug)]
enum By {
    /// One for everything.
    Node,
    /// By grant, in turn.
    Grant { met: HashMap<String, usize> },
    /// Grants that servers join go together: the name of the first of them, by grant.
    Server { first: BTreeMap<String, String> },
}

impl Partitions {
    /// Partitions for a record that these policies judge.
    pub(crate) fn of<'p>(
        count: usize,
        policies: impl Iterator<Item = &'p Policy>,
        groups: &[CallGroup],
    ) -> Result<Self, Failed> {
        let scopes: BTreeSet<Scope> = policies.flat_map(Policy::scopes).collect();
        let has = |scope| scopes.contains(&scope);
        let by = if count <= 1 || has(Scope::Node) {
            By::Node
        } else if has(Scope::Server) || has(Scope::Session) {
            By::Server {
                first: joined(&pairs(groups)?),
            }
        } else {
            By::Grant {
                met: HashMap::new(),
            }
        };
        Ok(Self { count, by })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        match self.by {
            By::Node => 1,
            By::Grant { .. } | By::Server { .. } => self.count,
        }
    }

    /// The partition of a grant's calls.
    pub(crate) fn of_grant(&mut self, grant: &str) -> usize {
        match &mut self.by {
            By::Node => 0,
            By::Grant { met } => turn(met, grant, self.count),
            By::Server { first } => {
                let first = first.get(grant).map_or(grant, String::as_str);
                let names = first.bytes().fold(0_usize, |sum, byte| {
                    sum.wrapping_mul(31).wrapping_add(usize::from(byte))
                });
                names % self.count
            }
        }
    }
}

fn turn(met: &mut HashMap<String, usize>, grant: &str, count: usize) -> usize {
    let next = met.len();
    *met.entry_ref(grant).or_insert(next) % count
}

/// Every server with every grant that has a call to it.
fn pairs(groups: &[CallGroup]) -> Result<BTreeSet<(String, String)>, Failed> {
    let mut pairs = BTreeSet::new();
    for group in groups {
        for batch in group.read(&["server", "grant"])? {
            let batch = batch?;
            let (servers, grants) = (Words::of(&batch, "server")?, Words::of(&batch, "grant")?);
            let mut last = None;
            for row in 0..batch.num_rows() {
                let pair = (servers.at(row), grants.at(row));
                if last != Some(pair) {
                    last = Some(pair);
                    let pair = (pair.0.to_owned(), pair.1.to_owned());
                    pairs.insert(pair);
                }
            }
        }
    }
    Ok(pairs)
}

/// For each grant the least grant of those that it is joined with.
fn joined(pairs: &BTreeSet<(String, String)>) -> BTreeMap<String, String> {
    let mut first: BTreeMap<String, String> = pairs
        .iter()
        .map(|(_, grant)| (grant.clone(), grant.clone()))
        .collect();
    loop {
        // The least name that each server knows, then the least that each grant's servers know.
        let mut of_server: BTreeMap<&str, String> = BTreeMap::new();
        for (server, grant) in pairs {
            let name = first.get(grant).unwrap_or(grant);
            let least = of_server.entry(server).or_insert_with(|| name.clone());
            if name < least {
                least.clone_from(name);
            }
        }
        let mut is_changed = false;
        for (server, grant) in pairs {
            if let (Some(least), Some(name)) = (of_server.get(&**server), first.get_mut(grant))
                && least < name
            {
                name.clone_from(least);
                is_changed = true;
            }
        }
        if !is_changed {
            return first;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn grants_are_joined_by_servers_also_over_others() {
        let pair = |server: &str, grant: &str| (server.to_owned(), grant.to_owned());
        let pairs = [
            pair("nas", "b"),
            pair("nas", "c"),
            pair("spare", "c"),
            pair("spare", "a"),
            pair("alone", "d"),
        ];
        let first = joined(&pairs.into());
        let first: Vec<_> = first.values().map(String::as_str).collect();
        assert_eq!(first, ["a", "a", "a", "d"]);
    }
}

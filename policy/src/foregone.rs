//! Decisions that the names of a call settle alone.

use crate::path::Root;
use crate::rules::ToolRules;
use crate::{Context, Decision, Evaluation, Policy, Resolution, evaluate};

/// The decision on every call of these names by this grant of this server, where none of their rules counts calls, asks
/// a person, or reads what differs from call to call; else `None`, and each call has to be judged.
///
/// What it says is what [`judge`](crate::judge) would say of each of them, and they would consume nothing. Replay asks
/// once for all calls that go by one set of names. Of `context` only `server` and `grant` are read.
pub fn foregone(
    policy: Option<&Policy>,
    names: &Resolution<'_>,
    context: &Context<'_>,
) -> Option<Decision> {
    if policy.is_some_and(|policy| asks_further(policy, names)) {
        return None;
    }
    Some(match evaluate(policy, names, context) {
        Evaluation::Deny(decision) => decision,
        Evaluation::Admit(_) => Decision::allow(),
    })
}

fn asks_further(policy: &Policy, names: &Resolution<'_>) -> bool {
    let rules = policy.rules();
    !rules.all_tools.is_empty()
        || names
            .readings
            .iter()
            .filter_map(|reading| rules.stand(&reading.tool).rules)
            .any(ToolRules::asks_further)
}

impl ToolRules {
    /// Whether any rule counts, asks a person, or reads more than names.
    fn asks_further(&self) -> bool {
        let mut conditions = self.predicates().flat_map(|rule| &rule.conditions);
        !self.limits.is_empty()
            || !self.approve_if.is_empty()
            || conditions.any(|condition| !condition.path.root.is_name())
    }
}

impl Root {
    /// Whether it reads what all calls by the same names of the same grant share.
    fn is_name(self) -> bool {
        match self {
            Self::Tool | Self::WireTool | Self::Server | Self::Grant => true,
            Self::Arguments
            | Self::Session
            | Self::ClientName
            | Self::ClientVersion
            | Self::Hour
            | Self::Weekday => false,
        }
    }
}

//! What the rules of a policy read of a call besides its names.

use crate::limit::Limit;
use crate::path::{Path, Root};
use crate::rules::{Rules, ToolRules};

/// What any rule of a policy reads of a call besides its names: replay leaves the rest of the record unread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Needs {
    /// `args.…`
    pub arguments: bool,
    /// `client.name`, `client.version`
    pub client: bool,
    /// `time.hour`, `time.weekday`
    pub time: bool,
}

impl Needs {
    /// What either reads.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            arguments: self.arguments || other.arguments,
            client: self.client || other.client,
            time: self.time || other.time,
        }
    }

    pub(crate) fn of(rules: &Rules) -> Self {
        let tools = rules.tools.iter().flat_map(|tool| tool.paths());
        let all_tools = rules.all_tools.iter().flat_map(Limit::paths);
        let mut needs = Self::default();
        for path in tools.chain(all_tools) {
            match path.root {
                Root::Arguments => needs.arguments = true,
                Root::ClientName | Root::ClientVersion => needs.client = true,
                Root::Hour | Root::Weekday => needs.time = true,
                Root::Tool | Root::WireTool | Root::Server | Root::Grant | Root::Session => {}
            }
        }
        needs
    }
}

impl ToolRules {
    /// Every path that a predicate or a limit reads.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let conditions = self.predicates().flat_map(|rule| &rule.conditions);
        conditions
            .map(|condition| &condition.path)
            .chain(self.limits.iter().flat_map(Limit::paths))
    }
}

impl Limit {
    /// Every path that its key or its amount comes from.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.per.iter().chain(&self.increment_from)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::Policy;

    #[test]
    fn a_policy_needs_what_any_of_its_rules_reads() {
        let needs = |rules: &str| {
            let text = format!(r#"{{"version":"1","default":"deny",{rules}}}"#);
            Policy::load(text.as_bytes(), "needs.json").unwrap().needs()
        };
        let condition = |path: &str, value: &str| {
            format!(
                r#""tools":{{"a":{{"deny_if":[{{"conditions":[{{"path":"{path}","op":"eq","value":{value}}}]}}]}}}}"#
            )
        };
        let (arguments, client, time) = (true, true, true);
        let nothing = Needs::default();
        assert_eq!(needs(r#""tools":{"a":{}}"#), nothing);
        assert_eq!(needs(&condition("session", r#""s""#)), nothing);
        let of_arguments = Needs {
            arguments,
            ..nothing
        };
        assert_eq!(needs(&condition("args.id", "7")), of_arguments);
        let of_client = Needs { client, ..nothing };
        assert_eq!(needs(&condition("client.version", r#""1""#)), of_client);
        let of_time = Needs { time, ..nothing };
        assert_eq!(needs(&condition("time.hour", "7")), of_time);
        let limited = r#""tools":{},"all_tools":{"limits":[{"counter":"c","window":"minute","max":1,"per":["client.name","args.id"]}]}"#;
        assert_eq!(needs(limited), of_client.or(of_arguments));
    }
}

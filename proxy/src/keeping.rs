//! What the record keeps of the calls to one server: at which level, and which values never.

use weir_policy::{Glob, Redaction, Resolution};

/// How much of a call is written down. Names, times, the decision and the digests always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditLevel {
    /// No arguments and no result.
    Metadata,
    /// The arguments, redacted.
    Request,
    /// The arguments and the result, redacted.
    Result,
}

impl AuditLevel {
    /// The level that this word names.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "metadata" => Some(Self::Metadata),
            "request" => Some(Self::Request),
            "result" => Some(Self::Result),
            _ => None,
        }
    }
}

/// The level of every tool of one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Audit {
    /// By glob, the most specific first.
    tools: Vec<(Glob, AuditLevel)>,
}

impl Audit {
    /// One level for all tools.
    pub fn of(level: AuditLevel) -> Self {
        Self::by_tool([(String::from("*"), level)]).unwrap_or(Self { tools: Vec::new() })
    }

    /// A level for each glob of tool names; the error names the glob that is none.
    pub fn by_tool(levels: impl IntoIterator<Item = (String, AuditLevel)>) -> Result<Self, String> {
        let mut levels: Vec<_> = levels.into_iter().collect();
        // A name before a glob, then the longest; ties as in a policy.
        levels.sort_by_key(|(glob, _)| {
            let length = glob.chars().count();
            (Glob::is_glob(glob), std::cmp::Reverse(length), glob.clone())
        });
        let compile = |(glob, level): (String, AuditLevel)| {
            Glob::compile(&glob)
                .map(|compiled| (compiled, level))
                .map_err(|what| format!("`{glob}`: {what}"))
        };
        Ok(Self {
            tools: levels.into_iter().map(compile).collect::<Result<_, _>>()?,
        })
    }

    /// The level of a call: that of what it does, or less, where the table names a tool on its way that says less.
    pub(crate) fn level(&self, resolution: &Resolution<'_>) -> AuditLevel {
        let Some((effective, way)) = resolution.readings.split_last() else {
            return self.lowest();
        };
        let named = way.iter().filter_map(|reading| self.named(&reading.tool));
        named.fold(self.of_tool(&effective.tool), AuditLevel::min)
    }

    /// The least that any tool has: for a call that cannot be read far enough to know which it is.
    pub(crate) fn lowest(&self) -> AuditLevel {
        let levels = self.tools.iter().map(|(_, level)| *level);
        levels
            .min()
            .map_or(AuditLevel::Request, |level| level.min(AuditLevel::Request))
    }

    fn of_tool(&self, tool: &str) -> AuditLevel {
        let found = self.tools.iter().find(|(glob, _)| glob.matches(tool));
        found.map_or(AuditLevel::Request, |(_, level)| *level)
    }

    /// The level of a name that stands in the table itself.
    fn named(&self, tool: &str) -> Option<AuditLevel> {
        let found = self.tools.iter().find(|(glob, _)| glob.source() == tool);
        found.map(|(_, level)| *level)
    }
}

/// What the record keeps of the calls to one server.
#[derive(Debug, Clone, PartialEq)]
pub struct Keeping {
    /// How much of each tool's calls.
    pub audit: Audit,
    /// Which values of arguments are replaced, and which parts of names.
    pub arguments: Redaction,
    /// Which values of results are replaced.
    pub results: Redaction,
    /// A result of so many bytes stands in its row.
    pub inline_bytes_max: usize,
    /// A result of so many bytes is kept at all; one that is too long for its row in a file of its own.
    pub bytes_max: usize,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use weir_policy::{Ask, Resolver, ResolverSpec, Value};

    use super::*;

    #[test]
    fn the_effective_tool_has_its_level_unless_one_on_the_way_is_named_with_less() {
        let spec: ResolverSpec = serde_json::from_str(
            r#"{"dispatch":[{"tool":"truenas","operation":"/action","arguments":"/params"}]}"#,
        )
        .unwrap();
        let resolver = Resolver::compile(&spec).unwrap();
        let level = |table: &[(&str, AuditLevel)], tool: &str, arguments: &str| {
            let table = table
                .iter()
                .map(|(glob, level)| ((*glob).to_owned(), *level));
            let value = Value::parse(arguments).unwrap();
            let ask = Ask::recorded(tool, &value);
            Audit::by_tool(table)
                .unwrap()
                .level(&resolver.resolve(&ask).unwrap())
        };
        let (metadata, request, result) = (
            AuditLevel::Metadata,
            AuditLevel::Request,
            AuditLevel::Result,
        );
        let table = [("*", metadata), ("vm_*", request), ("vm_list", result)];
        let listing = r#"{"action":"vm_list"}"#;
        assert_eq!(level(&table, "vm_list", "{}"), result);
        assert_eq!(level(&table, "truenas", listing), result);
        assert_eq!(level(&table, "truenas", r#"{"action":"vm_stop"}"#), request);
        assert_eq!(
            level(&table, "truenas", r#"{"action":"user_create"}"#),
            metadata
        );
        assert_eq!(
            level(&[("truenas", metadata)], "truenas", listing),
            metadata
        );
        assert_eq!(level(&[], "vm_list", "{}"), request);
        assert!(Audit::by_tool([("[".to_owned(), request)]).is_err());
    }
}

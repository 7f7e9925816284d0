//! What can be set in a named question, and how a value becomes SQL.

use crate::options::parse_time;

/// Something of a named question that can be set: `--param seconds=10`.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub what: &'static str,
    /// Its value where none is given; empty for none.
    pub default: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A whole number from 1.
    Number,
    /// An hour of the day.
    Hour,
    /// Any text, put in as an SQL string.
    Text,
    /// A text in which `%` stands for any run; no other character is special.
    Like,
    /// A moment or a day; empty for no bound.
    Time,
    /// A text that must be given.
    Required,
}

/// `%` stands for any run of characters, and so alone for no condition.
const ANY: &str = "%";

pub(super) const FROM: Parameter = Parameter {
    name: "from",
    what: "decided at this time or later",
    default: "",
    kind: Kind::Time,
};
pub(super) const TO: Parameter = Parameter {
    name: "to",
    what: "decided before this time",
    ..FROM
};
pub(super) const GRANT: Parameter = like("grant", ANY, "only this grant (`%` for any run)");
pub(super) const TOOL: Parameter = like("tool", ANY, "only tools like this (`%` for any run)");
pub(super) const LIMIT: Parameter = number("limit", "50", "at most so many rows");
pub(super) const POINTER: Parameter = text(
    "pointer",
    "/id",
    "where the target stands in the arguments, as a JSON pointer",
);
pub(super) const POLICY: Parameter = Parameter {
    name: "policy",
    what: "the candidate policy, a file",
    default: "",
    kind: Kind::Required,
};

pub(super) const fn number(
    name: &'static str,
    default: &'static str,
    what: &'static str,
) -> Parameter {
    Parameter {
        name,
        what,
        default,
        kind: Kind::Number,
    }
}

pub(super) const fn hour(
    name: &'static str,
    default: &'static str,
    what: &'static str,
) -> Parameter {
    Parameter {
        name,
        what,
        default,
        kind: Kind::Hour,
    }
}

pub(super) const fn text(
    name: &'static str,
    default: &'static str,
    what: &'static str,
) -> Parameter {
    Parameter {
        name,
        what,
        default,
        kind: Kind::Text,
    }
}

pub(super) const fn like(
    name: &'static str,
    default: &'static str,
    what: &'static str,
) -> Parameter {
    Parameter {
        name,
        what,
        default,
        kind: Kind::Like,
    }
}

impl Parameter {
    /// The same with another default.
    pub(super) const fn or(self, default: &'static str) -> Self {
        Self { default, ..self }
    }

    /// What stands where a page shows the default.
    pub fn default_shown(&self) -> &'static str {
        match self.kind {
            Kind::Required => "must be given",
            Kind::Time if self.default.is_empty() => "no bound",
            Kind::Number | Kind::Hour | Kind::Text | Kind::Like | Kind::Time => self.default,
        }
    }

    /// Whether there is no question without it.
    pub fn is_required(&self) -> bool {
        self.kind == Kind::Required
    }

    /// The value as SQL; else what would be one.
    pub(super) fn literal(&self, value: &str) -> Result<String, &'static str> {
        match self.kind {
            Kind::Number => match value.parse::<u32>() {
                Ok(number) if number > 0 => Ok(number.to_string()),
                _ => Err("a whole number from 1"),
            },
            Kind::Hour => match value.parse::<u32>() {
                Ok(hour) if hour <= 24 => Ok(hour.to_string()),
                _ => Err("an hour from 0 to 24"),
            },
            Kind::Required if value.is_empty() => Err("it must be given, as `--param policy=FILE`"),
            Kind::Text | Kind::Required => Ok(quoted(value)),
            Kind::Like => Ok(quoted(&pattern(value))),
            Kind::Time if value.is_empty() => Ok("NULL".to_owned()),
            Kind::Time => moment(value).map(|moment| quoted(&moment)),
        }
    }

    /// The condition on a call that the value makes; none where any call fulfils it.
    pub(super) fn condition(&self, value: &str) -> Result<Option<String>, &'static str> {
        Ok(match (self.kind, self.name) {
            (Kind::Like, _) if value == ANY => None,
            (Kind::Like, column) if value.contains(ANY) => {
                Some(format!("{column} LIKE {}", quoted(&pattern(value))))
            }
            (Kind::Like, column) => Some(format!("{column} = {}", quoted(value))),
            (Kind::Time, _) if value.is_empty() => None,
            (Kind::Time, "to") => Some(format!("decided_at < {}", quoted(&moment(value)?))),
            (Kind::Time, _) => Some(format!("decided_at >= {}", quoted(&moment(value)?))),
            (Kind::Number | Kind::Hour | Kind::Text | Kind::Required, _) => None,
        })
    }
}

fn moment(value: &str) -> Result<String, &'static str> {
    parse_time(value)
        .map(crate::options::moment)
        .map_err(|_| "a time as `2026-11-22T06:00:00Z` or `2026-11-22`")
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// A pattern of `LIKE` in which `%` alone is special.
fn pattern(value: &str) -> String {
    value.replace('\\', "\\\\").replace('_', "\\_")
}

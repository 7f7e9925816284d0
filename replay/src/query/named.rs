//! Questions that analysts ask again and again, by name.

use std::fmt::Write as _;

use crate::options::parse_time;

/// A question with a name: what it asks, what can be set, and the SQL it stands for.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    /// What it is called: `weir query --named burst`.
    pub name: &'static str,
    /// The question in words.
    pub question: &'static str,
    /// What can be set, each with a default.
    pub parameters: &'static [Parameter],
    sql: &'static str,
}

/// Something of a named question that can be set: `--param seconds=10`.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub what: &'static str,
    /// Its value where none is given.
    pub default: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A whole number from 1.
    Number,
    /// Any text, put in as an SQL string.
    Text,
    /// A moment or a day; empty for no bound.
    Time,
}

/// A name, a parameter or a value that no named question has.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnknownName {
    /// No question has this name.
    #[error("no question is called `{name}`: there are {}", list(.known))]
    Question {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<&'static str>,
    },
    /// The question has no such parameter.
    #[error("`{question}` has no parameter `{name}`: it has {}", list(.known))]
    Parameter {
        /// The question.
        question: &'static str,
        /// The parameter asked for.
        name: String,
        /// The parameters it has.
        known: Vec<&'static str>,
    },
    /// The value is none that the parameter can have.
    #[error("`{value}` is no value for `{parameter}` of `{question}`: {wanted}")]
    Value {
        /// The question.
        question: &'static str,
        /// Its parameter.
        parameter: &'static str,
        /// What was given.
        value: String,
        /// What is wanted.
        wanted: &'static str,
    },
}

fn list(known: &[&str]) -> String {
    known
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ")
}

const FROM: Parameter = Parameter {
    name: "from",
    what: "decided at this time or later",
    default: "",
    kind: Kind::Time,
};
const TO: Parameter = Parameter {
    name: "to",
    what: "decided before this time",
    default: "",
    kind: Kind::Time,
};
const GRANT: Parameter = Parameter {
    name: "grant",
    what: "only this grant (`%` for any run)",
    default: "%",
    kind: Kind::Text,
};
const TOOL: Parameter = Parameter {
    name: "tool",
    what: "only tools like this (`%` for any run)",
    default: "%",
    kind: Kind::Text,
};
const LIMIT: Parameter = Parameter {
    name: "limit",
    what: "at most so many rows",
    default: "50",
    kind: Kind::Number,
};

const QUESTIONS: [Named; 7] = [
    Named {
        name: "burst",
        question: "Which grant called one tool how often within a minute?",
        parameters: &[
            Parameter {
                name: "seconds",
                what: "length of the span",
                default: "60",
                kind: Kind::Number,
            },
            Parameter {
                name: "least",
                what: "calls that make a burst",
                default: "10",
                kind: Kind::Number,
            },
            GRANT,
            TOOL,
            FROM,
            TO,
            LIMIT,
        ],
        sql: include_str!("named/burst.sql"),
    },
    Named {
        name: "denied",
        question: "What was denied, by which rule, and when?",
        parameters: &[GRANT, TOOL, FROM, TO, LIMIT],
        sql: include_str!("named/denied.sql"),
    },
    Named {
        name: "intent",
        question: "Which calls were let through without an outcome on record?",
        parameters: &[GRANT, TOOL, FROM, TO, LIMIT],
        sql: include_str!("named/intent.sql"),
    },
    Named {
        name: "judged",
        question: "Which policy judged each call of a tool at one target?",
        parameters: &[
            Parameter {
                name: "pointer",
                what: "where the target stands in the arguments",
                default: "/id",
                kind: Kind::Text,
            },
            Parameter {
                name: "target",
                what: "only this target (`%` for any run)",
                default: "%",
                kind: Kind::Text,
            },
            GRANT,
            TOOL,
            FROM,
            TO,
            LIMIT,
        ],
        sql: include_str!("named/judged.sql"),
    },
    Named {
        name: "session",
        question: "What happened in one session, call by call?",
        parameters: &[
            Parameter {
                name: "session",
                what: "the session (`%` for any run)",
                default: "%",
                kind: Kind::Text,
            },
            GRANT,
            FROM,
            TO,
            Parameter {
                default: "500",
                ..LIMIT
            },
        ],
        sql: include_str!("named/session.sql"),
    },
    Named {
        name: "stops",
        question: "Who stopped what, how many of the stops were forced, and what share is that?",
        parameters: &[
            Parameter {
                default: "%stop",
                ..TOOL
            },
            Parameter {
                name: "pointer",
                what: "where the force stands in the arguments",
                default: "/force",
                kind: Kind::Text,
            },
            GRANT,
            FROM,
            TO,
            LIMIT,
        ],
        sql: include_str!("named/stops.sql"),
    },
    Named {
        name: "talkers",
        question: "Which grants call most, and how much of it is refused?",
        parameters: &[GRANT, FROM, TO, LIMIT],
        sql: include_str!("named/talkers.sql"),
    },
];

/// Every named question, by name.
pub fn named_all() -> &'static [Named] {
    &QUESTIONS
}

/// The question called `name`.
pub fn named(name: &str) -> Result<&'static Named, UnknownName> {
    QUESTIONS
        .iter()
        .find(|question| question.name == name)
        .ok_or_else(|| UnknownName::Question {
            name: name.to_owned(),
            known: QUESTIONS.iter().map(|question| question.name).collect(),
        })
}

impl Named {
    /// The SQL with these parameters set; every value goes in as a number or a quoted string, never
    /// as SQL.
    pub fn sql(&self, set: &[(&str, &str)]) -> Result<String, UnknownName> {
        if let Some((name, _)) = set
            .iter()
            .find(|(name, _)| !self.parameters.iter().any(|p| p.name == *name))
        {
            return Err(UnknownName::Parameter {
                question: self.name,
                name: (*name).to_owned(),
                known: self
                    .parameters
                    .iter()
                    .map(|parameter| parameter.name)
                    .collect(),
            });
        }
        let mut sql = String::with_capacity(self.sql.len() + 64);
        let mut rest = self.sql;
        while let Some((before, after)) = rest.split_once(':') {
            sql.push_str(before);
            let end = after
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            let known = self.parameters.iter().find(|known| known.name == name);
            if let Some(parameter) = known {
                sql.push_str(&self.literal(parameter, set)?);
            } else {
                sql.push(':');
                sql.push_str(name);
            }
            rest = after;
        }
        sql.push_str(rest);
        Ok(sql)
    }

    /// The last value given for `parameter`, or its default, as SQL.
    fn literal(&self, parameter: &Parameter, set: &[(&str, &str)]) -> Result<String, UnknownName> {
        let value = set
            .iter()
            .rev()
            .find(|(name, _)| *name == parameter.name)
            .map_or(parameter.default, |(_, value)| *value);
        parameter
            .literal(value)
            .map_err(|wanted| UnknownName::Value {
                question: self.name,
                parameter: parameter.name,
                value: value.to_owned(),
                wanted,
            })
    }

    /// What `weir query --list --named NAME` shows: the question, its parameters, its SQL.
    pub fn help(&self) -> String {
        let mut page = format!("{}: {}\n\n", self.name, self.question);
        for parameter in self.parameters {
            let default = if parameter.default.is_empty() {
                "no bound"
            } else {
                parameter.default
            };
            // Writing to a string cannot fail.
            if writeln!(
                page,
                "  {:<9} {} [{default}]",
                parameter.name, parameter.what
            )
            .is_err()
            {
                return page;
            }
        }
        page.push('\n');
        page.push_str(self.sql);
        page
    }
}

impl Parameter {
    fn literal(&self, value: &str) -> Result<String, &'static str> {
        match self.kind {
            Kind::Number => match value.parse::<u32>() {
                Ok(number) if number > 0 => Ok(number.to_string()),
                _ => Err("a whole number from 1"),
            },
            Kind::Text => Ok(format!("'{}'", value.replace('\'', "''"))),
            Kind::Time if value.is_empty() => Ok(if self.name == "to" {
                i64::MAX
            } else {
                i64::MIN + 1
            }
            .to_string()),
            Kind::Time => parse_time(value)
                .map(|micros| micros.to_string())
                .map_err(|_| "a time as `2026-11-22T06:00:00Z` or `2026-11-22`"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{UnknownName, named, named_all};

    #[test]
    fn every_parameter_stands_in_its_sql_and_nothing_is_left_unset() {
        for question in named_all() {
            for parameter in question.parameters {
                assert!(
                    question.sql.contains(&format!(":{}", parameter.name)),
                    "{} {}",
                    question.name,
                    parameter.name
                );
            }
            assert!(
                !question.sql(&[]).unwrap().contains(" :"),
                "{}",
                question.sql(&[]).unwrap()
            );
        }
    }

    #[test]
    fn a_value_cannot_leave_its_string() {
        let sql = named("denied")
            .unwrap()
            .sql(&[("tool", "x' OR '1'='1")])
            .unwrap();
        assert!(sql.contains("'x'' OR ''1''=''1'"), "{sql}");
        let sql = named("denied")
            .unwrap()
            .sql(&[("grant", ":tool"), ("tool", "' OR true --")])
            .unwrap();
        assert!(
            sql.contains("LIKE ':tool'"),
            "a value is not read for parameters: {sql}"
        );
    }

    #[test]
    fn unknown_names_and_values_say_what_there_is() {
        assert!(matches!(named("bursts"), Err(UnknownName::Question { .. })));
        let burst = named("burst").unwrap();
        assert!(matches!(
            burst.sql(&[("second", "1")]),
            Err(UnknownName::Parameter { .. })
        ));
        assert!(matches!(
            burst.sql(&[("seconds", "0")]),
            Err(UnknownName::Value { .. })
        ));
        assert!(matches!(
            burst.sql(&[("from", "soon")]),
            Err(UnknownName::Value { .. })
        ));
    }
}

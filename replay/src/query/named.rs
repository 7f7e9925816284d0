//! Questions that analysts ask again and again, by name.
//!
//! Each is a file of SQL in `named/`, with `:name` where a parameter goes. Two words stand for the
//! conditions that most questions share: `:within` for those set by `grant`, `tool`, `from` and `to`,
//! and `:among` for the same without the times. What nobody set is no condition, and costs nothing.

mod page;
mod parameter;
mod questions;

use questions::QUESTIONS;

pub use page::questions_page;
pub use parameter::Parameter;

/// A question with a name: what it asks, what can be set, and the SQL it stands for.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    /// What it is called: `weir query --named burst`.
    pub name: &'static str,
    /// The question in words.
    pub question: &'static str,
    /// What counts and what does not; may be empty.
    pub note: &'static str,
    /// What can be set, each with a default.
    pub parameters: &'static [Parameter],
    sql: &'static str,
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
        let known = |name: &str| self.parameters.iter().find(|known| known.name == name);
        if let Some((name, _)) = set.iter().find(|(name, _)| known(name).is_none()) {
            return Err(UnknownName::Parameter {
                question: self.name,
                name: (*name).to_owned(),
                known: self.parameters.iter().map(|known| known.name).collect(),
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
            match (name, known(name)) {
                ("within", _) => sql.push_str(&self.conditions(set, &WITHIN)?),
                ("among", _) => sql.push_str(&self.conditions(set, &AMONG)?),
                (_, Some(parameter)) => {
                    sql.push_str(&self.with(parameter, set, Parameter::literal)?);
                }
                (_, None) => {
                    sql.push(':');
                    sql.push_str(name);
                }
            }
            rest = after;
        }
        sql.push_str(rest);
        Ok(sql)
    }

    /// What those of these parameters that are set ask of a call, joined by `AND`.
    fn conditions(&self, set: &[(&str, &str)], names: &[&str]) -> Result<String, UnknownName> {
        let shared = self.parameters.iter().filter(|p| names.contains(&p.name));
        let conditions = shared.map(|parameter| self.with(parameter, set, Parameter::condition));
        let conditions: Vec<Option<String>> = conditions.collect::<Result<_, _>>()?;
        let conditions: Vec<String> = conditions.into_iter().flatten().collect();
        Ok(if conditions.is_empty() {
            "true".to_owned()
        } else {
            conditions.join(" AND ")
        })
    }

    /// What `read` makes of the last value given for `parameter`, or of its default.
    fn with<T>(
        &self,
        parameter: &Parameter,
        set: &[(&str, &str)],
        read: fn(&Parameter, &str) -> Result<T, &'static str>,
    ) -> Result<T, UnknownName> {
        let given = set
            .iter()
            .rev()
            .find(|(name, _)| *name == parameter.name)
            .map_or(parameter.default, |(_, value)| *value);
        read(parameter, given).map_err(|wanted| UnknownName::Value {
            question: self.name,
            parameter: parameter.name,
            value: given.to_owned(),
            wanted,
        })
    }
}

/// The parameters behind `:within` and `:among`.
const WITHIN: [&str; 4] = ["grant", "tool", "from", "to"];
const AMONG: [&str; 2] = ["grant", "tool"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{UnknownName, named, named_all};

    /// What has to be set before there is a question at all.
    fn required(question: &super::Named) -> Vec<(&'static str, &'static str)> {
        let required = question.parameters.iter().filter(|p| p.is_required());
        required.map(|parameter| (parameter.name, "x")).collect()
    }

    #[test]
    fn every_parameter_stands_in_its_sql_and_nothing_is_left_unset() {
        for question in named_all() {
            let within = question.sql.contains(":within");
            let among = within || question.sql.contains(":among");
            for parameter in question.parameters {
                let shared = match parameter.name {
                    "grant" | "tool" => among,
                    "from" | "to" => within,
                    _ => false,
                };
                assert!(
                    shared || question.sql.contains(&format!(":{}", parameter.name)),
                    "{} {}",
                    question.name,
                    parameter.name
                );
            }
            let sql = question.sql(&required(question)).unwrap();
            assert!(!sql.contains(" :") && !sql.contains("(:"), "{sql}");
        }
    }

    #[test]
    fn questions_stand_in_the_order_of_their_names() {
        assert!(named_all().is_sorted_by(|a, b| a.name < b.name));
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
            sql.contains("grant = ':tool'"),
            "a value is not read for parameters: {sql}"
        );
    }

    #[test]
    fn only_what_is_set_is_a_condition_and_only_a_per_cent_sign_is_special() {
        let burst = named("burst").unwrap();
        let sql = burst.sql(&[]).unwrap();
        assert!(sql.contains("AND true\n") && !sql.contains("LIKE"), "{sql}");
        let sql = burst
            .sql(&[("tool", "vm_%"), ("from", "2026-11-22")])
            .unwrap();
        assert!(sql.contains(r"tool LIKE 'vm\_%'"), "{sql}");
        assert!(
            sql.contains("decided_at >= '2026-11-22T00:00:00.000000Z'"),
            "{sql}"
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
        for (name, value) in [("seconds", "0"), ("from", "soon")] {
            assert!(matches!(
                burst.sql(&[(name, value)]),
                Err(UnknownName::Value { .. })
            ));
        }
        let hour = named("offhours").unwrap().sql(&[("opens", "25")]);
        assert!(matches!(hour, Err(UnknownName::Value { .. })));
        let missing = named("blocked").unwrap().sql(&[]).unwrap_err().to_string();
        assert!(missing.contains("--param policy=FILE"), "{missing}");
    }
}

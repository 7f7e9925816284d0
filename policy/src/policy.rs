//! One policy: a document, its digest, and its rules in the form in which calls are judged.

use std::sync::Arc;
use std::time::Duration;

use crate::limit::{Limit, Scope};
use crate::lint::{Catalogue, lint};
use crate::rules::{Rules, ToolRules};
use crate::window::Window;
use crate::{Digest, Micros, Needs, Problems, Redaction, Resolution, document};

/// How long a person has to answer where a policy does not say.
const APPROVAL_WAIT: Duration = Duration::from_mins(5);

/// A loaded policy. Immutable; share it by `Arc`.
#[derive(Debug, Clone)]
pub struct Policy {
    source: Arc<str>,
    name: Arc<str>,
    digest: Digest,
    rules: Rules,
    needs: Needs,
}

impl Policy {
    /// Reads a policy document; `name` is what its problems call it, usually the file's path.
    pub fn load(source: &[u8], name: &str) -> Result<Self, Problems> {
        let (text, rules) = document::read(source, name)?;
        Ok(Self {
            source: text.into(),
            name: name.into(),
            digest: Digest::of(source),
            needs: Needs::of(&rules),
            rules,
        })
    }

    /// The SHA-256 of the document's bytes as loaded.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The document's bytes as loaded.
    pub fn document(&self) -> &[u8] {
        self.source.as_bytes()
    }

    /// What the document is called, usually the path it was loaded from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `name` is hidden: left out of lists and denied when called.
    pub fn hides(&self, name: &str) -> bool {
        self.rules.stand(name).hidden
    }

    /// What its rules read besides names.
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// Whether any rule for a call of these names reads its arguments. Only names count, so the answer
    /// is one for all calls that go by them: replay asks once, and may leave their arguments unread.
    pub fn reads_arguments_of(&self, names: &Resolution<'_>) -> bool {
        let standings = names
            .readings
            .iter()
            .map(|reading| self.rules.stand(&reading.tool));
        let tools = standings.filter_map(|standing| standing.rules);
        tools.into_iter().any(ToolRules::reads_arguments)
            || self.rules.all_tools.iter().any(Limit::reads_arguments)
    }

    /// Whether any limit counts calls of these names. Only names count, as in [`Policy::reads_arguments_of`].
    pub fn counts_calls_of(&self, names: &Resolution<'_>) -> bool {
        let standings = names
            .readings
            .iter()
            .map(|reading| self.rules.stand(&reading.tool));
        let mut tools = standings.filter_map(|standing| standing.rules);
        !self.rules.all_tools.is_empty() || tools.any(|tool| !tool.limits.is_empty())
    }

    /// The longest window of any limit, as a span.
    pub fn longest_window(&self) -> Option<Micros> {
        self.rules
            .limits()
            .map(|limit| Micros(limit.window.micros))
            .max()
    }

    /// The span at whose ends all of its windows begin anew together, counted from the Unix epoch: what was counted before such a
    /// moment counts in none of them. None where a window slides, or where they meet less than once in 31 days.
    pub fn cycle(&self) -> Option<Micros> {
        const CYCLE_MAX: i64 = 31 * 86_400 * 1_000_000;
        let mut cycle: i64 = 1;
        for limit in self.rules.limits() {
            let Window { micros, sliding } = limit.window;
            let shared = greatest_common_divisor(cycle, micros);
            cycle = cycle.checked_mul(micros.checked_div(shared)?)?;
            if sliding || cycle > CYCLE_MAX {
                return None;
            }
        }
        Some(Micros(cycle))
    }

    /// The coarsest scope of any limit: calls that differ in it never share a counter.
    pub fn coarsest_scope(&self) -> Option<Scope> {
        self.scopes().max()
    }

    /// The scope of every limit.
    pub fn scopes(&self) -> impl Iterator<Item = Scope> + '_ {
        self.rules.limits().map(|limit| limit.scope)
    }

    /// How long a person has to answer whom this rule of `approve_if` asks.
    pub fn approval_wait(&self, rule: &str) -> Duration {
        let asking = self.rules.tools.iter().flat_map(|tool| &tool.approve_if);
        let rule = asking.into_iter().find(|asking| *asking.id == *rule);
        rule.and_then(|rule| rule.timeout).unwrap_or(APPROVAL_WAIT)
    }

    /// The limits whose amount this redaction may replace, with the path that they read: such a limit denies every call.
    pub fn amounts_hidden_by(&self, redaction: &Redaction) -> Vec<(&str, &str)> {
        let amounts = self.rules.limits().filter_map(|limit| {
            let path = limit.increment_from.as_ref()?;
            let hidden = path.reads_arguments() && redaction.may_replace(path);
            hidden.then(|| (&*limit.id, path.text()))
        });
        amounts.collect()
    }

    /// What likely means something else than its author thinks (DESIGN 5.1), as warnings.
    pub fn lint(&self, catalogue: Option<&Catalogue<'_>>) -> Problems {
        lint(
            &self.rules,
            catalogue,
            Problems::none(Arc::clone(&self.source), &self.name),
        )
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }
}

fn greatest_common_divisor(mut a: i64, mut b: i64) -> i64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn windows_begin_anew_together_at_the_ends_of_a_cycle() {
        let cycle = |windows: &[&str]| {
            let limit = |(n, window): (usize, &&str)| {
                format!(r#"{{"counter":"c{n}","max":1,"window":{window}}}"#)
            };
            let limits: Vec<String> = windows.iter().enumerate().map(limit).collect();
            let text = format!(
                r#"{{"version":"1","default":"deny","tools":{{"a":{{"limits":[{}]}}}}}}"#,
                limits.join(",")
            );
            let policy = Policy::load(text.as_bytes(), "cycle.json").unwrap();
            policy.cycle().map(|cycle| cycle.0 / 1_000_000)
        };
        assert_eq!(cycle(&[r#""minute""#, r#""hour""#]), Some(3_600));
        assert_eq!(cycle(&["7", "60"]), Some(420));
        assert_eq!(
            cycle(&[r#""day""#, "86399"]),
            None,
            "they meet once in 236 years"
        );
        assert_eq!(cycle(&[r#"60,"sliding":true"#]), None);
        assert_eq!(cycle(&[]), Some(0), "a microsecond");
    }
}

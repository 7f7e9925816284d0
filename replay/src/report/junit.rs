//! The report for CI servers that draw test results: one test for each thing that can make a replay fail.

use std::fmt::Write as _;

use super::escape::markup as safe;
use super::words::{class, short};
use super::{Budget, Flip, Report};
use crate::Class;

/// Flips that a failure lists.
const FLIPS_LISTED: usize = 20;

impl Report {
    /// The report as JUnit XML: a test fails exactly where [`Report::exit`] finds fault.
    pub fn junit(&self, budget: &Budget) -> String {
        let drifts: Vec<String> = self
            .drifts
            .iter()
            .map(|drift| {
                format!(
                    "seq {} {}: was {} {}, is {} {}",
                    drift.seq,
                    drift.tool,
                    drift.was_verdict,
                    drift.was_rule,
                    drift.now_verdict,
                    drift.now_rule
                )
            })
            .collect();
        let unsure = self.uncertain();
        let unsure = unsure.iter().flat_map(|(title, reasons)| {
            let lines = reasons.iter();
            lines.map(move |(why, count)| format!("{title}: {count} {why}"))
        });
        let [drift, uncertain, denied, allowed] = self.failures(budget);
        let drift = drift.map(|what| Failure {
            what,
            lines: drifts,
        });
        let uncertain = uncertain.map(|what| Failure {
            what,
            lines: unsure.collect(),
        });
        let denied = denied.map(|what| self.flipped(what, &[Class::NewlyDenied, Class::NewlyHeld]));
        let allowed = allowed.map(|what| self.flipped(what, &[Class::NewlyAllowed]));
        let cases = [
            ("the policies in force give what is on record", drift),
            ("enough calls get a certain answer", uncertain),
            (
                "no more calls are newly denied or held than allowed",
                denied,
            ),
            ("no more calls are newly allowed than allowed", allowed),
        ];
        self.suite(&cases)
    }

    fn flipped(&self, what: String, classes: &[Class]) -> Failure {
        let flips = self.flips.iter();
        let flips = flips.filter(|flip| classes.contains(&flip.class));
        Failure {
            what,
            lines: flips.take(FLIPS_LISTED).map(line).collect(),
        }
    }

    fn suite(&self, cases: &[(&str, Option<Failure>)]) -> String {
        let failures = cases
            .iter()
            .filter(|(_, failure)| failure.is_some())
            .count();
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let mut line = |text: String| {
            let _fine = writeln!(xml, "{text}");
        };
        let count = cases.len();
        line(format!(
            "<testsuites tests=\"{count}\" failures=\"{failures}\">"
        ));
        line(format!(
            "  <testsuite name=\"weir replay: {}\" tests=\"{count}\" failures=\"{failures}\">",
            safe(&self.subject())
        ));
        line("    <properties>".into());
        let facts = [
            ("answer", self.sentence()),
            ("evidence", self.verified().to_owned()),
            ("result_digest", self.result_digest.clone()),
        ];
        for (name, value) in facts {
            line(format!(
                "      <property name=\"{name}\" value=\"{}\"/>",
                safe(&value)
            ));
        }
        line("    </properties>".into());
        for (name, failure) in cases {
            let head = format!("    <testcase classname=\"weir.replay\" name=\"{name}\"");
            match failure {
                None => line(format!("{head}/>")),
                Some(Failure { what, lines }) => {
                    line(format!("{head}>"));
                    let lines: Vec<_> = lines.iter().map(|line| safe(line)).collect();
                    line(format!(
                        "      <failure message=\"{}\">{}</failure>",
                        safe(what),
                        lines.join("\n")
                    ));
                    line("    </testcase>".into());
                }
            }
        }
        line("  </testsuite>".into());
        line("</testsuites>".into());
        xml
    }
}

struct Failure {
    what: String,
    lines: Vec<String>,
}

fn line(flip: &Flip) -> String {
    format!(
        "{} {} {} {}: {} by {}",
        short(flip.decided_at),
        flip.grant,
        flip.tool,
        flip.arguments.as_deref().unwrap_or_default(),
        class(flip.class),
        flip.by()
    )
}

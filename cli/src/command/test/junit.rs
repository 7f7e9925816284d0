//! What came out, in the form that CI systems read.

use std::fmt::Write as _;

use super::{Difference, End, Tested};

pub(super) fn junit(tested: &[Tested]) -> String {
    let mut page = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    let mut rest = tested;
    while let Some(first) = rest.first() {
        let end = rest
            .iter()
            .position(|test| test.file != first.file)
            .unwrap_or(rest.len());
        let (suite, others) = rest.split_at(end);
        rest = others;
        let count = |is: fn(&End) -> bool| suite.iter().filter(|test| is(&test.end)).count();
        let _infallible = writeln!(
            page,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\">",
            escaped(&first.file),
            suite.len(),
            count(|end| matches!(end, End::Failed(_))),
            count(|end| matches!(end, End::Broken(_))),
        );
        for test in suite {
            case(&mut page, test);
        }
        page.push_str("  </testsuite>\n");
    }
    page + "</testsuites>\n"
}

fn case(page: &mut String, test: &Tested) {
    let name = if test.name.is_empty() {
        &test.file
    } else {
        &test.name
    };
    let head = format!(
        "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\"",
        escaped(&test.file),
        escaped(name),
        test.took.as_secs_f64()
    );
    let (tag, message, body) = match &test.end {
        End::Passed => {
            page.push_str(&head);
            page.push_str("/>\n");
            return;
        }
        End::Failed(differences) => {
            let message = differences.first().map_or("", |difference| &difference.of);
            (
                "failure",
                message.to_owned(),
                differences.iter().map(text).collect(),
            )
        }
        End::Broken(why) => (
            "error",
            why.lines().next().unwrap_or("").to_owned(),
            why.clone(),
        ),
    };
    let _infallible = writeln!(
        page,
        "{head}>\n      <{tag} message=\"{}\">{}</{tag}>\n    </testcase>",
        escaped(&message),
        escaped(&body)
    );
}

fn text(difference: &Difference) -> String {
    let Difference {
        of,
        expected,
        found,
        more,
    } = difference;
    let more = more
        .iter()
        .fold(String::new(), |lines, line| format!("{lines}    {line}\n"));
    format!("{of}\n  expected  {expected}\n  found     {found}\n{more}")
}

/// A text inside XML: what XML cannot hold at all becomes a replacement character.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {
                out.push('\u{fffd}');
            }
            c => out.push(c),
        }
    }
    out
}

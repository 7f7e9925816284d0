//! What came out, for people and for machines.

use serde_json::json;

use crate::terminal::{DIM, ERROR, GOOD, RESET, STRONG};

use super::{Difference, End, Tested};

pub(super) fn text(tested: &[Tested]) -> String {
    let mut page = String::new();
    let mut file = "";
    for test in tested {
        if test.file != file {
            file = &test.file;
            page.extend([format!("{STRONG}{file}{RESET}\n")]);
        }
        match &test.end {
            End::Passed => page.extend([format!("  {GOOD}ok{RESET}    {}\n", test.name)]),
            End::Broken(why) => {
                page.extend([format!("  {ERROR}ERROR{RESET} {}\n", test.name)]);
                for line in why.trim_end().lines() {
                    page.extend([format!("        {line}\n")]);
                }
            }
            End::Failed(differences) => {
                page.extend([format!("  {ERROR}FAIL{RESET}  {}\n", test.name)]);
                for difference in differences {
                    page.push_str(&lines(difference));
                }
            }
        }
    }
    let count = |is: fn(&End) -> bool| tested.iter().filter(|test| is(&test.end)).count();
    let passed = count(|end| matches!(end, End::Passed));
    let failed = count(|end| matches!(end, End::Failed(_)));
    let broken = count(|end| matches!(end, End::Broken(_)));
    page.extend([format!("{passed} passed, {failed} failed")]);
    if broken > 0 {
        page.extend([format!(", {broken} could not run")]);
    }
    page + "\n"
}

fn lines(difference: &Difference) -> String {
    let Difference {
        of,
        expected,
        found,
        more,
    } = difference;
    let mut lines = format!(
        "        {of}\n          {GOOD}expected{RESET}  {expected}\n          {ERROR}found{RESET}     {found}\n"
    );
    for line in more {
        lines.extend([format!("            {DIM}{line}{RESET}\n")]);
    }
    lines
}

pub(super) fn json(tested: &[Tested]) -> anyhow::Result<String> {
    let tests = tested.iter().map(|test| {
        let (end, differences, why) = match &test.end {
            End::Passed => ("passed", [].as_slice(), None),
            End::Failed(differences) => ("failed", differences.as_slice(), None),
            End::Broken(why) => ("broken", [].as_slice(), Some(why)),
        };
        let differences = differences.iter().map(|difference| {
            json!({
                "of": difference.of,
                "expected": difference.expected,
                "found": difference.found,
                "more": difference.more,
            })
        });
        json!({
            "file": test.file,
            "name": test.name,
            "end": end,
            "differences": differences.collect::<Vec<_>>(),
            "why": why,
        })
    });
    Ok(serde_json::to_string_pretty(&tests.collect::<Vec<_>>())? + "\n")
}

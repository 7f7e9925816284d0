//! The cases of `corpus/cases`: a policy, calls, and what must be said of each. Adding one needs no Rust.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "tests"
)]

use std::path::Path;

use weir_policy::{Resolver, Suite};

#[test]
fn every_case_holds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus/cases");
    let mut failures = Vec::new();
    let mut count = 0;
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let plain = Resolver::plain();
    for path in files {
        let suite = Suite::parse(&std::fs::read(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for case in &suite.cases {
            count += 1;
            let misses = case.run(None, &plain);
            for miss in misses.unwrap_or_else(|problem| panic!("{}: {problem}", path.display())) {
                let place = format!("{} `{}`", path.display(), case.name);
                failures.push(format!("{place}: {miss:?}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(count >= 60, "only {count} cases were found");
}

//! The walk in `docs/replay.md`: what it says was printed is printed, command by command.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::fs;

use support::Folder;

/// The fenced blocks of a page: what follows the backticks, and the text.
fn blocks(page: &str) -> Vec<(&str, &str)> {
    let mut blocks = Vec::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once("\n```") {
        let (kind, after) = after.split_once('\n').expect("a line");
        let end = after.find("\n```").expect("an end") + 1;
        blocks.push((kind, after.get(..end).expect("a text")));
        rest = after.get(end - 1 + "\n```".len()..).expect("the rest");
    }
    blocks
}

#[test]
fn the_walk_prints_what_it_says() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/replay.md");
    let page = fs::read_to_string(page).expect("the page");
    let (_, walk) = page
        .split_once("## From a record to a policy in force")
        .expect("the walk");
    let (walk, _) = walk.split_once("\n## ").expect("what follows it");
    let blocks = blocks(walk);
    let sandbox = Folder::new();
    // Files are named beside the language of their block; then the record; then each command in its place.
    for (kind, text) in &blocks {
        if let Some(name) = kind.strip_prefix("json ") {
            sandbox.write(&format!("walk.in/{name}"), text);
        }
    }
    let generate = blocks
        .iter()
        .find(|(kind, text)| *kind == "sh" && text.starts_with("weir generate"));
    let (_, generate) = generate.expect("how the record is made");
    let words: Vec<&str> = generate.split_whitespace().skip(1).collect();
    let inside = sandbox.path("walk.in");
    let made = sandbox.command(&words).current_dir(&inside).status();
    assert!(made.expect("weir").success());
    let mut case = String::new();
    let mut commands = 0;
    for (_, text) in blocks.iter().filter(|(kind, _)| *kind == "console") {
        // The blank line is how `trycmd` is told that the last line ends.
        case.extend(["```console\n", text, "\n```\n\n"]);
        commands += text.matches("$ weir ").count();
    }
    assert!(commands >= 6, "{commands} commands");
    let case = sandbox.write("walk.md", &case);
    trycmd::TestCases::new().case(case);
}

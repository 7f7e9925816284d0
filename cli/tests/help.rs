//! The help teaches: every command shows how it is used.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use support::Folder;

const COMMANDS: [&[&str]; 28] = [
    &["demo"],
    &["init"],
    &["connect"],
    &["serve"],
    &["status"],
    &["wrap"],
    &["scan"],
    &["approvals"],
    &["seal"],
    &["compact"],
    &["ship"],
    &["replay"],
    &["query"],
    &["verify"],
    &["policy", "check"],
    &["policy", "diff"],
    &["policy", "explain"],
    &["policy", "learn"],
    &["test"],
    &["config", "check"],
    &["config", "reference"],
    &["config", "schema"],
    &["key", "rotate"],
    &["key", "new"],
    &["token", "new"],
    &["certificate", "new"],
    &["generate"],
    &["completions"],
];

#[test]
fn every_command_has_help_with_examples() {
    let folder = Folder::new();
    for command in COMMANDS {
        let help = folder.weir(&[command, &["--help"]].concat()).succeeds();
        assert!(help.stdout.contains("Example"), "{help}");
        assert!(
            help.stdout.contains(&format!("weir {}", command.join(" "))),
            "{help}"
        );
    }
}

#[test]
fn weir_alone_shows_what_it_can_do() {
    let help = Folder::new().weir(&[]).succeeds();
    for command in COMMANDS {
        assert!(
            help.stdout.contains(&format!("\n  {} ", command[0])),
            "{} is missing in {help}",
            command[0]
        );
    }
    assert!(
        !help.stdout.contains('\u{1b}'),
        "a pipe gets no colours: {help}"
    );
}

#[test]
fn what_does_not_exist_is_bad_usage() {
    let folder = Folder::new();
    folder.weir(&["replya"]).ends_with(2).says("replay");
    folder
        .weir(&["replay", "--reccord", "x"])
        .ends_with(2)
        .says("--record");
    folder
        .weir(&["replay", "--record", "x", "--from", "yesterday"])
        .ends_with(2)
        .says("is not a time");
    folder
        .weir(&["replay", "--record", "x", "--min-coverage", "95"])
        .ends_with(2)
        .says("write a share");
}

#[test]
fn completions_know_the_commands() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish"] {
        folder
            .weir(&["completions", shell])
            .succeeds()
            .shows("replay");
    }
}

#[test]
fn a_token_is_random_and_its_hash_is_that_of_its_text() {
    use sha2::{Digest as _, Sha256};

    let folder = Folder::new();
    let first = folder.weir(&["token", "new", "--quiet"]).succeeds();
    let second = folder.weir(&["token", "new", "--quiet"]).succeeds();
    assert_ne!(first.stdout, second.stdout);
    let token = first.stdout.trim();
    assert!(token.starts_with("weir_") && token.len() == 69, "{token}");
    assert!(
        first.stderr.contains(&hex::encode(Sha256::digest(token))),
        "{first}"
    );
}

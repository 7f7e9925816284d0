//! The arrows between crates that must never exist (ARCHITECTURE.md), held over `cargo metadata`: transitively, with all
//! features on, normal dependencies only, as they resolve on this host.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::sync::LazyLock;

use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, PackageId};

static METADATA: LazyLock<Metadata> = LazyLock::new(|| {
    let version = Command::new("rustc")
        .arg("-vV")
        .output()
        .expect("rustc runs")
        .stdout;
    let version = String::from_utf8(version).unwrap();
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .expect("rustc knows its host");
    MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .features(CargoOpt::AllFeatures)
        .other_options(["--locked", "--filter-platform", host].map(str::to_owned))
        .exec()
        .expect("cargo metadata answers")
});

/// Every crate that `root` reaches over normal dependencies, each with the crate it was first reached from.
fn reached(root: &str) -> BTreeMap<String, String> {
    let resolve = METADATA.resolve.as_ref().expect("a resolved graph");
    let nodes: BTreeMap<&PackageId, _> =
        resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let name = |id: &PackageId| METADATA[id].name.to_string();
    let start = METADATA
        .workspace_packages()
        .into_iter()
        .find(|package| package.name.as_str() == root)
        .expect(root);
    let mut from = BTreeMap::new();
    let mut open = vec![&start.id];
    while let Some(id) = open.pop() {
        for dependency in &nodes[id].deps {
            let normal = dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal);
            if normal && !from.contains_key(&name(&dependency.pkg)) {
                from.insert(name(&dependency.pkg), name(id));
                open.push(&dependency.pkg);
            }
        }
    }
    from
}

/// Asserts that `root` reaches nothing that `forbidden` names, and shows the way there if it does.
fn never(root: &str, forbidden: impl Fn(&str) -> bool) {
    let reached = reached(root);
    let ways: Vec<String> = reached
        .keys()
        .filter(|name| forbidden(name))
        .map(|name| way(root, name, &reached))
        .collect();
    assert!(
        ways.is_empty(),
        "{root} must not reach:\n{}",
        ways.join("\n")
    );
}

fn way(root: &str, to: &str, from: &BTreeMap<String, String>) -> String {
    let mut way = vec![to];
    while let Some(before) = from.get(way[way.len() - 1]) {
        way.push(before);
        if before == root {
            break;
        }
    }
    way.reverse();
    way.join(" → ")
}

fn is_ours(name: &str) -> bool {
    name == "weir" || name.starts_with("weir-")
}

fn is_network(name: &str) -> bool {
    name == "hyper"
        || name.starts_with("hyper-")
        || name.contains("rustls")
        || matches!(name, "reqwest" | "openssl" | "native-tls" | "axum")
}

#[test]
fn policy_reaches_nothing_of_ours_and_no_io_time_async_or_columns() {
    let pure = [
        "tokio",
        "arrow",
        "parquet",
        "datafusion",
        "chrono",
        "time",
        "getrandom",
        "rand",
        "mio",
        "futures-util",
    ];
    never("weir-policy", |name| {
        is_ours(name) || is_network(name) || pure.contains(&name)
    });
}

#[test]
fn recorder_never_evaluates_a_policy_and_reaches_no_network() {
    never("weir-recorder", |name| {
        is_ours(name) || is_network(name) || name == "datafusion"
    });
}

#[test]
fn replay_has_no_network() {
    never("weir-replay", |name| {
        matches!(name, "weir-proxy" | "weir" | "weir-corpus") || is_network(name)
    });
}

#[test]
fn proxy_reaches_neither_replay_nor_datafusion() {
    never("weir-proxy", |name| {
        matches!(name, "weir-replay" | "weir" | "weir-corpus") || name.starts_with("datafusion")
    });
}

#[test]
fn object_storage_reaches_the_recorder_only_and_nobody_but_the_binary_reaches_it() {
    never("weir-object-storage", |name| {
        (is_ours(name) && name != "weir-recorder") || name.starts_with("datafusion")
    });
    for package in METADATA.workspace_packages() {
        let direct = package
            .dependencies
            .iter()
            .any(|dependency| dependency.name == "weir-object-storage");
        assert_eq!(direct, package.name.as_str() == "weir", "{}", package.name);
    }
}

#[test]
fn corpus_reaches_nothing_of_ours() {
    never("weir-corpus", is_ours);
}

#[test]
fn only_replay_links_datafusion() {
    for package in METADATA.workspace_packages() {
        let direct = package
            .dependencies
            .iter()
            .any(|dependency| dependency.name.starts_with("datafusion"));
        assert_eq!(
            direct,
            package.name.as_str() == "weir-replay",
            "{}",
            package.name
        );
    }
}

#[test]
fn the_walk_finds_what_is_there() {
    // Without this, a mistake in the walk would let every other test here pass.
    let replay = reached("weir-replay");
    assert!(replay.contains_key("weir-policy") && replay.contains_key("datafusion-common"));
    assert!(reached("weir").contains_key("rustls"));
    assert!(reached("weir-object-storage").contains_key("weir-recorder"));
}

#[test]
fn the_load_bearing_crates_are_direct_dependencies() {
    let direct: BTreeSet<&str> = METADATA
        .workspace_packages()
        .into_iter()
        .flat_map(|package| &package.dependencies)
        .map(|dependency| dependency.name.as_str())
        .collect();
    for name in [
        "tokio",
        "rustls",
        "tokio-rustls",
        "serde_json",
        "parquet",
        "arrow",
        "criterion",
        "clap",
    ] {
        assert!(
            direct.contains(name),
            "`{name}` is no direct dependency of any member"
        );
    }
}

#[test]
fn one_copy_of_what_must_agree() {
    for name in ["arrow", "parquet", "rustls", "tokio", "serde_json"] {
        let copies = METADATA
            .packages
            .iter()
            .filter(|package| package.name.as_str() == name)
            .count();
        assert_eq!(copies, 1, "`{name}` is in the graph {copies} times");
    }
}

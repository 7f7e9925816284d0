//! Every example in the guides is run: what a page says, the engine does.
//!
//! Fenced blocks say in their info string what they are:
//!
//! | Info string | Block | Held |
//! |---|---|---|
//! | `json policy=NAME` | a policy | loads |
//! | `json refused="TEXT"` | a policy | does not load, and its problems say TEXT |
//! | `json lints="TEXT"` | a policy | loads, and a warning says TEXT |
//! | `toml server=NAME` | how a server's calls are read | compiles |
//! | `text calls=POLICY [server=NAME]` | calls and answers, one per line | the policy answers so, with counters that begin empty |
//! | `json malformed=CODE` | a message | is refused with that code |
//! | `toml config` | a weir.toml | loads |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use weir_policy::{
    Context, Counters, Message, Micros, Policy, Resolver, ResolverSpec, Verdict, judge,
};

/// 2026-11-23, a Monday, at midnight UTC.
const MIDNIGHT: i64 = 1_795_392_000_000_000;

struct Block {
    line: usize,
    info: String,
    text: String,
}

impl Block {
    /// The value of `key=value` or `key="quoted value"` in the info string.
    fn value(&self, key: &str) -> Option<&str> {
        let at = self.info.find(&format!(" {key}="))? + key.len() + 2;
        let rest = &self.info[at..];
        match rest.strip_prefix('"') {
            Some(quoted) => quoted.split('"').next(),
            None => rest.split_whitespace().next(),
        }
    }
}

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(info), None) => {
                open = Some(Block {
                    line: number + 1,
                    info: info.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is never closed");
    blocks
}

#[test]
fn every_place_that_a_page_names_is_there() {
    const FOLDERS: [&str; 9] = [
        "policy/",
        "recorder/",
        "proxy/",
        "replay/",
        "cli/",
        "corpus/",
        "benches/",
        "e2e/",
        "docs/",
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut named = 0;
    for page in ["README.md", "ARCHITECTURE.md", "docs/figures.md"] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        let folder = root.join(page).parent().unwrap().to_owned();
        let links = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let path = link.split('#').next().unwrap();
            assert!(folder.join(path).exists(), "{page} links to {link}");
            named += 1;
        }
        let places = text.split('`').skip(1).step_by(2);
        for place in places.filter(|place| FOLDERS.iter().any(|folder| place.starts_with(folder))) {
            if place.contains(['*', ' ', '<']) {
                continue;
            }
            assert!(root.join(place).exists(), "{page} names {place}");
            named += 1;
        }
    }
    assert!(named > 20, "the pages name places: {named}");
}

#[test]
fn every_example_of_the_policy_reference_does_what_the_page_says() {
    let page = page("policy.md");
    let mut policies = BTreeMap::new();
    let mut servers = BTreeMap::new();
    let (mut calls, mut wrong) = (0, Vec::new());
    for block in blocks(&page) {
        let at = format!("policy.md:{}", block.line);
        if let Some(name) = block.value("policy") {
            let policy = Policy::load(block.text.as_bytes(), &at)
                .unwrap_or_else(|problems| panic!("{problems}"));
            assert!(
                policies.insert(name.to_owned(), policy).is_none(),
                "{at}: two policies are named `{name}`"
            );
        } else if let Some(text) = block.value("refused") {
            let problems = Policy::load(block.text.as_bytes(), &at)
                .expect_err(&at)
                .to_string();
            assert!(problems.contains(text), "{at}: no `{text}` in\n{problems}");
        } else if let Some(text) = block.value("lints") {
            let policy = Policy::load(block.text.as_bytes(), &at)
                .unwrap_or_else(|problems| panic!("{problems}"));
            let warnings = policy.lint(None).to_string();
            assert!(warnings.contains(text), "{at}: no `{text}` in\n{warnings}");
        } else if let Some(name) = block
            .value("server")
            .filter(|_| block.info.starts_with("toml"))
        {
            let spec: ResolverSpec =
                toml::from_str(&block.text).unwrap_or_else(|error| panic!("{at}: {error}"));
            servers.insert(
                name.to_owned(),
                Resolver::compile(&spec).unwrap_or_else(|error| panic!("{at}: {error}")),
            );
        } else if let Some(name) = block.value("calls") {
            let plain = Resolver::plain();
            let resolver = block.value("server").map_or(&plain, |name| &servers[name]);
            for problem in answers(&block, &policies[name], resolver, &mut calls) {
                wrong.push(format!("{at}: {problem}"));
            }
        } else if let Some(code) = block.value("malformed") {
            let message = block.text.trim_end();
            let refused =
                Message::parse(message.as_bytes()).and_then(|message| message.ask().map(drop));
            let got = refused.map_or_else(
                |malformed| malformed.code.to_string(),
                |()| "accepted".to_owned(),
            );
            if got != code {
                wrong.push(format!("{at}: the page says {code}, the reader {got}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(
        calls > 80,
        "only {calls} calls were found: has the page's form changed?"
    );
}

/// Runs the calls of one block in order; gives those that the policy answers otherwise.
fn answers(block: &Block, policy: &Policy, resolver: &Resolver, calls: &mut usize) -> Vec<String> {
    let mut counters = Counters::new(1000);
    let mut wrong = Vec::new();
    let mut now = Micros(MIDNIGHT);
    for line in block.text.lines().filter(|line| !line.trim().is_empty()) {
        *calls += 1;
        let (call, expected) = line
            .split_once('→')
            .unwrap_or_else(|| panic!("no arrow in `{line}`"));
        let (call, grant) = match call
            .trim()
            .strip_prefix("grant=")
            .and_then(|rest| rest.split_once(' '))
        {
            Some((grant, call)) => (call.trim(), grant),
            None => (call.trim(), "ops-agent"),
        };
        let call = match call.split_once(' ') {
            Some((time, rest)) if time.len() == 8 && time.as_bytes()[2] == b':' => {
                now = Micros(MIDNIGHT + clock(time));
                rest.trim()
            }
            _ => call,
        };
        let got = answer(call, grant, now, policy, resolver, &mut counters);
        let expected = expected.trim();
        let fits = if expected.ends_with(')')
            && expected.matches('(').count() > usize::from(expected.starts_with("deny ("))
        {
            got == expected // with the reason
        } else {
            got.rsplit_once(" (").map_or(got.as_str(), |(rule, _)| rule) == expected
        };
        if !fits {
            wrong.push(format!(
                "`{call}`: the page says `{expected}`, the engine `{got}`"
            ));
        }
    }
    wrong
}

/// `allow (allowed)`, or `deny RULE (REASON)`.
fn answer(
    call: &str,
    grant: &str,
    now: Micros,
    policy: &Policy,
    resolver: &Resolver,
    counters: &mut Counters,
) -> String {
    let bytes = message(call);
    let message =
        Message::parse(bytes.as_bytes()).unwrap_or_else(|error| panic!("{call}: {error}"));
    let ask = match &message {
        Message::Request(request) => request.ask(),
        Message::Notification(_) | Message::Response(_) => panic!("{call} is a request"),
    };
    let ask = ask.unwrap_or_else(|error| panic!("{call}: {error}"));
    let context = Context {
        node: "node",
        server: "nas",
        grant,
        session: "s",
        client_name: "docs",
        client_version: "1",
        received_at: now,
    };
    let decision = match resolver.resolve(&ask) {
        Ok(resolution) => judge(Some(policy), &resolution, &context, counters, now).decision,
        Err(decision) => decision,
    };
    let reason = decision.reason.as_str();
    match decision.verdict {
        Verdict::Allow => format!("allow ({reason})"),
        Verdict::Deny => format!("deny {} ({reason})", decision.rule),
    }
}

/// The message that a line of a block stands for.
fn message(call: &str) -> String {
    let (name, arguments) = call.split_once(' ').unwrap_or((call, "{}"));
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let (method, params) = match name.split_once(':') {
        Some(("resource", uri)) => ("resources/read", format!("{{\"uri\":{}}}", quoted(uri))),
        Some(("prompt", prompt)) => ("prompts/get", format!("{{\"name\":{}}}", quoted(prompt))),
        Some(("method", method)) => (method, "{}".to_owned()),
        _ => (
            "tools/call",
            format!("{{\"name\":{},\"arguments\":{arguments}}}", quoted(name)),
        ),
    };
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":{},\"params\":{params}}}",
        quoted(method)
    )
}

/// `HH:MM:SS` in microseconds.
fn clock(time: &str) -> i64 {
    time.split(':').fold(0, |seconds, part| {
        seconds * 60 + part.parse::<i64>().expect(time)
    }) * 1_000_000
}

#[test]
fn every_configuration_in_the_guide_loads() {
    let mut found = 0;
    for (name, block) in ["config.md", "callers.md", "object-storage.md"]
        .into_iter()
        .flat_map(|name| {
            blocks(&page(name))
                .into_iter()
                .map(move |block| (name, block))
        })
        .filter(|(_, block)| block.info == "toml config")
    {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        fs::create_dir(at.join("policies")).unwrap();
        for file in [
            "policies/ops.json",
            "policies/build.json",
            "policies/nightly.json",
            "cert.pem",
            "key.pem",
            "nas-ca.pem",
            "clients.pem",
            "revoked.pem",
        ] {
            fs::write(at.join(file), "{}").unwrap();
        }
        fs::write(at.join("weir.toml"), &block.text).unwrap();
        let config = weir_proxy::Config::load_with_environment(&at.join("weir.toml"), &|name| {
            Some(format!("value-of-{name}"))
        });
        config.unwrap_or_else(|problems| panic!("{name}:{}: {problems}", block.line));
        found += 1;
    }
    assert!(found > 1, "the guides have examples");
}

#[test]
fn the_reference_of_the_configuration_is_the_one_that_the_binary_prints() {
    let printed = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["config", "reference"])
        .output()
        .unwrap();
    assert!(printed.status.success());
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(
        printed == page("config-reference.md"),
        "docs/config-reference.md is not what `weir config reference` prints: write it anew"
    );
}

#[test]
fn guides_link_only_to_pages_and_headings_that_exist() {
    for name in [
        "policy.md",
        "callers.md",
        "config.md",
        "config-reference.md",
        "operation.md",
        "deploy.md",
        "query.md",
        "replay.md",
        "object-storage.md",
    ] {
        for target in links(&page(name)) {
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            let text = page(if file.is_empty() { name } else { file });
            let anchors: Vec<String> = text
                .lines()
                .filter_map(|line| line.strip_prefix('#'))
                .map(anchor)
                .collect();
            assert!(
                heading.is_empty() || anchors.iter().any(|anchor| anchor == heading),
                "{name}: no heading for `{target}`"
            );
        }
    }
}

/// Targets of Markdown links within this folder.
fn links(page: &str) -> Vec<String> {
    let after = page.split("](").skip(1);
    after
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://"))
        .map(str::to_owned)
        .collect()
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

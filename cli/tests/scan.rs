//! `weir scan`: what it lists, what it notices, and that it calls nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use serde_json::Value;
use support::Folder;

const WEIR: &str = env!("CARGO_BIN_EXE_weir");

fn tool<'s>(scan: &'s Value, name: &str) -> &'s Value {
    let tools = scan[0]["tools"].as_array().unwrap();
    let tool = tools.iter().find(|tool| tool["tool"] == name);
    tool.unwrap_or_else(|| panic!("no {name} in {scan}"))
}

#[test]
fn a_configuration_shows_every_operation_with_its_class_and_what_the_policy_says() {
    let folder = Folder::new();
    folder.init();
    let scan = folder
        .weir(&["scan", "--config", "weir.toml", "--format", "json"])
        .succeeds()
        .json();
    let stop = tool(&scan, "vm_stop");
    assert_eq!(
        (&stop["via"], &stop["risk"], &stop["why"]),
        (&"truenas".into(), &"execute".into(), &"profile".into())
    );
    assert_eq!(stop["policies"]["ops-agent"], "by arguments, limited");
    assert_eq!(tool(&scan, "vm_delete")["policies"]["ops-agent"], "hidden");
    assert_eq!(tool(&scan, "vm_list")["policies"]["ops-agent"], "allowed");
    assert_eq!(
        tool(&scan, "service_start")["policies"]["ops-agent"],
        "limited"
    );
    assert_eq!(
        tool(&scan, "user_create")["policies"]["ops-agent"],
        "denied"
    );
    folder
        .weir(&["scan", "--config", "weir.toml"])
        .succeeds()
        .shows("279 can be called: 45 destructive");
    folder
        .weir(&["scan", "--config", "weir.toml", "--server", "nosuch"])
        .ends_with(2)
        .says("there are: truenas");
}

#[test]
fn a_definition_that_is_new_changed_or_gone_is_noticed() {
    let folder = Folder::new();
    let log = folder.path("nas.log");
    let log = log.to_str().unwrap();
    let nas = |shape: &str, more: &[&str]| {
        let command = ["--", WEIR, "nas", "--stdio", "--shape", shape, "--log", log];
        folder.weir(&[&["scan"], more, &command].concat())
    };
    let first = nas("flat", &["--format", "json", "--profile", "truenas"]).succeeds();
    let mut scan = first.json();
    assert_eq!(scan[0]["differences"], serde_json::json!([]));
    folder.write("same.json", &first.stdout);
    nas("flat", &["--against", "same.json"]).succeeds();

    let tools = scan[0]["tools"].as_array_mut().unwrap();
    tools.retain(|tool| tool["tool"] != "vm_list");
    for tool in tools.iter_mut().filter(|tool| tool["tool"] == "vm_stop") {
        tool["digest"] = "sha256:00".into();
    }
    tools.push(serde_json::json!({"tool": "vm_dance", "digest": "sha256:01"}));
    folder.write("other.json", &scan.to_string());
    let changed = nas("flat", &["--against", "other.json", "--format", "json"])
        .ends_with(1)
        .json();
    assert_eq!(tool(&changed, "vm_list")["since"], "new");
    assert_eq!(tool(&changed, "vm_stop")["since"], "changed");
    assert_eq!(tool(&changed, "vm_start")["since"], Value::Null);
    assert_eq!(changed[0]["gone"], serde_json::json!(["vm_dance"]));
    nas("flat", &["--against", "other.json"])
        .ends_with(1)
        .shows("its definition changed")
        .shows("`vm_dance` was known, and is listed no more");

    // Whoever scans reads lists, and the server did nothing.
    let requests = std::fs::read_to_string(log).unwrap_or_default();
    assert!(!requests.contains("/api/v2.0/"), "{requests}");
}

#[test]
fn what_passed_through_the_proxy_is_what_a_scan_compares_with() {
    let folder = Folder::new();
    let token = folder.init();
    let served = folder.serve();
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let answer = served.post(&token, list);
    assert!(answer.body.contains("\"truenas\""), "{}", answer.body);
    served.stop();
    folder.weir(&["scan", "--config", "weir.toml"]).succeeds();
    let flat = folder
        .read("weir.toml")
        .replace("\"--stdio\"", "\"--stdio\", \"--shape\", \"flat\"");
    folder.write("weir.toml", &flat);
    folder
        .weir(&["scan", "--config", "weir.toml"])
        .ends_with(1)
        .shows("`truenas` was known, and is listed no more");
}

#[test]
fn a_starting_policy_goes_by_class_and_has_nothing_to_complain_of() {
    let folder = Folder::new();
    folder
        .weir(&[
            "scan",
            "--profile",
            "truenas",
            "--starting-policy",
            "ops.json",
            "--",
            WEIR,
            "nas",
            "--stdio",
        ])
        .succeeds();
    let policy: Value = serde_json::from_str(&folder.read("ops.json")).unwrap();
    assert_eq!(policy["default"], "deny");
    assert_eq!(policy["tools"]["vm_list"], serde_json::json!({}));
    assert_eq!(policy["tools"]["vm_stop"]["limits"][0]["max"], 10);
    assert!(
        policy["hide"]
            .as_array()
            .unwrap()
            .contains(&"vm_delete".into())
    );
    assert_eq!(
        policy["tools"]["truenas"],
        Value::Null,
        "a dispatcher is judged by its operations"
    );
    folder
        .weir(&["policy", "check", "--profile", "truenas", "ops.json"])
        .succeeds()
        .shows("ops.json: ok\n");
}

#[test]
fn a_server_that_cannot_be_asked_is_one_clear_line() {
    let folder = Folder::new();
    folder
        .weir(&["scan", "--", "/bin/false"])
        .ends_with(2)
        .says("server `command`");
    folder.weir(&["scan"]).ends_with(2).says("--config");
}

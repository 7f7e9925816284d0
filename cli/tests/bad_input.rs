//! Bad input gives one clear line and the right exit code, and nothing panics (every ended command is checked for that).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use std::net::TcpListener;

use support::Folder;

const THREE_FAULTS: &str = r#"{
  "version": "1",
  "default": "maybe",
  "tools": {
    "vm_stop": {
      "deny_iff": [],
      "limits": [{ "counter": "stops", "window": "fortnight", "max": 3 }]
    }
  }
}
"#;

#[test]
fn a_policy_with_three_faults_shows_all_three_with_carets() {
    let folder = Folder::new();
    folder.write("bad.json", THREE_FAULTS);
    let checked = folder.weir(&["policy", "check", "bad.json"]).ends_with(2);
    for (line, source) in [(3, "\"maybe\""), (6, "\"deny_iff\""), (7, "\"fortnight\"")] {
        assert!(
            checked.stderr.contains(&format!("bad.json:{line}:")),
            "line {line}: {checked}"
        );
        assert!(checked.stderr.contains(source), "{source}: {checked}");
    }
    assert!(
        checked.stderr.contains("deny_if"),
        "the nearest key is named: {checked}"
    );
    let carets = checked
        .stderr
        .lines()
        .filter(|line| line.trim_start_matches(['|', ' ']).starts_with('^'))
        .count();
    assert!(carets >= 3, "{carets} carets: {checked}");
    assert!(checked.stdout.contains("3 errors"), "{checked}");

    let json = folder
        .weir(&["policy", "check", "--format", "json", "bad.json"])
        .ends_with(2)
        .json();
    assert_eq!(json[0]["loads"], false);
    let lines: Vec<_> = json[0]["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [3, 6, 7]);

    folder.init();
    folder.write("policies/ops-agent.json", THREE_FAULTS);
    let served = folder.weir(&["serve"]).ends_with(2);
    for line in [3, 6, 7] {
        assert!(
            served.stderr.contains(&format!("ops-agent.json:{line}:")),
            "{served}"
        );
    }
    assert!(
        !folder.path("record").exists(),
        "nothing was opened under a bad policy"
    );
}

#[test]
fn warnings_pass_unless_they_are_denied() {
    let folder = Folder::new();
    folder.write(
        "p.json",
        r#"{ "version": "1", "default": "deny",
             "tools": { "vm_stop": { "limits": [{ "counter": "c", "window": 60, "max": 1, "scope": "session" }] } } }"#,
    );
    folder
        .weir(&["policy", "check", "p.json"])
        .succeeds()
        .says("warning")
        .shows("1 warning");
    folder
        .weir(&["policy", "check", "--deny-warnings", "p.json"])
        .ends_with(1);
}

#[test]
fn what_is_missing_is_named() {
    let folder = Folder::new();
    folder
        .weir(&["serve"])
        .ends_with(2)
        .says("weir.toml")
        .says("weir init");
    folder
        .weir(&["connect", "claude"])
        .ends_with(2)
        .says("weir.toml");
    folder
        .weir(&["policy", "check", "none.json"])
        .ends_with(2)
        .says("none.json");
    folder
        .weir(&["replay", "--record", "none"])
        .ends_with(2)
        .says("none");
    folder
        .weir(&["replay", "--record", ".", "--policy", "none.json"])
        .ends_with(2)
        .says("none.json");
    folder
        .weir(&["query", "--record", "none", "SELECT 1"])
        .ends_with(2)
        .says("none");
    folder
        .weir(&["seal", "--record", "none"])
        .ends_with(2)
        .says("none");
    assert!(
        !folder.path("none").exists(),
        "asking for a record does not make one"
    );

    folder.init();
    std::fs::remove_file(folder.path("policies/ops-agent.json")).unwrap();
    folder.weir(&["serve"]).ends_with(2).says("ops-agent.json");
}

#[test]
fn a_configuration_shows_all_its_problems_with_their_lines() {
    let folder = Folder::new();
    folder.write("weir.toml", "[listen]\nadress = \"127.0.0.1:0\"\n\n[[server]]\nname = \"a\"\nurl = \"https://a/mcp\"\n\n[[grant]]\nname = \"g\"\nserver = \"b\"\n");
    folder
        .weir(&["serve"])
        .ends_with(2)
        .says("weir.toml:2:")
        .says("did you mean `address`?")
        .says("weir.toml:10:")
        .says("no [[server]] is named `b`")
        .says("weir token new");
}

#[test]
fn a_taken_port_is_one_line() {
    let folder = Folder::new();
    folder.init();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = folder
        .read("weir.toml")
        .replacen("127.0.0.1:0", &address, 1);
    folder.write("weir.toml", &config);
    let ended = folder
        .weir(&["serve", "--log", "off"])
        .ends_with(2)
        .says(&address)
        .says("another program listens there");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
}

#[test]
fn an_unwritable_record_folder_is_one_line() {
    let folder = Folder::new();
    folder.init();
    // A folder below a file can be made by nobody, root included.
    let config = folder
        .read("weir.toml")
        .replace("path = \"record\"", "path = \"weir.toml/record\"");
    folder.write("weir.toml", &config);
    let ended = folder
        .weir(&["serve", "--log", "off"])
        .ends_with(2)
        .says("weir.toml/record");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended}");
}

#[test]
fn bad_usage_says_what_is_wanted() {
    let folder = Folder::new();
    folder.init();
    folder
        .weir(&["serve", "--log", "weir=loud=x"])
        .ends_with(2)
        .says("is not a log filter");
    folder
        .weir(&["connect", "claude", "--grant", "nobody"])
        .ends_with(2)
        .says("no grant")
        .says("ops-agent");
    folder
        .weir(&["query", "--list", "--named", "burts"])
        .ends_with(2)
        .says("burst");
    folder
        .weir(&[
            "policy",
            "check",
            "--profile",
            "nas",
            "policies/ops-agent.json",
        ])
        .ends_with(2)
        .says("truenas");
    folder
        .weir(&[
            "policy",
            "explain",
            "--policy",
            "policies/ops-agent.json",
            "--call",
            "vm_stop",
        ])
        .ends_with(2)
        .says("not JSON");
}

#[test]
fn explain_shows_the_reading_each_rule_and_the_decision() {
    let folder = Folder::new();
    folder.init();
    let explain = |call: &str| {
        folder
            .weir(&[
                "policy",
                "explain",
                "--policy",
                "policies/ops-agent.json",
                "--profile",
                "truenas",
                "--call",
                call,
            ])
            .succeeds()
    };
    explain(r#"{"name":"truenas","arguments":{"category":"vm","action":"vm_stop","params":{"id":7,"force":true}}}"#)
        .shows("read as   vm_stop")
        .shows("execute")
        .shows("args.force eq reads true: true")
        .shows("deny by /tools/vm_stop/deny_if/args.force-eq (deny_if)")
        .shows("not reached");
    explain(
        r#"{"name":"truenas","arguments":{"category":"vm","action":"vm_stop","params":{"id":7}}}"#,
    )
    .shows("takes 1 of 10, 0 used before")
    .shows("decision  allow");
    explain(r#"{"name":"truenas","arguments":{"category":"vm","action":"vm_start","params":{"id":"7/stop#"}}}"#)
        .shows("deny by (arguments)");
    explain(r#"{"name":"x","name":"truenas"}"#).shows("deny by (malformed)");
    explain(r#"{"name":"truenas","arguments":{"category":"vm","action":"vm_delete","params":{"id":7}}}"#).shows("deny by (hidden)");
}

#[test]
fn a_start_tells_everything_that_is_wrong_at_once() {
    let folder = Folder::new();
    folder.init();
    let config = folder.read("weir.toml");
    folder.write(
        "policies/ops-agent.json",
        r#"{ "version": "1", "default": "sometimes", "tools": {} }"#,
    );
    // The file and the policies that it names.
    folder.write(
        "weir.toml",
        &config.replace("[record]", "[record]\nseel = {}"),
    );
    for command in [&["serve"][..], &["config", "check"]] {
        folder
            .weir(command)
            .ends_with(2)
            .says("unknown key `seel`")
            .says("sometimes");
    }
    // What only a start can find: a certificate, a policy, and addresses that are taken.
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().to_string();
    folder.write("cert.pem", "no certificate");
    folder.write("key.pem", "no key");
    let tls = "tls = { certificate = \"cert.pem\", key = \"key.pem\" }\n[record]";
    let config = config
        .replace("127.0.0.1:0\"", &format!("{port}\""))
        .replacen("[record]", tls, 1);
    folder.write("weir.toml", &config);
    let told = folder.weir(&["serve"]).ends_with(2);
    for wrong in ["cert.pem", "sometimes", "another program listens there"] {
        assert!(told.stderr.contains(wrong), "no `{wrong}` in {told}");
    }
    assert_eq!(
        told.stderr.matches("another program listens").count(),
        2,
        "{told}"
    );
    assert!(!folder.path("record").exists(), "nothing was touched");

    folder.write(
        "weir.toml",
        &folder.read("weir.toml").replace(tls, "[record]"),
    );
    folder
        .weir(&["config", "check"])
        .ends_with(2)
        .says("sometimes");
    folder.write(
        "policies/ops-agent.json",
        r#"{ "version": "1", "default": "deny", "tools": {} }"#,
    );
    folder
        .weir(&["config", "check"])
        .succeeds()
        .shows("nothing is wrong");
}

//! Sessions of the real binary: from an empty folder to an answered question, over real TLS.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

mod support;

use serde_json::json;
use support::Folder;

/// A candidate under which nobody stops anything.
const NO_STOPS: &str = r#"{
  "version": "1",
  "default": "allow",
  "tools": { "vm_stop": { "action": "deny", "reason": "Nobody stops a VM." } }
}"#;

#[test]
fn a_new_user_gets_from_nothing_to_what_would_have_changed() {
    let folder = Folder::new();
    let token = folder.init();
    folder
        .weir(&[
            "policy",
            "check",
            "--profile",
            "truenas",
            "--deny-warnings",
            "policies/ops-agent.json",
        ])
        .succeeds()
        .shows("ok");

    let served = folder.serve();
    assert_eq!(served.admin("/healthz").status, 200);
    let (text, is_error) = served.call(&token, "vm_list", &json!({}));
    assert!(!is_error, "{text}");
    let (text, is_error) = served.call(&token, "vm_stop", &json!({ "id": 7 }));
    assert!(!is_error, "{text}");
    let (text, is_error) = served.call(&token, "vm_stop", &json!({ "id": 7, "force": true }));
    assert!(
        is_error && text.contains("Forced power-off needs a person."),
        "{text}"
    );

    // The journal can be asked while the proxy runs, and the folder is its own.
    let live = folder.weir(&[
        "query",
        "--record",
        "record",
        "--format",
        "json",
        "SELECT count(*) AS n FROM calls WHERE tool = 'vm_stop'",
    ]);
    assert_eq!(live.succeeds().json()[0]["n"], 2);
    folder
        .weir(&["seal", "--record", "record"])
        .ends_with(2)
        .says("in use by another process")
        .says("seals by itself");
    folder
        .weir(&["serve"])
        .ends_with(2)
        .says("in use by another process");

    let (code, told) = served.stop();
    assert_eq!(
        (code, told.as_str()),
        (Some(0), "stopped; the record is sealed\n")
    );
    folder
        .weir(&["seal", "--record", "record"])
        .succeeds()
        .shows("nothing was open");

    let rows = folder.weir(&[
        "query",
        "--record",
        "record",
        "--format",
        "csv",
        "SELECT verdict, rule FROM calls WHERE tool = 'vm_stop' ORDER BY seq",
    ]);
    assert_eq!(
        rows.succeeds().stdout,
        "verdict,rule\r\nallow,\r\ndeny,/tools/vm_stop/deny_if/args.force-eq\r\n"
    );
    folder
        .weir(&["query", "--record", "record", "--named", "denied"])
        .succeeds()
        .shows("vm_stop");
    folder
        .weir_with(
            &["query", "--record", "record"],
            "\\d\nSELECT count(*)\nFROM calls;\n\\q\nSELECT nonsense;",
        )
        .succeeds()
        .shows("calls");

    // Under its own policies nothing changes; under the candidate exactly one call does.
    let own = folder
        .weir(&[
            "replay",
            "--record",
            "record",
            "--format",
            "json",
            "--max-newly-denied",
            "0",
        ])
        .succeeds()
        .json();
    assert_eq!(own["classes"]["same"], own["record"]["calls"]);
    assert_eq!(own["classes"]["engine_drift"], 0);
    folder.write("candidate.json", NO_STOPS);
    let under = [
        "replay",
        "--record",
        "record",
        "--policy",
        "candidate.json",
        "--format",
        "json",
    ];
    let report = folder.weir(&under).succeeds().json();
    assert_eq!(report["classes"]["newly_denied"], 1, "{report}");
    assert_eq!(report["flips"][0]["tool"], "vm_stop");
    folder
        .weir(&[&under[..], &["--max-newly-denied", "0"]].concat())
        .ends_with(1);
    folder
        .weir(&["replay", "--record", "record", "--policy", "candidate.json"])
        .succeeds()
        .shows("REPLAY");
    folder
        .weir(&[
            "replay",
            "--record",
            "record",
            "--policy",
            "candidate.json",
            "--grant",
            "nobody",
        ])
        .ends_with(2)
        .says("ops-agent");
}

#[test]
fn strangers_and_garbage_are_refused_and_the_proxy_goes_on() {
    let folder = Folder::new();
    let token = folder.init();
    let served = folder.serve();
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert_eq!(served.post("weir_wrong", list).status, 401);
    assert_eq!(served.post(&token, list).status, 200);

    let garbage = served.post(&token, "\u{0}not json");
    assert_eq!(
        garbage.message()["error"]["code"],
        -32700,
        "{}",
        garbage.body
    );
    let twice =
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"truenas","name":"x"}}"#;
    let twice = served.post(&token, twice);
    assert_eq!(twice.message()["error"]["code"], -32602, "{}", twice.body);
    assert_eq!(
        served.request("POST", "/nowhere/mcp", &token, list).status,
        404
    );

    assert_eq!(served.post(&token, list).status, 200, "the proxy goes on");
    assert_eq!(served.stop().0, Some(0));
}

#[test]
fn a_limit_holds_over_a_restart() {
    let folder = Folder::new();
    let token = folder.init();
    folder.write(
        "policies/ops-agent.json",
        r#"{ "version": "1", "default": "deny",
             "tools": { "vm_list": { "limits": [{ "counter": "few", "window": 86400, "sliding": true, "max": 2 }] } } }"#,
    );
    // A new record does not reach back over the window: this one says that nothing came before.
    let config = folder.read("weir.toml").replace(
        "path = \"record\"\n",
        "path = \"record\"\ngaps = \"empty\"\n",
    );
    folder.write("weir.toml", &config);
    let served = folder.serve();
    for _ in 0..2 {
        let (text, is_error) = served.call(&token, "vm_list", &json!({}));
        assert!(!is_error, "{text}");
    }
    assert_eq!(served.stop().0, Some(0));
    let served = folder.serve();
    let (text, is_error) = served.call(&token, "vm_list", &json!({}));
    assert!(is_error && text.contains("[POLICY DENIED]"), "{text}");
    assert_eq!(served.stop().0, Some(0));
    let own = folder
        .weir(&["replay", "--record", "record", "--format", "json"])
        .succeeds()
        .json();
    assert_eq!(own["classes"]["same"], own["record"]["calls"], "{own}");
}

#[test]
fn init_never_overwrites() {
    let folder = Folder::new();
    let first = folder.weir(&["init", "here"]).succeeds();
    let token = folder.read("here/ops-agent.token");
    assert!(
        first.stdout.contains(token.trim()),
        "the token is shown once: {first}"
    );
    let config = folder.read("here/weir.toml");
    assert!(!config.contains(token.trim()), "and kept only as a hash");
    folder
        .weir(&["init", "here"])
        .ends_with(2)
        .says("weir.toml")
        .says("never overwrites");
    assert_eq!(folder.read("here/weir.toml"), config);
    assert_eq!(folder.read("here/ops-agent.token"), token);
}

#[cfg(unix)]
#[test]
fn secrets_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new();
    folder.weir(&["init", "here"]).succeeds();
    for file in ["here/ops-agent.token", "here/state/ca-key.pem"] {
        let mode = std::fs::metadata(folder.path(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn every_upstream_that_init_offers_gives_a_configuration_that_loads() {
    let folder = Folder::new();
    let cases: [&[&str]; 4] = [
        &["init", "a"],
        &[
            "init",
            "b",
            "--url",
            "https://nas.local/mcp",
            "--server",
            "files",
        ],
        &[
            "init",
            "c",
            "--profile",
            "truenas",
            "--",
            "node",
            "dist/cli.js",
        ],
        &["init", "d", "--grant", "night-shift"],
    ];
    for case in cases {
        folder.weir(case).succeeds();
        let config = format!("{}/weir.toml", case[1]);
        for client in ["claude", "cursor", "vscode", "python", "node"] {
            let snippet = folder
                .weir(&["connect", client, "--config", &config])
                .succeeds();
            assert!(
                snippet.stdout.contains("https://127.0.0.1:8443/"),
                "{snippet}"
            );
            if matches!(client, "claude" | "cursor" | "vscode") {
                snippet.json();
            }
            let secret = folder.read(&format!(
                "{}/{}.token",
                case[1],
                if case[1] == "d" {
                    "night-shift"
                } else {
                    "ops-agent"
                }
            ));
            assert!(
                !snippet.stdout.contains(secret.trim()) && !snippet.stderr.contains(secret.trim())
            );
        }
    }
    folder
        .weir(&["init", "e", "--url", "nas.local"])
        .ends_with(2)
        .says("not an http or https address");
    folder
        .weir(&["init", "f", "--grant", "../x"])
        .ends_with(2)
        .says("cannot be a name");
}

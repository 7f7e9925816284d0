//! What the record keeps of a call: values that are replaced, and how much at which audit level.

use std::path::Path;

use serde_json::{Value, json};
use weir_recorder::{Disk, RecordOptions, Recorder, State, VerifyOptions, spilled, verify};

use crate::rig::{Proxy, Server, column, configure_server, folder, policy};

/// The last row's text in a column.
fn last(folder: &Path, name: &str) -> String {
    column(folder, name).pop().unwrap().1
}

fn stands(folder: &Path, name: &str, seq: i64) -> String {
    let found = column(folder, name)
        .into_iter()
        .find(|(place, _)| *place == seq);
    found.unwrap().1
}

#[tokio::test]
async fn only_what_is_named_is_replaced_and_equal_values_stay_equal() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    configure_server(
        folder.path(),
        r#"redact = ["/note"]
redact_keys = ["*pin"]"#,
    );
    let proxy = Proxy::start(folder.path()).await;
    let raw = |arguments: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"vm_list","arguments":{arguments}}}}}"#
        )
    };
    let mut texts = Vec::new();
    for arguments in [
        r#"{ "note" : "a", "card_pin": 7.0, "id": 1e0 }"#,
        r#"{ "note" : "b", "card_pin": 7, "id": 1e0 }"#,
    ] {
        assert!(!proxy.post(raw(arguments)).await.is_denied());
        texts.push(last(folder.path(), "arguments"));
        assert_eq!(last(folder.path(), "redacted"), "/note /card_pin");
    }
    let parts =
        |text: &str| -> Vec<String> { text.split("\"weir:redacted:").map(str::to_owned).collect() };
    let (one, two) = (parts(&texts[0]), parts(&texts[1]));
    assert_eq!(
        (one[0].as_str(), &one[2][32..]),
        (r#"{ "note" : "#, r#"", "id": 1e0 }"#)
    );
    assert_ne!(one[1], two[1], "other notes");
    assert_eq!(one[2], two[2], "the same pin");
    assert!(
        String::from_utf8_lossy(&server.log()[0].body).contains("7.0"),
        "the server gets what was sent"
    );
    proxy.stop().await;
}

#[tokio::test]
async fn a_limit_by_a_redacted_value_counts_it_also_after_a_restart() {
    let mut rules = policy();
    rules["tools"]["login"] = json!({ "limits": [{ "counter": "each", "window": "day", "max": 2, "per": ["args.password"] }] });
    rules["tools"]["pay"] = json!({ "limits": [{ "counter": "sum", "window": "day", "max": 9, "increment_from": "args.token" }] });
    let server = Server::start().await;
    let folder = folder(&server.url, &rules);
    let proxy = Proxy::start(folder.path()).await;
    for (password, denied) in [("a", false), ("a", false), ("a", true), ("b", false)] {
        let reply = proxy.call("login", json!({ "password": password })).await;
        assert_eq!(reply.is_denied(), denied, "{password}");
    }
    assert!(
        proxy.call("pay", json!({ "token": 1 })).await.is_denied(),
        "an amount that cannot be read again"
    );
    proxy.stop().await;
    let proxy = Proxy::start(folder.path()).await;
    for (password, denied) in [("a", true), ("b", false), ("b", true)] {
        let reply = proxy.call("login", json!({ "password": password })).await;
        assert_eq!(reply.is_denied(), denied, "{password}, after a restart");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn each_level_keeps_what_it_says() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    configure_server(
        folder.path(),
        r#"audit = { "*" = "request", vm_list = "metadata", echo = "result", streams = "result" }"#,
    );
    let text = std::fs::read_to_string(folder.path().join("weir.toml")).unwrap();
    let text = text.replacen(
        "[record]\n",
        "[record]\nresults = { inline_bytes_max = 1000, bytes_max = 50000 }\n",
        1,
    );
    std::fs::write(folder.path().join("weir.toml"), text).unwrap();
    let proxy = Proxy::start(folder.path()).await;
    for (tool, arguments) in [
        ("vm_list", json!({ "id": 7 })),
        ("fails", json!({ "id": 7 })),
        ("echo", json!({ "id": 7, "token": "t" })),
        ("streams", json!({})),
        ("echo", json!({ "text": "x".repeat(10_000) })),
        ("echo", json!({ "text": "x".repeat(40_000) })),
        ("vm_list", Value::Null),
    ] {
        assert!(!proxy.call(tool, arguments).await.is_denied());
    }
    proxy.stop().await;
    let calls: Vec<i64> = column(folder.path(), "method")
        .into_iter()
        .filter(|(_, method)| method == "tools/call")
        .map(|(seq, _)| seq)
        .collect();
    let of = |call: usize, name: &str| stands(folder.path(), name, calls[call]);
    let results = folder.path().join("record/results");

    assert_eq!(
        (of(0, "arguments"), of(0, "redacted"), of(0, "result")),
        Default::default()
    );
    let whole = column(folder.path(), "redacted").len();
    assert!(whole > 0 && of(1, "arguments") == r#"{"id":7}"# && of(1, "result").is_empty());
    let kept: Value = serde_json::from_str(&of(2, "result")).unwrap();
    assert_eq!(kept["structuredContent"]["id"], 7);
    assert!(
        kept["structuredContent"]["token"]
            .as_str()
            .unwrap()
            .starts_with("weir:redacted:")
    );
    assert!(
        !of(2, "result").contains("\\\"t\\\""),
        "nor in the text of its content"
    );
    assert!(
        of(3, "result").contains("did streams"),
        "the answer at the end of a stream"
    );
    let named = of(4, "result");
    let digest = spilled(&named).unwrap().strip_prefix("sha256:").unwrap();
    let file = results.join(format!("{digest}.json"));
    let spilled: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(
        spilled["structuredContent"]["text"].as_str().unwrap().len(),
        10_000
    );
    assert_eq!(of(5, "result"), "", "too long: only length and digest");
    assert!(of(5, "result_bytes").parse::<u64>().unwrap() > 80_000);
    assert_eq!(std::fs::read_dir(&results).unwrap().count(), 1);

    // The name of the file is under the leaf of the call's end.
    let record = folder.path().join("record");
    let recorder = Recorder::open(RecordOptions::new(&record), std::sync::Arc::new(Disk))
        .unwrap()
        .0;
    let keys = vec![recorder.public_key()];
    recorder.close().unwrap();
    let state = || {
        verify(
            &record,
            &VerifyOptions {
                keys: keys.clone(),
                ..VerifyOptions::default()
            },
        )
        .unwrap()
        .state
    };
    assert_eq!(state(), State::NotAnchored);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(state(), State::Altered);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(state(), State::Missing);
}

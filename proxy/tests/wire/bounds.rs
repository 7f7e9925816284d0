//! How many of everything there may be at once: who comes too many is told what the limit is and where it is set, it is counted,
//! and where the caller is known there is a row.

use std::sync::Arc;

use http_body_util::Full;
use serde_json::{Value, json};

use crate::rig::{
    OTHER_TOKEN, Proxy, Reply, Server, call, client, configure_limits, folder, policy, soon,
};

async fn started(lines: &str) -> (Server, tempfile::TempDir, Arc<Proxy>) {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    configure_limits(folder.path(), lines);
    let proxy = Arc::new(Proxy::start(folder.path()).await);
    (server, folder, proxy)
}

async fn stop(proxy: Arc<Proxy>) {
    Arc::into_inner(proxy).unwrap().stop().await;
}

/// A refusal as the protocol wants it: a status, when to come again, and an error that says which limit and which setting.
fn assert_refused(reply: &Reply, status: u16, id: &Value, says: &[&str]) {
    assert_eq!(reply.status, status);
    assert!(
        reply.headers.contains_key("retry-after"),
        "{:?}",
        reply.headers
    );
    let message = reply.json();
    assert_eq!(&message["id"], id, "{message}");
    assert_eq!(message["error"]["code"], -31_000 - i32::from(status));
    let text = message["error"]["message"].as_str().unwrap();
    for words in says {
        assert!(text.contains(words), "no `{words}` in `{text}`");
    }
}

/// The value of a metric with exactly these labels.
async fn metric(proxy: &Proxy, line: &str) -> Option<f64> {
    let metrics = proxy.admin("/metrics").await;
    let value = metrics.lines().find_map(|it| it.strip_prefix(line))?;
    Some(value.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_under_way_are_bounded_for_a_grant_and_others_go_on() {
    let (server, _folder, proxy) = started("in_flight_per_grant_max = 1").await;
    let slow = {
        let proxy = Arc::clone(&proxy);
        tokio::spawn(async move { proxy.call("slow", json!({})).await })
    };
    server.arrived.notified().await;
    let refused = proxy.call("vm_list", json!({})).await;
    let says = [
        "requests under way of this grant",
        "1 (in_flight_per_grant_max in [limits]",
    ];
    assert_refused(&refused, 429, &Value::Null, &says);
    let mut request = proxy
        .request()
        .body(Full::new(call("vm_list", &json!({})).into()))
        .unwrap();
    let token = format!("Bearer {OTHER_TOKEN}").parse().unwrap();
    request.headers_mut().insert("authorization", token);
    assert!(
        proxy.send(request).await.is_denied(),
        "dev has no policy, and a place"
    );
    let refused = r#"weir_limit_refused_total{limit="in_flight",scope="grant",grant="ops"}"#;
    assert_eq!(metric(&proxy, refused).await, Some(1.0));
    let in_use = r#"weir_grant_limit_in_use{limit="in_flight",grant="ops"}"#;
    assert_eq!(metric(&proxy, in_use).await, Some(1.0));
    let most = r#"weir_grant_limit_max{limit="in_flight",grant="ops"}"#;
    assert_eq!(metric(&proxy, most).await, Some(1.0));
    server.go_on.notify_one();
    assert_eq!(slow.await.unwrap().status, 200);
    let rules: Vec<_> = proxy.rows().into_iter().map(|row| row.rule).collect();
    assert_eq!(rules, ["", "(malformed)", "(no policy)"]);
    stop(proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_bounded_for_a_grant_and_in_all() {
    let (_server, _folder, proxy) = started("streams_per_grant_max = 1\nstreams_max = 1").await;
    let get = |token: &str| {
        let mut request = proxy.request().method("GET").body(Full::default()).unwrap();
        let token = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", token);
        request
    };
    let open = proxy.open(get(crate::rig::TOKEN)).await;
    assert_eq!(open.status(), 200);
    let refused = proxy.send(get(crate::rig::TOKEN)).await;
    let says = [
        "open streams of this grant",
        "1 (streams_per_grant_max in [limits]",
    ];
    assert_refused(&refused, 429, &Value::Null, &says);
    let refused = proxy.send(get(OTHER_TOKEN)).await;
    assert_refused(
        &refused,
        503,
        &Value::Null,
        &["1 in all (streams_max in [limits])"],
    );
    let in_use = r#"weir_limit_in_use{limit="streams"}"#;
    assert_eq!(metric(&proxy, in_use).await, Some(1.0));
    let in_all = r#"weir_limit_refused_total{limit="streams",scope="all",grant="dev"}"#;
    assert_eq!(metric(&proxy, in_all).await, Some(1.0));
    // Calls have places of their own, and a stream that ends gives its place back.
    assert_eq!(proxy.call("vm_list", json!({})).await.status, 200);
    drop(open);
    loop {
        if proxy.open(get(OTHER_TOKEN)).await.status() == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    stop(proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_too_many_is_refused_and_nobody_elses_is_lost() {
    let (server, _folder, proxy) = started("sessions_per_grant_max = 2").await;
    let as_agent = |agent: &str, body: String| {
        let mut request = proxy.request().body(Full::new(body.into())).unwrap();
        request
            .headers_mut()
            .insert("user-agent", agent.parse().unwrap());
        request
    };
    let list = || call("vm_list", &json!({}));
    for agent in ["one", "two"] {
        assert_eq!(proxy.send(as_agent(agent, list())).await.status, 200);
    }
    let refused = proxy.send(as_agent("three", list())).await;
    let says = [
        "sessions of this grant",
        "2 (sessions_per_grant_max in [limits]",
    ];
    assert_refused(&refused, 429, &json!(7), &says);
    // Nor does a server hear of one that could not be bound.
    let initialize = r#"{"jsonrpc":"2.0","id":"i","method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let before = server.log().len();
    let refused = proxy.send(as_agent("one", initialize.to_owned())).await;
    assert_refused(&refused, 429, &json!("i"), &says);
    assert_eq!(server.log().len(), before);
    for agent in ["one", "two"] {
        assert_eq!(proxy.send(as_agent(agent, list())).await.status, 200);
    }
    let refused = r#"weir_limit_refused_total{limit="sessions",scope="grant",grant="ops"}"#;
    assert_eq!(metric(&proxy, refused).await, Some(2.0));
    stop(proxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded_for_a_grant_and_in_all() {
    let lines = "connections_per_grant_max = 1\nconnections_max = 2";
    let (_server, folder, proxy) = started(lines).await;
    assert_eq!(proxy.call("vm_list", json!({})).await.status, 200);
    // A second connection of the same grant: refused, told why, and closed.
    let ca = folder.path().join("state/ca.pem");
    let own = client(&ca);
    let request = || {
        proxy
            .request()
            .body(Full::new(call("vm_list", &json!({})).into()))
            .unwrap()
    };
    let response = own.request(request()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = http_body_util::BodyExt::collect(body)
        .await
        .unwrap()
        .to_bytes();
    let reply = Reply {
        status: head.status,
        headers: head.headers,
        body,
    };
    let says = [
        "open connections of this grant",
        "1 (connections_per_grant_max in [limits]",
    ];
    assert_refused(&reply, 429, &Value::Null, &says);
    // It speaks HTTP/2, so it may serve another grant and is open still; with it there are as many as may be: one more is closed.
    let third = client(&ca);
    let open = metric(&proxy, r#"weir_limit_in_use{limit="connections"}"#).await;
    assert_eq!(open, Some(2.0));
    assert!(third.request(request()).await.is_err());
    let refused = r#"weir_limit_refused_total{limit="connections",scope="all",grant=""}"#;
    assert_eq!(metric(&proxy, refused).await, Some(1.0));
    let refused = r#"weir_limit_refused_total{limit="connections",scope="grant",grant="ops"}"#;
    assert_eq!(metric(&proxy, refused).await, Some(1.0));
    assert_eq!(proxy.call("vm_list", json!({})).await.status, 200);
    drop((own, third));
    soon(|| proxy.rows().len() >= 3).await;
    let rules: Vec<_> = proxy.rows().into_iter().map(|row| row.rule).collect();
    assert_eq!(rules, ["", "(malformed)", ""]);
    stop(proxy).await;
}

#[tokio::test]
async fn a_grant_may_have_limits_of_its_own() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    let file = folder.path().join("weir.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace(
        "policy = \"ops.json\"",
        "policy = \"ops.json\"\nlimits = { sessions_max = 1 }",
    );
    std::fs::write(&file, text).unwrap();
    let proxy = Proxy::start(folder.path()).await;
    let most = r#"weir_grant_limit_max{limit="sessions",grant="ops"}"#;
    assert_eq!(metric(&proxy, most).await, Some(1.0));
    let most = r#"weir_grant_limit_max{limit="sessions",grant="dev"}"#;
    assert_eq!(metric(&proxy, most).await, Some(1024.0));
    proxy.stop().await;
}

#[tokio::test]
async fn a_counter_too_many_names_its_limit() {
    let server = Server::start().await;
    let rules = json!({ "version": "1", "default": "deny", "tools": { "vm_stop": {
        "require": [{ "conditions": [{ "path": "args.id", "op": "type", "value": "integer" }] }],
        "limits": [{ "counter": "rate", "window": "day", "max": 5, "per": ["args.id"], "on_deny": "Five a day." }] } } });
    let folder = folder(&server.url, &rules);
    configure_limits(folder.path(), "counters_per_grant = 2\ncounters_max = 4");
    let proxy = Proxy::start(folder.path()).await;
    for id in [1, 2] {
        assert!(!proxy.call("vm_stop", json!({ "id": id })).await.is_denied());
    }
    let denied = proxy.call("vm_stop", json!({ "id": 3 })).await;
    let text = denied.json()["result"]["content"][0]["text"].to_string();
    assert!(
        text.contains(
            "too many counters of this grant: it may have 2 (counters_per_grant in [limits])"
        ),
        "{text}"
    );
    assert_eq!(proxy.rows()[2].reason, "counter_capacity");
    let refused = r#"weir_limit_refused_total{limit="counters",scope="grant",grant="ops"}"#;
    assert_eq!(metric(&proxy, refused).await, Some(1.0));
    let in_use = r#"weir_limit_in_use{limit="counters"}"#;
    assert_eq!(metric(&proxy, in_use).await, Some(2.0));
    proxy.stop().await;

    let file = folder.path().join("weir.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("counters_max = 4", "counters_max = 3")).unwrap();
    let problems = weir_proxy::Config::load(&file).unwrap_err().to_string();
    assert!(
        problems.contains("2 grants of 2 counters each could have 4, and `counters_max` is 3"),
        "{problems}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_brings_no_more_grants_than_have_counters_now() {
    let server = Server::start().await;
    let folder = folder(&server.url, &policy());
    configure_limits(folder.path(), "counters_per_grant = 2\ncounters_max = 5");
    let proxy = Proxy::start(folder.path()).await;
    let file = folder.path().join("weir.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    // The file allows itself what the running proxy has not: its limits are for the next start.
    let third = format!(
        "{text}\n[[grant]]\nname = \"third\"\nserver = \"nas\"\ntoken = {{ sha256 = \"{}\" }}\n",
        "7".repeat(64)
    );
    std::fs::write(
        &file,
        third.replace("counters_max = 5", "counters_max = 600"),
    )
    .unwrap();
    let reload = async || {
        let config = weir_proxy::Config::load(&file).unwrap();
        proxy.ready.reloader.reload(config).await
    };
    let refused = reload().await.unwrap_err().to_string();
    assert!(
        refused.contains("3 grants of 2 counters each could have more than 5"),
        "{refused}"
    );
    assert!(!proxy.call("vm_list", json!({})).await.is_denied());
    // As many as before pass, and the raised limit waits.
    std::fs::write(
        &file,
        text.replace("counters_max = 5", "counters_max = 600"),
    )
    .unwrap();
    assert_eq!(reload().await.unwrap().next_start, ["[limits]"]);
    proxy.stop().await;
}
